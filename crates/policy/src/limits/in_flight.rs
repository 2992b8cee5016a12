//! How much of one key may go on at the same time, whatever it does and however long it takes.
//!
//! The counts are a sketch of a fixed size, so that no flood of keys makes it grow. Keys that share all of their slots are
//! counted together: then a request is refused too early, which takes thousands of keys at work at once to be likely.
//! It errs to that side alone, but only with the turns below. Two requests of one key that are written into the rows of
//! the sketch in different orders would each find a row that the other has not reached, and both pass as the last.

use std::{array, sync::Arc};

use parking_lot::Mutex;
use pingora_limits::inflight::{Guard, Inflight};
use portcullis_config::limits::InFlightLimit;

use super::{
    gcra::{Quota, Refused},
    key::{Caller, Key, Keying},
};

/// Enough that requests seldom wait for another's turn, which is over in nanoseconds.
const TURNS: usize = 64;

/// One configured cap, compiled, over counts that outlive it.
pub struct InFlightPlan {
    name: Arc<str>,
    keying: Keying,
    counts: Arc<InFlightCounts>,
    most: isize,
    quota: Arc<Quota>,
}

/// One of the places of a key. It is free again when this is dropped.
#[derive(Debug)]
pub struct PlaceInFlight {
    _counted: Guard,
}

impl InFlightPlan {
    pub(super) fn new(
        limit: &InFlightLimit,
        counts: Arc<InFlightCounts>,
        seed: (u64, u64),
    ) -> Self {
        Self {
            name: Arc::from(limit.name.as_str()),
            keying: Keying::new(&limit.key, limit.ipv6_prefix, seed),
            counts,
            most: isize::try_from(limit.most.get()).unwrap_or(isize::MAX),
            quota: Arc::new(Quota::of_places(&limit.name, limit.most)),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a place, if the caller has one left.
    pub fn enter(&self, caller: &Caller<'_>) -> Result<PlaceInFlight, Refused> {
        let entered = self.counts.enter(self.keying.key_of(caller), self.most);
        entered.ok_or_else(|| Refused::without_a_place(&self.quota))
    }
}

/// The requests in flight under one limit, by key.
pub(super) struct InFlightCounts {
    sketch: Inflight,
    turns: [Mutex<()>; TURNS],
}

impl InFlightCounts {
    pub(super) fn new() -> Self {
        Self {
            sketch: Inflight::new(),
            turns: array::from_fn(|_| Mutex::default()),
        }
    }

    /// One request of a key after the other: whoever is counted stands in every row before the next one looks.
    fn enter(&self, key: Key, most: isize) -> Option<PlaceInFlight> {
        let turn = usize::try_from(key[0] % TURNS as u64).unwrap_or(0);
        let _turn = self.turns.get(turn).map(Mutex::lock);
        let (counted, count) = self.sketch.incr(key, 1);
        (count <= most).then_some(PlaceInFlight { _counted: counted })
    }
}

#[cfg(test)]
mod tests;
