//! `portcullis client …`: programs that get tokens with a secret, such as a gateway that follows another's revocations.
//! The secret is made here, shown once, and kept as a hash.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use clap::{Args, Subcommand};
use portcullis_audit::Action;
use portcullis_auth::{client_party, create_client};
use portcullis_store::Client;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    accounts::{Accounts, event},
    cli::Output,
    output,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a client and print its id and its secret, which is not shown again
    #[command(after_help = "Example:\n  portcullis client add sidecar --scope revocations:read")]
    Add(Newcomer),
    /// List all clients with their scopes
    #[command(after_help = "Example:\n  portcullis client list --json")]
    List(Output),
    /// Disable a client and end all of its tokens
    #[command(after_help = "Example:\n  portcullis client disable sidecar")]
    Disable(Named),
    /// Enable a client again
    #[command(after_help = "Example:\n  portcullis client enable sidecar")]
    Enable(Named),
}

#[derive(Args)]
pub(crate) struct Newcomer {
    /// What the log and the lists call it
    name: String,
    /// A scope it may ask for, again for each further one
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Named {
    /// The name or the id of the client
    client: String,
    #[command(flatten)]
    output: Output,
}

pub(crate) fn client(config: &Path, command: Command) -> anyhow::Result<ExitCode> {
    let accounts = Accounts::open(config, "clients")?;
    accounts.block_on(Clients(&accounts).carry_out(command))?;
    Ok(ExitCode::SUCCESS)
}

struct Clients<'a>(&'a Accounts);

impl Clients<'_> {
    async fn carry_out(&self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Add(newcomer) => self.add(&newcomer).await,
            Command::List(output) => self.list(output).await,
            Command::Disable(named) => self.set_disabled(&named, true).await,
            Command::Enable(named) => self.set_disabled(&named, false).await,
        }
    }

    async fn add(&self, newcomer: &Newcomer) -> anyhow::Result<()> {
        let created = event(Action::ClientCreated);
        let made = create_client(
            self.0.store(),
            &self.0.auth,
            &newcomer.name,
            &newcomer.scopes,
            created,
        );
        let (client, secret) = made.await.context("the client was not added")?;
        if newcomer.output.json {
            let mut listing = listing(&client);
            if let Some(members) = listing.as_object_mut() {
                let secret = secret.expose_secret().into();
                members.insert("secret".to_owned(), secret);
            }
            output::say_json(&listing);
        } else {
            output::say(format_args!("added: {}", row(&client)));
            output::say(format_args!("id:     {}", client.id));
            output::say(format_args!("secret: {}", secret.expose_secret()));
            output::warn("The secret is not shown again.");
        }
        Ok(())
    }

    async fn list(&self, output: Output) -> anyhow::Result<()> {
        const PAGE: u32 = 500;
        let mut after: Option<String> = None;
        loop {
            let clients = self.0.store().clients(after.as_deref(), PAGE).await?;
            let Some(last) = clients.last() else {
                return Ok(());
            };
            after = Some(last.id.clone());
            clients.iter().for_each(|client| {
                if output.json {
                    output::say_json(&listing(client))
                } else {
                    output::say(row(client))
                }
            });
        }
    }

    async fn set_disabled(&self, named: &Named, disabled: bool) -> anyhow::Result<()> {
        let client = self.find(&named.client).await?;
        let (action, done) = match disabled {
            true => (Action::ClientDisabled, "disabled"),
            false => (Action::ClientEnabled, "enabled"),
        };
        let event = event(action).on(client_party(&client.id, &client.name));
        let client = self
            .0
            .store()
            .set_client_disabled(&client.id, disabled, self.0.last_expiry(), &event)
            .await?;
        if named.output.json {
            output::say_json(&listing(&client));
        } else {
            output::say(format_args!("{done}: {}", row(&client)));
        }
        Ok(())
    }

    async fn find(&self, name: &str) -> anyhow::Result<Client> {
        let found = match self.0.store().client_by_name(name).await? {
            Some(client) => Some(client),
            None => self.0.store().client(name).await?,
        };
        found.with_context(|| format!("there is no client {name:?}"))
    }
}

fn row(client: &Client) -> String {
    let state = if client.disabled {
        "disabled"
    } else {
        "enabled"
    };
    let last_used = client.last_used_at.map(portcullis_audit::rfc3339);
    format!(
        "{}  {:<24} {state:<8}  {:<24}  {}",
        client.id,
        client.name,
        client.scopes,
        last_used.as_deref().unwrap_or("never used")
    )
}

fn listing(client: &Client) -> Value {
    json!({
        "id": client.id,
        "name": client.name,
        "scopes": client.scopes.split(' ').collect::<Vec<_>>(),
        "disabled": client.disabled,
        "created_at": portcullis_audit::rfc3339(client.created_at),
        "last_used_at": client.last_used_at.map(portcullis_audit::rfc3339),
    })
}
