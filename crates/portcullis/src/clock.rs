//! The only place of this binary that reads a clock. Everything else takes `now` as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use portcullis_config::units::Timestamp;

/// The wall clock. A clock before 1970 reads as 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the binary is where clocks are read"
)]
pub(crate) fn wall() -> Timestamp {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

/// For measuring how long something took or has to wait.
#[expect(
    clippy::disallowed_methods,
    reason = "the binary is where clocks are read"
)]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
