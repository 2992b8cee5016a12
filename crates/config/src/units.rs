//! The quantities an operator writes: durations, sizes, rates, and the wall-clock instant everything is compared with.

use std::{num::NonZeroU64, time::Duration};

/// Milliseconds since the Unix epoch. Tokens, sessions and audit rows live by it; limits and breakers do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down, as `NumericDate` counts them (RFC 7519 section 2).
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Saturates at both ends: a clock that is wrong must not panic.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A number of bytes, written `16KiB`, `10MiB` or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// So many in so long, written `60/1m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: NonZeroU64,
    pub period: Duration,
}

impl ByteSize {
    pub const fn bytes(self) -> u64 {
        self.0
    }
}
