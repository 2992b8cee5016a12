//! `headers` of a route. The types are in [`crate::header_rules`].
//!
//! A rule cannot say what only the gateway may say: who calls, from where, and how long a message is.

use std::collections::HashSet;

use http::{HeaderName, HeaderValue};

use crate::{
    header_rules::{HeaderChanges, HeaderRules},
    names,
    reader::{Section, Value},
    routes::Route,
};

/// Fields of one hop (RFC 9110 section 7.6.1), fields that frame a message, and what a request is called.
const RESERVED: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
    "traceparent",
];

pub(super) fn header_rules(section: &Section<'_>) -> HeaderRules {
    HeaderRules {
        request: section.within("request", |changes| self::changes(changes, to_upstream)),
        response: section.within("response", |changes| self::changes(changes, to_client)),
    }
}

/// What can be told only once all routes are known: under which names upstreams learn who calls.
pub(super) fn check(routes: &[(Route, Value<'_>)]) {
    let identity: HashSet<&HeaderName> = routes
        .iter()
        .flat_map(|(route, _)| route.forward.names())
        .collect();
    for (route, element) in routes {
        let mut request = route.headers.request.names();
        if let Some(name) = request.find(|name| identity.contains(name)) {
            let name = names::quote(name.as_str());
            element.mistake(format!("`headers.request` names {name}, by which upstreams learn who calls: choose another name"));
        }
        let mut response = route.headers.response.names();
        let is_cors = |name: &&HeaderName| {
            *name == http::header::VARY || name.as_str().starts_with("access-control-")
        };
        if let Some(name) = response.find(is_cors).filter(|_| route.cors.is_some()) {
            let name = names::quote(name.as_str());
            element.mistake(format!(
                "`headers.response` names {name}, which `cors` sets: remove it from one of them"
            ));
        }
    }
}

fn changes(section: &Section<'_>, name: fn(&str) -> Result<HeaderName, String>) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    let seen = |changes: &HeaderChanges, name: &HeaderName, value: &Value<'_>| {
        if changes.names().any(|known| known == name) {
            value.mistake("is named twice here: keep one");
        }
    };
    for (text, value) in section.find("set").iter().flat_map(Value::entries) {
        let name = name(text)
            .map_err(|complaint| value.mistake(format!("{} {complaint}", names::quote(text))));
        if let (Ok(name), Some(field)) = (name, value.parse(field)) {
            seen(&changes, &name, &value);
            changes.set.push((name, field));
        }
    }
    for value in section.find("remove").iter().flat_map(Value::list) {
        if let Some(name) = value.parse(name) {
            seen(&changes, &name, &value);
            changes.remove.push(name);
        }
    }
    changes
}

/// Marked as sensitive: an upstream's password may be set here, and no configuration shall print it.
fn field(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_error| "is no header value: keep to visible characters".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn to_client(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_error| "is no header name: use letters, digits and `-`".to_owned())?;
    if RESERVED.contains(&name.as_str()) {
        return Err("has a meaning of its own in HTTP or for the gateway: remove it".to_owned());
    }
    Ok(name)
}

fn to_upstream(text: &str) -> Result<HeaderName, String> {
    let name = to_client(text)?;
    let known = name.as_str();
    if known.contains('_') {
        return Err(
            "is read by some servers as the name with `-`, which may be another's: write `-`"
                .to_owned(),
        );
    }
    let is_gateways = matches!(known, "forwarded" | "x-real-ip" | "proxy")
        || known.starts_with("x-forwarded-")
        || known.starts_with("x-portcullis-");
    if is_gateways {
        return Err("is the gateway's to say: remove it".to_owned());
    }
    Ok(name)
}
