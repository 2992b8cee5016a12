//! The buckets of one limit: a sharded map that cannot grow without bound and forgets only what need not be known.
//!
//! A full bucket is the same as none, so a bucket whose instant has passed may go at any time; each insertion looks at
//! a few of its neighbours and lets such buckets go. What surprises is the end: when a shard holds nothing but buckets
//! in use, newcomers share one overflow bucket of that shard, and whoever gets a bucket of its own afterwards begins
//! where that one stands: what a caller spent in common is not given to it again. This is harsh on newcomers and takes
//! a million callers within one window, but it is neither unlimited nor unbounded, and nobody who had a bucket in use
//! notices.

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

use super::key::Key;

/// Enough that threads seldom meet in one, few enough that an empty limit is small.
const SHARDS: usize = 64;

/// Buckets looked at on each insertion. Two suffice to let idle ones go faster than new ones come.
const SWEEP: usize = 2;

/// Buckets looked at before a newcomer is sent to the overflow bucket.
const SWEEP_WHEN_FULL: usize = 32;

pub(super) struct Buckets {
    /// Its place in the order in which limits are locked.
    rank: u64,
    shards: Box<[Mutex<Shard>]>,
}

impl Buckets {
    pub(super) fn new(rank: u64, keys: usize) -> Self {
        let keys_per_shard = keys.div_ceil(SHARDS).max(1);
        Self {
            rank,
            shards: (0..SHARDS)
                .map(|_| Mutex::new(Shard::new(keys_per_shard)))
                .collect(),
        }
    }

    pub(super) fn rank(&self) -> u64 {
        self.rank
    }

    pub(super) fn lock(&self, key: Key) -> MutexGuard<'_, Shard> {
        // The table inside takes its bits from the first word, so the shard takes them from the second.
        let chosen = usize::try_from(key[1] % SHARDS as u64).unwrap_or(0);
        self.shards
            .get(chosen)
            .expect("the remainder is below the number of shards")
            .lock()
    }

    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().entries.len())
            .sum()
    }
}

/// Where a key's bucket is, or would be. True only as long as the shard stays locked.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Entry(usize),
    /// No bucket yet, and room for one.
    Vacant,
    Overflow,
}

pub(super) struct Shard {
    /// Indices into `entries`: five bytes for each key instead of a second copy of it.
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// Just above the entry that the next sweep looks at first.
    cursor: usize,
    overflow_full_at: u64,
    capacity: usize,
}

struct Entry {
    key: Key,
    full_at: u64,
}

impl Shard {
    fn new(capacity: usize) -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            cursor: 0,
            overflow_full_at: 0,
            capacity,
        }
    }

    pub(super) fn find(&mut self, key: Key, now: u64) -> Place {
        if let Some(position) = self.position(key) {
            return Place::Entry(position);
        }
        if self.is_full() {
            self.sweep(SWEEP_WHEN_FULL, now);
        }
        if self.is_full() {
            Place::Overflow
        } else {
            Place::Vacant
        }
    }

    /// When the bucket will be full; never later than `latest`, which is as empty as a bucket of this limit can be.
    /// Only a reload that made the limit smaller leaves later ones behind, and those are cut back for good here.
    pub(super) fn full_at(&mut self, place: Place, latest: u64) -> u64 {
        let full_at = match place {
            Place::Entry(position) => self
                .entries
                .get_mut(position)
                .map(|entry| &mut entry.full_at),
            Place::Overflow | Place::Vacant => Some(&mut self.overflow_full_at),
        };
        full_at.map_or(0, |full_at| {
            *full_at = latest.min(*full_at);
            *full_at
        })
    }

    pub(super) fn set(&mut self, place: Place, key: Key, full_at: u64, now: u64) {
        match place {
            Place::Entry(position) => {
                if let Some(entry) = self.entries.get_mut(position) {
                    entry.full_at = full_at;
                }
            }
            Place::Overflow => self.overflow_full_at = full_at,
            Place::Vacant => {
                self.sweep(SWEEP, now);
                self.insert(Entry { key, full_at });
            }
        }
    }

    fn position(&self, key: Key) -> Option<usize> {
        let found = self
            .index
            .find(key[0], |&position| self.key_at(position) == Some(key));
        found.map(|&position| position as usize)
    }

    fn key_at(&self, position: u32) -> Option<Key> {
        self.entries.get(position as usize).map(|entry| entry.key)
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    fn insert(&mut self, entry: Entry) {
        let Ok(position) = u32::try_from(self.entries.len()) else {
            return;
        };
        let key = entry.key;
        self.entries.push(entry);
        let entries = &self.entries;
        self.index.insert_unique(key[0], position, |&position| {
            entries
                .get(position as usize)
                .map_or(0, |entry| entry.key[0])
        });
    }

    /// Looks at up to `steps` entries and removes the full ones, which loses nothing. It goes downwards, because the
    /// entry that moves into a gap then is one that was looked at already.
    fn sweep(&mut self, steps: usize, now: u64) {
        for _ in 0..steps.min(self.entries.len()) {
            if self.cursor == 0 || self.cursor > self.entries.len() {
                self.cursor = self.entries.len();
            }
            self.cursor = self.cursor.saturating_sub(1);
            let idle = self
                .entries
                .get(self.cursor)
                .is_some_and(|entry| entry.full_at <= now);
            if idle {
                self.remove(self.cursor);
            }
        }
    }

    /// The last entry moves into the gap, so its index entry must follow it.
    fn remove(&mut self, position: usize) {
        let last = self.entries.len().saturating_sub(1);
        let removed = self.entries.swap_remove(position);
        if let Ok(found) = self
            .index
            .find_entry(removed.key[0], |&at| at as usize == position)
        {
            found.remove();
        }
        let Some(moved) = self.entries.get(position) else {
            return;
        };
        if let Some(at) = self.index.find_mut(moved.key[0], |&at| at as usize == last) {
            *at = u32::try_from(position).unwrap_or(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests;
