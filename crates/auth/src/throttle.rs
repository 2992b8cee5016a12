//! How many failed sign-ins an address and an account may cause, counted before any password is hashed.
//!
//! Unknown names count like known ones, or being throttled would tell that an account exists. Nobody is locked out for
//! good: a bucket refills with time, and who signed in from an address before is not held up by what others do to the
//! account from elsewhere.
//!
//! Invariant: memory is bounded. Keys are keyed hashes, so that no name lies here, and collisions cannot be sought.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_config::{
    auth,
    units::{Rate, Timestamp},
};

use crate::identifiers::address_key;

/// For each of the three maps. At 65,536 keys the one whose failures are nearest to being forgiven makes room.
const MAX_KEYS: usize = 65_536;

pub(crate) struct Throttle {
    address: Buckets,
    account: Buckets,
    /// When an account was last opened from an address.
    known_places: Mutex<HashMap<u64, u64>>,
    hashing: RandomState,
}

/// The buckets one sign-in counts in.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    address: Option<u64>,
    account: u64,
    place: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Throttled {
    pub(crate) limit: &'static str,
    pub(crate) rate: Rate,
    pub(crate) retry_after: Duration,
}

impl Throttle {
    pub(crate) fn new(limits: auth::Throttle) -> Self {
        Self {
            address: Buckets::new("sign_in_address", limits.address),
            account: Buckets::new("sign_in_account", limits.account),
            known_places: Mutex::default(),
            hashing: RandomState::new(),
        }
    }

    /// `name` is the mapped name where there is one. Takes nothing: only a failure counts.
    pub(crate) fn check(
        &self,
        address: Option<IpAddr>,
        name: &str,
        now: Timestamp,
    ) -> Result<Attempt, Throttled> {
        let address = address.map(address_key);
        let attempt = Attempt {
            address: address.map(|address| self.hashing.hash_one(("address", address))),
            account: self.hashing.hash_one(("account", name)),
            place: address.map(|address| self.hashing.hash_one(("place", address, name))),
        };
        if let Some(address) = attempt.address {
            self.address.check(address, now)?;
        }
        self.account.check(self.account_key(&attempt), now)?;
        Ok(attempt)
    }

    /// Sign-ins that were let in together may fail together; what they take too much is owed, not forgotten.
    pub(crate) fn failed(&self, attempt: Attempt, now: Timestamp) {
        if let Some(address) = attempt.address {
            self.address.count(address, now);
        }
        self.account.count(self.account_key(&attempt), now);
    }

    pub(crate) fn succeeded(&self, attempt: Attempt, now: Timestamp) {
        let Some(place) = attempt.place else { return };
        let mut places = self.known_places.lock();
        make_room(&mut places, place);
        places.insert(place, now.as_millis());
    }

    /// A known place has a bucket of its own, so that an account under attack stays open to its owner.
    fn account_key(&self, attempt: &Attempt) -> u64 {
        let places = self.known_places.lock();
        attempt
            .place
            .filter(|place| places.contains_key(place))
            .unwrap_or(attempt.account)
    }
}

/// GCRA over failures: each key holds the instant, in microseconds, at which all of its failures are forgiven.
pub(crate) struct Buckets {
    limit: &'static str,
    rate: Rate,
    forgiven_at: Mutex<HashMap<u64, u64>>,
}

impl Buckets {
    pub(crate) fn new(limit: &'static str, rate: Rate) -> Self {
        Self {
            limit,
            rate,
            forgiven_at: Mutex::default(),
        }
    }

    pub(crate) fn check(&self, key: u64, now: Timestamp) -> Result<(), Throttled> {
        let now = micros(now);
        let forgiven_at = self
            .forgiven_at
            .lock()
            .get(&key)
            .copied()
            .unwrap_or(now)
            .min(self.horizon(now));
        // Another failure must still fit into the period.
        let free_at = forgiven_at
            .saturating_add(self.cost())
            .saturating_sub(self.period());
        if free_at <= now {
            return Ok(());
        }
        let retry_after = Duration::from_micros(free_at - now);
        Err(Throttled {
            limit: self.limit,
            rate: self.rate,
            retry_after,
        })
    }

    pub(crate) fn count(&self, key: u64, now: Timestamp) {
        let now = micros(now);
        let mut buckets = self.forgiven_at.lock();
        make_room(&mut buckets, key);
        let forgiven_at = buckets.entry(key).or_insert(now);
        *forgiven_at = (*forgiven_at)
            .max(now)
            .saturating_add(self.cost())
            .min(self.horizon(now));
    }

    /// No debt outlives two periods, whatever happened and whichever way the clock was set.
    fn horizon(&self, now: u64) -> u64 {
        now.saturating_add(self.period().saturating_mul(2))
    }

    fn period(&self) -> u64 {
        u64::try_from(self.rate.period.as_micros()).unwrap_or(u64::MAX)
    }

    fn cost(&self) -> u64 {
        self.period().div_ceil(self.rate.count.get())
    }
}

/// Before a new key in a full map, the quarter with the least instants goes: what is forgiven first, or oldest.
fn make_room(map: &mut HashMap<u64, u64>, key: u64) {
    if map.len() < MAX_KEYS || map.contains_key(&key) {
        return;
    }
    let mut instants: Vec<u64> = map.values().copied().collect();
    let (_, &mut least_kept, _) = instants.select_nth_unstable(MAX_KEYS / 4);
    // Instants may all be equal, hence the second bound.
    let mut surplus = MAX_KEYS / 4;
    map.retain(|_, instant| {
        let goes = surplus > 0 && *instant <= least_kept;
        surplus -= usize::from(goes);
        !goes
    });
}

fn micros(at: Timestamp) -> u64 {
    at.as_millis().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn throttle(address: u64, account: u64) -> Throttle {
        let rate = |count| Rate {
            count: NonZeroU64::new(count).unwrap(),
            period: MINUTE,
        };
        Throttle::new(auth::Throttle {
            address: rate(address),
            account: rate(account),
        })
    }

    fn ip(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, number]))
    }

    fn fail(
        throttle: &Throttle,
        address: Option<IpAddr>,
        name: &str,
        now: Timestamp,
    ) -> Result<(), Throttled> {
        throttle
            .check(address, name, now)
            .map(|attempt| throttle.failed(attempt, now))
    }

    #[test]
    fn failures_beyond_the_limit_are_refused_until_one_is_forgiven() {
        let throttle = throttle(3, 100);
        for _ in 0..3 {
            fail(&throttle, ip(1), "a", START).unwrap();
        }
        let refused = fail(&throttle, ip(1), "b", START).unwrap_err();
        assert_eq!(
            (refused.limit, refused.retry_after),
            ("sign_in_address", MINUTE / 3)
        );
        assert_eq!(
            fail(&throttle, ip(2), "b", START),
            Ok(()),
            "another address is not affected"
        );
        assert!(fail(&throttle, ip(1), "b", START.plus(MINUTE / 3)).is_ok());
        assert!(fail(&throttle, ip(1), "b", START.plus(MINUTE / 3)).is_err());
    }

    #[test]
    fn an_account_is_throttled_across_addresses() {
        let throttle = throttle(100, 2);
        fail(&throttle, ip(1), "victim", START).unwrap();
        fail(&throttle, ip(2), "victim", START).unwrap();
        assert_eq!(
            fail(&throttle, ip(3), "victim", START).unwrap_err().limit,
            "sign_in_account"
        );
        assert!(fail(&throttle, ip(3), "other", START).is_ok());
    }

    #[test]
    fn success_costs_nothing() {
        let throttle = throttle(1, 1);
        for _ in 0..1000 {
            let attempt = throttle.check(ip(1), "busy", START).unwrap();
            throttle.succeeded(attempt, START);
        }
        assert!(fail(&throttle, ip(1), "busy", START).is_ok());
    }

    #[test]
    fn the_owner_at_a_known_address_is_not_locked_out_by_others() {
        let throttle = throttle(100, 2);
        let home = throttle.check(ip(9), "victim", START).unwrap();
        throttle.succeeded(home, START);
        for attacker in 0..4 {
            fail(&throttle, ip(attacker), "victim", START).ok();
        }
        assert!(
            throttle.check(ip(5), "victim", START).is_err(),
            "strangers are held up"
        );
        assert!(
            throttle.check(ip(9), "victim", START).is_ok(),
            "the owner is not"
        );
        fail(&throttle, ip(9), "victim", START).unwrap();
        fail(&throttle, ip(9), "victim", START).unwrap();
        assert!(
            throttle.check(ip(9), "victim", START).is_err(),
            "a known place has the same limit for itself"
        );
    }

    #[test]
    fn no_lock_outlives_two_periods() {
        let throttle = throttle(2, 2);
        let let_in_together: Vec<_> = (0..500)
            .map(|_| throttle.check(ip(1), "a", START).unwrap())
            .collect();
        for attempt in let_in_together {
            throttle.failed(attempt, START);
        }
        assert!(throttle.check(ip(1), "a", START.plus(MINUTE)).is_err());
        assert!(throttle.check(ip(1), "a", START.plus(MINUTE * 2)).is_ok());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lock() {
        let throttle = throttle(1, 1);
        fail(&throttle, ip(1), "a", START.plus(MINUTE * 10_000)).unwrap();
        let refused = throttle.check(ip(1), "a", START).err().unwrap();
        assert!(refused.retry_after <= MINUTE * 2);
        throttle.failed(
            Attempt {
                address: None,
                account: 0,
                place: None,
            },
            START,
        );
    }

    #[test]
    fn a_flood_of_names_is_held_in_bounded_memory() {
        let buckets = Buckets::new(
            "test",
            Rate {
                count: NonZeroU64::MIN,
                period: MINUTE,
            },
        );
        for key in 0..200_000 {
            buckets.count(key, START);
        }
        assert!(buckets.forgiven_at.lock().len() <= MAX_KEYS);
        assert!(
            buckets.check(199_999, START).is_err(),
            "the newest is still counted"
        );
    }

    proptest! {
        #[test]
        fn one_at_a_time_no_more_fail_than_the_rate_allows(steps in prop::collection::vec(0_u64..20_000, 1..200)) {
            let throttle = throttle(1000, 5);
            let (mut now, mut failures) = (START, 0_u64);
            for step in steps {
                now = now.plus(Duration::from_millis(step));
                failures += u64::from(fail(&throttle, ip(1), "a", now).is_ok());
            }
            let elapsed = now.saturating_since(START).as_millis() as f64;
            prop_assert!(failures as f64 <= 5.0 + elapsed * 5.0 / 60_000.0);
        }
    }
}
