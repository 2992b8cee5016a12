//! How many letters may be asked for, and how many codes tried.
//!
//! From an address as many as sign-ins may fail there, and more are refused. For one account a few in a quarter of an
//! hour: who asks for more is answered as ever and gets nothing, since the letters from before are still good. Names that
//! do not exist count alike.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU64,
    time::Duration,
};

use portcullis_config::units::{Rate, Timestamp};

use crate::{
    identifiers::address_key,
    throttle::{Buckets, Throttled},
};

const LETTERS: Rate = Rate {
    count: NonZeroU64::new(3).expect("three is not zero"),
    period: Duration::from_secs(15 * 60),
};

pub(crate) struct MailThrottle {
    requests: Buckets,
    guesses: Buckets,
    letters: Buckets,
    hashing: RandomState,
}

impl MailThrottle {
    pub(crate) fn new(address: Rate) -> Self {
        Self {
            requests: Buckets::new("mail_address", address),
            guesses: Buckets::new("code_address", address),
            letters: Buckets::new("mail_account", LETTERS),
            hashing: RandomState::new(),
        }
    }

    /// A letter is asked for from there, whoever is to get it.
    pub(crate) fn request(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), Throttled> {
        let Some(key) = self.place(address) else {
            return Ok(());
        };
        self.requests.check(key, now)?;
        self.requests.count(key, now);
        Ok(())
    }

    /// Whether one more letter goes to this account. `name` is the mapped name or the id.
    pub(crate) fn lets_letter_pass(&self, name: &str, now: Timestamp) -> bool {
        let key = self.hashing.hash_one(("account", name));
        let passes = self.letters.check(key, now).is_ok();
        if passes {
            self.letters.count(key, now);
        }
        passes
    }

    pub(crate) fn check_guess(
        &self,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<(), Throttled> {
        self.place(address)
            .map_or(Ok(()), |key| self.guesses.check(key, now))
    }

    pub(crate) fn guessed_wrong(&self, address: Option<IpAddr>, now: Timestamp) {
        if let Some(key) = self.place(address) {
            self.guesses.count(key, now);
        }
    }

    fn place(&self, address: Option<IpAddr>) -> Option<u64> {
        let key = address.map(address_key)?;
        Some(self.hashing.hash_one(("address", key)))
    }
}
