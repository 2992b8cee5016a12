//! When an issuer is asked for its keys: pure bookkeeping, for whoever does the asking.
//!
//! Keys are renewed in the background, ahead of the time at which they are due. Beside that, a token that names an
//! unknown key may have the issuer asked, because that is what a rotation looks like; but anybody can write such a
//! token, so this is bounded three times: by a cool-down for each issuer, by a budget over all of them, and by
//! remembering which names the issuer was asked for in vain. Instants are durations since some start, randomness is a
//! number from 0 to 1.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    ops::RangeInclusive,
    time::Duration,
};

/// How long keys serve after the last time they were had. An identity provider may be away for a night.
pub const STALE_FOR: Duration = Duration::from_secs(24 * 3600);

/// Between two times that requests may have one issuer asked, lengthened by up to a fifth.
const COOL_DOWN: Duration = Duration::from_secs(10);

/// How long a key that the issuer did not have is taken to be unknown. Not longer, because what stands between us and
/// the issuer may still hand out the set of before a rotation.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// Names remembered as unknown at the most; the oldest gives way.
const MAX_UNKNOWN: usize = 1024;

/// After a failure; doubled with each further one in a row.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How often keys are renewed.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Where the issuer does not say how long its keys may be kept.
    usual: Duration,
    /// Where it does: not more often and not more rarely than this.
    bounds: RangeInclusive<Duration>,
    /// Between two questions to an issuer that is away.
    longest_retry: Duration,
}

impl Pace {
    /// Of an issuer that is asked over the network.
    pub const REMOTE: Self = Self {
        usual: Duration::from_secs(300),
        bounds: Duration::from_secs(10)..=Duration::from_secs(3600),
        longest_retry: Duration::from_secs(30),
    };
    /// Of a file, which is looked at again and again.
    pub const FILE: Self = Self {
        usual: Duration::from_secs(2),
        bounds: Duration::from_secs(2)..=Duration::from_secs(2),
        longest_retry: Duration::from_secs(2),
    };

    fn within_bounds(&self, max_age: Option<Duration>) -> Duration {
        let wanted = max_age.unwrap_or(self.usual);
        wanted.clamp(*self.bounds.start(), *self.bounds.end())
    }
}

/// The keys of one issuer in time.
pub struct Schedule {
    pace: Pace,
    began_at: Duration,
    renewed_at: Option<Duration>,
    due_at: Duration,
    failures: u32,
    /// From when on a request may have the issuer asked.
    open_from: Duration,
    /// Asked for in the flight that is under way.
    asked: Vec<u64>,
    unknown: UnknownKeys,
}

impl Schedule {
    /// Due at once.
    pub fn new(pace: Pace, now: Duration) -> Self {
        Self {
            pace,
            began_at: now,
            renewed_at: None,
            due_at: now,
            failures: 0,
            open_from: now,
            asked: Vec::new(),
            unknown: UnknownKeys::default(),
        }
    }

    /// When the issuer is to be asked without anybody asking for it.
    pub fn due_at(&self) -> Duration {
        self.due_at
    }

    /// Since the keys were last had, or since somebody began to ask for them.
    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.renewed_at.unwrap_or(self.began_at))
    }

    /// Whether the keys have been had once, and too long ago to be trusted still.
    pub fn is_expired(&self, now: Duration) -> bool {
        self.renewed_at.is_some() && self.age(now) >= STALE_FOR
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a request may have the issuer asked now. A yes is spent.
    pub fn may_ask(
        &mut self,
        key_id: Option<&str>,
        now: Duration,
        budget: &mut Budget,
        roll: f64,
    ) -> bool {
        if now < self.open_from || self.is_known_to_be_unknown(key_id, now) || !budget.take(now) {
            return false;
        }
        self.open_from = now + COOL_DOWN.mul_f64(1.0 + roll.clamp(0.0, 1.0) / 5.0);
        self.note(key_id);
        true
    }

    /// Whether a request may wait for the flight that is under way. It costs the issuer nothing, but whoever comes
    /// again and again with the same unknown key need not be kept.
    pub fn may_join(&mut self, key_id: Option<&str>, now: Duration) -> bool {
        if self.is_known_to_be_unknown(key_id, now) {
            return false;
        }
        self.note(key_id);
        true
    }

    /// The issuer has answered with a set of keys, which may be kept for `max_age`.
    pub fn succeeded(&mut self, now: Duration, max_age: Option<Duration>, roll: f64) {
        // A key that was asked for and is there verifies its tokens, so that nobody will look for its name here.
        for name in self.asked.drain(..) {
            self.unknown.insert(name, now + UNKNOWN_FOR);
        }
        self.failures = 0;
        self.renewed_at = Some(now);
        // Ahead of time by 5 to 20 per cent, so that many gateways do not come at once.
        let ahead = 0.8 + 0.15 * roll.clamp(0.0, 1.0);
        self.due_at = now + self.pace.within_bounds(max_age).mul_f64(ahead);
    }

    /// The issuer could not be asked, or has answered with something else.
    pub fn failed(&mut self, now: Duration, roll: f64) {
        self.asked.clear();
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled
            .min(self.pace.longest_retry)
            .mul_f64(0.75 + roll.clamp(0.0, 1.0) / 2.0);
        self.due_at = now + wait;
    }

    /// The keys have changed, and what was unknown before may be among them.
    pub fn keys_changed(&mut self) {
        self.unknown.clear();
    }

    fn is_known_to_be_unknown(&self, key_id: Option<&str>, now: Duration) -> bool {
        key_id.is_some_and(|key_id| self.unknown.contains(key_id, now))
    }

    fn note(&mut self, key_id: Option<&str>) {
        if let Some(key_id) = key_id
            && self.asked.len() < MAX_UNKNOWN
        {
            self.asked.push(self.unknown.name(key_id));
        }
    }
}

/// Key ids that the issuer did not have, as hashes under a secret seed: they may be long, and are the client's to
/// choose. Two that collide cost no more than a question that is not asked.
#[derive(Default)]
struct UnknownKeys {
    hasher: RandomState,
    /// In the order of their ends.
    names: VecDeque<(u64, Duration)>,
}

impl UnknownKeys {
    fn name(&self, key_id: &str) -> u64 {
        self.hasher.hash_one(key_id)
    }

    fn contains(&self, key_id: &str, now: Duration) -> bool {
        let name = self.name(key_id);
        self.names
            .iter()
            .any(|(known, until)| *known == name && now < *until)
    }

    fn insert(&mut self, name: u64, until: Duration) {
        if self.names.len() >= MAX_UNKNOWN {
            self.names.pop_front();
        }
        self.names.push_back((name, until));
    }

    fn clear(&mut self) {
        self.names.clear();
    }
}

/// What requests may have asked of all issuers together: `BURST` at once, and one a second in the long run.
pub struct Budget {
    left: f64,
    counted_at: Duration,
}

impl Budget {
    const BURST: f64 = 20.0;
    const PER_SECOND: f64 = 1.0;

    pub fn new(now: Duration) -> Self {
        Self {
            left: Self::BURST,
            counted_at: now,
        }
    }

    fn take(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.counted_at).as_secs_f64();
        self.left = (self.left + since * Self::PER_SECOND).min(Self::BURST);
        self.counted_at = self.counted_at.max(now);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests;
