//! `storage:` the database, the Redis that replicas share, and the root key that what is kept is wrapped with.

use std::path::PathBuf;

use secrecy::SecretString;
use zeroize::Zeroizing;

pub struct Storage {
    pub database: Database,
    /// What limits are shared through.
    pub redis: Option<Redis>,
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

/// Each URL is `redis://` or `rediss://` (or `unix://`, of a single server) with host, port and database written out;
/// it may hold a password.
#[derive(Clone)]
pub enum Redis {
    Single(SecretString),
    /// The login and the database in the Sentinels' URLs are those of the servers they watch.
    Sentinel {
        sentinels: Vec<SecretString>,
        master: String,
    },
    /// Nodes that can be asked for the others.
    Cluster(Vec<SecretString>),
}
