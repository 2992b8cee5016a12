//! `portcullis session …`: who is signed in, and what ends it. A running gateway refuses the tokens of what was ended within
//! two seconds.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use portcullis_audit::{Action, Party, PartyKind, rfc3339};
use portcullis_store::{Session, SessionEnd, Sessions};
use serde_json::{Value, json};

use crate::{
    accounts::{Accounts, event},
    cli::Output,
    clock, identity, output,
    user::party,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the sessions of a user, the latest sign-in first
    #[command(after_help = "Example:\n  portcullis session list saad")]
    List(Whose),
    /// End a session, or all of a user; their tokens are refused from then on
    #[command(after_help = "Example:\n  portcullis session end --all-of saad")]
    End(Which),
}

#[derive(Args)]
pub(crate) struct Whose {
    /// The user name or the e-mail address
    login: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Which {
    /// A session, as `session list` names it
    #[arg(required_unless_present = "all_of", conflicts_with = "all_of")]
    sid: Option<String>,
    /// All sessions of this user instead
    #[arg(long, value_name = "LOGIN")]
    all_of: Option<String>,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn session(config: &Path, command: Command) -> anyhow::Result<ExitCode> {
    let accounts = Accounts::open(config, "sessions")?;
    accounts.block_on(async {
        let kept = identity::sessions(accounts.config(), &accounts.auth, accounts.store());
        let desk = SignedIn {
            kept: kept.await?,
            accounts: &accounts,
        };
        match command {
            Command::List(whose) => desk.list(&whose).await,
            Command::End(which) => desk.end(&which).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

struct SignedIn<'a> {
    kept: Sessions,
    accounts: &'a Accounts,
}

impl SignedIn<'_> {
    async fn list(&self, whose: &Whose) -> anyhow::Result<()> {
        const PAGE: u32 = 100;
        let user = self.accounts.user(&whose.login).await?;
        let (now, mut after) = (clock::wall(), None::<String>);
        loop {
            let page = self.kept.of_user(&user.id, now, after.as_deref(), PAGE);
            let sessions = page.await?;
            let Some(last) = sessions.last() else {
                return Ok(());
            };
            after = Some(last.sid.clone());
            // An end of all is written beside the user and not into each of them.
            let live = sessions.iter().filter(|session| user.keeps(session));
            live.for_each(|session| show(session, whose.output));
        }
    }

    async fn end(&self, which: &Which) -> anyhow::Result<()> {
        match (&which.sid, &which.all_of) {
            (Some(sid), _) => self.end_one(sid, which.output).await,
            (None, Some(login)) => self.end_all(login, which.output).await,
            // clap asks for one of the two.
            (None, None) => Ok(()),
        }
    }

    async fn end_one(&self, sid: &str, output: Output) -> anyhow::Result<()> {
        let found = self.kept.find(sid).await?;
        let session = found.with_context(|| format!("there is no session {sid:?}"))?;
        let event = event(Action::SessionEnded)
            .on(Party::new(PartyKind::Session, &*session.sid))
            .because(format!("user:{}", session.user_id));
        let end = SessionEnd {
            sid: &session.sid,
            user_id: &session.user_id,
            revocation_until: self.accounts.last_expiry(),
            event: &event,
        };
        let was_live = self.kept.end(&end).await?;
        ensure!(was_live, "the session {sid:?} has ended already");
        tell(&json!({ "ended": session.sid }), "ended", output);
        Ok(())
    }

    async fn end_all(&self, login: &str, output: Output) -> anyhow::Result<()> {
        let user = self.accounts.user(login).await?;
        let event = event(Action::SessionEnded).on(party(&user)).because("all");
        let until = self.accounts.last_expiry();
        let store = self.accounts.store();
        store.end_all_sessions(&user.id, until, &event).await?;
        tell(&json!({ "ended_all_of": user.id }), "ended all", output);
        Ok(())
    }
}

fn show(session: &Session, output: Output) {
    if output.json {
        return output::say_json(&listing(session));
    }
    let address = session.ip.map(|ip| ip.to_string());
    output::say(format_args!(
        "{}  {}  {:<16}  {:<40}  {}",
        session.sid,
        rfc3339(session.created_at),
        session.resource,
        address.as_deref().unwrap_or("-"),
        session.user_agent.as_deref().unwrap_or("-"),
    ));
}

fn listing(session: &Session) -> Value {
    json!({
        "id": session.sid,
        "resource": session.resource,
        "signed_in_at": rfc3339(session.created_at),
        "refreshed_at": rfc3339(session.rotated_at),
        "ends_at": rfc3339(session.idle_expires_at),
        "address": session.ip,
        "user_agent": session.user_agent,
    })
}

fn tell(document: &Value, sentence: &str, output: Output) {
    if output.json {
        output::say_json(document);
    } else {
        output::say(sentence);
    }
}
