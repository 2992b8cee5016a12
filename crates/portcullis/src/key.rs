//! `portcullis key …`: the keys that sign our tokens. A running gateway takes over within a second what is changed here.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use portcullis_audit::{Action, rfc3339};
use portcullis_auth::KeptKeys;
use portcullis_tokens::rotation::{KeyRecord, KeyState, signs_from};
use serde_json::{Value, json};

use crate::{
    accounts::{Accounts, event},
    cli::Output,
    keys::{self, Source},
    output,
    root_key::root_key,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the keys: the one that signs, the one that will, those that did
    #[command(after_help = "Example:\n  portcullis key list --json")]
    List(Output),
    /// Publish a new key, which signs six minutes later; tokens of the old one stay good
    #[command(after_help = "Example:\n  portcullis key rotate")]
    Rotate(Output),
    /// Take a key back at once: every token it has signed is refused, and if it was the one that signs, another takes over
    #[command(
        after_help = "Example:\n  portcullis key retire NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    )]
    Retire(Named),
}

#[derive(Args)]
pub(crate) struct Named {
    /// The `kid` of the key, as it is listed and as it stands in the header of a token
    // A thumbprint may begin with a hyphen.
    #[arg(value_name = "KID", allow_hyphen_values = true)]
    pub(crate) kid: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

pub(crate) fn key(config: &Path, command: Command) -> anyhow::Result<ExitCode> {
    let accounts = Accounts::open(config, "signing keys")?;
    let Source::Kept(algorithm) = keys::source(&accounts.auth) else {
        bail!("HS256 signs with the secret of the configuration: change it there, and restart");
    };
    let root = root_key(accounts.storage())?;
    let kept = keys::kept(&accounts.auth, algorithm, accounts.store(), &root);
    accounts.block_on(carry_out(&kept, command))?;
    Ok(ExitCode::SUCCESS)
}

async fn carry_out(kept: &KeptKeys, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(output) => list(kept, output).await,
        Command::Rotate(output) => rotate(kept, output).await,
        Command::Retire(named) => retire(kept, &named).await,
    }
}

async fn list(kept: &KeptKeys, output: Output) -> anyhow::Result<()> {
    for record in kept.records().await? {
        if output.json {
            output::say_json(&listing(&record));
        } else {
            output::say(row(&record));
        }
    }
    Ok(())
}

async fn rotate(kept: &KeptKeys, output: Output) -> anyhow::Result<()> {
    let next = kept.rotate(&event(Action::SigningKeyCreated)).await;
    let next = next.context("no key was made")?;
    if output.json {
        output::say_json(&listing(&next));
    } else {
        output::say(format_args!("published: {}", row(&next)));
    }
    Ok(())
}

async fn retire(kept: &KeptKeys, named: &Named) -> anyhow::Result<()> {
    let retired = kept
        .retire(&named.kid, &event(Action::SigningKeyRetired))
        .await
        .context("no key was taken back")?;
    if named.output.json {
        output::say_json(&json!({
            "retired": listing(&retired.record),
            "signing": listing(&retired.signing),
        }));
    } else {
        output::say(format_args!("retired: {}", row(&retired.record)));
        output::say(format_args!("signing: {}", row(&retired.signing)));
    }
    Ok(())
}

fn row(record: &KeyRecord) -> String {
    format!(
        "{}  {:<5}  {:<8}  {}",
        record.kid,
        record.algorithm,
        record.state.as_str(),
        since(record)
    )
}

/// What happened to it last, or will happen.
fn since(record: &KeyRecord) -> String {
    let (word, at) = match record.state {
        KeyState::Next => ("signs from", signs_from(record)),
        KeyState::Active => (
            "signs since",
            record.activated_at.unwrap_or(record.created_at),
        ),
        KeyState::Retiring => (
            "signed until",
            record.retired_at.unwrap_or(record.created_at),
        ),
        KeyState::Retired => ("taken back", record.retired_at.unwrap_or(record.created_at)),
    };
    format!("{word} {}", rfc3339(at))
}

fn listing(record: &KeyRecord) -> Value {
    json!({
        "kid": record.kid,
        "algorithm": record.algorithm,
        "state": record.state.as_str(),
        "created_at": rfc3339(record.created_at),
        "signs_from": (record.state == KeyState::Next).then(|| rfc3339(signs_from(record))),
        "activated_at": record.activated_at.map(rfc3339),
        "retired_at": record.retired_at.map(rfc3339),
    })
}
