//! The handle everybody holds.

use std::{sync::Arc, time::Duration};

use portcullis_audit::Event;
use portcullis_config::storage::Database;

use crate::{
    engine::{Engine, values, within_limit},
    error::StoreError,
    migration,
};

const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// The database behind a gateway or a command. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Store {
    pub(crate) engine: Engine,
    pub(crate) chain: Arc<str>,
    pub(crate) observer: Option<Observer>,
}

/// Is shown audit events once they are committed.
pub type Observer = Arc<dyn Fn(&[Event]) + Send + Sync>;

/// Who opens: a gateway that serves many at a time, or a command that does one thing and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    Serve,
    Tool,
}

impl Store {
    /// Opens the database, and refuses one that a newer version migrated or whose migrations were tampered with.
    /// One that still lacks migrations opens: [`Store::migrate`] brings it up, [`Store::check_migrated`] tells.
    ///
    /// `chain` names the audit chain that this process appends to.
    pub async fn open(
        database: &Database,
        mode: OpenMode,
        chain: &str,
    ) -> Result<Self, StoreError> {
        let store = Self {
            engine: Engine::open(database, mode).await?,
            chain: chain.into(),
            observer: None,
        };
        match store.check_migrated().await {
            Ok(()) | Err(StoreError::NotMigrated) => Ok(store),
            Err(error) => Err(error),
        }
    }

    /// Shows every audit event to `observer` from here on, alone or with a change, once it is committed. It is called in
    /// the path of the change, so it must be quick.
    #[must_use]
    pub fn observed_by(self, observer: Observer) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// Applies what is missing and returns the names of the migrations applied now, oldest first.
    /// Safe to run from several processes at a time: one applies, the others find nothing left to do.
    pub async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        migration::apply(&self.engine).await
    }

    /// `NotMigrated` if migrations are missing, `TooNew` or `Corrupt` if the database is not ours to use.
    pub async fn check_migrated(&self) -> Result<(), StoreError> {
        migration::check(&self.engine).await
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.engine
            .rows("SELECT 1 AS answer", values![])
            .await
            .map(|_rows| ())
    }

    /// Waits for what is under way, within a bound. Afterwards every call is `Unavailable`.
    pub async fn close(&self) {
        let closing = async {
            self.engine.close().await;
            Ok(())
        };
        if within_limit(CLOSE_LIMIT, closing).await.is_err() {
            tracing::warn!("the database could not be closed in time");
        }
    }
}
