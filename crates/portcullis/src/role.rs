//! `portcullis role …`: roles of the database, beside those of the configuration, which are listed here and changed in the
//! file. A running gateway notices each change within a second.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use portcullis_audit::Action;
use portcullis_auth::{RoleError, change_role, create_role, delete_role};
use portcullis_config::auth::RoleScopes;
use portcullis_store::{Role, StoreError};
use serde_json::{Value, json};

use crate::{
    accounts::{Accounts, event},
    cli::Output,
    output,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the roles of the configuration and of the database with their scopes
    #[command(after_help = "Example:\n  portcullis role list --json")]
    List(Output),
    /// Add a role to the database
    #[command(after_help = "Example:\n  portcullis role add night-porter --scope hotel:read")]
    Add(Scoped),
    /// Set the scopes of a role; the present tokens of all who have it end
    #[command(
        after_help = "Example:\n  portcullis role set night-porter --scope hotel:read --scope hotel:write"
    )]
    Set(Scoped),
    /// Remove a role that nobody has
    #[command(after_help = "Example:\n  portcullis role remove night-porter")]
    Remove(Named),
}

#[derive(Args)]
pub(crate) struct Scoped {
    /// The name of the role
    role: String,
    /// A scope that it gives, again for each further one; without any it only marks who has it
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Named {
    /// The name of the role
    role: String,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn role(config: &Path, command: Command) -> anyhow::Result<ExitCode> {
    let accounts = Accounts::open(config, "roles")?;
    accounts.block_on(Roles(&accounts).carry_out(command))?;
    Ok(ExitCode::SUCCESS)
}

struct Roles<'a>(&'a Accounts);

impl Roles<'_> {
    async fn carry_out(&self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::List(output) => self.list(output).await,
            Command::Add(scoped) => self.add(&scoped).await,
            Command::Set(scoped) => self.set(&scoped).await,
            Command::Remove(named) => self.remove(&named).await,
        }
    }

    async fn list(&self, output: Output) -> anyhow::Result<()> {
        const PAGE: u32 = 500;
        let of_file = self.0.auth.roles.iter();
        of_file.for_each(|(name, scopes)| show(&of_the_file(name, scopes), output));
        let mut after: Option<String> = None;
        loop {
            let roles = self.0.store().roles(after.as_deref(), PAGE).await?;
            let Some(last) = roles.last() else {
                return Ok(());
            };
            after = Some(last.name.clone());
            let kept = roles
                .iter()
                .filter(|role| !self.0.auth.roles.contains_key(&role.name));
            kept.for_each(|role| show(&of_the_database(role), output));
        }
    }

    async fn add(&self, scoped: &Scoped) -> anyhow::Result<()> {
        let (store, auth) = (self.0.store(), &self.0.auth);
        let created = event(Action::RoleCreated);
        let role = create_role(store, auth, &scoped.role, &scoped.scopes, created)
            .await
            .map_err(said)
            .context("the role was not added")?;
        tell("added", &role, scoped.output);
        Ok(())
    }

    async fn set(&self, scoped: &Scoped) -> anyhow::Result<()> {
        let (store, auth) = (self.0.store(), &self.0.auth);
        let changed = event(Action::RoleChanged);
        let change = self.0.rights_change(&changed);
        let (role, _gateways_read_the_log) =
            change_role(store, auth, &scoped.role, &scoped.scopes, &change)
                .await
                .map_err(said)
                .context("the role was not changed")?;
        tell("set", &role, scoped.output);
        Ok(())
    }

    async fn remove(&self, named: &Named) -> anyhow::Result<()> {
        let (store, auth) = (self.0.store(), &self.0.auth);
        let kept = store.role(&named.role).await?;
        let deleted = event(Action::RoleDeleted);
        delete_role(store, auth, &named.role, deleted)
            .await
            .map_err(said)
            .context("the role was not removed")?;
        let Some(role) = kept else {
            bail!("there was no role {:?}", named.role)
        };
        tell("removed", &role, named.output);
        Ok(())
    }
}

/// What the store's words mean of a role.
fn said(error: RoleError) -> anyhow::Error {
    match &error {
        RoleError::Store(StoreError::NotFound) => {
            anyhow::anyhow!("there is no role of this name in the database")
        }
        RoleError::Store(StoreError::Taken) => anyhow::anyhow!("there is one of this name"),
        RoleError::Store(StoreError::Conflict) => anyhow::anyhow!("somebody has it"),
        RoleError::Name(_)
        | RoleError::OfFile
        | RoleError::NamedLikeScope
        | RoleError::Scope(_)
        | RoleError::Store(_) => error.into(),
    }
}

fn of_the_file(name: &str, scopes: &RoleScopes) -> Value {
    let scopes = match scopes {
        RoleScopes::All => vec!["*"],
        RoleScopes::These(scopes) => scopes.iter().map(String::as_str).collect(),
    };
    json!({ "name": name, "scopes": scopes, "source": "file" })
}

fn of_the_database(role: &Role) -> Value {
    json!({
        "name": role.name,
        "scopes": role.scopes.split_whitespace().collect::<Vec<_>>(),
        "source": "database",
        "created_at": portcullis_audit::rfc3339(role.created_at),
        "updated_at": portcullis_audit::rfc3339(role.updated_at),
    })
}

fn tell(done: &str, role: &Role, output: Output) {
    if output.json {
        output::say_json(&of_the_database(role));
    } else {
        output::say(format_args!("{done}: {}", row(&of_the_database(role))));
    }
}

fn show(role: &Value, output: Output) {
    if output.json {
        output::say_json(role);
    } else {
        output::say(row(role));
    }
}

fn row(role: &Value) -> String {
    let text = |key: &str| role.get(key).and_then(Value::as_str).unwrap_or_default();
    let scopes = role.get("scopes").and_then(Value::as_array);
    let scopes: Vec<&str> = scopes
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let (name, source) = (text("name"), text("source"));
    format!("{name:<24} {source:<8}  {}", scopes.join(" "))
        .trim_end()
        .to_owned()
}
