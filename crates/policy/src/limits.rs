//! How often a caller may come: exact budgets that refill steadily, held in bounded memory.
//!
//! The operator's limits become [`LimitPlan`]s, one per snapshot; a plan and a [`Caller`] make a [`Draw`]; and [`take`]
//! spends on all draws of a stage or on none of them. The buckets themselves belong to the [`Limiter`], which outlives
//! every snapshot: a reload finds them again by the name of the limit.
//!
//! Invariant: for one key, between any two instants at most `burst + rate × elapsed` requests are admitted, from any
//! number of threads. The property tests hold the room to that.

mod buckets;
mod demand;
mod gcra;
mod in_flight;
mod key;
mod lease;
mod memory;
mod plan;
mod share;
pub mod shared;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use portcullis_config::limits::{InFlightLimit, RateLimit};
use smallvec::SmallVec;

use crate::clock::Moment;

use buckets::{Buckets, Place, Shard};
use gcra::Weighed;
use in_flight::InFlightCounts;

pub use demand::Demand;
pub use gcra::{Quota, Refused, Standing};
pub use in_flight::{InFlightPlan, PlaceInFlight};
pub use key::{Caller, Identity, SharedKey};
pub use lease::{Care, Lease, LeaseTold};
pub use memory::{Mark, Memory};
pub use plan::{Account, Draw, LimitPlan};
pub use share::Share;

/// Keys remembered for one limit. At a million the buckets of a limit take some 60 MB.
pub const DEFAULT_KEYS: usize = 1_000_000;

/// The home of all buckets, for the life of the process.
pub struct Limiter {
    seed: (u64, u64),
    keys_per_limit: usize,
    next_rank: AtomicU64,
    limits: ByName<Buckets>,
    in_flight: ByName<InFlightCounts>,
}

/// Weak, so that what is counted for a limit that the operator removed goes with the last snapshot that had it.
type ByName<T> = Mutex<HashMap<Arc<str>, Weak<T>>>;

impl Limiter {
    /// The seed must be random and secret: who knows it can look for callers that share a bucket.
    pub fn new(seed: (u64, u64), keys_per_limit: usize) -> Self {
        Self {
            seed,
            keys_per_limit,
            next_rank: AtomicU64::new(0),
            limits: ByName::default(),
            in_flight: ByName::default(),
        }
    }

    /// Makes the plan of one configured limit over the buckets that bear its name, old ones if there are any.
    pub fn plan(&self, limit: &RateLimit) -> LimitPlan {
        LimitPlan::new(limit, self.buckets(&limit.name), self.seed)
    }

    /// How many keys each limit remembers at the moment.
    pub fn key_counts(&self) -> Vec<(Arc<str>, usize)> {
        let limits = self.limits.lock();
        limits
            .iter()
            .filter_map(|(name, buckets)| Some((Arc::clone(name), buckets.upgrade()?.len())))
            .collect()
    }

    /// As [`Self::plan`], for a cap on what goes on at the same time.
    pub fn in_flight_plan(&self, limit: &InFlightLimit) -> InFlightPlan {
        let counts = known_or(&self.in_flight, &limit.name, InFlightCounts::new);
        InFlightPlan::new(limit, counts, self.seed)
    }

    fn buckets(&self, name: &str) -> Arc<Buckets> {
        known_or(&self.limits, name, || {
            let rank = self.next_rank.fetch_add(1, Ordering::Relaxed);
            Buckets::new(rank, self.keys_per_limit)
        })
    }
}

/// What bears that name still, or anew.
fn known_or<T>(by_name: &ByName<T>, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
    let mut by_name = by_name.lock();
    by_name.retain(|_, counted| counted.strong_count() > 0);
    if let Some(known) = by_name.get(name).and_then(Weak::upgrade) {
        return known;
    }
    let fresh = Arc::new(make());
    by_name.insert(name.into(), Arc::downgrade(&fresh));
    fresh
}

/// Spends on every draw, or on none of them if one is refused. `None`: there was nothing to spend on.
///
/// Several draws of one limit count as one that costs their sum; they are of one caller, and so of one key.
pub fn take(draws: &[Draw<'_>], now: Moment) -> Result<Option<Standing>, Refused> {
    let now = now.nanos();
    let mut held: SmallVec<[Held<'_>; 4]> = SmallVec::new();
    for draw in in_locking_order(draws) {
        held.push(Held::weigh(draw, now));
    }
    if let Some(refusing) = held
        .iter()
        .filter(|held| held.weighed.wait > 0)
        .max_by_key(|held| held.weighed.wait)
    {
        return Err(Refused {
            standing: refusing.standing(),
            retry_after: Duration::from_nanos(refusing.weighed.wait),
        });
    }
    for held in &mut held {
        held.spend(now);
    }
    let nearest = held
        .iter()
        .min_by_key(|held| held.weighed.remaining / held.draw.cost.max(1));
    Ok(nearest.map(Held::standing))
}

/// One draw with its shard locked: what was read stays true until it is written.
struct Held<'p> {
    draw: Draw<'p>,
    shard: MutexGuard<'p, Shard>,
    place: Place,
    weighed: Weighed,
}

impl<'p> Held<'p> {
    fn weigh(draw: Draw<'p>, now: u64) -> Self {
        Self::weigh_from(draw, 0, now)
    }

    /// A bucket that is not known is full at `unknown`.
    fn weigh_from(draw: Draw<'p>, unknown: u64, now: u64) -> Self {
        let mut shard = draw.plan.buckets().lock(draw.key);
        let place = shard.find(draw.key, now);
        let known = shard.full_at(place, now.saturating_add(draw.plan.ceiling()));
        let full_at = known.max(unknown);
        let weighed = draw.quota.weigh(full_at, draw.cost, now);
        Self {
            draw,
            shard,
            place,
            weighed,
        }
    }

    fn spend(&mut self, now: u64) {
        self.shard
            .set(self.place, self.draw.key, self.weighed.full_at, now);
    }

    fn standing(&self) -> Standing {
        Standing {
            quota: Arc::clone(self.draw.quota),
            remaining: self.weighed.remaining,
            reset_after: Duration::from_nanos(self.weighed.reset),
        }
    }
}

/// Two requests that share two limits must lock them in the same order, and none twice.
fn in_locking_order<'p>(draws: &[Draw<'p>]) -> SmallVec<[Draw<'p>; 4]> {
    let mut ordered: SmallVec<[Draw<'p>; 4]> = draws.iter().copied().collect();
    ordered.sort_unstable_by_key(|draw| draw.plan.buckets().rank());
    ordered.dedup_by(|again, first| {
        let same = again.plan.buckets().rank() == first.plan.buckets().rank();
        if same {
            first.cost = first.cost.saturating_add(again.cost);
        }
        same
    });
    ordered
}

#[cfg(test)]
mod tests;
