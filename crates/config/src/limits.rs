//! `rate_limits:` named budgets that routes spend from.

use std::{collections::BTreeMap, num::NonZeroU64};

use crate::units::Rate;

#[derive(Clone, Debug)]
pub struct RateLimit {
    pub name: String,
    /// What one bucket stands for; at least one part.
    pub key: Vec<KeyPart>,
    pub rate: Rate,
    /// The size of the bucket; the rate's count unless written.
    pub burst: NonZeroU64,
    /// Addresses of IPv6 are counted by this prefix, 32 to 128.
    pub ipv6_prefix: u8,
    /// By role; of several that match, the most generous counts.
    pub tiers: BTreeMap<String, Tier>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPart {
    Ip,
    /// The principal; the client address where the route has none.
    User,
    Route,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Unlimited,
    Limited(Rate),
}

impl RateLimit {
    /// Whether it is spent after access (it needs the principal) rather than before the token.
    pub fn needs_principal(&self) -> bool {
        self.key.contains(&KeyPart::User) || !self.tiers.is_empty()
    }
}
