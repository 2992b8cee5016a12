//! What a browser is told about pages of other origins: the CORS protocol of the Fetch standard, the server's side.
//!
//! An origin is allowed if it is listed, compared byte by byte, and never because it was sent. All that is told beside it
//! is made when the configuration is.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use portcullis_config::cors::{self as config, Origins};

use crate::hygiene::{METHODS, allow};

/// What the gateway itself sets, which a page may always read.
const OWN: [&str; 9] = [
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "www-authenticate",
    "x-process-time",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
];

/// What the protocol may be answered with. On a route with a rule of its own the upstream has no say in it.
const ANSWERS: [HeaderName; 7] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
];

/// One route's rule, with its answers ready.
pub struct Cors {
    /// `None`: all of them.
    origins: Option<HashSet<Box<[u8]>>>,
    credentials: bool,
    methods: HeaderValue,
    headers: HeaderValue,
    max_age: HeaderValue,
    exposed: HeaderValue,
}

impl Cors {
    /// `methods` are those of the route; empty where it takes all.
    pub fn new(rule: &config::Cors, methods: &[Method]) -> Self {
        let origins = match &rule.origins {
            Origins::Any => None,
            Origins::Listed(origins) => Some(
                origins
                    .iter()
                    .map(|origin| origin.as_bytes().into())
                    .collect(),
            ),
        };
        let methods = if methods.is_empty() {
            &METHODS
        } else {
            methods
        };
        let exposed = rule.expose.iter().map(HeaderName::as_str).chain(OWN);
        Self {
            origins,
            credentials: rule.credentials,
            methods: allow(methods.iter()),
            headers: list(rule.headers.iter().map(HeaderName::as_str)),
            max_age: HeaderValue::from(rule.max_age.as_secs()),
            exposed: list(exposed),
        }
    }

    /// Writes on any answer of the route who may read it. `origin` is whose page asked.
    pub fn mark(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        for name in &ANSWERS {
            answer.remove(name);
        }
        // Caches must not give one origin what was meant for another, nor what was meant for none.
        if self.origins.is_some() && !varies_by_origin(answer) {
            answer.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) else {
            return;
        };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
    }

    /// What the answer to a preflight tells beside, if the origin is allowed at all.
    pub fn permissions(&self, origin: Option<&HeaderValue>) -> Vec<(HeaderName, HeaderValue)> {
        if origin.and_then(|origin| self.allowed(origin)).is_none() {
            return Vec::new();
        }
        let told = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            (header::ACCESS_CONTROL_MAX_AGE, &self.max_age),
        ];
        let told = told.into_iter().filter(|(_, value)| !value.is_empty());
        told.map(|(name, value)| (name, value.clone())).collect()
    }

    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(HeaderValue::from_static("*")),
            Some(listed) => listed.contains(origin.as_bytes()).then(|| origin.clone()),
        }
    }
}

/// Whose page asks, where the request says so once.
pub fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

/// The method that a browser asks leave for, where the request is a preflight.
pub fn method_asked_for(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if *method != Method::OPTIONS {
        return None;
    }
    origin(headers)?;
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(asked.as_bytes()).ok()
}

fn varies_by_origin(answer: &HeaderMap) -> bool {
    let lines = answer.get_all(header::VARY).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|name| matches!(name.trim(), "*") || name.trim().eq_ignore_ascii_case("origin"))
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> HeaderValue {
    let names: Vec<&str> = names.collect();
    HeaderValue::try_from(names.join(", ")).expect("header names are tokens")
}

#[cfg(test)]
mod tests;
