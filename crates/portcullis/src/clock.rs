//! The only place of this binary that reads a clock. Everything else takes `now` as an argument.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use portcullis_config::units::Timestamp;
use portcullis_policy::clock::Moment;

/// How long the date may be carried on by the monotonic clock before it is read again: a clock that is set right shows
/// within this time, and a request asks one clock and not two.
const DATE_LASTS_MILLIS: u64 = 10;

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

/// Both clocks at once, for requests: each of them asks several times.
pub(crate) fn moments() -> impl Fn() -> Moment {
    let started = monotonic();
    let (start_date, read_again) = (AtomicU64::new(0), AtomicU64::new(0));
    move || {
        let since_start = monotonic().saturating_duration_since(started);
        let millis = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX);
        if millis >= read_again.load(Relaxed) {
            // Two threads that both read it write the same to the millisecond.
            start_date.store(wall().as_millis().saturating_sub(millis), Relaxed);
            read_again.store(millis.saturating_add(DATE_LASTS_MILLIS), Relaxed);
        }
        let date = Timestamp::from_millis(start_date.load(Relaxed));
        Moment {
            since_start,
            wall: date.plus(Duration::from_millis(millis)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_tells_the_date_of_the_wall_clock() {
        let moments = moments();
        for _ in 0..1000 {
            let (before, moment, after) = (wall(), moments(), wall());
            let slack = Duration::from_millis(DATE_LASTS_MILLIS);
            assert!(
                moment.wall.plus(slack) >= before,
                "{moment:?} is before {before:?}"
            );
            assert!(
                moment.wall <= after.plus(slack),
                "{moment:?} is after {after:?}"
            );
        }
    }
}
