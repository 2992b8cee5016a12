//! Which configuration is in force, since when, and how the last attempt to change it ended.

use std::sync::Arc;

use parking_lot::RwLock;
use portcullis_config::{Config, Key, units::Timestamp};

use crate::status::Origin;

/// One configuration for the time it is in force.
pub(crate) struct Configuration {
    pub(crate) config: Config,
    pub(crate) origin: Origin,
    pub(crate) loaded_at: Timestamp,
    /// What the file says otherwise since the start, and the next start will read.
    pub(crate) needs_restart: Vec<Key>,
}

/// How the last reload ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastReload {
    pub(crate) at: Timestamp,
    pub(crate) outcome: &'static str,
}

/// Shared by the reload, which writes, and the admin listener and the stop, which read.
pub(crate) struct InForce {
    configuration: RwLock<Arc<Configuration>>,
    last_reload: RwLock<Option<LastReload>>,
}

impl InForce {
    pub(crate) fn new(configuration: Configuration) -> Self {
        Self {
            configuration: RwLock::new(Arc::new(configuration)),
            last_reload: RwLock::new(None),
        }
    }

    pub(crate) fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.configuration.read())
    }

    pub(crate) fn replace(&self, configuration: Configuration) {
        *self.configuration.write() = Arc::new(configuration);
    }

    /// `None` where nothing was reloaded since the start.
    pub(crate) fn last_reload(&self) -> Option<LastReload> {
        *self.last_reload.read()
    }

    pub(crate) fn note(&self, reload: LastReload) {
        *self.last_reload.write() = Some(reload);
    }
}
