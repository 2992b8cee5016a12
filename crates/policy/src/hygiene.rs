//! Is this request clean, and what exactly does it ask for? The first check of admission, and the only one that reads
//! the request as it came.
//!
//! What comes out, a [`CanonicalTarget`], is the one form that is routed on, decided on and forwarded, so that no two
//! parties can read the same request differently. Where a spelling could be repaired or refused, it is refused: dot
//! segments, doubled slashes, path parameters and encoded separators are read differently by different servers, and
//! no honest client needs them. Case is kept: `/ADMIN` is simply another path than `/admin`.
//!
//! Pingora has parsed the message before and refuses or repairs some of this itself. It is checked again here, because
//! its reactions are not part of its contract.

mod fields;
mod host;
mod path;

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use portcullis_config::{routes::Route, server::ConnectionLimits};
use smallvec::SmallVec;

use crate::rejection::{Malformation, Rejection};

use fields::Fields;

#[cfg(test)]
pub(crate) use path::canonical as canonical_path;

pub use fields::{BodyLength, is_dropped};

/// Request targets beyond this are refused with 414, as by the servers behind us.
pub const LONGEST_TARGET: usize = 8 * 1024;

pub(crate) const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// The rules of one snapshot.
pub struct Hygiene {
    header_bytes: u64,
    headers: usize,
    methods: Box<[Method]>,
    allow: HeaderValue,
    /// Headers by which upstreams learn who calls. `Connection` must not name them.
    identity: Box<[HeaderName]>,
}

/// A request head as the parser left it.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub version: Version,
    pub headers: &'a HeaderMap,
    /// The target as it stood on the request line, where the caller has it. [`Uri`] cuts a fragment off in silence,
    /// and a parser may have escaped what should have been refused.
    pub raw_target: Option<&'a [u8]>,
}

/// What the request asks for, in the only spelling that the gateway knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalTarget<'a> {
    /// Lower case, without port and trailing dot. Empty only in HTTP/1.0, where a client may leave it out.
    pub host: Cow<'a, str>,
    /// Begins with a slash. Borrowed if the client wrote it that way already.
    pub path: Cow<'a, str>,
    /// Without the question mark; carried as it came.
    pub query: Option<&'a str>,
}

/// A request that passed, with what was seen on the way.
#[derive(Debug, PartialEq, Eq)]
pub struct Examined<'a> {
    pub target: CanonicalTarget<'a>,
    pub body: BodyLength,
    /// Names that must not travel on, see [`is_dropped`]. Empty for nearly every request.
    pub dropped: SmallVec<[&'a HeaderName; 2]>,
    /// `Connection: upgrade` and an `Upgrade` header. Where the route does not take it, both are left out upstream.
    pub wants_upgrade: bool,
}

impl Hygiene {
    /// Methods beyond the usual seven are known if a route lists them.
    pub fn new(limits: &ConnectionLimits, routes: &[Route]) -> Self {
        let mut methods = METHODS.to_vec();
        for method in routes.iter().flat_map(|route| &route.matches.methods) {
            if !methods.contains(method) && !matches!(*method, Method::CONNECT | Method::TRACE) {
                methods.push(method.clone());
            }
        }
        let forwards = routes.iter().map(|route| &route.forward);
        let identity = forwards
            .flat_map(|names| [&names.user, &names.roles, &names.scopes])
            .flatten()
            .cloned();
        Self {
            header_bytes: limits.header_bytes.bytes(),
            headers: limits.headers,
            allow: allow(methods.iter()),
            methods: methods.into(),
            identity: identity.collect(),
        }
    }

    pub fn examine<'a>(&self, request: &RequestView<'a>) -> Result<Examined<'a>, Rejection> {
        let target_length = target_length(request);
        if target_length > LONGEST_TARGET {
            return Err(Rejection::UriTooLong);
        }
        if request.headers.len() > self.headers {
            return Err(Rejection::HeadersTooLarge);
        }
        let fields = Fields::read(request.headers, &self.identity).map_err(Rejection::Malformed)?;
        if fields.bytes.saturating_add(target_length) as u64 > self.header_bytes {
            return Err(Rejection::HeadersTooLarge);
        }
        let body = fields
            .body_length(request.version)
            .map_err(Rejection::Malformed)?;
        if !self.methods.contains(request.method) {
            return Err(Rejection::MethodNotAllowed {
                allow: self.allow.clone(),
            });
        }
        let target = canonical_target(request, fields.host).map_err(Rejection::Malformed)?;
        Ok(Examined {
            target,
            body,
            wants_upgrade: fields.wants_upgrade(),
            dropped: fields.dropped,
        })
    }
}

impl CanonicalTarget<'_> {
    /// Whether path and query stand in the request as they are here, so that an origin-form target need not be set.
    pub fn is_as_received(&self) -> bool {
        matches!(self.path, Cow::Borrowed(_))
    }

    pub fn path_and_query(&self) -> Cow<'_, str> {
        match self.query {
            Some(query) => Cow::Owned([&self.path, "?", query].concat()),
            None => Cow::Borrowed(&self.path),
        }
    }
}

/// The value of `Allow` for these methods.
pub(crate) fn allow<'m>(methods: impl Iterator<Item = &'m Method>) -> HeaderValue {
    let names: Vec<&str> = methods.map(Method::as_str).collect();
    HeaderValue::try_from(names.join(", ")).expect("method names are tokens")
}

fn target_length(request: &RequestView<'_>) -> usize {
    let parsed = request
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    request
        .raw_target
        .map_or(parsed, |raw| raw.len().max(parsed))
}

fn canonical_target<'a>(
    request: &RequestView<'a>,
    host: Option<&'a HeaderValue>,
) -> Result<CanonicalTarget<'a>, Malformation> {
    check_raw_target(request.raw_target.unwrap_or_default())?;
    let host = host::canonical(request.uri, request.version, host)?;
    let path = path::canonical(request.uri.path())?;
    let query = request.uri.query();
    if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(Malformation::Query);
    }
    Ok(CanonicalTarget { host, path, query })
}

fn check_raw_target(raw: &[u8]) -> Result<(), Malformation> {
    match raw
        .iter()
        .find(|byte| !byte.is_ascii_graphic() || **byte == b'#')
    {
        Some(b'#') => Err(Malformation::Fragment),
        Some(_) => Err(Malformation::TargetEncoding),
        None if raw.is_empty() || is_path_or_web_address(raw) => Ok(()),
        None => Err(Malformation::Target),
    }
}

/// Origin-form, or absolute-form of a scheme that is ours (RFC 9112 section 3.2). Of anything else a parser keeps what it
/// takes for the path.
fn is_path_or_web_address(raw: &[u8]) -> bool {
    let has_scheme = |scheme: &[u8]| {
        raw.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    raw.starts_with(b"/") || has_scheme(b"http://") || has_scheme(b"https://")
}

#[cfg(test)]
mod tests;
