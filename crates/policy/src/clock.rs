//! The instant a decision is made for, handed in by whoever may read a clock.
//!
//! Both readings are taken together: limits and breakers need time that never jumps, tokens and headers need the
//! date. Nothing in this room reads a clock, so every test sets the time by hand.

use std::time::Duration;

use portcullis_config::units::Timestamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic, counted from the start of the process.
    pub since_start: Duration,
    /// The date. It may jump, also backwards.
    pub wall: Timestamp,
}

impl Moment {
    /// Monotonic nanoseconds, which last for 584 years in a `u64` and stay at its end afterwards.
    pub fn nanos(self) -> u64 {
        nanos(self.since_start)
    }

    /// The instant `duration` later on both clocks.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self {
            since_start: self.since_start.saturating_add(duration),
            wall: self.wall.plus(duration),
        }
    }
}

/// Saturates instead of wrapping: a configured duration of ages must not become a short one.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Rounded up and at least one: a client told `0` would be back at once, only to be refused again.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    let rounded_up = duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0));
    rounded_up.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_are_rounded_up_to_at_least_a_second() {
        let check = |millis, expected| {
            assert_eq!(
                whole_seconds(Duration::from_millis(millis)),
                expected,
                "{millis} ms"
            )
        };
        check(0, 1);
        check(1, 1);
        check(1000, 1);
        check(1001, 2);
    }

    #[test]
    fn a_moment_moves_on_both_clocks() {
        let start = Moment {
            since_start: Duration::from_secs(1),
            wall: Timestamp::from_secs(100),
        };
        let later = start.plus(Duration::from_secs(5));
        assert_eq!(
            (later.nanos(), later.wall),
            (6_000_000_000, Timestamp::from_secs(105))
        );
    }
}
