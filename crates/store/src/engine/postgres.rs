//! PostgreSQL: a bounded pool, and no statement, lock or idle transaction without an end.

use std::{str::FromStr, sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{listener::Listener, within_limit};
use crate::{error::StoreError, store::OpenMode};

const CONNECTIONS: u32 = 10;
/// In tests the machine is busy with all of them, and what they are about is not how soon somebody is turned away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 10 } else { 2 });
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Set by statement and not as start-up options, which connection poolers refuse.
const BOUNDS: &str = "SET statement_timeout = '5s'; SET lock_timeout = '4s'; \
                      SET idle_in_transaction_session_timeout = '15s'";

#[derive(Clone)]
pub(crate) struct Postgres {
    pool: PgPool,
    options: Arc<PgConnectOptions>,
}

impl Postgres {
    /// Connects once at once, outside the pool: a wrong password or name is then told as such, and not as "timed out".
    pub(super) async fn open(url: &SecretString, mode: OpenMode) -> Result<Self, StoreError> {
        let options =
            PgConnectOptions::from_str(url.expose_secret())?.application_name("portcullis");
        connect(&options).await?.close().await?;
        let connections = match mode {
            OpenMode::Serve => CONNECTIONS,
            OpenMode::Tool => 2,
        };
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(BOUNDS).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone());
        let options = Arc::new(options);
        Ok(Self { pool, options })
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection of its own, without the bounds of the pool: for migrations.
    pub(crate) async fn connect(&self) -> Result<PgConnection, StoreError> {
        connect(&self.options).await
    }

    /// A connection of its own that can listen.
    pub(crate) async fn listener(&self) -> Result<Listener, StoreError> {
        Listener::open((*self.options).clone()).await
    }

    /// Waits for the begin of the close.
    pub(crate) async fn closed(&self) {
        self.pool.close_event().await;
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    within_limit(CONNECT_TIMEOUT, async {
        Ok(PgConnection::connect_with(options).await?)
    })
    .await
}
