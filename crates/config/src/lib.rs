//! What the operator may say: `gateway.yaml` into values that are already valid.
//!
//! Start with [`load()`], which reports every mistake at once with its place in the file; then read the sections in the
//! order of the file.
//!
//! Invariant: after [`load()`] no value can be wrong. Names between sections are resolved into references that exist,
//! secrets are read through the closure handed in, and nothing downstream parses text again.

mod decode;
mod load;
mod mistakes;
mod names;
mod reader;
mod references;
mod restart;
mod tree;

pub mod auth;
pub mod certificates;
pub mod cors;
pub mod header_rules;
pub mod issuers;
pub mod limits;
pub mod mail;
pub mod providers;
pub mod redirects;
pub mod refresh_tokens;
pub mod routes;
pub mod schema;
pub mod server;
pub mod shadow;
pub mod sharing;
pub mod storage;
pub mod templates;
pub mod units;
pub mod upstreams;

use std::{collections::BTreeSet, path::Path, sync::Arc};

pub use load::{load, parse, parse_bytes, read};
pub use mistakes::{Mistake, Mistakes};
pub use references::{Reference, Secrets};
pub use restart::Key;

pub struct Config {
    pub server: server::Server,
    pub storage: storage::Storage,
    /// Absent: only tokens of other issuers are accepted, and `builtin:auth` cannot be routed to.
    pub auth: Option<auth::Auth>,
    pub issuers: Vec<issuers::Issuer>,
    pub upstreams: Vec<Arc<upstreams::Upstream>>,
    pub rate_limits: Vec<Arc<limits::RateLimit>>,
    /// Written under `rate_limits` as well, each with a name that no rate has.
    pub in_flight_limits: Vec<Arc<limits::InFlightLimit>>,
    pub sharing: sharing::Sharing,
    pub routes: Vec<routes::Route>,
    /// Whether audit events are kept: wherever `auth` is, and where `audit:` is written. With neither no database is
    /// opened.
    pub audit: bool,
}

impl Config {
    /// The claims that limits count by, which must be remembered of every token.
    pub fn counted_claims(&self) -> BTreeSet<&str> {
        let rates = self.rate_limits.iter().flat_map(|limit| &limit.key);
        let in_flight = self.in_flight_limits.iter().flat_map(|limit| &limit.key);
        rates
            .chain(in_flight)
            .filter_map(limits::KeyPart::claim)
            .collect()
    }

    /// Whether anything must be kept: a read-only sidecar opens no database.
    pub fn needs_database(&self) -> bool {
        self.auth.is_some() || self.audit
    }

    /// Files beside `gateway.yaml` that are read whenever it is brought into force. Whoever follows changes of the one
    /// follows these too. What `${file:…}` refers to is not among them: the loader has read it already.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.issuers.iter().filter_map(issuers::Issuer::key_file)
    }
}

#[cfg(test)]
mod tests;
