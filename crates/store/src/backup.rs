//! A consistent copy of the SQLite database while it is written to.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use crate::{
    engine::{Engine, within_limit},
    error::StoreError,
    store::Store,
};

/// Hours of copying mean that something else is wrong.
const LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{0} exists already: a backup never overwrites")]
    TargetExists(PathBuf),
    #[error("this database is PostgreSQL: take a backup with pg_dump")]
    Postgres,
    #[error("the backup could not be written")]
    File(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Copies the database as it is at one instant, readable by the owner only. The copy is made under another name beside `to`
    /// and gets its own when it is whole and on the disk, so that what stands under `to` is never half a backup.
    pub async fn backup(&self, to: &Path) -> Result<(), BackupError> {
        let Engine::Sqlite(sqlite) = &self.engine else {
            return Err(BackupError::Postgres);
        };
        if to.exists() {
            return Err(BackupError::TargetExists(to.to_owned()));
        }
        let folder = to
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let copy = NamedTempFile::new_in(folder).map_err(BackupError::File)?;
        within_limit(LIMIT, sqlite.copy_into(copy.path())).await?;
        let to = to.to_owned();
        let published = spawn_blocking(move || publish(copy, to)).await;
        published.map_err(|error| BackupError::File(io::Error::other(error)))?
    }
}

fn publish(copy: NamedTempFile, to: PathBuf) -> Result<(), BackupError> {
    copy.as_file().sync_all().map_err(BackupError::File)?;
    match copy.persist_noclobber(&to) {
        Ok(_file) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(BackupError::TargetExists(to))
        }
        Err(error) => Err(BackupError::File(error.error)),
    }
}
