//! `portcullis user …`: the accounts of the embedded auth service, from the command line. A running gateway notices each
//! change within a second. Passwords come from a file or standard input, never from the arguments, which every process
//! on the machine can read.

mod import;
mod link;
mod password;
mod shown;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use portcullis_audit::Action;
use portcullis_auth::{
    NewAccount, Strength, check_tenant, create_user, grant_reason,
    identifiers::{Email, Username},
    password::Hasher,
};
use portcullis_store::{Grant, RoleGrant, StoreError, UserChange};

pub(crate) use shown::party;
use shown::{listing, row, tell};

use crate::{
    accounts::{Accounts, event},
    cli::Output,
    output,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a user; the password is read from standard input or a file
    #[command(after_help = "Example:\n  portcullis user add saad --role guest < password.txt")]
    Add(Newcomer),
    /// List all users with their roles
    #[command(after_help = "Example:\n  portcullis user list --json")]
    List(Output),
    /// Disable a user and end all of its tokens
    #[command(after_help = "Example:\n  portcullis user disable saad")]
    Disable(Named),
    /// Enable a user again
    #[command(after_help = "Example:\n  portcullis user enable saad")]
    Enable(Named),
    /// Delete a user with its sessions; what it did stays in the audit log
    #[command(after_help = "Example:\n  portcullis user delete saad")]
    Delete(Named),
    /// Make a user one of a tenant, or of none; its present tokens end
    #[command(after_help = "Example:\n  portcullis user tenant saad acme")]
    Tenant(Tenancy),
    /// Give a user a role; its present tokens end
    #[command(after_help = "Example:\n  portcullis user grant saad staff")]
    Grant(Membership),
    /// Take in users of another system with the hashes of their passwords: bcrypt, argon2, scrypt
    #[command(after_help = "Example:\n  portcullis user import users.jsonl")]
    Import(import::Import),
    /// Let a user in by an account at an identity provider
    #[command(
        after_help = "Example:\n  portcullis user link saad --provider google --subject 110169484474386276334"
    )]
    Link(link::Link),
    /// No longer let a user in by an account at an identity provider
    #[command(
        after_help = "Example:\n  portcullis user unlink saad --provider google --subject 110169484474386276334"
    )]
    Unlink(link::Link),
    /// Take a role from a user; its present tokens end
    #[command(after_help = "Example:\n  portcullis user revoke saad staff")]
    Revoke(Membership),
    /// Take away the second factor of a user who has lost it, recovery codes included
    #[command(after_help = "Example:\n  portcullis user reset-mfa saad")]
    ResetMfa(Named),
}

#[derive(Args)]
pub(crate) struct Newcomer {
    /// The user name; may be left out where an e-mail address is given
    #[arg(required_unless_present = "email")]
    username: Option<String>,
    /// An e-mail address to sign in with as well
    #[arg(long)]
    email: Option<String>,
    /// A role, again for each further one [default: `auth.default_role`]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// The tenant that the user belongs to
    #[arg(long)]
    tenant: Option<String>,
    /// Read the password from this file instead of standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Named {
    /// The user name or e-mail address
    login: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Tenancy {
    /// The user name or e-mail address
    login: String,
    /// The tenant; of none where absent
    tenant: Option<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
pub(crate) struct Membership {
    /// The user name or e-mail address
    login: String,
    /// One of the roles of the configuration or of the database
    role: String,
    /// The tenant within which alone the role holds
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Membership {
    fn grant(&self) -> anyhow::Result<RoleGrant<'_>> {
        if let Some(tenant) = &self.tenant {
            check_tenant(tenant)?;
        }
        Ok(RoleGrant {
            role: &self.role,
            tenant: self.tenant.as_deref(),
        })
    }
}

pub(crate) fn user(config: &Path, command: Command) -> anyhow::Result<ExitCode> {
    let accounts = Accounts::open(config, "users")?;
    accounts.block_on(Users(&accounts).carry_out(command))
}

struct Users<'a>(&'a Accounts);

impl Users<'_> {
    async fn carry_out(&self, command: Command) -> anyhow::Result<ExitCode> {
        match command {
            Command::Import(import) => return self.import(&import).await,
            Command::Add(newcomer) => self.add(newcomer).await,
            Command::List(output) => self.list(output).await,
            Command::Disable(named) => self.set_disabled(&named, true).await,
            Command::Enable(named) => self.set_disabled(&named, false).await,
            Command::Grant(membership) => self.grant(&membership).await,
            Command::Revoke(membership) => self.revoke(&membership).await,
            Command::Delete(named) => self.delete(&named).await,
            Command::Tenant(tenancy) => self.set_tenant(&tenancy).await,
            Command::ResetMfa(named) => self.reset_mfa(&named).await,
            Command::Link(link) => self.link(&link).await,
            Command::Unlink(link) => self.unlink(&link).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }

    async fn add(&self, newcomer: Newcomer) -> anyhow::Result<()> {
        let roles = match newcomer.roles.as_slice() {
            [] => self.0.auth.default_role.as_slice(),
            named => named,
        };
        for role in roles {
            self.check_role(role).await?;
        }
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        newcomer.tenant.as_deref().map(check_tenant).transpose()?;
        let account = NewAccount {
            username: newcomer
                .username
                .as_deref()
                .map(Username::parse)
                .transpose()
                .context("the user name")?,
            email: newcomer
                .email
                .as_deref()
                .map(Email::parse)
                .transpose()
                .context("the e-mail address")?,
            password: password::read(newcomer.password_file.as_deref())?,
            roles: &roles,
            tenant: newcomer.tenant.as_deref(),
            strength: Strength::Judged,
        };
        let hasher = Hasher::start(&self.0.auth.password, 1)?;
        let event = event(Action::UserCreated);
        let user = create_user(self.0.store(), &hasher, account, event)
            .await
            .context("the user was not added")?;
        tell("added", &user, newcomer.output);
        Ok(())
    }

    async fn list(&self, output: Output) -> anyhow::Result<()> {
        const PAGE: u32 = 500;
        let mut after: Option<String> = None;
        loop {
            let users = self.0.store().users(after.as_deref(), PAGE).await?;
            let Some(last) = users.last() else {
                return Ok(());
            };
            after = Some(last.id.clone());
            users.iter().for_each(|user| {
                if output.json {
                    output::say_json(&listing(user))
                } else {
                    output::say(row(user))
                }
            });
        }
    }

    async fn set_disabled(&self, named: &Named, disabled: bool) -> anyhow::Result<()> {
        let user = self.0.user(&named.login).await?;
        let action = if disabled {
            Action::UserDisabled
        } else {
            Action::UserEnabled
        };
        let event = event(action).on(party(&user));
        let user = self
            .0
            .store()
            .set_disabled(&user.id, disabled, &self.0.rights_change(&event))
            .await?;
        tell(
            if disabled { "disabled" } else { "enabled" },
            &user,
            named.output,
        );
        Ok(())
    }

    async fn delete(&self, named: &Named) -> anyhow::Result<()> {
        let user = self.0.user(&named.login).await?;
        let event = event(Action::UserDeleted).on(party(&user));
        let change = self.0.rights_change(&event);
        let user = self.0.store().delete_user(&user.id, &change).await?;
        tell("deleted", &user, named.output);
        Ok(())
    }

    async fn set_tenant(&self, tenancy: &Tenancy) -> anyhow::Result<()> {
        let tenant = tenancy.tenant.as_deref();
        tenant.map(check_tenant).transpose()?;
        let user = self.0.user(&tenancy.login).await?;
        let event = event(Action::UserChanged).on(party(&user));
        let wanted = UserChange {
            tenant: Some(tenant),
            ..UserChange::default()
        };
        let change = self.0.rights_change(&event);
        let user = self.0.store().change_user(&user.id, &wanted, &change);
        tell("set", &user.await?, tenancy.output);
        Ok(())
    }

    async fn grant(&self, membership: &Membership) -> anyhow::Result<()> {
        self.check_role(&membership.role).await?;
        let grant = membership.grant()?;
        let user = self.0.user(&membership.login).await?;
        let event = event(Action::RoleGranted)
            .on(party(&user))
            .because(grant_reason(grant.role, grant.tenant));
        let user = self
            .0
            .store()
            .grant_role(&user.id, grant, &self.0.rights_change(&event))
            .await?;
        tell("granted", &user, membership.output);
        Ok(())
    }

    /// A role that is nowhere to be found any more can still be taken away.
    async fn revoke(&self, membership: &Membership) -> anyhow::Result<()> {
        let user = self.0.user(&membership.login).await?;
        let grant = membership.grant()?;
        let has_it =
            |held: &Grant| held.role == grant.role && held.tenant.as_deref() == grant.tenant;
        if !user.grants.iter().any(has_it) {
            bail!(
                "{} does not have the role {:?}",
                membership.login,
                membership.role
            );
        }
        let event = event(Action::RoleRevoked)
            .on(party(&user))
            .because(grant_reason(grant.role, grant.tenant));
        let user = self
            .0
            .store()
            .revoke_role(&user.id, grant, &self.0.rights_change(&event))
            .await?;
        tell("revoked", &user, membership.output);
        Ok(())
    }

    /// Whoever types this has made sure who asks: afterwards the password alone is enough.
    async fn reset_mfa(&self, named: &Named) -> anyhow::Result<()> {
        let user = self.0.user(&named.login).await?;
        let event = event(Action::MfaDisabled).on(party(&user));
        match self.0.store().remove_totp(&user.id, None, &[event]).await {
            Err(StoreError::NotFound) => bail!("{} has no second factor", named.login),
            outcome => outcome?,
        }
        tell("second factor removed", &user, named.output);
        Ok(())
    }

    async fn is_role(&self, role: &str) -> anyhow::Result<bool> {
        Ok(self.0.auth.roles.contains_key(role) || self.0.store().role(role).await?.is_some())
    }

    async fn check_role(&self, role: &str) -> anyhow::Result<()> {
        if self.is_role(role).await? {
            return Ok(());
        }
        let known: Vec<&str> = self.0.auth.roles.keys().map(String::as_str).collect();
        bail!(
            "there is no role {role:?} in the database, and the configuration has {}",
            known.join(", ")
        )
    }
}
