//! Argon2 in its PHC form: hashes of our own making, which are argon2id over the normalised password, and those of other
//! systems, which may be of any variant.
//!
//! Verifying runs with the parameters that stand in the stored hash, not with ours, so they are bounded before a single
//! block is filled.

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use portcullis_config::auth::HashCost;
use subtle::ConstantTimeEq;

use super::{HashingError, StoredHashError, bench::kib};
use crate::random;

pub(super) const SALT_BYTES: usize = 16;
pub(super) const TAG_BYTES: usize = 32;
const SHORTEST_TAG_BYTES: usize = 16;
const MAX_TAG_BYTES: usize = 64;
/// RFC 9106 section 4 recommends at most 3 passes; imported hashes may have a few more.
const MAX_STORED_ITERATIONS: u32 = 16;
const MAX_STORED_LANES: u32 = 16;

/// What new hashes are made with.
pub(super) fn params(cost: HashCost) -> Result<Params, HashingError> {
    Ok(Params::new(
        kib(cost.memory),
        cost.iterations,
        cost.parallelism,
        Some(TAG_BYTES),
    )?)
}

/// A parsed hash whose parameters are within bounds.
pub(super) struct ArgonHash {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Vec<u8>,
    tag: Vec<u8>,
}

impl ArgonHash {
    /// Argon2id of the current version.
    pub(super) fn make(
        params: &Params,
        password: &[u8],
        memory: &mut [Block],
    ) -> Result<Self, HashingError> {
        let mut hash = Self {
            algorithm: Algorithm::Argon2id,
            version: Version::V0x13,
            params: params.clone(),
            salt: random::bytes::<SALT_BYTES>()?.to_vec(),
            tag: Vec::new(),
        };
        hash.tag = hash.run(password, TAG_BYTES, memory)?;
        Ok(hash)
    }

    /// Of any variant. Without a version, which old ones lack, it is refused: there is no telling what it means.
    pub(super) fn parse(text: &str, max_kib: u32) -> Result<Self, StoredHashError> {
        let phc = PasswordHash::new(text).map_err(|_malformed| StoredHashError::Syntax)?;
        let (Some(salt), Some(tag)) = (&phc.salt, &phc.hash) else {
            return Err(StoredHashError::Syntax);
        };
        let algorithm = Algorithm::try_from(phc.algorithm.as_str());
        let version = phc.version.map(Version::try_from);
        let (Ok(algorithm), Some(Ok(version))) = (algorithm, version) else {
            return Err(StoredHashError::Algorithm);
        };
        let params = Params::try_from(&phc).map_err(|_refused| StoredHashError::Parameters)?;
        // A key or data that was mixed in is known to the other system alone.
        let is_plain = params.keyid().is_empty() && params.data().is_empty();
        let within = params.m_cost() <= max_kib
            && params.t_cost() <= MAX_STORED_ITERATIONS
            && params.p_cost() <= MAX_STORED_LANES
            && (SHORTEST_TAG_BYTES..=MAX_TAG_BYTES).contains(&tag.len());
        if !within || !is_plain {
            return Err(StoredHashError::Parameters);
        }
        Ok(Self {
            algorithm,
            version,
            params,
            salt: salt.to_vec(),
            tag: tag.as_bytes().to_vec(),
        })
    }

    pub(super) fn is_argon2id(&self) -> bool {
        self.algorithm == Algorithm::Argon2id && self.version == Version::V0x13
    }

    pub(super) fn block_count(&self) -> usize {
        self.params.block_count()
    }

    /// Whether it is as dear as one made with `params`.
    pub(super) fn costs(&self, params: &Params) -> bool {
        let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        cost(&self.params) == cost(params) && self.tag.len() == TAG_BYTES
    }

    pub(super) fn matches(
        &self,
        password: &[u8],
        memory: &mut [Block],
    ) -> Result<bool, HashingError> {
        let tag = self.run(password, self.tag.len(), memory)?;
        Ok(tag.ct_eq(&self.tag).into())
    }

    fn run(
        &self,
        password: &[u8],
        length: usize,
        memory: &mut [Block],
    ) -> Result<Vec<u8>, HashingError> {
        let mut tag = vec![0; length];
        Argon2::new(self.algorithm, self.version, self.params.clone())
            .hash_password_into_with_memory(password, &self.salt, &mut tag, memory)?;
        Ok(tag)
    }

    /// Of one that was made here.
    pub(super) fn to_phc(&self) -> String {
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

pub(super) fn blocks(params: &Params) -> Vec<Block> {
    blocks_of(params.block_count())
}

pub(super) fn blocks_of(count: usize) -> Vec<Block> {
    vec![Block::default(); count]
}
