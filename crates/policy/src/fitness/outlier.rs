//! Endpoints at which requests fail are left alone for a while.
//!
//! An ejection lasts `eject_for`, the next in a row twice that, then three times, up to ten times. The row ends when the
//! endpoint has since stayed in for as long as its last ejection lasted.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_config::upstreams::Outlier as Settings;

use crate::clock::{Moment, nanos};

const LONGEST_ROW: u32 = 10;

/// What one endpoint's answers say of it. Counting a success is one read.
#[derive(Debug, Default)]
pub struct Outlier {
    failed_in_a_row: AtomicU32,
    /// Monotonic nanoseconds; 0 where it never was ejected.
    ejected_until: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    in_a_row: u32,
    lasted: Duration,
}

/// The endpoint is out, from now on for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    pub lasts: Duration,
    pub in_a_row: u32,
}

impl Outlier {
    pub fn is_ejected(&self, now: Moment) -> bool {
        now.nanos() < self.ejected_until()
    }

    /// In monotonic nanoseconds.
    pub fn ejected_until(&self) -> u64 {
        self.ejected_until.load(Relaxed)
    }

    pub fn succeed(&self) {
        if self.failed_in_a_row.load(Relaxed) != 0 {
            self.failed_in_a_row.store(0, Relaxed);
        }
    }

    /// While it is out, failures of requests that were sent before, or because too many are out, add nothing.
    pub fn fail(&self, settings: &Settings, now: Moment) -> Option<Ejection> {
        if self.is_ejected(now) {
            return None;
        }
        let failed = self.failed_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        if failed < settings.consecutive_failures.get() {
            return None;
        }
        let mut last = self.last.lock();
        // Of two that reach the count together, one ejects.
        if self.is_ejected(now) {
            return None;
        }
        let stayed_in = now.nanos().saturating_sub(self.ejected_until());
        if stayed_in >= nanos(last.lasted) {
            last.in_a_row = 0;
        }
        last.in_a_row = (last.in_a_row + 1).min(LONGEST_ROW);
        last.lasted = settings.eject_for.saturating_mul(last.in_a_row);
        self.failed_in_a_row.store(0, Relaxed);
        self.ejected_until
            .store(now.nanos().saturating_add(nanos(last.lasted)), Relaxed);
        Some(Ejection {
            lasts: last.lasted,
            in_a_row: last.in_a_row,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    const SETTINGS: Settings = Settings {
        consecutive_failures: NonZeroU32::new(3).unwrap(),
        eject_for: Duration::from_secs(30),
        max_ejected_percent: 50,
    };

    fn at(seconds: u64) -> Moment {
        Moment::default().plus(Duration::from_secs(seconds))
    }

    /// How long it is out after failing often enough then.
    fn eject(outlier: &Outlier, seconds: u64) -> Option<u64> {
        let mut verdicts = (0..3).map(|_| outlier.fail(&SETTINGS, at(seconds)));
        verdicts.find_map(|ejection| Some(ejection?.lasts.as_secs()))
    }

    #[test]
    fn a_success_in_between_keeps_it_in() {
        let outlier = Outlier::default();
        for _ in 0..100 {
            assert_eq!(outlier.fail(&SETTINGS, at(1)), None);
            assert_eq!(outlier.fail(&SETTINGS, at(1)), None);
            outlier.succeed();
        }
        assert!(!outlier.is_ejected(at(1)));
    }

    #[test]
    fn it_comes_back_by_itself() {
        let outlier = Outlier::default();
        assert_eq!(eject(&outlier, 10), Some(30));
        assert!(outlier.is_ejected(at(39)) && !outlier.is_ejected(at(40)));
    }

    #[test]
    fn each_ejection_in_a_row_lasts_longer() {
        let outlier = Outlier::default();
        let mut now = 10;
        let mut lasted = Vec::new();
        for _ in 0..12 {
            let lasts = eject(&outlier, now).unwrap();
            lasted.push(lasts / 30);
            now += lasts;
        }
        assert_eq!(lasted, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10]);
    }

    #[test]
    fn one_that_stays_in_as_long_as_it_was_out_begins_anew() {
        let outlier = Outlier::default();
        assert_eq!(eject(&outlier, 0), Some(30));
        assert_eq!(eject(&outlier, 30), Some(60), "out until 90");
        assert_eq!(eject(&outlier, 90 + 59), Some(90), "out until 239");
        assert_eq!(eject(&outlier, 239 + 90), Some(30));
    }

    #[test]
    fn failures_while_it_is_out_add_nothing() {
        let outlier = Outlier::default();
        assert_eq!(eject(&outlier, 10), Some(30));
        assert_eq!(eject(&outlier, 20), None);
        assert_eq!(
            outlier.fail(&SETTINGS, at(40)),
            None,
            "a first failure again"
        );
    }

    proptest! {
        #[test]
        fn it_is_never_out_longer_than_ten_times(steps in prop::collection::vec((0_u64..100, any::<bool>()), 1..200)) {
            let (outlier, mut now) = (Outlier::default(), 0);
            for (later, failed) in steps {
                now += later;
                if failed {
                    if let Some(ejection) = outlier.fail(&SETTINGS, at(now)) {
                        prop_assert!(ejection.lasts <= 10 * SETTINGS.eject_for);
                        prop_assert!(outlier.is_ejected(at(now)));
                    }
                } else {
                    outlier.succeed();
                }
                prop_assert!(!outlier.is_ejected(at(now + 300)));
            }
        }
    }
}
