//! `routes:` what is matched, who may pass, and where it goes.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use http::{HeaderName, Method};
use ipnet::IpNet;

use crate::{limits::RateLimit, units::ByteSize, upstreams::Upstream};

#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    pub matches: RouteMatch,
    pub target: Target,
    pub access: Access,
    pub rate_limits: Vec<Spend>,
    /// The whole request; the upstream's where absent.
    pub timeout: Option<Duration>,
    pub rewrite: Rewrite,
    pub audit: AuditLevel,
    pub addresses: AddressLists,
    pub forward: IdentityHeaders,
    /// The largest request body; the server's where absent.
    pub body: Option<ByteSize>,
}

#[derive(Clone, Debug)]
pub struct RouteMatch {
    pub path: PathPattern,
    /// Empty: every method but CONNECT and TRACE.
    pub methods: Vec<Method>,
    /// Lower case, without a port. Empty: every host.
    pub hosts: Vec<String>,
}

/// A path as routes match it. `/x/**` matches `/x`, `/x/` and all below; `*` is one segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    pub segments: Vec<Segment>,
    /// It ends in `**`.
    pub subtree: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    Literal(String),
    /// `*`
    Any,
}

#[derive(Clone, Debug)]
pub enum Target {
    Upstream(Arc<Upstream>),
    /// `builtin:auth`
    Auth,
}

#[derive(Clone, Debug)]
pub enum Access {
    /// `auth: public`. `Authorization` passes untouched.
    Public,
    Protected(AccessRule),
}

/// What a token must carry. Empty lists ask for nothing beyond the resource.
#[derive(Clone, Debug, Default)]
pub struct AccessRule {
    pub resource: String,
    pub all_scopes: Vec<String>,
    pub any_scopes: Vec<String>,
    pub any_roles: Vec<String>,
    /// Names of issuers; empty: every configured one and our own.
    pub issuers: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Spend {
    pub limit: Arc<RateLimit>,
    pub cost: NonZeroU32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Without a trailing slash; taken off whole segments only.
    pub strip_prefix: String,
    pub add_prefix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditLevel {
    Refusals,
    All,
}

#[derive(Clone, Debug, Default)]
pub struct AddressLists {
    /// Empty: everybody.
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

/// The names under which the upstream learns who calls. Absent: it is not told.
#[derive(Clone, Debug)]
pub struct IdentityHeaders {
    pub user: Option<HeaderName>,
    pub roles: Option<HeaderName>,
    pub scopes: Option<HeaderName>,
    /// Whether the token itself travels on.
    pub token: bool,
}
