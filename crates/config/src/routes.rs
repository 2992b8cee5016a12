//! `routes:` what is matched, who may pass, and where it goes.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, Method};
use ipnet::IpNet;

use crate::{
    cors::Cors,
    header_rules::HeaderRules,
    limits::{InFlightLimit, RateLimit},
    redirects::Redirect,
    shadow::Shadow,
    templates::PathTemplate,
    units::ByteSize,
    upstreams::Upstream,
};

#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    pub matches: RouteMatch,
    pub target: Target,
    pub access: Access,
    pub rate_limits: Vec<Spend>,
    /// Named among `rate_limits` as well.
    pub in_flight: Vec<Arc<InFlightLimit>>,
    /// The whole request; the upstream's where absent.
    pub timeout: Option<Duration>,
    pub rewrite: Rewrite,
    pub audit: AuditLevel,
    pub addresses: AddressLists,
    pub forward: IdentityHeaders,
    /// The largest request body; the server's where absent.
    pub body: Option<ByteSize>,
    pub cors: Option<Cors>,
    pub headers: HeaderRules,
    pub upgrade: Upgrade,
    /// Of a tunnel or a stream, which the timeout does not end.
    pub max_connection_life: Duration,
    pub shadow: Shadow,
}

impl Route {
    /// Of both kinds, as `rate_limits` names them together.
    pub fn limit_names(&self) -> impl Iterator<Item = &str> {
        let rates = self.rate_limits.iter().map(|spend| &spend.limit.name);
        let in_flight = self.in_flight.iter().map(|limit| &limit.name);
        rates.chain(in_flight).map(String::as_str)
    }
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
    /// None: the client is sent elsewhere.
    Redirect(Redirect),
}

#[derive(Clone, Debug)]
pub enum Access {
    /// `auth: public`. `Authorization` passes untouched.
    Public,
    /// `optional: true`. Who brings no token passes without an identity; a token that is there must be good.
    Optional(AccessRule),
    Protected(AccessRule),
}

/// What a token must carry. Empty lists ask for nothing beyond the resource.
#[derive(Clone, Debug, Default)]
pub struct AccessRule {
    pub resource: String,
    pub all_scopes: Vec<String>,
    pub any_scopes: Vec<String>,
    pub any_roles: Vec<String>,
    /// Names of issuers, ours being [`LOCAL`](crate::issuers::LOCAL); empty: every configured one and our own.
    pub issuers: Vec<String>,
    pub tenant: TenantRule,
    /// Refused while it is not known what was revoked lately.
    pub fresh: bool,
}

/// Of which tenant a token must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TenantRule {
    /// Of any, or of none.
    #[default]
    Any,
    /// `tenant: required`
    Required,
    /// `tenant: { segment: 2 }`: of the one that this segment of the path names. The first one is 1.
    Segment(NonZeroUsize),
}

#[derive(Clone, Debug)]
pub struct Spend {
    pub limit: Arc<RateLimit>,
    pub cost: NonZeroU32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Without a trailing slash each. Empty: none.
    Prefixes {
        /// Taken off whole segments only.
        strip: String,
        add: String,
    },
    /// For the paths that the route's pattern matches.
    Template(PathTemplate),
}

impl Default for Rewrite {
    fn default() -> Self {
        Self::Prefixes {
            strip: String::new(),
            add: String::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditLevel {
    Refusals,
    All,
}

/// Into what a request may turn its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    None,
    WebSocket,
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

impl IdentityHeaders {
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [&self.user, &self.roles, &self.scopes]
            .into_iter()
            .flatten()
    }
}

impl PathPattern {
    /// Invariant: a literal segment stands as the gateway's one canonical form of a path has it, so that comparing bytes
    /// is enough. A trailing slash is an empty last segment; `/` alone is a single empty one, and `/**` has none.
    ///
    /// The complaint goes on from the text: "`x/y` is not a path: …".
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err("is not a path: begin it with `/`".to_owned());
        };
        let mut segments: Vec<&str> = path.split('/').collect();
        let subtree = segments.last() == Some(&"**");
        if subtree {
            segments.pop();
        }
        let last = segments.len().saturating_sub(usize::from(!subtree));
        let parsed = segments
            .iter()
            .enumerate()
            .map(|(index, segment)| match *segment {
                "" if index < last || subtree => {
                    Err("has an empty segment: write single slashes".to_owned())
                }
                segment => Segment::parse(segment),
            });
        Ok(Self {
            segments: parsed.collect::<Result<_, _>>()?,
            subtree,
        })
    }
}

impl Segment {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "*" => return Ok(Self::Any),
            "**" => {
                return Err(
                    "has `**` in the middle: it stands for everything below and goes last"
                        .to_owned(),
                );
            }
            "." | ".." => return Err("has a dot segment: no request with one is let in".to_owned()),
            _ => {}
        }
        if text.contains('*') {
            return Err("has `*` within a segment: it stands for a whole one".to_owned());
        }
        // RFC 3986 section 3.3 without `;`, whose parameters some backends cut off, and without escapes, which the
        // canonical form has in one spelling only.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&byte);
        if !text.bytes().all(allowed) {
            return Err("has a character that no path in canonical form has: use letters, digits and -._~!$&'()+,=:@".to_owned());
        }
        Ok(Self::Literal(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{PathPattern, Segment};

    fn check(text: &str, segments: &[&str], subtree: bool) {
        let pattern =
            PathPattern::parse(text).unwrap_or_else(|complaint| panic!("{text} {complaint}"));
        let segments = segments.iter().map(|segment| match *segment {
            "*" => Segment::Any,
            literal => Segment::Literal(literal.to_owned()),
        });
        assert_eq!(
            pattern,
            PathPattern {
                segments: segments.collect(),
                subtree
            },
            "{text}"
        );
    }

    #[test]
    fn a_pattern_is_its_segments_and_whether_all_below_belongs_to_it() {
        check("/", &[""], false);
        check("/**", &[], true);
        check("/x", &["x"], false);
        check("/x/", &["x", ""], false);
        check("/x/**", &["x"], true);
        check("/x/*/y", &["x", "*", "y"], false);
        check("/*/**", &["*"], true);
        check("/.well-known/a@b", &[".well-known", "a@b"], false);
    }

    #[test]
    fn what_no_canonical_path_has_is_refused() {
        for text in [
            "", "x", "//", "/a//b", "//**", "/./a", "/a/..", "/a;b", "/a?b", "/a#b", "/a%20b",
            "/ä", "/a\\b", "/a b", "/***",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text:?}");
        }
    }
}
