//! `portcullis client …`: programs that get tokens with a secret or a key of their own, such as a gateway that follows
//! another's revocations. A secret is made here, shown once, and kept as a hash; of a key the public half is taken in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use portcullis_audit::{Action, Event};
use portcullis_auth::{
    client_party, create_client, create_signing_client, known_scopes, replace_keys, rotate_secret,
};
use portcullis_store::{Client, ClientChange};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{
    accounts::{Accounts, event},
    cli::Output,
    output,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a client and print its id, and its secret, which is not shown again, unless it has a key
    #[command(
        after_help = "Examples:\n  portcullis client add sidecar --scope revocations:read\n  portcullis client add robot --scope hotel:read --public-key robot.pem"
    )]
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
    /// Give a client another secret, which is not shown again, and end all of its tokens
    #[command(after_help = "Example:\n  portcullis client rotate-secret sidecar")]
    RotateSecret(Named),
    /// Give a client other public keys in place of its own or of its secret, and end all of its tokens
    #[command(after_help = "Example:\n  portcullis client set-key robot --public-key robot.pem")]
    SetKey(Keyed),
    /// Give a client these scopes in place of those that it has, and end all of its tokens
    #[command(
        after_help = "Example:\n  portcullis client set-scopes robot --scope hotel:read --scope hotel:write"
    )]
    SetScopes(Scoped),
    /// Delete a client and end all of its tokens; what it did stays in the audit log
    #[command(after_help = "Example:\n  portcullis client delete sidecar")]
    Delete(Named),
}

#[derive(Args)]
pub(crate) struct Newcomer {
    /// What the log and the lists call it
    name: String,
    /// A scope it may ask for, again for each further one
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// Its public key in place of a secret: a PEM file or a key set; the client signs with the private half
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
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

#[derive(Args)]
pub(crate) struct Keyed {
    #[command(flatten)]
    named: Named,
    /// A PEM file or a key set
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
}

#[derive(Args)]
pub(crate) struct Scoped {
    #[command(flatten)]
    named: Named,
    /// A scope it may ask for, again for each further one
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
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
            Command::RotateSecret(named) => self.rotate_secret(&named).await,
            Command::SetKey(keyed) => self.set_key(&keyed).await,
            Command::SetScopes(scoped) => self.set_scopes(&scoped).await,
            Command::Delete(named) => self.delete(&named).await,
        }
    }

    async fn add(&self, newcomer: &Newcomer) -> anyhow::Result<()> {
        const CONTEXT: &str = "the client was not added";
        let Newcomer {
            name,
            scopes,
            public_key,
            output,
        } = newcomer;
        let (store, auth) = (self.0.store(), &self.0.auth);
        let created = event(Action::ClientCreated);
        let (client, secret) = match public_key {
            Some(path) => {
                let keys = read(path)?;
                let made = create_signing_client(store, auth, (name, scopes), &keys, created);
                (made.await.context(CONTEXT)?, None)
            }
            None => {
                let made = create_client(store, auth, name, scopes, created);
                let (client, secret) = made.await.context(CONTEXT)?;
                (client, Some(secret))
            }
        };
        show("added", &client, secret.as_ref(), *output);
        Ok(())
    }

    async fn rotate_secret(&self, named: &Named) -> anyhow::Result<()> {
        let client = self.find(&named.client).await?;
        let changed = on(Action::ClientProofChanged, &client);
        let (store, until) = (self.0.store(), self.0.last_expiry());
        let rotated = rotate_secret(store, &client.id, until, &changed).await;
        let (client, secret) = rotated.context("the secret was not changed")?;
        show("changed", &client, Some(&secret), named.output);
        Ok(())
    }

    async fn set_key(&self, keyed: &Keyed) -> anyhow::Result<()> {
        let keys = read(&keyed.public_key)?;
        let client = self.find(&keyed.named.client).await?;
        let changed = on(Action::ClientProofChanged, &client);
        let (store, until) = (self.0.store(), self.0.last_expiry());
        let replaced = replace_keys(store, &client.id, &keys, until, &changed).await;
        let client = replaced.context("the key was not changed")?;
        show("changed", &client, None, keyed.named.output);
        Ok(())
    }

    async fn set_scopes(&self, scoped: &Scoped) -> anyhow::Result<()> {
        const CONTEXT: &str = "the scopes were not changed";
        let scopes = known_scopes(&self.0.auth, &scoped.scopes).context(CONTEXT)?;
        let client = self.find(&scoped.named.client).await?;
        let (changed, until) = (on(Action::ClientChanged, &client), self.0.last_expiry());
        let wanted = ClientChange {
            scopes: Some(scopes.line()),
            ..ClientChange::default()
        };
        let (store, id) = (self.0.store(), &client.id);
        let set = store.change_client(id, &wanted, until, &changed).await;
        tell("changed", &set.context(CONTEXT)?, scoped.named.output);
        Ok(())
    }

    async fn delete(&self, named: &Named) -> anyhow::Result<()> {
        let client = self.find(&named.client).await?;
        let (deleted, until) = (on(Action::ClientDeleted, &client), self.0.last_expiry());
        let store = self.0.store();
        let client = store.delete_client(&client.id, until, &deleted).await?;
        tell("deleted", &client, named.output);
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
        let event = on(action, &client);
        let client = self
            .0
            .store()
            .set_client_disabled(&client.id, disabled, self.0.last_expiry(), &event)
            .await?;
        tell(done, &client, named.output);
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

fn on(action: Action, client: &Client) -> Event {
    event(action).on(client_party(&client.id, &client.name))
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn tell(done: &str, client: &Client, output: Output) {
    if output.json {
        output::say_json(&listing(client));
    } else {
        output::say(format_args!("{done}: {}", row(client)));
    }
}

/// The secret here and nowhere else.
fn show(done: &str, client: &Client, secret: Option<&SecretString>, output: Output) {
    let secret = secret.map(ExposeSecret::expose_secret);
    if output.json {
        let mut listing = listing(client);
        if let (Some(members), Some(secret)) = (listing.as_object_mut(), secret) {
            members.insert("secret".to_owned(), secret.into());
        }
        return output::say_json(&listing);
    }
    output::say(format_args!("{done}: {}", row(client)));
    output::say(format_args!("id:     {}", client.id));
    if let Some(secret) = secret {
        output::say(format_args!("secret: {secret}"));
        output::warn("The secret is not shown again.");
    }
}

fn row(client: &Client) -> String {
    let state = if client.disabled {
        "disabled"
    } else {
        "enabled"
    };
    let last_used = client.last_used_at.map(portcullis_audit::rfc3339);
    let proof = if client.has_keys { "key" } else { "secret" };
    format!(
        "{}  {:<24} {state:<8}  {proof:<6}  {:<24}  {}",
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
        "has_keys": client.has_keys,
        "created_at": portcullis_audit::rfc3339(client.created_at),
        "last_used_at": client.last_used_at.map(portcullis_audit::rfc3339),
    })
}
