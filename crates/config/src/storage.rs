//! `storage:` the database, and the root key that what is kept there is wrapped with.

use std::path::PathBuf;

use secrecy::SecretString;
use zeroize::Zeroizing;

pub struct Storage {
    pub database: Database,
    /// Absent only with SQLite, where a key file beside the database takes its place.
    pub key: Option<RootKeyBytes>,
}

/// 32 bytes that sign nothing themselves: every key at rest is wrapped by or derived from them.
#[derive(Clone)]
pub struct RootKeyBytes(Zeroizing<[u8; 32]>);

impl RootKeyBytes {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

#[derive(Clone)]
pub enum Database {
    Sqlite(PathBuf),
    /// A `postgres://` URL; it may hold a password, hence the type that does not print.
    Postgres(SecretString),
}
