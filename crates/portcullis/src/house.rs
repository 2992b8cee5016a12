//! What every command that touches the database shares: a runtime, the configuration, the opened store.

use anyhow::Context;
use portcullis_audit::Party;
use portcullis_config::{
    Config,
    storage::{Database, Storage},
};
use portcullis_store::{OpenMode, Store};
use tokio::runtime::Runtime;

/// The database, the auth service, the admin listener and the pollers share these; proxied requests have their own.
const WORKERS: usize = 2;

/// The long-lived runtime beside Pingora's.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(WORKERS)
        .thread_name("aux")
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// A command's view of the house: it does one thing with the database and ends.
pub(crate) struct Tool {
    pub(crate) runtime: Runtime,
    pub(crate) config: Config,
    pub(crate) store: Store,
}

impl Tool {
    /// Opens the database. One that lacks migrations opens too; see [`Tool::open_migrated`].
    pub(crate) fn open(config: Config) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let opened = Store::open(&config.storage.database, OpenMode::Tool, "command-line");
        let store = runtime
            .block_on(opened)
            .with_context(|| cannot_open(&config.storage.database))?;
        Ok(Self {
            runtime,
            config,
            store,
        })
    }

    /// As [`Tool::open`]. SQLite is migrated on the way, as `run` would; a PostgreSQL database is shared, and is not
    /// changed by a command that was asked for something else.
    pub(crate) fn open_migrated(config: Config) -> anyhow::Result<Self> {
        let tool = Self::open(config)?;
        match &tool.config.storage.database {
            Database::Sqlite(_) => tool.runtime.block_on(tool.store.migrate()).map(drop)?,
            Database::Postgres(_) => tool.runtime.block_on(tool.store.check_migrated())?,
        }
        Ok(tool)
    }

    /// Runs one piece of work and closes the database behind it.
    pub(crate) fn block_on<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.runtime.block_on(async {
            let done = work.await;
            self.store.close().await;
            done
        })
    }
}

/// Opens the database of a gateway and brings it to the schema of this version.
pub(crate) async fn open_store(storage: &Storage) -> anyhow::Result<Store> {
    let store = Store::open(
        &storage.database,
        OpenMode::Serve,
        &chain_name(&storage.database),
    )
    .await;
    let store = store.with_context(|| cannot_open(&storage.database))?;
    let applied = store
        .migrate()
        .await
        .context("cannot migrate the database")?;
    for migration in applied {
        tracing::info!(migration, "migrated the database");
    }
    Ok(store)
}

/// A file is named; the address of a server may hold a password.
pub(crate) fn cannot_open(database: &Database) -> String {
    match database {
        Database::Sqlite(path) => {
            format!(
                "cannot open the database {} (storage.database)",
                path.display()
            )
        }
        Database::Postgres(_) => "cannot open the database (storage.database)".to_owned(),
    }
}

/// Each replica appends to an audit chain of its own, so that none waits for another.
fn chain_name(database: &Database) -> String {
    match database {
        Database::Sqlite(_) => "gateway".to_owned(),
        Database::Postgres(_) => format!(
            "gateway:{}",
            rustix::system::uname().nodename().to_string_lossy()
        ),
    }
}

/// Whoever typed the command, as the audit log names them.
pub(crate) fn operator() -> Party {
    Party::operator(format!("uid:{}", rustix::process::getuid().as_raw()))
}
