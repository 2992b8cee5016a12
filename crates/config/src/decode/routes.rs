//! `routes:`, and the names in them that must have been declared above. The types are in [`crate::routes`].

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, Method};

use super::{
    access, at_least_a_millisecond, cors,
    endpoints::is_host_name,
    header_rules,
    limits::{self, Drawn, Limits},
    redirects, rewriting, server, shadow,
};
use crate::{
    auth::Auth,
    issuers::Issuer,
    names,
    reader::{Section, Value},
    routes::{
        AddressLists, AuditLevel, IdentityHeaders, PathPattern, Route, RouteMatch, Target, Upgrade,
    },
    shadow::Shadow,
    units::MOST,
    upstreams::{Protocol, Upstream},
};

const BUILTIN_AUTH: &str = "builtin:auth";

/// A client that wants to stay comes back once an hour, with a token of that hour.
const LONGEST_CONNECTION: Duration = Duration::from_secs(3600);

/// What the sections before `routes` have declared.
pub(super) struct Declared<'a> {
    pub(super) auth: Option<&'a Auth>,
    pub(super) issuers: &'a [Issuer],
    /// Those of `auth`, and those that other issuers' roles are mapped to.
    pub(super) roles: &'a [String],
    pub(super) upstreams: &'a [Arc<Upstream>],
    pub(super) limits: &'a Limits,
}

pub(super) fn routes(file: &Section<'_>, declared: &Declared<'_>) -> Vec<Route> {
    const REMEDY: &str = "nothing is let through that no route names; write at least one";
    let Some(value) = file.require("routes", REMEDY) else {
        return Vec::new();
    };
    let elements = value.list();
    if elements.is_empty() {
        value.mistake(format!("is empty: {REMEDY}"));
    }
    let mut routes = Vec::new();
    let mut seen = Seen::default();
    for element in elements {
        let Some(route) = element
            .section(|section| route(section, declared))
            .flatten()
        else {
            continue;
        };
        seen.check(&route, &element);
        routes.push((route, element));
    }
    header_rules::check(&routes);
    routes.into_iter().map(|(route, _)| route).collect()
}

fn route(section: &Section<'_>, declared: &Declared<'_>) -> Option<Route> {
    let name = section
        .require("name", "it stands in metrics and in the audit log")
        .and_then(|value| value.name());
    let matches = section
        .require("match", "write `match: { path: /x/** }`")
        .and_then(|value| value.section(route_match));
    let matches = matches.flatten();
    let target = target(section, matches.as_ref(), declared);
    let open_to = section.require(
        "auth",
        "say which resource a token must be for, or say `auth: public` to leave it open",
    );
    let pattern = matches.as_ref().map(|matches| &matches.path);
    let access = open_to.and_then(|value| access::access(&value, pattern, declared));
    let drawn = section.or("rate_limits", Drawn::default(), |value| {
        Some(limits::drawn(value, declared.limits))
    });
    let rewrite = section.within("rewrite", |rewrite| rewriting::rewrite(rewrite, pattern));
    let shadow = section.find("shadow");
    let levels = [("refusals", AuditLevel::Refusals), ("all", AuditLevel::All)];
    let upgrade = upgrade(section, target.as_ref());
    // What may be missing comes last: its `?` leaves the function, and everything else is to be read before.
    let route = Route {
        rate_limits: drawn.rates,
        in_flight: drawn.in_flight,
        timeout: section
            .find("timeout")
            .and_then(|value| value.duration(at_least_a_millisecond())),
        audit: section.or("audit", AuditLevel::Refusals, |value| value.word(&levels)),
        addresses: section.within("ip", |lists| AddressLists {
            allow: lists.or("allow", Vec::new(), |value| Some(server::networks(value))),
            deny: lists.or("deny", Vec::new(), |value| Some(server::networks(value))),
        }),
        forward: section.within("forward", forward),
        body: section.find("body").and_then(|value| value.size(0..=MOST)),
        cors: section
            .find("cors")
            .and_then(|value| value.section(cors::cors))
            .flatten(),
        headers: section.within("headers", header_rules::header_rules),
        shadow: Shadow::default(),
        upgrade,
        max_connection_life: section.or("max_connection_life", LONGEST_CONNECTION, |value| {
            value.duration(at_least_a_millisecond())
        }),
        rewrite,
        name: name?,
        matches: matches?,
        target: target?,
        access: access?,
    };
    let shadow = shadow.map(|value| shadow::shadow(&value, &route));
    Some(Route {
        shadow: shadow.unwrap_or_default(),
        ..route
    })
}

/// A connection of HTTP/2 is shared by many requests, so none of them can have it.
fn upgrade(section: &Section<'_>, target: Option<&Target>) -> Upgrade {
    let words = [("none", Upgrade::None), ("websocket", Upgrade::WebSocket)];
    section.or("upgrade", Upgrade::None, |value| {
        let upgrade = value.word(&words)?;
        let is_shared = matches!(target, Some(Target::Upstream(upstream)) if upstream.protocol != Protocol::Http1);
        if upgrade == Upgrade::WebSocket && is_shared {
            value.mistake("needs an upstream that is spoken to in HTTP/1.1: write `protocol: http1` there");
        }
        Some(upgrade)
    })
}

fn route_match(section: &Section<'_>) -> Option<RouteMatch> {
    let path = section
        .require("path", "write a path such as /hotel-db/**")
        .and_then(|value| value.parse(PathPattern::parse));
    let methods = section.or("methods", Vec::new(), |value| {
        Some(value.each(|element| element.parse(method)))
    });
    let hosts = section.or("hosts", Vec::new(), |value| {
        Some(value.each(|element| element.parse(host)))
    });
    Some(RouteMatch {
        path: path?,
        methods,
        hosts,
    })
}

fn method(text: &str) -> Result<Method, String> {
    let method = Method::from_bytes(text.as_bytes())
        .map_err(|_error| "is no method: write one such as GET".to_owned())?;
    if method == Method::CONNECT || method == Method::TRACE {
        return Err("is never let through: remove it".to_owned());
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err("never comes: methods are upper case, as in GET".to_owned());
    }
    Ok(method)
}

/// As the `Host` field has it, so IPv6 addresses stand in brackets (RFC 3986 section 3.2.2).
pub(super) fn host(text: &str) -> Result<String, String> {
    let v6 = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match v6 {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => text.parse::<Ipv4Addr>().is_ok(),
    };
    if !address && !is_host_name(text) {
        return Err(
            "is no host: write a name such as api.example.com, without port and wildcard"
                .to_owned(),
        );
    }
    Ok(text.to_ascii_lowercase())
}

fn target(
    section: &Section<'_>,
    matches: Option<&RouteMatch>,
    declared: &Declared<'_>,
) -> Option<Target> {
    if let Some(value) = section.find("redirect") {
        redirects::check_alone(section);
        let redirect = value.section(|section| redirects::redirect(section, matches));
        return redirect.flatten().map(Target::Redirect);
    }
    let remedy = "name one of `upstreams`, or builtin:auth; or write `redirect`";
    let value = section.require("upstream", remedy)?;
    upstream(&value, declared)
}

fn upstream(value: &Value<'_>, declared: &Declared<'_>) -> Option<Target> {
    let upstreams = declared.upstreams;
    let mut known: Vec<&str> = upstreams
        .iter()
        .map(|upstream| upstream.name.as_str())
        .collect();
    known.push(BUILTIN_AUTH);
    let name = value.known("upstream", &known, "declare it under `upstreams`")?;
    if name == BUILTIN_AUTH && declared.auth.is_none() {
        value.mistake(
            "the embedded auth service needs its section: write `auth:`, or remove this route",
        );
    }
    let upstream = upstreams.iter().find(|upstream| upstream.name == name);
    Some(upstream.map_or(Target::Auth, |upstream| {
        Target::Upstream(Arc::clone(upstream))
    }))
}

fn forward(section: &Section<'_>) -> IdentityHeaders {
    let mut used = Vec::new();
    let mut header = |key, default: &'static str| {
        let Some(value) = section.find_even_null(key) else {
            return Some(HeaderName::from_static(default));
        };
        if value.is_null() {
            return None;
        }
        let name = value.parse(identity_header)?;
        if used.contains(&name) {
            value.mistake("carries something else already: give each its own header");
        }
        used.push(name.clone());
        Some(name)
    };
    IdentityHeaders {
        user: header("user", "x-user-id"),
        roles: header("roles", "x-user-roles"),
        scopes: header("scopes", "x-user-scopes"),
        token: section.or("token", false, Value::boolean),
    }
}

fn identity_header(text: &str) -> Result<HeaderName, String> {
    let name = server::header_name(text)?;
    if matches!(
        name.as_str(),
        "authorization" | "cookie" | "forwarded" | "traceparent"
    ) || name.as_str().starts_with("x-forwarded-")
    {
        return Err(
            "tells the upstream something else already: choose a name such as X-User-Id".to_owned(),
        );
    }
    Ok(name)
}

/// The routes read so far, by name and by path.
#[derive(Default)]
struct Seen {
    names: HashSet<String>,
    paths: HashMap<PathPattern, Vec<(String, RouteMatch)>>,
}

impl Seen {
    fn check(&mut self, route: &Route, element: &Value<'_>) {
        if !self.names.insert(route.name.clone()) {
            element.mistake(format!(
                "there are two routes named {}: give each its own name",
                names::quote(&route.name)
            ));
        }
        let others = self.paths.entry(route.matches.path.clone()).or_default();
        if let Some((other, _)) = others.iter().find(|(_, other)| same(other, &route.matches)) {
            let other = names::quote(other);
            element.mistake(format!("matches the same requests as the route {other}: tell them apart by path, method or host"));
        }
        others.push((route.name.clone(), route.matches.clone()));
    }
}

/// For two routes of one path. Whoever names hosts or methods is more specific than who takes all, so such two are told
/// apart; two that both name them must not share one.
fn same(left: &RouteMatch, right: &RouteMatch) -> bool {
    overlap(&left.hosts, &right.hosts) && overlap(&left.methods, &right.methods)
}

fn overlap<T: PartialEq>(left: &[T], right: &[T]) -> bool {
    let both_take_all = left.is_empty() && right.is_empty();
    both_take_all || left.iter().any(|one| right.contains(one))
}
