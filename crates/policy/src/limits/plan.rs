//! One configured limit, compiled: who is counted together, and which quota a caller has.

use std::{num::NonZeroU32, sync::Arc};

use portcullis_config::limits::{RateLimit, Tier};

use super::{
    buckets::Buckets,
    gcra::Quota,
    key::{Caller, Key, Keying, SharedKey},
};

/// A limit of the current snapshot over buckets that outlive it.
pub struct LimitPlan {
    name: Arc<str>,
    buckets: Arc<Buckets>,
    keying: Keying,
    quota: Arc<Quota>,
    tiers: Box<[TierPlan]>,
    /// The time in which the slowest bucket of this limit fills.
    ceiling: u64,
}

struct TierPlan {
    role: Box<str>,
    /// `None`: unlimited.
    quota: Option<Arc<Quota>>,
}

/// What one request takes from one limit.
#[derive(Clone, Copy)]
pub struct Draw<'p> {
    pub(super) plan: &'p LimitPlan,
    pub(super) quota: &'p Arc<Quota>,
    pub(super) key: Key,
    pub(super) cost: u64,
}

/// A caller under a limit, by the names of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    limit: u64,
    key: Key,
}

impl Account {
    /// A number that is spread evenly over all accounts.
    pub fn spread(&self) -> u64 {
        let [_, second] = self.key;
        second
    }

    #[cfg(test)]
    pub(super) fn example(key: u64) -> Self {
        Self {
            limit: 0,
            key: [key, key],
        }
    }
}

impl Draw<'_> {
    pub fn account(&self) -> Account {
        Account {
            limit: self.plan.buckets.rank(),
            key: self.key,
        }
    }
}

impl LimitPlan {
    pub(super) fn new(limit: &RateLimit, buckets: Arc<Buckets>, seed: (u64, u64)) -> Self {
        let name: Arc<str> = limit.name.as_str().into();
        let quota = Arc::new(Quota::new(Arc::clone(&name), limit.rate, limit.burst.get()));
        let tiers: Box<[TierPlan]> = limit
            .tiers
            .iter()
            .map(|(role, tier)| TierPlan::new(role, *tier, &name))
            .collect();
        let tolerances = tiers
            .iter()
            .filter_map(|tier| tier.quota.as_ref())
            .map(|quota| quota.tolerance());
        Self {
            buckets,
            keying: Keying::new(&limit.key, limit.ipv6_prefix, seed),
            ceiling: tolerances.fold(quota.tolerance(), u64::max),
            name,
            quota,
            tiers,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `None` where the caller's tier is unlimited: such a caller takes nothing.
    pub fn draw(&self, caller: &Caller<'_>, cost: NonZeroU32) -> Option<Draw<'_>> {
        let roles = caller
            .principal
            .map_or(&[][..], |principal| principal.roles);
        let quota = self.quota_of(roles)?;
        Some(Draw {
            plan: self,
            quota,
            key: self.keying.key_of(caller),
            cost: u64::from(cost.get()),
        })
    }

    /// A role's tier replaces the plain quota; among several tiers the most generous counts.
    fn quota_of(&self, roles: &[Box<str>]) -> Option<&Arc<Quota>> {
        let mut best: Option<&Arc<Quota>> = None;
        for tier in self.tiers.iter().filter(|tier| roles.contains(&tier.role)) {
            let quota = tier.quota.as_ref()?;
            if best.is_none_or(|best| quota.generosity() > best.generosity()) {
                best = Some(quota);
            }
        }
        Some(best.unwrap_or(&self.quota))
    }

    pub(super) fn shared_key(&self, caller: &Caller<'_>) -> SharedKey {
        self.keying.shared_key_of(caller)
    }

    pub(super) fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    pub(super) fn ceiling(&self) -> u64 {
        self.ceiling
    }
}

impl TierPlan {
    /// A tier's bucket holds what its rate allows in one period.
    fn new(role: &str, tier: Tier, limit_name: &Arc<str>) -> Self {
        let quota = match tier {
            Tier::Unlimited => None,
            Tier::Limited(rate) => Some(Arc::new(Quota::new(
                Arc::clone(limit_name),
                rate,
                rate.count.get(),
            ))),
        };
        Self {
            role: role.into(),
            quota,
        }
    }
}

#[cfg(test)]
mod tests;
