//! The decision, and a model of replicas that follow it: each has read the keys at some time in the last seconds, any of
//! them may be the one that acts, and keys are rotated and taken back by hand whenever it pleases somebody.

use proptest::prelude::*;

use super::*;

const RULES: Rotation = Rotation {
    every: Duration::from_secs(3600),
    algorithm: SigningAlgorithm::Es256,
    token_lifetime: Duration::from_secs(300),
    since: Timestamp::from_secs(0),
};

fn key(kid: &str, state: KeyState, at: u64) -> KeyRecord {
    let at = Timestamp::from_secs(at);
    let is_over = matches!(state, KeyState::Retiring | KeyState::Retired);
    KeyRecord {
        kid: kid.to_owned(),
        algorithm: "ES256".to_owned(),
        state,
        created_at: at,
        activated_at: (state == KeyState::Active).then_some(at),
        retired_at: is_over.then_some(at),
    }
}

fn step(keys: &[KeyRecord], now: u64) -> Option<Step<'_>> {
    RULES.step(keys, Timestamp::from_secs(now))
}

#[test]
fn a_gateway_without_a_key_makes_one_that_signs_at_once() {
    assert_eq!(step(&[], 0), Some(Step::Begin));
    let retired = [key("a", KeyState::Retired, 0)];
    assert_eq!(step(&retired, 0), Some(Step::Begin));
}

#[test]
fn the_next_key_is_announced_so_long_ahead_that_a_key_signs_for_its_whole_time() {
    let keys = [key("a", KeyState::Active, 0)];
    assert_eq!(step(&keys, 3600 - 361), None);
    assert_eq!(step(&keys, 3600 - 360), Some(Step::Announce));
    let keys = [keys[0].clone(), key("b", KeyState::Next, 3240)];
    assert_eq!(step(&keys, 3599), None, "others may have an older key set");
    assert_eq!(step(&keys, 3600), Some(Step::Activate(&keys[1])));
}

#[test]
fn a_key_stays_until_the_last_token_it_signed_has_expired_for_everybody() {
    let keys = [
        key("b", KeyState::Active, 0),
        key("a", KeyState::Retiring, 0),
    ];
    assert_eq!(step(&keys, 364), None);
    assert_eq!(step(&keys, 365), Some(Step::Forget(&keys[1])));
}

#[test]
fn a_key_that_was_taken_back_is_named_for_a_month() {
    let month = TAKEN_BACK_FOR.as_secs();
    let keys = [
        key("b", KeyState::Active, month),
        key("a", KeyState::Retired, 0),
    ];
    assert_eq!(step(&keys, month - 1), None);
    assert_eq!(step(&keys, month), Some(Step::Forget(&keys[1])));
}

#[test]
fn another_algorithm_is_a_rotation_for_whoever_was_started_after_the_key_was_made() {
    let keys = [key("a", KeyState::Active, 100)];
    let wanted = |since| Rotation {
        algorithm: SigningAlgorithm::EdDsa,
        since: Timestamp::from_secs(since),
        ..RULES
    };
    let now = Timestamp::from_secs(200);
    assert_eq!(wanted(150).step(&keys, now), Some(Step::Announce));
    assert_eq!(
        wanted(50).step(&keys, now),
        None,
        "a replica that was configured before must not turn it back"
    );
    let keys = [keys[0].clone(), key("b", KeyState::Next, 199)];
    assert_eq!(wanted(150).step(&keys, now), None, "one at a time");
}

#[test]
fn every_state_reads_back_from_its_word() {
    for state in KeyState::ALL {
        assert_eq!(KeyState::named(state.as_str()), Some(state));
    }
    assert_eq!(KeyState::named("ACTIVE"), None);
}

/// What may happen in a second of the model.
#[derive(Clone, Debug)]
enum Happening {
    /// A replica reads the keys, and does what is to be done.
    Reading(usize),
    /// A replica signs a token with the key that it last read as active.
    Signing(usize),
    Rotate,
    /// Takes back the key that signs.
    Retire,
    /// Nothing for so many seconds, but that all replicas go on reading.
    Quiet(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..REPLICAS).prop_map(Happening::Reading),
        8 => (0..REPLICAS).prop_map(Happening::Signing),
        2 => Just(Happening::Rotate),
        1 => Just(Happening::Retire),
        4 => (1..900u64).prop_map(Happening::Quiet),
    ]
}

const REPLICAS: usize = 3;
/// Every replica reads at least so often.
const READS_EVERY: u64 = 5;

struct Token {
    kid: String,
    expires_at: u64,
}

/// A database, and what each replica has read of it.
#[derive(Default)]
struct World {
    now: u64,
    made: u64,
    keys: Vec<KeyRecord>,
    read: [(u64, Vec<KeyRecord>); REPLICAS],
    tokens: Vec<Token>,
}

impl World {
    fn begin() -> Self {
        let mut world = Self {
            now: 1_000_000,
            ..Self::default()
        };
        (0..REPLICAS).for_each(|replica| world.reading(replica));
        world
    }

    fn make(&mut self, state: KeyState) {
        // As the database's index does, for two who come at the same time.
        if self.keys.iter().any(|key| key.state == state) {
            return;
        }
        self.made += 1;
        self.keys.push(key(&self.made.to_string(), state, self.now));
    }

    fn set(&mut self, from: KeyState, to: KeyState) {
        let now = Timestamp::from_secs(self.now);
        for key in self.keys.iter_mut().filter(|key| key.state == from) {
            key.state = to;
            match to {
                KeyState::Active => key.activated_at = Some(now),
                KeyState::Next | KeyState::Retiring | KeyState::Retired => {
                    key.retired_at = Some(now)
                }
            }
        }
    }

    fn activate(&mut self) {
        self.set(KeyState::Active, KeyState::Retiring);
        self.set(KeyState::Next, KeyState::Active);
    }

    fn reading(&mut self, replica: usize) {
        loop {
            let keys = self.keys.clone();
            match RULES.step(&keys, Timestamp::from_secs(self.now)) {
                Some(Step::Begin) => self.make(KeyState::Active),
                Some(Step::Announce) => self.make(KeyState::Next),
                Some(Step::Activate(_)) => self.activate(),
                Some(Step::Forget(over)) => self.keys.retain(|key| key.kid != over.kid),
                None => break,
            }
        }
        self.read[replica] = (self.now, self.keys.clone());
    }

    fn signing(&mut self, replica: usize) {
        let active = self.read[replica]
            .1
            .iter()
            .find(|key| key.state == KeyState::Active);
        let kid = active
            .expect("a replica that serves has read a key")
            .kid
            .clone();
        let expires_at = self.now + RULES.token_lifetime.as_secs();
        self.tokens.push(Token { kid, expires_at });
    }

    fn retire(&mut self) {
        let taken = self.keys.iter().find(|key| key.state == KeyState::Active);
        let taken = taken.expect("there is one").kid.clone();
        self.set(KeyState::Active, KeyState::Retired);
        self.set(KeyState::Next, KeyState::Active);
        self.make(KeyState::Active);
        self.tokens.retain(|token| token.kid != taken);
        // The log of revocations reaches the others before they read again; what they sign until then is refused.
        (0..REPLICAS).for_each(|replica| self.reading(replica));
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            for replica in 0..REPLICAS {
                if self.now - self.read[replica].0 >= READS_EVERY {
                    self.reading(replica);
                }
            }
        }
    }

    fn check(&self) {
        let active = self.keys.iter().filter(|key| key.state == KeyState::Active);
        assert_eq!(active.count(), 1, "one key signs at {}", self.now);
        let alive = self
            .tokens
            .iter()
            .filter(|token| self.now < token.expires_at);
        for token in alive {
            for (_, read) in &self.read {
                let known = read
                    .iter()
                    .any(|key| key.kid == token.kid && key.state.is_published());
                assert!(known, "a good token of key {} at {}", token.kid, self.now);
            }
        }
    }

    /// The key sets that somebody may have in a cache hold the key that signs, unless it had to come at once.
    fn check_announced(&self, before: &Self) {
        let active = |world: &Self| {
            let key = world.keys.iter().find(|key| key.state == KeyState::Active);
            key.cloned().expect("one key signs")
        };
        let key = active(self);
        if key.kid != active(before).kid {
            let began = key.activated_at.expect("it signs");
            let ahead = began.saturating_since(key.created_at).as_secs();
            assert!(
                ahead >= KEY_SET_MAX_AGE.as_secs(),
                "published {ahead} s ahead"
            );
        }
    }

    fn keys_of(&self) -> Self {
        Self {
            now: self.now,
            keys: self.keys.clone(),
            ..Self::default()
        }
    }
}

proptest! {
    #[test]
    fn one_key_signs_and_no_good_token_is_without_its_key(happenings in prop::collection::vec(happening(), 1..120)) {
        let mut world = World::begin();
        for happening in happenings {
            let before = world.keys_of();
            let is_retirement = matches!(happening, Happening::Retire);
            match happening {
                Happening::Reading(replica) => world.reading(replica),
                Happening::Signing(replica) => world.signing(replica),
                Happening::Rotate => world.make(KeyState::Next),
                Happening::Retire => world.retire(),
                Happening::Quiet(seconds) => world.pass(seconds),
            }
            world.check();
            if !is_retirement {
                world.check_announced(&before);
            }
        }
    }

    #[test]
    fn a_key_signs_for_its_time_and_no_longer(seconds in 3600..40_000u64) {
        let mut world = World::begin();
        world.pass(seconds);
        let active = world.keys.iter().find(|key| key.state == KeyState::Active).expect("one key signs");
        let age = world.now - active.activated_at.expect("it signs").as_secs();
        prop_assert!(age <= RULES.every.as_secs() + READS_EVERY);
    }
}
