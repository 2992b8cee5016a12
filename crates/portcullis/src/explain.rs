//! `portcullis explain`: each step of admission for one request, and its verdict. Nothing is sent and nobody is asked: a
//! token is read with the keys that lie on this machine.

use std::{
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, ensure};
use clap::Args;
use portcullis_config::{
    Config,
    issuers::{Issuer, KeySource},
    storage::Database,
};
use portcullis_proxy::{Account, Outcome, StepAccount, Verdict};
use portcullis_store::{OpenMode, Store};
use portcullis_tokens::{KeySet, Revocations, SigningKey};
use serde_json::{Value, json};

use crate::{
    cli::Output,
    configuration, house,
    keys::{self, Source},
    output,
    rehearse::{self, Described, SOMEBODY},
    root_key::root_key,
    verification::verifier,
};

#[derive(Args)]
pub(crate) struct Question {
    /// Such as GET
    method: String,
    /// With its query, where it has one
    path: String,
    /// An access token; - reads it from standard input, where no process list shows it
    #[arg(long)]
    token: Option<String>,
    /// Who connects; a trusted proxy's headers are believed as they would be
    #[arg(long, default_value_t = SOMEBODY)]
    ip: IpAddr,
    /// A header, again for each further one
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    #[arg(long, default_value = "localhost")]
    host: String,
    /// A saved key set of an issuer whose keys the gateway fetches, again for each further one
    #[arg(long = "keys", value_name = "ISSUER=FILE", value_parser = key_file)]
    keys: Vec<(String, PathBuf)>,
    /// The length of the body, in bytes
    #[arg(long)]
    body: Option<u64>,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn explain(config: &Path, question: &Question) -> anyhow::Result<ExitCode> {
    let mut config = configuration::load(config)?;
    question.hand_in_keys(&mut config.issuers)?;
    let token = question.token()?;
    let described = question.described(token.as_deref());
    let runtime = house::runtime()?;
    let own = runtime.block_on(own_keys(&config));
    let unknown = own.as_ref().err().map(|cause| format!("{cause:#}"));
    let verifier = verifier(
        &config,
        own.unwrap_or_default().map(Arc::from),
        None,
        Revocations::assumed_complete().into(),
    )?;
    let rehearsal = rehearse::rehearsal(&mut config, verifier)?;
    let request = described.request()?;
    let account = runtime.block_on(rehearsal.explain(&request, question.ip));
    if question.output.json {
        output::say_json(&document(&account));
    } else {
        tell(&described, &account);
        if let Some(cause) = unknown.filter(|_| token.is_some()) {
            output::warn(format_args!(
                "our own tokens could not be read here: {cause}"
            ));
        }
    }
    Ok(match account.outcome {
        Outcome::Forwarded { .. } | Outcome::Answered { .. } => ExitCode::SUCCESS,
        Outcome::Refused(_) => ExitCode::FAILURE,
    })
}

impl Question {
    fn token(&self) -> anyhow::Result<Option<String>> {
        if self.token.as_deref() != Some("-") {
            return Ok(self.token.clone());
        }
        let mut text = String::new();
        // Longer than any token that is accepted; the rest would only be refused.
        io::stdin().take(64 * 1024).read_to_string(&mut text)?;
        Ok(Some(text.trim().to_owned()))
    }

    /// Nobody is asked for keys here: what an issuer publishes may be handed in instead.
    fn hand_in_keys(&self, issuers: &mut [Issuer]) -> anyhow::Result<()> {
        for (name, file) in &self.keys {
            let issuer = issuers.iter_mut().find(|issuer| issuer.name == *name);
            let issuer =
                issuer.with_context(|| format!("the configuration has no issuer {name:?}"))?;
            issuer.keys = KeySource::JwksFile(file.clone());
        }
        Ok(())
    }

    fn described<'a>(&'a self, token: Option<&'a str>) -> Described<'a> {
        let headers = self.headers.iter();
        Described {
            method: &self.method,
            path: &self.path,
            host: &self.host,
            headers: headers.map(|(name, value)| (&**name, &**value)).collect(),
            token,
            body: self.body,
        }
    }
}

fn header(line: &str) -> Result<(String, String), &'static str> {
    let (name, value) = line.split_once(':').ok_or("write NAME: VALUE")?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn key_file(entry: &str) -> Result<(String, PathBuf), &'static str> {
    let (issuer, file) = entry.split_once('=').ok_or("write ISSUER=FILE")?;
    Ok((issuer.to_owned(), file.into()))
}

/// What verifies our own tokens, where this machine has it. Looking for it makes neither a key nor a database.
async fn own_keys(config: &Config) -> anyhow::Result<Option<KeySet>> {
    let Some(auth) = &config.auth else {
        return Ok(None);
    };
    let algorithm = match keys::source(auth) {
        Source::Configured(secret) => {
            let key = SigningKey::from_secret(secret)?;
            return Ok(Some(KeySet::new([key.verification_key()])?));
        }
        Source::Kept(algorithm) => algorithm,
    };
    let database = &config.storage.database;
    if let Database::Sqlite(path) = database {
        ensure!(
            path.exists(),
            "there is no database yet: start the gateway once"
        );
    }
    let store = Store::open(database, OpenMode::Tool, "command-line").await;
    let store = store.with_context(|| house::cannot_open(database))?;
    let root = root_key(&config.storage)?;
    let keys = keys::kept(auth, algorithm, &store, &root).verifying().await;
    store.close().await;
    keys?
        .context("the database has no signing key yet: start the gateway once")
        .map(Some)
}

fn tell(described: &Described<'_>, account: &Account) {
    output::say(format_args!(
        "{} {} from {}\n",
        described.method, described.path, account.client
    ));
    for step in &account.steps {
        output::say(line(step));
    }
    if !account.would_reject.is_empty() {
        output::say(format_args!(
            "\nwould be refused without `shadow`: {}",
            account.would_reject.join(" ")
        ));
    }
    output::say(match &account.outcome {
        Outcome::Forwarded { upstream, target } => {
            let target = target.as_deref().unwrap_or(described.path);
            format!("\nlet through: {} {target} at {upstream}", described.method)
        }
        Outcome::Answered { status, location } => {
            let to = location.as_deref().map(|to| format!(", to {to}"));
            format!(
                "\nanswered by the gateway: {status}{}",
                to.unwrap_or_default()
            )
        }
        Outcome::Refused(rejection) => format!(
            "\nrefused: {} {}: {}",
            rejection.status().as_u16(),
            rejection.code(),
            rejection.detail()
        ),
    });
    output::say("(limits as nobody had spent from them, breakers closed)");
}

fn line(step: &StepAccount) -> String {
    let text = format!(
        "  {:<16}{:<13}{}",
        step.step.name(),
        word(step.verdict),
        step.note
    );
    text.trim_end().to_owned()
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Watched => "only watched",
        Verdict::Refused => "REFUSED",
        Verdict::NotReached => "not reached",
    }
}

fn document(account: &Account) -> Value {
    let steps: Vec<Value> = account
        .steps
        .iter()
        .map(|step| json!({ "step": step.step.name(), "verdict": word(step.verdict), "note": step.note }))
        .collect();
    let principal = account.principal.as_ref().map(|principal| {
        json!({
            "subject": principal.subject(),
            "issuer": principal.issuer().as_str(),
            "resource": principal.resource(),
            "scopes": principal.scope_line(),
            "roles": principal.role_line(),
            "expires_at": principal.expires_at().as_secs(),
        })
    });
    let (mut upstream, mut target, mut refused) = (None, None, None);
    let (mut answered, mut location) = (None, None);
    match &account.outcome {
        Outcome::Forwarded {
            upstream: to,
            target: sent,
        } => (upstream, target) = (Some(to), sent.as_ref()),
        Outcome::Answered {
            status,
            location: to,
        } => (answered, location) = (Some(status), to.as_ref()),
        Outcome::Refused(rejection) => refused = Some(rejection),
    }
    json!({
        "client": account.client,
        "route": account.route,
        "principal": principal,
        "steps": steps,
        "upstream": upstream,
        "target": target,
        "answered": answered,
        "location": location,
        "refused": refused.map(|rejection| json!({
            "status": rejection.status().as_u16(),
            "code": rejection.code(),
            "detail": rejection.detail(),
        })),
        "would_reject": account.would_reject,
    })
}
