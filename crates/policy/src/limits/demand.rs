//! How fast callers spend, roughly: what leases are sized by.
//!
//! The estimate may be too high where callers collide, and reads a clock of its own; it decides how much is taken ahead
//! and never how much is let through.

use std::time::Duration;

use parking_lot::Mutex;
use pingora_limits::rate::{PROPORTIONAL_RATE_ESTIMATE_CALC_FN, Rate};

use super::Account;

/// Shorter ones make the estimator panic.
const INTERVAL: Duration = Duration::from_secs(1);

const HASHES: usize = 4;
/// A few times as many as callers that are worth a lease.
const SLOTS: usize = 4096;

/// The estimator counts on an order of its calls that threads beside each other do not keep, hence the lock. Whoever
/// spends from a lease does not come here.
pub struct Demand(Mutex<Rate>);

impl Default for Demand {
    fn default() -> Self {
        let rate = Rate::new_with_estimator_config(INTERVAL, HASHES, SLOTS);
        Self(Mutex::new(rate))
    }
}

impl Demand {
    pub fn observe(&self, account: &Account, requests: u64) {
        let requests = isize::try_from(requests).unwrap_or(isize::MAX);
        self.0.lock().observe(account, requests);
    }

    /// Requests in the last second.
    pub fn per_second(&self, account: &Account) -> u64 {
        let rate = self.0.lock();
        let estimate = rate.rate_with(account, PROPORTIONAL_RATE_ESTIMATE_CALC_FN);
        rounded(estimate)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and an estimate is never far from a whole number of requests"
)]
fn rounded(estimate: f64) -> u64 {
    estimate as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_been_seen_is_not_expected() {
        let demand = Demand::default();
        demand.observe(&Account::example(1), 40);
        assert_eq!(demand.per_second(&Account::example(2)), 0);
        assert!((1..=40).contains(&demand.per_second(&Account::example(1))));
    }
}
