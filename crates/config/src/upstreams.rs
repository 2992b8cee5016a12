//! `upstreams:` the named groups of endpoints behind the gateway, and what it expects of them.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use http::HeaderName;

use crate::certificates::{Authorities, KeyPair};

#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: String,
    /// At least one, and at least one with a weight above zero.
    pub endpoints: Vec<Endpoint>,
    /// Absent: nothing is encrypted.
    pub tls: Option<UpstreamTls>,
    /// `H2` only with `tls`, `H2c` only without.
    pub protocol: Protocol,
    pub balance: Balance,
    /// Absent: every endpoint counts as healthy.
    pub health_check: Option<HealthCheck>,
    /// Absent: no endpoint is ejected.
    pub outlier: Option<Outlier>,
    pub timeouts: UpstreamTimeouts,
    pub retries: Retries,
    pub circuit_breaker: CircuitBreaker,
    /// Requests at the same time; more are refused as overloaded.
    pub max_in_flight: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub at: Location,
    /// Its share beside the others, 0 to 100. With 0 it is drained: it finishes what it has and gets nothing new.
    pub weight: u8,
}

impl Endpoint {
    /// As heavy as any that says nothing of it.
    pub fn new(at: Location) -> Self {
        Self { at, weight: 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Address(SocketAddr),
    /// A DNS name, resolved in the background.
    Name {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// Whom the endpoints must prove to be, and how the gateway proves who it is.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// A host name or an address; never empty.
    pub server_name: String,
    /// Absent: those that the system trusts.
    pub ca: Option<Authorities>,
    /// Shown to an endpoint that asks for a certificate.
    pub identity: Option<KeyPair>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// Over TLS and settled by ALPN: an endpoint that does not speak it is not asked in another way.
    H2,
    /// Without TLS, from the first byte on (RFC 9113 section 3.3).
    H2c,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    LeastRequests,
    RoundRobin,
    /// The same key goes to the same endpoint for as long as that is there.
    Hash(HashKey),
}

/// What decides where a request goes. One without it is balanced by least requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    Header(HeaderName),
    Cookie(String),
    /// The client's address.
    Ip,
    /// The principal, and the client's address where there is none.
    User,
}

/// A GET that an endpoint must answer with a status of 200 to 299.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    pub path: String,
    pub interval: Duration,
    /// The whole check, the connection included.
    pub timeout: Duration,
    /// Checks passed in a row that bring an endpoint back.
    pub healthy: NonZeroU32,
    /// Checks failed in a row that take it out.
    pub unhealthy: NonZeroU32,
}

/// When an endpoint is left alone because of how it answered.
#[derive(Clone, Copy, Debug)]
pub struct Outlier {
    pub consecutive_failures: NonZeroU32,
    /// The first time; each further time in a row lasts longer.
    pub eject_for: Duration,
    /// 1 to 100: the share of the endpoints that may be out. When more deserve it, none is.
    pub max_ejected_percent: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    pub connect: Duration,
    /// The whole request, where the route says nothing else.
    pub request: Duration,
    /// Of a pooled connection. Keep it below the upstream's own keep-alive.
    pub idle: Duration,
}

/// When a request is tried again, and how often.
#[derive(Clone, Debug)]
pub struct Retries {
    /// How often one request may be tried, 1 to 5.
    pub attempts: u32,
    /// Where the connection could not be made: nothing was sent, so any request may be tried again.
    pub on_connect: bool,
    /// After these answers, where the request may be repeated.
    pub on_status: Vec<u16>,
    /// In a hundred requests, how many may be sent again after such an answer.
    pub budget: u8,
}

#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    pub consecutive_failures: NonZeroU32,
    pub failure_rate: Option<FailureRate>,
    pub slow_calls: Option<SlowCalls>,
    /// The first opening lasts exactly this long.
    pub open_for: Duration,
    pub half_open_requests: NonZeroU32,
    /// Successful probes that close it again.
    pub close_after: NonZeroU32,
}

#[derive(Clone, Copy, Debug)]
pub struct FailureRate {
    /// 1 to 100.
    pub percent: u8,
    pub window: Duration,
    pub minimum_requests: NonZeroU32,
}

#[derive(Clone, Copy, Debug)]
pub struct SlowCalls {
    pub slower_than: Duration,
    /// 1 to 100; measured over the window and minimum of `failure_rate`, or 10s and 20 without it.
    pub percent: u8,
}
