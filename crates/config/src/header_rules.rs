//! `headers` of a route: what is set and removed on the way to the upstream and back.

use http::{HeaderName, HeaderValue};

#[derive(Clone, Debug, Default)]
pub struct HeaderRules {
    pub request: HeaderChanges,
    pub response: HeaderChanges,
}

/// No name stands in it twice.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges {
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
}

impl HeaderChanges {
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.set.iter().map(|(name, _)| name).chain(&self.remove)
    }
}
