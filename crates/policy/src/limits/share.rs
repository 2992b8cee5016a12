//! What one replica may let through by itself while the store that all of them share is away.
//!
//! Each has an equal part of every bucket: a request costs it as many times more as there are replicas, so that what
//! all of them let through together is never over the limit. A part that is too small for a request lets none through.
//!
//! What surprises is that the share is kept while the store is there as well. Every request that the store let through
//! here is charged to it, so that a replica that has just let its users' burst pass does not let it pass again because
//! the store went away; and when the store comes back without its memory, what is left of the shares is all that the
//! replicas bring back, and the store's empty buckets are filled with that.

use std::{
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    time::Duration,
};

use smallvec::SmallVec;

use crate::clock::Moment;

use super::{
    Draw, Held, Refused, in_locking_order,
    shared::{NotTaken, Verdict},
};

/// How this replica's shares stood when it began.
const UNKNOWN: u8 = 0;
const FULL: u8 = 1;
/// It began without the store: another before it may have spent its share a moment ago.
const EMPTY: u8 = 2;

/// This replica's part of every limit, kept in the buckets of the limits themselves.
pub struct Share {
    replicas: u64,
    /// Monotonic nanoseconds.
    began: u64,
    beginning: AtomicU8,
}

impl Share {
    pub fn new(replicas: u32, now: Moment) -> Self {
        Self {
            replicas: u64::from(replicas.max(1)),
            began: now.nanos(),
            beginning: AtomicU8::new(UNKNOWN),
        }
    }

    /// The store was there. If it was there from the beginning, the shares began full.
    pub fn store_found(&self) {
        self.settle(FULL);
    }

    /// Spends on every draw, or on none of them if one is refused.
    pub fn take(&self, draws: &[Draw<'_>], now: Moment) -> Verdict {
        self.settle(EMPTY);
        let mut held = self.hold(draws, now);
        if held
            .iter()
            .any(|held| held.draw.cost > held.draw.quota.burst())
        {
            return Err(NotTaken::StoreAway);
        }
        let refusing = held.iter().filter(|held| held.weighed.wait > 0);
        if let Some(refusing) = refusing.max_by_key(|held| held.weighed.wait) {
            return Err(NotTaken::Refused(Refused {
                standing: refusing.standing(),
                retry_after: Duration::from_nanos(refusing.weighed.wait),
            }));
        }
        for held in &mut held {
            held.spend(now.nanos());
        }
        let nearest = held
            .iter_mut()
            .min_by_key(|held| held.weighed.remaining / held.draw.cost.max(1));
        Ok(nearest.map(|held| {
            held.weighed.remaining /= self.replicas;
            held.standing()
        }))
    }

    /// Notes what the store let through here.
    pub fn charge(&self, draws: &[Draw<'_>], now: Moment) {
        let now = now.nanos();
        for draw in in_locking_order(draws) {
            let draw = self.scaled(draw);
            let mut shard = draw.plan.buckets().lock(draw.key);
            let place = shard.find(draw.key, now);
            let known = shard.full_at(place, now.saturating_add(draw.plan.ceiling()));
            let full_at = draw.quota.charge(known, draw.cost, now);
            shard.set(place, draw.key, full_at, now);
        }
    }

    /// Gives up what was left of the share when the store's memory was lost, for the store to have: nanoseconds by
    /// which the shared bucket is full earlier. A second time there is nothing left to give up.
    pub fn bring_back(&self, draw: &Draw<'_>, lost_at: u64, now: Moment) -> u64 {
        let now = now.nanos();
        let tolerance = draw.quota.tolerance();
        let mut shard = draw.plan.buckets().lock(draw.key);
        let place = shard.find(draw.key, now);
        let known = shard.full_at(place, now.saturating_add(draw.plan.ceiling()));
        let full_at = known.max(self.unknown(draw));
        let left = tolerance.saturating_sub(full_at.saturating_sub(lost_at));
        if left > 0 {
            shard.set(place, draw.key, now.saturating_add(tolerance), now);
        }
        left / self.replicas
    }

    fn hold<'p>(&self, draws: &[Draw<'p>], now: Moment) -> SmallVec<[Held<'p>; 4]> {
        let mut held = SmallVec::new();
        for draw in in_locking_order(draws) {
            held.push(Held::weigh_from(
                self.scaled(draw),
                self.unknown(&draw),
                now.nanos(),
            ));
        }
        held
    }

    fn scaled<'p>(&self, draw: Draw<'p>) -> Draw<'p> {
        Draw {
            cost: draw.cost.saturating_mul(self.replicas),
            ..draw
        }
    }

    /// When the share of a key that nothing is known of is full.
    fn unknown(&self, draw: &Draw<'_>) -> u64 {
        match self.beginning.load(Relaxed) {
            FULL => 0,
            _ => self.began.saturating_add(draw.quota.tolerance()),
        }
    }

    /// The first answer stays.
    fn settle(&self, beginning: u8) {
        if self.beginning.load(Relaxed) == UNKNOWN {
            let settled = &self.beginning;
            // Another thread that was first was not wrong.
            let _first = settled.compare_exchange(UNKNOWN, beginning, Relaxed, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
