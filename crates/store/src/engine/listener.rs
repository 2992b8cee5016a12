//! A connection to PostgreSQL that hears what is said on channels.
//!
//! It stands outside the pool and never opens a transaction: while one is open, the server keeps for it all that is said. It does not
//! connect again by itself, for whoever listens has to know that something may have been missed.

use sqlx::{
    AssertSqlSafe, Executor, Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use super::{postgres::CONNECT_TIMEOUT, within};
use crate::error::StoreError;

/// Tells it apart in `pg_stat_activity`.
const APPLICATION: &str = "portcullis listening";

pub(crate) struct Listener {
    connection: PgListener,
    echo: String,
}

/// What was heard. Payloads are not read: what they could say stands in tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    News,
    /// On the channel that is this connection's own.
    Echo,
}

impl Listener {
    /// Listens to nothing yet.
    pub(super) async fn open(options: PgConnectOptions) -> Result<Self, StoreError> {
        // sqlx makes listeners from pools. This one has no other connection, and lasts as long.
        let alone = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options.application_name(APPLICATION));
        within(async {
            let mut connection = PgListener::connect_with(&alone).await?;
            connection.eager_reconnect(false);
            let backend = connection.fetch_one("SELECT pg_backend_pid()").await?;
            let backend: i32 = backend.try_get(0)?;
            let echo = format!("portcullis_echo_{backend}");
            Ok(Self { connection, echo })
        })
        .await
    }

    /// The channel of [`Said::Echo`].
    pub(crate) fn echo(&self) -> &str {
        &self.echo
    }

    /// From here on all that is committed on `channel` is heard.
    pub(crate) async fn listen(&mut self, channel: &str) -> Result<(), StoreError> {
        within(async { Ok(self.connection.listen(channel).await?) }).await
    }

    /// The next that is said; an error once the connection is of no use. Nothing is lost where this is not awaited to its end.
    pub(crate) async fn hear(&mut self) -> Result<Said, StoreError> {
        let heard = self.connection.try_recv().await?;
        let heard = heard.ok_or_else(|| StoreError::Unavailable("it hung up".into()))?;
        Ok(match heard.channel() == self.echo {
            true => Said::Echo,
            false => Said::News,
        })
    }

    /// Says something to all who listen to `channel`, a name of our own making.
    pub(crate) async fn say(&mut self, channel: &str) -> Result<(), StoreError> {
        self.execute(format!("NOTIFY {channel}")).await
    }

    /// An error where the other end is gone and nobody has told.
    pub(crate) async fn check(&mut self) -> Result<(), StoreError> {
        self.execute("SELECT 1".to_owned()).await
    }

    /// By the simple protocol, which leaves nothing prepared with a pooler's server.
    async fn execute(&mut self, sql: String) -> Result<(), StoreError> {
        within(async {
            self.connection.execute(AssertSqlSafe(sql)).await?;
            Ok(())
        })
        .await
    }
}
