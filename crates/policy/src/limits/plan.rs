//! One configured limit, compiled: who is counted together, and which quota a caller has.

use std::{hash::Hasher, net::IpAddr, num::NonZeroU32, sync::Arc};

use portcullis_config::limits::{KeyPart, RateLimit, Tier};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::{
    buckets::{Buckets, Key},
    gcra::Quota,
};

/// Whom a request is counted for.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub address: IpAddr,
    /// The principal's subject. Absent on public routes: the address is counted in its place.
    pub subject: Option<&'a str>,
    pub roles: &'a [Box<str>],
    /// The name of the route, which outlives a reload where its number may not.
    pub route: &'a str,
}

/// A limit of the current snapshot over buckets that outlive it.
pub struct LimitPlan {
    name: Arc<str>,
    buckets: Arc<Buckets>,
    seed: (u64, u64),
    parts: Box<[KeyPart]>,
    ipv6_mask: u128,
    quota: Arc<Quota>,
    tiers: Box<[TierPlan]>,
    /// The time in which the slowest bucket of this limit fills.
    ceiling: u64,
    needs_principal: bool,
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
            seed,
            parts: limit.key.clone().into(),
            ipv6_mask: u128::MAX
                .checked_shl(u32::from(128 - limit.ipv6_prefix.min(128)))
                .unwrap_or(0),
            ceiling: tolerances.fold(quota.tolerance(), u64::max),
            needs_principal: limit.needs_principal(),
            name,
            quota,
            tiers,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is spent after access rather than before the token.
    pub fn needs_principal(&self) -> bool {
        self.needs_principal
    }

    /// `None` where the caller's tier is unlimited: such a caller takes nothing.
    pub fn draw(&self, caller: &Caller<'_>, cost: NonZeroU32) -> Option<Draw<'_>> {
        let quota = self.quota_of(caller.roles)?;
        Some(Draw {
            plan: self,
            quota,
            key: self.key_of(caller),
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

    /// Every part is written with a mark of its kind and its length, so that no two lists of parts read the same.
    fn key_of(&self, caller: &Caller<'_>) -> Key {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        for part in &self.parts {
            match (part, caller.subject) {
                (KeyPart::Ip, _) | (KeyPart::User, None) => {
                    self.write_address(&mut hasher, caller.address)
                }
                (KeyPart::User, Some(subject)) => write_text(&mut hasher, b'u', subject),
                (KeyPart::Route, _) => write_text(&mut hasher, b'r', caller.route),
            }
        }
        let hash = hasher.finish128();
        [hash.h1, hash.h2]
    }

    fn write_address(&self, hasher: &mut SipHasher13, address: IpAddr) {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                hasher.write_u8(b'4');
                hasher.write_u32(address.to_bits());
            }
            IpAddr::V6(address) => {
                hasher.write_u8(b'6');
                hasher.write_u128(address.to_bits() & self.ipv6_mask);
            }
        }
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

fn write_text(hasher: &mut SipHasher13, kind: u8, text: &str) {
    hasher.write_u8(kind);
    hasher.write_usize(text.len());
    hasher.write(text.as_bytes());
}

#[cfg(test)]
mod tests;
