//! How many requests may be sent to an upstream once more: a share of those that came, so that retries help an
//! upstream that hiccups and do not bury one that is overloaded.
//!
//! Requests earn, retries spend. Beside the share, [`RESERVE_A_SECOND`] retries are free, or an upstream with little
//! traffic could never have one; what neither uses is saved up to [`SAVED_AT_MOST`].

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;

use crate::clock::Moment;

/// Free of charge, whatever the share.
pub const RESERVE_A_SECOND: u64 = 10;

/// What can be saved: a restart of one endpoint among several is bridged, an outage is not.
pub const SAVED_AT_MOST: u64 = 100;

/// A hundredth is what a share is written in.
const WHOLE: u64 = 100;

/// One upstream's budget. It outlives snapshots: a reload changes its share and keeps what was saved.
pub struct RetryBudget {
    percent: AtomicU8,
    /// In hundredths of a retry. Requests add to it without a lock.
    saved: AtomicU64,
    /// Until when the reserve was paid out. Only retries look at it.
    paid_until: Mutex<Duration>,
}

impl RetryBudget {
    pub fn new(percent: u8) -> Self {
        Self {
            percent: AtomicU8::new(percent),
            saved: AtomicU64::new(SAVED_AT_MOST * WHOLE),
            paid_until: Mutex::default(),
        }
    }

    pub fn reconfigure(&self, percent: u8) {
        self.percent.store(percent, Relaxed);
    }

    /// A request is on its way for the first time.
    pub fn earn(&self) {
        self.save(u64::from(self.percent.load(Relaxed)));
    }

    /// Whether one may be sent again, which is then paid for.
    pub fn spend(&self, now: Moment) -> bool {
        self.pay_out(now.since_start);
        let spent = self
            .saved
            .fetch_update(Relaxed, Relaxed, |saved| saved.checked_sub(WHOLE));
        spent.is_ok()
    }

    /// Whole hundredths at a time; the rest of the time stays owed.
    fn pay_out(&self, now: Duration) {
        const A_HUNDREDTH: Duration = Duration::from_micros(1_000_000 / (RESERVE_A_SECOND * WHOLE));
        let mut paid_until = self.paid_until.lock();
        let owed = now.saturating_sub(*paid_until).as_micros() / A_HUNDREDTH.as_micros();
        let owed = u32::try_from(owed).unwrap_or(u32::MAX);
        *paid_until = paid_until.saturating_add(A_HUNDREDTH.saturating_mul(owed));
        self.save(u64::from(owed));
    }

    fn save(&self, hundredths: u64) {
        let add = |saved: u64| {
            let more = saved.saturating_add(hundredths).min(SAVED_AT_MOST * WHOLE);
            (more != saved).then_some(more)
        };
        // An unchanged balance is not written: a calm upstream's stays at its most.
        self.saved.fetch_update(Relaxed, Relaxed, add).ok();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment {
            since_start: Duration::from_millis(millis),
            ..Moment::default()
        }
    }

    /// As many retries as are granted at that moment.
    fn drain(budget: &RetryBudget, millis: u64) -> u64 {
        (0..).take_while(|_| budget.spend(at(millis))).count() as u64
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let budget = RetryBudget::new(20);
        assert_eq!(drain(&budget, 3_600_000), SAVED_AT_MOST);
        for _ in 0..1_000_000 {
            budget.earn();
        }
        assert_eq!(drain(&budget, 3_600_000), SAVED_AT_MOST);
    }

    #[test]
    fn five_requests_pay_for_one_retry() {
        let budget = RetryBudget::new(20);
        drain(&budget, 0);
        for _ in 0..49 {
            budget.earn();
        }
        assert_eq!(drain(&budget, 0), 9);
        budget.earn();
        assert!(budget.spend(at(0)), "what is left of a retry is kept");
    }

    #[test]
    fn without_requests_the_reserve_alone_pays() {
        let budget = RetryBudget::new(0);
        drain(&budget, 0);
        budget.earn();
        assert!(!budget.spend(at(99)));
        assert!(budget.spend(at(100)));
        assert_eq!(drain(&budget, 2_100), 2 * RESERVE_A_SECOND);
    }

    #[test]
    fn a_new_share_keeps_what_was_saved() {
        let budget = RetryBudget::new(20);
        budget.reconfigure(100);
        assert_eq!(drain(&budget, 0), SAVED_AT_MOST);
        budget.earn();
        assert!(budget.spend(at(0)));
    }

    proptest! {
        #[test]
        fn retries_never_exceed_the_share_the_reserve_and_the_savings(
            percent in 0u8..=100,
            steps in prop::collection::vec((0u64..200, any::<bool>()), 1..400),
        ) {
            let budget = RetryBudget::new(percent);
            let (mut now, mut requests, mut retries) = (0, 0u64, 0u64);
            for (pause, is_request) in steps {
                now += pause;
                if is_request {
                    requests += 1;
                    budget.earn();
                } else if budget.spend(at(now)) {
                    retries += 1;
                }
            }
            let earned = SAVED_AT_MOST * WHOLE + requests * u64::from(percent) + now;
            prop_assert!(retries * WHOLE <= earned, "{retries} retries for {earned} hundredths");
        }
    }
}
