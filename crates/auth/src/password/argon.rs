//! One hashing bench: Argon2id over memory that is kept from one password to the next while there is work, so that a
//! sign-in does not begin with 19 MiB of page faults.
//!
//! Verifying runs with the parameters that stand in the stored hash, not with ours, so they are bounded before a single
//! block is filled. Whatever happens, a failure costs at least what the current parameters cost: how long a sign-in
//! takes tells nothing about the account.

use std::sync::Arc;

use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use parking_lot::Mutex;
use portcullis_config::{auth::HashCost, units::ByteSize};
use subtle::ConstantTimeEq;

use super::{HashingError, Password};
use crate::random;

const SALT_BYTES: usize = 16;
const TAG_BYTES: usize = 32;
const MAX_TAG_BYTES: usize = 64;
/// RFC 9106 section 4 recommends at most 3 passes; imported hashes may have a few more.
const MAX_STORED_ITERATIONS: u32 = 16;
const MAX_STORED_LANES: u32 = 16;

/// Whether a password is the one a hash was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Mismatch,
    /// `outdated`: the hash was made with other parameters than new ones are, and should be replaced.
    Match {
        outdated: bool,
    },
}

/// Why a stored hash is never run. The text goes to the log, never to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredHashError {
    #[error("it is not a PHC string")]
    Syntax,
    #[error("it is not argon2id, version 19")]
    Algorithm,
    #[error("its parameters are beyond what this gateway runs")]
    Parameters,
}

/// What all benches share.
pub(super) struct Shop {
    current: Params,
    /// What a stored hash may ask for; the whole budget, since an operator who lowers the cost keeps the old hashes.
    max_stored_kib: u32,
    dummy: Hash,
    /// Hashes dearer than the current ones are verified one at a time, in memory beside the benches'.
    dearer: Mutex<()>,
}

impl Shop {
    /// Makes the dummy hash, which costs one hashing.
    pub(super) fn open(cost: HashCost, budget: ByteSize) -> Result<Arc<Self>, HashingError> {
        let current = Params::new(
            kib(cost.memory),
            cost.iterations,
            cost.parallelism,
            Some(TAG_BYTES),
        )?;
        let max_stored_kib = kib(budget).max(current.m_cost());
        let dummy = Hash::make(
            &current,
            &random::bytes::<TAG_BYTES>()?,
            &mut blocks(&current),
        )?;
        Ok(Arc::new(Self {
            current,
            max_stored_kib,
            dummy,
            dearer: Mutex::new(()),
        }))
    }
}

/// One worker's place: the parameters, and its own memory.
pub(super) struct Bench {
    shop: Arc<Shop>,
    /// Empty until there is work.
    memory: Vec<Block>,
}

impl Bench {
    pub(super) fn new(shop: Arc<Shop>) -> Self {
        let memory = Vec::new();
        Self { shop, memory }
    }

    /// Gives the memory back until there is work again.
    pub(super) fn rest(&mut self) {
        self.memory = Vec::new();
    }

    pub(super) fn hash(&mut self, password: &Password) -> Result<String, HashingError> {
        let shop = Arc::clone(&self.shop);
        Ok(Hash::make(&shop.current, password.bytes(), self.memory())?.to_phc())
    }

    /// `stored` is absent for an account that does not exist or has no password; the work is the same.
    pub(super) fn verify(
        &mut self,
        password: &Password,
        stored: Option<&str>,
    ) -> Result<Verdict, HashingError> {
        let hash = match stored.map(|text| Hash::parse(text, self.shop.max_stored_kib)) {
            Some(Ok(hash)) => hash,
            Some(Err(refused)) => {
                self.work_for_nothing(password)?;
                return Err(HashingError::Stored(refused));
            }
            None => {
                self.work_for_nothing(password)?;
                return Ok(Verdict::Mismatch);
            }
        };
        let outdated = !hash.costs(&self.shop.current);
        if self.matches(&hash, password)? {
            return Ok(Verdict::Match { outdated });
        }
        if outdated {
            // A cheaper hash would be told apart by its speed.
            self.work_for_nothing(password)?;
        }
        Ok(Verdict::Mismatch)
    }

    fn work_for_nothing(&mut self, password: &Password) -> Result<(), HashingError> {
        let shop = Arc::clone(&self.shop);
        let verdict = shop.dummy.matches(password.bytes(), self.memory());
        verdict.map(drop)
    }

    fn matches(&mut self, hash: &Hash, password: &Password) -> Result<bool, HashingError> {
        let memory = self.memory();
        if hash.params.block_count() <= memory.len() {
            return hash.matches(password.bytes(), memory);
        }
        let _one_at_a_time = self.shop.dearer.lock();
        hash.matches(password.bytes(), &mut blocks(&hash.params))
    }

    fn memory(&mut self) -> &mut [Block] {
        if self.memory.is_empty() {
            self.memory = blocks(&self.shop.current);
        }
        &mut self.memory
    }
}

/// A parsed hash whose parameters are within bounds.
struct Hash {
    params: Params,
    salt: Vec<u8>,
    tag: Vec<u8>,
}

impl Hash {
    fn make(params: &Params, password: &[u8], memory: &mut [Block]) -> Result<Self, HashingError> {
        let salt = random::bytes::<SALT_BYTES>()?.to_vec();
        let mut tag = vec![0; TAG_BYTES];
        engine(params).hash_password_into_with_memory(password, &salt, &mut tag, memory)?;
        Ok(Self {
            params: params.clone(),
            salt,
            tag,
        })
    }

    fn parse(text: &str, max_kib: u32) -> Result<Self, StoredHashError> {
        let phc = PasswordHash::new(text).map_err(|_malformed| StoredHashError::Syntax)?;
        let (Some(salt), Some(tag)) = (&phc.salt, &phc.hash) else {
            return Err(StoredHashError::Syntax);
        };
        if phc.algorithm != ARGON2ID_IDENT || phc.version != Some(Version::V0x13.into()) {
            return Err(StoredHashError::Algorithm);
        }
        let params = Params::try_from(&phc).map_err(|_refused| StoredHashError::Parameters)?;
        let within = params.m_cost() <= max_kib
            && params.t_cost() <= MAX_STORED_ITERATIONS
            && params.p_cost() <= MAX_STORED_LANES
            && (SALT_BYTES..=MAX_TAG_BYTES).contains(&tag.len());
        if !within {
            return Err(StoredHashError::Parameters);
        }
        Ok(Self {
            params,
            salt: salt.to_vec(),
            tag: tag.as_bytes().to_vec(),
        })
    }

    fn costs(&self, params: &Params) -> bool {
        let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        cost(&self.params) == cost(params) && self.tag.len() == TAG_BYTES
    }

    fn matches(&self, password: &[u8], memory: &mut [Block]) -> Result<bool, HashingError> {
        let mut tag = vec![0; self.tag.len()];
        engine(&self.params)
            .hash_password_into_with_memory(password, &self.salt, &mut tag, memory)?;
        Ok(tag.ct_eq(&self.tag).into())
    }

    fn to_phc(&self) -> String {
        let (m, t, p) = (
            self.params.m_cost(),
            self.params.t_cost(),
            self.params.p_cost(),
        );
        let (salt, tag) = (
            STANDARD_NO_PAD.encode(&self.salt),
            STANDARD_NO_PAD.encode(&self.tag),
        );
        format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${tag}")
    }
}

fn engine(params: &Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
}

fn blocks(params: &Params) -> Vec<Block> {
    vec![Block::default(); params.block_count()]
}

fn kib(size: ByteSize) -> u32 {
    u32::try_from(size.bytes() / 1024).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn cost(memory_kib: u64, iterations: u32) -> HashCost {
        HashCost {
            memory: ByteSize(memory_kib * KIB),
            iterations,
            parallelism: 1,
        }
    }

    fn bench(cost: HashCost) -> Bench {
        Bench::new(Shop::open(cost, ByteSize(1024 * KIB)).unwrap())
    }

    fn password(text: &str) -> Password {
        Password::parse(text).unwrap()
    }

    #[test]
    fn a_hash_verifies_its_own_password_only() {
        let mut bench = bench(cost(64, 1));
        let stored = bench.hash(&password("correct horse")).unwrap();
        assert_eq!(
            bench
                .verify(&password("correct horse"), Some(&stored))
                .unwrap(),
            Verdict::Match { outdated: false }
        );
        assert_eq!(
            bench
                .verify(&password("correct horsf"), Some(&stored))
                .unwrap(),
            Verdict::Mismatch
        );
        assert_eq!(
            bench.verify(&password("correct horse"), None).unwrap(),
            Verdict::Mismatch
        );
        assert_ne!(
            stored,
            bench.hash(&password("correct horse")).unwrap(),
            "every hash has its own salt"
        );
    }

    #[test]
    fn a_bench_at_rest_holds_no_memory_and_works_again() {
        let mut bench = bench(cost(64, 1));
        assert!(bench.memory.is_empty(), "nothing before the first password");
        let stored = bench.hash(&password("secret")).unwrap();
        assert_eq!(bench.memory.len(), 64);
        bench.rest();
        assert_eq!(bench.memory.capacity(), 0);
        let verdict = bench.verify(&password("secret"), Some(&stored)).unwrap();
        assert_eq!(verdict, Verdict::Match { outdated: false });
    }

    #[test]
    fn a_hash_of_other_parameters_verifies_and_is_outdated() {
        let cheap = bench(cost(64, 1)).hash(&password("secret")).unwrap();
        let dear = bench(cost(512, 2)).hash(&password("secret")).unwrap();
        let mut bench = bench(cost(128, 2));
        for stored in [cheap, dear] {
            assert_eq!(
                bench.verify(&password("secret"), Some(&stored)).unwrap(),
                Verdict::Match { outdated: true }
            );
            assert_eq!(
                bench.verify(&password("other"), Some(&stored)).unwrap(),
                Verdict::Mismatch
            );
        }
    }

    #[test]
    fn the_dummy_hash_costs_what_new_hashes_cost() {
        let mut bench = bench(cost(128, 3));
        let stored = Hash::parse(&bench.hash(&password("secret")).unwrap(), u32::MAX).unwrap();
        assert!(bench.shop.dummy.costs(&stored.params));
        assert_eq!(bench.shop.dummy.salt.len(), stored.salt.len());
    }

    #[test]
    fn a_hash_of_another_implementation_verifies() {
        // Test vector of the reference implementation's command line: `argon2 somesalt -id -t 2 -m 16 -p 1 -l 32`.
        let stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let mut bench = Bench::new(Shop::open(cost(64, 1), ByteSize(64 * 1024 * KIB)).unwrap());
        assert_eq!(
            bench.verify(&password("password"), Some(stored)).unwrap(),
            Verdict::Match { outdated: true }
        );
    }

    #[test]
    fn a_stored_hash_beyond_the_bounds_is_never_run() {
        let mut bench = bench(cost(64, 1));
        let (salt, tag) = (
            "c29tZXNhbHRzb21lc2FsdA",
            "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        );
        let mut check = |stored: &str, expected: StoredHashError| match bench
            .verify(&password("x"), Some(stored))
        {
            Err(HashingError::Stored(refused)) => assert_eq!(refused, expected, "{stored}"),
            other => panic!("{stored}: {other:?}"),
        };
        let max = u32::MAX;
        check(
            &format!("$argon2id$v=19$m={max},t={max},p=1${salt}${tag}"),
            StoredHashError::Parameters,
        );
        check(
            &format!("$argon2id$v=19$m=1025,t=1,p=1${salt}${tag}"),
            StoredHashError::Parameters,
        );
        check(
            &format!("$argon2id$v=19$m=64,t=17,p=1${salt}${tag}"),
            StoredHashError::Parameters,
        );
        check(
            &format!("$argon2id$v=19$m=1024,t=1,p=17${salt}${tag}"),
            StoredHashError::Parameters,
        );
        check(
            &format!("$argon2id$v=19$m=64,t=1,p=1${salt}$CTFhFdXPJO1aFaMa"),
            StoredHashError::Parameters,
        );
        check(
            &format!("$argon2id$m=64,t=1,p=1${salt}${tag}"),
            StoredHashError::Algorithm,
        );
        check(
            &format!("$argon2d$v=19$m=64,t=1,p=1${salt}${tag}"),
            StoredHashError::Algorithm,
        );
        check(
            &format!("$argon2id$v=19$m=64,t=1,p=1${salt}"),
            StoredHashError::Syntax,
        );
        check(
            "$2b$12$abcdefghijklmnopqrstuuWc3eWl9V2Hf0Wm2zUE7j5zl9vRZq2tC",
            StoredHashError::Syntax,
        );
        check("", StoredHashError::Syntax);
    }
}
