//! `redirect` of a route: where clients are sent instead of to an upstream.
//!
//! Nothing of it is the client's choice but what the route has matched: its host only where the route names its hosts,
//! its path in canonical form, and its query.

use http::StatusCode;

use crate::templates::PathTemplate;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Absent: where the client is already.
    pub origin: Option<RedirectOrigin>,
    pub path: PathTemplate,
    /// In place of the request's own, which comes along otherwise.
    pub query: Option<String>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

impl Redirect {
    pub fn takes_host(&self) -> bool {
        let origin = self.origin.as_ref();
        origin.is_some_and(|origin| origin.host == RedirectHost::OfRequest)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectOrigin {
    /// `http` or `https`.
    pub scheme: &'static str,
    pub host: RedirectHost,
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectHost {
    /// `{host}`: the one that the request names, which is one of the route's.
    OfRequest,
    Named(String),
}
