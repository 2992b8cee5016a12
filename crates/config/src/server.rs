//! `server:` where the gateway listens, and what one connection or request may cost it.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::{certificates::Tls, units::ByteSize};

#[derive(Clone, Debug)]
pub struct Server {
    /// At least one; no two bind the same address.
    pub listeners: Vec<Listener>,
    pub admin: SocketAddr,
    pub threads: Threads,
    pub trusted_proxies: Vec<IpNet>,
    pub limits: ConnectionLimits,
    pub shutdown: Shutdown,
    pub headers: ResponseHeaders,
    pub access_log: AccessLog,
    pub traces: Option<TraceCollector>,
}

#[derive(Clone, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    /// Every connection begins with the PROXY protocol, version 1 or 2, from one of `trusted_proxies`.
    pub proxy_protocol: bool,
    /// Absent: plain HTTP/1.1.
    pub tls: Option<Tls>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// As many as the CPU quota allows.
    Auto,
    Exactly(NonZeroUsize),
}

#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// The request line and all header lines together.
    pub header_bytes: ByteSize,
    pub headers: usize,
    /// A request body, where the route says nothing else.
    pub body: ByteSize,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// Between two requests, and between two reads of a body.
    pub idle_timeout: Duration,
    pub connections: usize,
    pub connections_per_ip: usize,
}

#[derive(Clone, Debug)]
pub struct Shutdown {
    /// Between the signal, which takes readiness down, and the closing of the listeners.
    pub drain_delay: Duration,
    /// From the signal to the end of the process, at the latest.
    pub timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct ResponseHeaders {
    pub security: SecurityHeaders,
    pub rate_limit: RateLimitHeaders,
    pub process_time: bool,
}

#[derive(Clone, Debug)]
pub enum SecurityHeaders {
    Owasp,
    None,
    Explicit(Vec<(HeaderName, HeaderValue)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitHeaders {
    /// `RateLimit` and `RateLimit-Policy`.
    Ietf,
    /// The `X-RateLimit-*` triple.
    X,
    Both,
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AccessLog {
    None,
    Json {
        to: LogTarget,
        /// The share of requests written, above 0 and up to 1. Refusals are always written.
        sample: f64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    Stderr,
    /// Appended to; made anew where it has been moved away or removed.
    File(PathBuf),
}

/// Who is told of traces: OTLP over HTTP, at `/v1/traces` below this address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceCollector {
    pub url: String,
}
