//! `shadow` of a route: the checks that only report.
//!
//! A check whose rule is new can be watched before it binds: what it would have refused is counted and logged, and the
//! request goes on as if the check were not there.

/// A check that a route can name in `shadow`, beside the rate limits, which go by their own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `ip`: the lists of addresses.
    Address,
    /// The route's own `body`; the server's stays in force.
    Body,
    Token,
    Access,
    MaxInFlight,
    CircuitBreaker,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shadow {
    pub checks: Vec<Check>,
    /// Names of rate limits that the route spends from.
    pub limits: Vec<String>,
}

impl Check {
    pub const ALL: [Self; 6] = [
        Self::Address,
        Self::Body,
        Self::Token,
        Self::Access,
        Self::MaxInFlight,
        Self::CircuitBreaker,
    ];

    /// As `shadow` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Body => "body",
            Self::Token => "token",
            Self::Access => "access",
            Self::MaxInFlight => "max_in_flight",
            Self::CircuitBreaker => "circuit_breaker",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.name() == name)
    }
}
