//! `rate_limits:` named budgets that routes spend from, and caps on what goes on at the same time.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
};

use http::HeaderName;

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

/// So many requests of one key at the same time. It stands among the rates, and routes name it as one of them.
#[derive(Clone, Debug)]
pub struct InFlightLimit {
    pub name: String,
    /// At least one part.
    pub key: Vec<KeyPart>,
    pub most: NonZeroU32,
    /// As in [`RateLimit`].
    pub ipv6_prefix: u8,
}

/// What of a request is counted apart. What is absent from it is a value as any other: those without share one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyPart {
    Ip,
    /// The principal; the client address where the route has none.
    User,
    Route,
    /// Whatever the client sends under this name. It may send what it likes, so this is no bound on a client alone.
    Header(HeaderName),
    /// `claim:tenant`: the tenant, from the claim that an issuer's `claims.tenant` names.
    Tenant,
    /// A claim as it stands in the token, by its name or its path; the client address where there is no token.
    Claim(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Unlimited,
    Limited(Rate),
}

impl RateLimit {
    /// Whether it is spent after access (it needs the principal) rather than before the token.
    pub fn needs_principal(&self) -> bool {
        self.key.iter().any(KeyPart::needs_principal) || !self.tiers.is_empty()
    }
}

impl InFlightLimit {
    /// Whether a place is taken after access rather than before the token.
    pub fn needs_principal(&self) -> bool {
        self.key.iter().any(KeyPart::needs_principal)
    }
}

impl KeyPart {
    /// Whether only a token can say it.
    pub fn needs_principal(&self) -> bool {
        match self {
            Self::User | Self::Tenant | Self::Claim(_) => true,
            Self::Ip | Self::Route | Self::Header(_) => false,
        }
    }

    /// The claim that has to be remembered for it.
    pub fn claim(&self) -> Option<&str> {
        match self {
            Self::Claim(name) => Some(name),
            Self::Ip | Self::User | Self::Route | Self::Header(_) | Self::Tenant => None,
        }
    }
}
