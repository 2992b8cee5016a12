//! `portcullis test FILE`: a table of requests and what is expected of each, for a pipeline that must not let a change of
//! the configuration through which opens what was closed.
//!
//! Callers are described and not signed in: each issuer of the configuration gets a key that lives as long as this
//! command, so that a table needs no secret and does not grow old. All requests of a table meet the same gateway, one
//! after the other: what one has spent is spent for the next.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use clap::Args;
use portcullis_proxy::{Account, Outcome, Rehearsal};
use serde::Deserialize;
use serde_json::json;

use crate::{
    cli::Output,
    configuration, house, output,
    rehearse::{self, Described, SOMEBODY},
    rehearsed_callers::{Caller, Issuers},
};

#[derive(Args)]
pub(crate) struct Table {
    /// The table, in YAML
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// One row.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    request: Asked,
    /// Absent: nobody, without a token.
    #[serde(default)]
    caller: Option<Caller>,
    /// How often it is asked; what is expected is the last verdict.
    #[serde(default = "once")]
    times: u32,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default = "get")]
    method: String,
    path: String,
    #[serde(default = "localhost")]
    host: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "somebody")]
    ip: IpAddr,
    #[serde(default)]
    body: Option<u64>,
    /// As it stands, for tokens that must not pass.
    #[serde(default)]
    token: Option<String>,
}

/// What is written must be so; what is not, may be anything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// The upstream that it is let through to.
    upstream: Option<String>,
    /// The status of an answer that is neither: a preflight, a redirect.
    answered: Option<u16>,
    /// The code it is refused with.
    refused: Option<String>,
    route: Option<String>,
    /// The path that is sent on.
    path: Option<String>,
    /// Codes that shadowed checks would have refused it with.
    would_reject: Option<Vec<String>>,
}

fn once() -> u32 {
    1
}

fn get() -> String {
    String::from("GET")
}

fn localhost() -> String {
    String::from("localhost")
}

fn somebody() -> IpAddr {
    SOMEBODY
}

pub(crate) fn test(config: &Path, table: &Table) -> anyhow::Result<ExitCode> {
    let mut config = configuration::load(config)?;
    let issuers = Issuers::of(&config)?;
    let verifier = issuers.verifier(&config)?;
    let rehearsal = rehearse::rehearsal(&mut config, verifier)?;
    let name = table.file.display();
    let text = fs::read_to_string(&table.file).with_context(|| format!("cannot read {name}"))?;
    let rows: Vec<Row> =
        serde_yaml::from_str(&text).with_context(|| format!("{name} is no table of requests"))?;
    // A table that was cut off must not pass for one that holds.
    ensure!(!rows.is_empty(), "{name} has no rows");
    let runtime = house::runtime()?;
    let mut failed = 0;
    for row in &rows {
        let wrong = runtime.block_on(row.check(&rehearsal, &issuers));
        let wrong = wrong.with_context(|| format!("{name}: {}", row.name))?;
        failed += usize::from(!wrong.is_empty());
        report(row, &wrong, table.output);
    }
    if !table.output.json {
        output::say(format_args!(
            "{} of {} as expected",
            rows.len() - failed,
            rows.len()
        ));
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn report(row: &Row, wrong: &[String], output: Output) {
    if output.json {
        output::say_json(&json!({ "name": row.name, "passed": wrong.is_empty(), "wrong": wrong }));
        return;
    }
    output::say(format_args!(
        "{} {}",
        if wrong.is_empty() { "ok    " } else { "FAILED" },
        row.name
    ));
    for line in wrong {
        output::say(format_args!("         {line}"));
    }
}

impl Row {
    /// What is not as expected.
    async fn check(&self, rehearsal: &Rehearsal, issuers: &Issuers) -> anyhow::Result<Vec<String>> {
        let token = match &self.caller {
            Some(caller) => Some(issuers.token(caller)?),
            None => self.request.token.clone(),
        };
        let request = self.request.described(token.as_deref()).request()?;
        let mut account = rehearsal.explain(&request, self.request.ip).await;
        for _ in 1..self.times {
            account = rehearsal.explain(&request, self.request.ip).await;
        }
        Ok(self.expect.compare(&account, &self.request.path))
    }
}

impl Asked {
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

impl Expected {
    fn compare(&self, account: &Account, asked: &str) -> Vec<String> {
        let (upstream, target, code) = match &account.outcome {
            Outcome::Forwarded { upstream, target } => (
                Some(&**upstream),
                Some(target.as_deref().unwrap_or(asked)),
                None,
            ),
            Outcome::Answered { .. } => (None, None, None),
            Outcome::Refused(rejection) => (None, None, Some(rejection.code())),
        };
        let answered = match &account.outcome {
            Outcome::Answered { status, .. } => Some(status.to_string()),
            Outcome::Forwarded { .. } | Outcome::Refused(_) => None,
        };
        let expected_answer = self.answered.map(|status| status.to_string());
        let path = target.map(|target| target.split('?').next().unwrap_or(target));
        let pairs = [
            ("upstream", self.upstream.as_deref(), upstream),
            ("answered", expected_answer.as_deref(), answered.as_deref()),
            ("refused", self.refused.as_deref(), code),
            ("route", self.route.as_deref(), account.route.as_deref()),
            ("path", self.path.as_deref(), path),
        ];
        let mut wrong: Vec<String> = pairs
            .into_iter()
            .filter(|(_, expected, found)| expected.is_some() && expected != found)
            .map(|(what, expected, found)| {
                let (expected, found) = (expected.unwrap_or_default(), found.unwrap_or("nothing"));
                format!(
                    "{what}: expected {expected}, found {found}{}",
                    because(account, what)
                )
            })
            .collect();
        if let Some(expected) = self
            .would_reject
            .as_ref()
            .filter(|codes| **codes != account.would_reject)
        {
            let (expected, found) = (expected.join(" "), account.would_reject.join(" "));
            wrong.push(format!(
                "would_reject: expected [{expected}], found [{found}]"
            ));
        }
        wrong
    }
}

/// Where something else was expected than a refusal, why it was refused.
fn because(account: &Account, what: &str) -> String {
    let refusing = account
        .steps
        .iter()
        .find(|step| step.verdict == portcullis_proxy::Verdict::Refused);
    match (refusing, what) {
        (Some(step), "upstream" | "path" | "refused") => {
            format!(" ({}: {})", step.step.name(), step.note)
        }
        _ => String::new(),
    }
}
