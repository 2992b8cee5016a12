//! One hashing bench: Argon2id over memory that is kept from one password to the next while there is work, so that a
//! sign-in does not begin with 19 MiB of page faults.
//!
//! All memory together stays within the budget. A hash that asks for more than a bench has is verified alone: the others
//! wait, their memory is given back first. Such hashes are those of other systems and of an operator who has lowered the
//! cost; the first sign-in replaces each of them.

use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::{Block, Params};
use parking_lot::{Mutex, MutexGuard, RwLock};
use portcullis_config::{auth::PasswordRules, units::ByteSize};
use portcullis_store::PasswordRecord;

use super::{
    HashingError, ImportBounds, Password, Verdict,
    argon::{self, ArgonHash, TAG_BYTES},
    stored::{OURS, StoredHash},
};
use crate::random;

/// What all benches share.
pub(super) struct Shop {
    current: Params,
    bounds: ImportBounds,
    dummy: ArgonHash,
    /// The memory of each bench; empty until there is work.
    memories: Vec<Mutex<Vec<Block>>>,
    /// Held by everybody who works, and alone by who needs more than its bench has.
    hall: RwLock<()>,
    /// How often a bench's memory was filled: the work that tests compare.
    #[cfg(test)]
    hashings: AtomicUsize,
}

impl Shop {
    /// Makes the dummy hash, which costs one hashing.
    pub(super) fn open(rules: &PasswordRules, benches: usize) -> Result<Arc<Self>, HashingError> {
        let current = argon::params(rules.hash)?;
        let nobodys = random::bytes::<TAG_BYTES>()?;
        let dummy = ArgonHash::make(&current, &nobodys, &mut argon::blocks(&current))?;
        Ok(Arc::new(Self {
            current,
            bounds: ImportBounds::of(rules),
            dummy,
            memories: (0..benches).map(|_| Mutex::default()).collect(),
            hall: RwLock::new(()),
            #[cfg(test)]
            hashings: AtomicUsize::new(0),
        }))
    }

    pub(super) fn benches(self: &Arc<Self>) -> impl Iterator<Item = Bench> {
        let numbers = 0..self.memories.len();
        numbers.map(|number| Bench {
            shop: Arc::clone(self),
            number,
        })
    }
}

/// One worker's place: the parameters, and its own memory.
pub(super) struct Bench {
    shop: Arc<Shop>,
    number: usize,
}

impl Bench {
    /// Gives the memory back until there is work again.
    pub(super) fn rest(&self) {
        *self.memory() = Vec::new();
    }

    pub(super) fn hash(&self, password: &Password) -> Result<PasswordRecord, HashingError> {
        let bytes = password.normalised().as_bytes();
        let hash = self.with_memory(|memory| ArgonHash::make(&self.shop.current, bytes, memory))?;
        Ok(PasswordRecord::new(hash.to_phc(), OURS))
    }

    /// `stored` is absent for an account that does not exist or has no password; the work is the same. Whatever happens,
    /// what does not open the account costs at least what the current parameters cost.
    pub(super) fn verify(
        &self,
        password: &Password,
        stored: Option<&PasswordRecord>,
        opens: bool,
    ) -> Result<Verdict, HashingError> {
        let hash = match stored.map(|record| StoredHash::parse(record, self.shop.bounds)) {
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
        let outdated = !hash.is_current(&self.shop.current);
        let matches = self.matches(&hash, password)?;
        if outdated && !(matches && opens) {
            // A cheaper hash would be told apart by its speed.
            self.work_for_nothing(password)?;
        }
        Ok(if matches {
            Verdict::Match { outdated }
        } else {
            Verdict::Mismatch
        })
    }

    /// Whether the hash was made otherwise than new ones are, and may take another time.
    pub(super) fn is_outdated(&self, stored: Option<&PasswordRecord>) -> bool {
        let hash = stored.and_then(|record| StoredHash::parse(record, self.shop.bounds).ok());
        hash.is_some_and(|hash| !hash.is_current(&self.shop.current))
    }

    fn work_for_nothing(&self, password: &Password) -> Result<(), HashingError> {
        let bytes = password.normalised().as_bytes();
        let verdict = self.with_memory(|memory| self.shop.dummy.matches(bytes, memory));
        verdict.map(drop)
    }

    fn matches(&self, hash: &StoredHash, password: &Password) -> Result<bool, HashingError> {
        let bytes = hash.reads(password);
        match hash {
            StoredHash::Ours(hash) | StoredHash::Argon(hash)
                if hash.block_count() <= self.shop.current.block_count() =>
            {
                self.with_memory(|memory| hash.matches(bytes, memory))
            }
            StoredHash::Ours(hash) | StoredHash::Argon(hash) => self.alone(|| {
                let mut memory = argon::blocks_of(hash.block_count());
                hash.matches(bytes, &mut memory)
            }),
            StoredHash::Scrypt(hash) => Ok(self.alone(|| hash.matches(bytes))),
            StoredHash::Bcrypt(hash) => Ok(hash.matches(bytes)),
        }
    }

    fn with_memory<T>(&self, work: impl FnOnce(&mut [Block]) -> T) -> T {
        #[cfg(test)]
        self.shop.hashings.fetch_add(1, Ordering::Relaxed);
        let _among_others = self.shop.hall.read();
        let mut memory = self.memory();
        if memory.is_empty() {
            *memory = argon::blocks(&self.shop.current);
        }
        work(&mut memory)
    }

    fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let _alone = self.shop.hall.write();
        for memory in &self.shop.memories {
            *memory.lock() = Vec::new();
        }
        work()
    }

    fn memory(&self) -> MutexGuard<'_, Vec<Block>> {
        let memory = self.shop.memories.get(self.number);
        memory.expect("a bench is made for each memory").lock()
    }
}

#[cfg(test)]
impl Bench {
    pub(super) fn hashings(&self) -> usize {
        self.shop.hashings.load(Ordering::Relaxed)
    }
}

pub(super) fn kib(size: ByteSize) -> u32 {
    u32::try_from(size.bytes() / 1024).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
