//! Tokens that were verified a moment ago. A hit saves the signature check, and nothing else: expiry and revocations
//! are the caller's to check each time. Once the keys of an issuer change, what the old ones vouched for is forgotten.
//!
//! A token is the same only if all its bytes are. The hash merely finds the place, so that two tokens of one hash cost
//! a miss and can never stand in for each other.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{issuer_keys::Warrant, principal::Principal};

const SHARDS: usize = 16;

/// What an entry costs beside its token and its principal: the slots of map and queue, and the allocations' headers.
const ENTRY_OVERHEAD: usize = 176;

/// How often a token was found, and how often not, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    pub hits: u64,
    pub misses: u64,
}

/// Bounded in entries and in bytes. A full shard drops the oldest entry that was not used since it was last looked at.
pub(crate) struct Cache {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

/// Invariant: `queue` holds the hash of each entry exactly once.
#[derive(Default)]
struct Shard {
    entries: HashMap<u64, Entry>,
    queue: VecDeque<u64>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    counts: CacheCounts,
}

struct Entry {
    token: Box<str>,
    principal: Arc<Principal>,
    warrant: Warrant,
    weight: usize,
    was_used: bool,
}

impl Cache {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        let shard = |index: usize| {
            let remainder = usize::from(index < max_entries % SHARDS);
            let max_entries = max_entries / SHARDS + remainder;
            Mutex::new(Shard {
                max_entries,
                max_bytes: max_bytes / SHARDS,
                ..Shard::default()
            })
        };
        Self {
            shards: std::array::from_fn(shard),
            hasher: RandomState::new(),
        }
    }

    /// Allocates nothing.
    pub(crate) fn find(&self, token: &str) -> Option<Arc<Principal>> {
        let (hash, shard) = self.place(token)?;
        shard.lock().find(hash, token)
    }

    pub(crate) fn insert(&self, token: &str, principal: &Arc<Principal>, warrant: Warrant) {
        let Some((hash, shard)) = self.place(token) else {
            return;
        };
        let weight = token.len() + principal.weight() + ENTRY_OVERHEAD;
        let entry = Entry {
            token: token.into(),
            principal: principal.clone(),
            warrant,
            weight,
            was_used: false,
        };
        shard.lock().insert(hash, entry);
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        self.shards.iter().map(|shard| shard.lock().counts).fold(
            CacheCounts::default(),
            |sum, counts| CacheCounts {
                hits: sum.hits + counts.hits,
                misses: sum.misses + counts.misses,
            },
        )
    }

    /// The last characters are those of the signature, as unlike each other as any hash, and hashing only them saves
    /// most of the cost of a hit.
    fn place(&self, token: &str) -> Option<(u64, &Mutex<Shard>)> {
        const HASHED: usize = 64;
        let bytes = token.as_bytes();
        let tail = bytes
            .last_chunk::<HASHED>()
            .map_or(bytes, <[u8; HASHED]>::as_slice);
        let hash = self.hasher.hash_one(tail);
        let shard = self.shards.get(usize::try_from(hash >> 60).ok()?)?;
        Some((hash, shard))
    }
}

impl Shard {
    fn find(&mut self, hash: u64, token: &str) -> Option<Arc<Principal>> {
        let found = self
            .entries
            .get_mut(&hash)
            .filter(|entry| *entry.token == *token && entry.warrant.stands());
        let Some(entry) = found else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        entry.was_used = true;
        Some(entry.principal.clone())
    }

    fn insert(&mut self, hash: u64, entry: Entry) {
        if entry.weight > self.max_bytes || self.max_entries == 0 {
            return;
        }
        self.bytes += entry.weight;
        match self.entries.insert(hash, entry) {
            Some(replaced) => self.bytes -= replaced.weight,
            None => self.queue.push_back(hash),
        }
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            self.drop_oldest();
        }
    }

    /// Whoever was used since it last came to the front goes to the end once more.
    fn drop_oldest(&mut self) {
        while let Some(hash) = self.queue.pop_front() {
            match self.entries.get_mut(&hash) {
                Some(entry) if entry.was_used => {
                    entry.was_used = false;
                    self.queue.push_back(hash);
                }
                Some(_) | None => {
                    self.bytes -= self.entries.remove(&hash).map_or(0, |entry| entry.weight);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
