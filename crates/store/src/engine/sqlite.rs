//! SQLite: one connection that writes, a few that read, and a log that survives a power cut.
//!
//! `synchronous=FULL` on purpose: with the usual `NORMAL` a crash of the machine can take back the last commits, and a session
//! that was revoked would live again.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use tokio::time::sleep;

use crate::{error::StoreError, store::OpenMode};

/// How long one process waits for another that writes to the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a change waits for its turn behind the changes of this process.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;
/// A switch to the log takes some milliseconds.
const SWITCHES: u32 = 20;
const SWITCH_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(crate) struct Sqlite {
    /// Exactly one connection. A second writer would only meet `SQLITE_BUSY`.
    writer: SqlitePool,
    readers: SqlitePool,
    path: PathBuf,
}

impl Sqlite {
    /// Makes a missing file and its folder, for the owner's eyes only: password hashes and wrapped keys are in it.
    pub(super) async fn open(path: &Path, mode: OpenMode) -> Result<Self, StoreError> {
        make_missing(path).map_err(|error| StoreError::Unavailable(error.into()))?;
        let writer = connect_writer(path).await?;
        let readers = match mode {
            OpenMode::Serve => READERS,
            OpenMode::Tool => 1,
        };
        let readers = steady_pool(readers).connect_lazy_with(options(path).read_only(true));
        Ok(Self {
            writer,
            readers,
            path: path.to_owned(),
        })
    }

    pub(super) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Takes the write lock at once. A transaction that begins by reading and wants to write later is refused with
    /// `SQLITE_BUSY` without any waiting when another process was faster; `busy_timeout` does not help it.
    pub(crate) async fn begin(
        &self,
    ) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Copies the database as it is now into an empty file, over a connection of its own: a long copy must not take a reader away.
    pub(crate) async fn copy_into(&self, file: &Path) -> Result<(), StoreError> {
        let file = file
            .to_str()
            .ok_or_else(|| StoreError::Unavailable("the path is not UTF-8".into()))?;
        let mut connection = SqliteConnection::connect_with(&options(&self.path)).await?;
        sqlx::query("VACUUM INTO $1")
            .bind(file)
            .execute(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }

    /// Readers first: the last connection to close moves the log into the database file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Of several processes that open a new file at once, one switches it to the log. The others are told `SQLITE_BUSY` without
/// any waiting, which `busy_timeout` does not change.
async fn connect_writer(path: &Path) -> Result<SqlitePool, StoreError> {
    let wanted = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let connect = || async {
        let connected = steady_pool(1).connect_with(wanted.clone()).await;
        connected.map_err(StoreError::from)
    };
    for _ in 0..SWITCHES {
        match connect().await {
            Err(StoreError::Unavailable(_)) => sleep(SWITCH_PAUSE).await,
            connected => return connected,
        }
    }
    connect().await
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("trusted_schema", "OFF")
}

/// Connections to a file do not age, so none is ever closed and opened again.
fn steady_pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(TURN_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// SQLite gives its `-wal` and `-shm` files the mode of the database file.
fn make_missing(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
