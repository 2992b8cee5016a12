//! The narrow door to both databases: static SQL and positional values go in, rows come out.
//!
//! sqlx has a door of its own, `Any`. We do not take it: it hides the concrete types, whose settings (pragmas, pools, locks) are
//! the very point here. Each statement waits at most [`STATEMENT_LIMIT`], whatever the server or the network does.

mod listener;
mod postgres;
mod row;
mod sqlite;
mod value;

use std::time::Duration;

use portcullis_config::storage::Database;
use tokio::time::timeout;

use crate::{error::StoreError, store::OpenMode};

pub(crate) use listener::{Listener, Said};
pub(crate) use postgres::Postgres;
pub(crate) use row::Row;
pub(crate) use sqlite::Sqlite;
pub(crate) use value::{Value, values};

/// The outermost bound. The databases' own (`busy_timeout`, `statement_timeout`) are shorter and give better errors;
/// this one is for a peer that has gone silent. A commit that runs into it may or may not have happened.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);

/// Pools of connections to one database.
#[derive(Clone)]
pub(crate) enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Engine {
    pub(crate) async fn open(database: &Database, mode: OpenMode) -> Result<Self, StoreError> {
        match database {
            Database::Sqlite(path) => Ok(Self::Sqlite(Sqlite::open(path, mode).await?)),
            Database::Postgres(url) => Ok(Self::Postgres(Postgres::open(url, mode).await?)),
        }
    }

    /// Reads outside any transaction. SQLite readers never wait for the writer. A text with a NUL finds nothing, as nothing has one.
    pub(crate) async fn rows(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        if !value::storable(values) {
            return Ok(Vec::new());
        }
        within(async {
            match self {
                Self::Sqlite(sqlite) => Row::all(
                    value::bound(sql, values)
                        .fetch_all(sqlite.readers())
                        .await?,
                ),
                Self::Postgres(postgres) => {
                    Row::all(value::bound(sql, values).fetch_all(postgres.pool()).await?)
                }
            }
        })
        .await
    }

    /// Begins a change. On SQLite this is the writer's turn: only one transaction is open at a time.
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        within(async {
            match self {
                Self::Sqlite(sqlite) => Ok(Transaction::Sqlite(sqlite.begin().await?)),
                Self::Postgres(postgres) => {
                    Ok(Transaction::Postgres(postgres.pool().begin().await?))
                }
            }
        })
        .await
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.close().await,
        }
    }
}

/// An open change. Dropped without a commit, it is rolled back.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Transaction {
    /// How many rows the statement touched. `Conflict` for a text with a NUL: it may not be stored.
    pub(crate) async fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        if !value::storable(values) {
            return Err(StoreError::Conflict);
        }
        within(async {
            match self {
                Self::Sqlite(tx) => Ok(value::bound(sql, values)
                    .execute(&mut **tx)
                    .await?
                    .rows_affected()),
                Self::Postgres(tx) => Ok(value::bound(sql, values)
                    .execute(&mut **tx)
                    .await?
                    .rows_affected()),
            }
        })
        .await
    }

    pub(crate) async fn rows(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        within(async {
            match self {
                Self::Sqlite(tx) => Row::all(value::bound(sql, values).fetch_all(&mut **tx).await?),
                Self::Postgres(tx) => {
                    Row::all(value::bound(sql, values).fetch_all(&mut **tx).await?)
                }
            }
        })
        .await
    }

    pub(crate) async fn row(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        within(async {
            match self {
                Self::Sqlite(tx) => Ok(tx.commit().await?),
                Self::Postgres(tx) => Ok(tx.commit().await?),
            }
        })
        .await
    }
}

async fn within<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    within_limit(STATEMENT_LIMIT, work).await
}

pub(crate) async fn within_limit<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, work)
        .await
        .unwrap_or_else(|elapsed| Err(StoreError::Unavailable(elapsed.into())))
}
