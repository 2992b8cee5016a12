//! The endpoints of an upstream at one moment, and the choice among them.
//!
//! Who is fit to be asked changes seldom and is worked out then, so that a choice reads a finished list: no lock, no
//! allocation, no look at anybody's state.

use std::sync::Arc;

use portcullis_config::upstreams::Balance;
use portcullis_policy::{
    balance::{Rota, home, is_busier},
    clock::Moment,
    fitness::{Among, Condition},
};

use crate::target::Target;

#[derive(Default)]
pub(crate) struct Roster {
    /// All of them, those included that are drained or out.
    pub(crate) targets: Vec<Arc<Target>>,
    /// `None` until it has been assessed.
    pub(crate) among: Option<Among>,
    /// Those that requests are shared among, by their turns.
    asked: Vec<Arc<Target>>,
    rota: Rota,
}

/// What a choice depends on beside the endpoints.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) balance: &'a Balance,
    /// What the request is hashed by, where it is.
    pub(crate) key: Option<u64>,
    pub(crate) turn: u64,
    /// Where it was tried just now: another is taken where there is one.
    pub(crate) failed: Option<&'a Target>,
}

impl Roster {
    /// Of endpoints that nobody has assessed yet; [`Self::assessed`] follows with the first request. Whoever comes while
    /// another is at it asks any of them: an empty list would refuse requests that there are endpoints for.
    pub(crate) fn of(targets: Vec<Arc<Target>>) -> Self {
        let unassessed = Self {
            targets,
            ..Self::default()
        };
        let presumed_well = |target: &Target| Condition {
            weight: target.site.weight,
            is_healthy: true,
            is_ejected: false,
        };
        Self {
            among: None,
            ..unassessed.assessed(100, presumed_well)
        }
    }

    /// The same endpoints, with those to be asked as things stand now.
    pub(crate) fn assessed(
        &self,
        max_ejected_percent: u8,
        condition: impl Fn(&Target) -> Condition,
    ) -> Self {
        let conditions: Vec<Condition> = self
            .targets
            .iter()
            .map(|target| condition(target))
            .collect();
        let among = Among::of(&conditions, max_ejected_percent);
        let asked: Vec<Arc<Target>> = self
            .targets
            .iter()
            .zip(&conditions)
            .filter(|(_, condition)| among.includes(condition))
            .map(|(target, _)| Arc::clone(target))
            .collect();
        let weights = asked.iter().map(|target| target.site.weight).enumerate();
        Self {
            rota: Rota::new(weights),
            targets: self.targets.clone(),
            among: Some(among),
            asked,
        }
    }

    /// When the first ejection ends that is counted on, in monotonic nanoseconds.
    pub(crate) fn stands_until(&self, now: Moment) -> u64 {
        let ends = self
            .targets
            .iter()
            .map(|target| target.record.outlier.ejected_until());
        ends.filter(|end| *end > now.nanos())
            .min()
            .unwrap_or(u64::MAX)
    }

    pub(crate) fn choose(&self, wish: Wish<'_>) -> Option<&Arc<Target>> {
        match (wish.balance, wish.key) {
            (Balance::Hash(_), Some(key)) => self.home_of(key, wish.failed),
            (Balance::RoundRobin, _) => self.next(wish),
            (Balance::LeastRequests, _) | (Balance::Hash(_), None) => self.less_busy(wish),
        }
    }

    fn next(&self, wish: Wish<'_>) -> Option<&Arc<Target>> {
        let first = self.at(self.rota.at(wish.turn))?;
        if is_same(first, wish.failed) {
            return self.at(self.rota.other(wish.turn)).or(Some(first));
        }
        Some(first)
    }

    fn less_busy(&self, wish: Wish<'_>) -> Option<&Arc<Target>> {
        let first = self.at(self.rota.at(wish.turn))?;
        let Some(other) = self.at(self.rota.other(wish.turn)) else {
            return Some(first);
        };
        let takes_other = is_same(first, wish.failed)
            || (!is_same(other, wish.failed) && is_busier(first.load(), other.load()));
        Some(if takes_other { other } else { first })
    }

    fn home_of(&self, key: u64, failed: Option<&Target>) -> Option<&Arc<Target>> {
        let named = self.asked.iter().enumerate();
        let endpoints = named.map(|(index, target)| (index, target.name, target.site.weight));
        let others = endpoints.clone().filter(|(index, ..)| {
            self.asked
                .get(*index)
                .is_some_and(|target| !is_same(target, failed))
        });
        let chosen = match failed {
            None => home(key, endpoints),
            Some(_) => home(key, others).or_else(|| home(key, endpoints)),
        };
        self.at(chosen)
    }

    fn at(&self, index: Option<usize>) -> Option<&Arc<Target>> {
        self.asked.get(index?)
    }
}

fn is_same(target: &Target, failed: Option<&Target>) -> bool {
    failed.is_some_and(|failed| failed.site.address == target.site.address)
}
