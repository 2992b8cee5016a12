//! `cors` of a route: pages of which origins may use it from a browser (the Fetch standard calls it the CORS protocol).

use std::time::Duration;

use http::HeaderName;

#[derive(Clone, Debug)]
pub struct Cors {
    pub origins: Origins,
    /// Whether cookies and other credentials of the browser may come along. Never with [`Origins::Any`].
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Duration,
    /// What a page may send beside the few headers that every page may.
    pub headers: Vec<HeaderName>,
    /// What a page may read beside the few headers that every page may, and those that the gateway sets.
    pub expose: Vec<HeaderName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// `*`
    Any,
    /// As browsers write them: lower case, without a port that goes without saying. At least one.
    Listed(Vec<String>),
}
