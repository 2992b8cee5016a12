//! What the commands about accounts share, of users and of clients: the database of a configuration that has an auth
//! service, and how long what it issued may still be good.

use std::path::Path;

use anyhow::Context;
use portcullis_audit::{Action, Event, Outcome};
use portcullis_auth::identifiers::login_key;
use portcullis_config::{Config, auth::Auth, storage::Storage, units::Timestamp};
use portcullis_store::{RightsChange, Store, User};
use portcullis_tokens::LOCAL_CLOCK_SKEW;

use crate::{
    clock, configuration,
    house::{Tool, operator},
};

pub(crate) struct Accounts {
    tool: Tool,
    pub(crate) auth: Auth,
}

impl Accounts {
    /// `what` are the accounts that a configuration without `auth` has none of.
    pub(crate) fn open(config: &Path, what: &str) -> anyhow::Result<Self> {
        let config = configuration::load(config)?;
        // Before the database is opened, which would make one.
        let auth = config.auth.clone();
        let auth = auth.with_context(|| {
            format!("the configuration has no `auth` section, so there are no {what}")
        })?;
        let tool = Tool::open_migrated(config)?;
        Ok(Self { tool, auth })
    }

    /// Runs one piece of work and closes the database behind it.
    pub(crate) fn block_on<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.tool.block_on(work)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.tool.config
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.tool.config.storage
    }

    /// By user name or e-mail address.
    pub(crate) async fn user(&self, login: &str) -> anyhow::Result<User> {
        let key = login_key(login).with_context(|| format!("{login:?} is nobody's name"))?;
        let found = self.store().user_by_login(&key).await?;
        found
            .map(|(user, _)| user)
            .with_context(|| format!("there is no user {login:?}"))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.tool.store
    }

    pub(crate) fn rights_change<'a>(&'a self, event: &'a Event) -> RightsChange<'a> {
        RightsChange {
            event,
            file: &self.auth.roles,
            until: self.last_expiry(),
        }
    }

    /// From then on every token that exists now has expired, and a revocation of them is moot.
    pub(crate) fn last_expiry(&self) -> Timestamp {
        clock::wall()
            .plus(self.auth.access_token_lifetime)
            .plus(LOCAL_CLOCK_SKEW)
    }
}

/// Whoever typed the command has done this.
pub(crate) fn event(action: Action) -> Event {
    Event::new(clock::wall(), action, Outcome::Success, operator())
}
