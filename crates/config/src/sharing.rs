//! `rate_limits.sharing:` how replicas have their limits in common.

use std::{num::NonZeroU32, time::Duration};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    pub mode: Mode,
    /// The longest a request waits for the store.
    pub timeout: Duration,
    pub on_store_failure: OnStoreFailure,
    /// The most that run at one time; each one's share of a limit while the store is away is this part of it.
    pub replicas: NonZeroU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each replica counts for itself.
    Local,
    /// Every request is counted in the store.
    Exact,
    /// Shares are taken from the store ahead of the requests that spend them.
    Leased,
}

/// What becomes of requests that the store would have to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreFailure {
    LocalShare,
    Allow,
    Deny,
}

impl Mode {
    /// As the file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Exact => "exact",
            Self::Leased => "leased",
        }
    }
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            mode: Mode::Local,
            timeout: Duration::from_millis(5),
            on_store_failure: OnStoreFailure::LocalShare,
            replicas: NonZeroU32::MIN,
        }
    }
}
