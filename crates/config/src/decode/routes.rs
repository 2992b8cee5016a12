//! `routes:`, and the names in them that must have been declared above. The types are in [`crate::routes`].

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
};

use http::{HeaderName, Method};

use super::{at_least_a_millisecond, roles, server, upstreams::is_host_name};
use crate::{
    auth::{Auth, PORTCULLIS_RESOURCE, PORTCULLIS_SCOPES},
    issuers::{Issuer, LOCAL},
    limits::RateLimit,
    names,
    reader::{Section, Value},
    routes::{
        Access, AccessRule, AddressLists, AuditLevel, IdentityHeaders, PathPattern, Rewrite, Route,
        RouteMatch, Segment, Spend, Target,
    },
    units::MOST,
    upstreams::Upstream,
};

const BUILTIN_AUTH: &str = "builtin:auth";

/// What the sections before `routes` have declared.
pub(super) struct Declared<'a> {
    pub(super) auth: Option<&'a Auth>,
    pub(super) issuers: &'a [Issuer],
    pub(super) upstreams: &'a [Arc<Upstream>],
    pub(super) rate_limits: &'a [Arc<RateLimit>],
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
        routes.push(route);
    }
    routes
}

fn route(section: &Section<'_>, declared: &Declared<'_>) -> Option<Route> {
    for key in ["cors", "headers", "max_connection_life", "shadow"] {
        section.later(key);
    }
    section.later_unless("upgrade", &["none"]);
    let name = section
        .require("name", "it stands in metrics and in the audit log")
        .and_then(|value| value.name());
    let matches = section
        .require("match", "write `match: { path: /x/** }`")
        .and_then(|value| value.section(route_match));
    let matches = matches.flatten();
    let target = section.require("upstream", "name one of `upstreams`, or builtin:auth");
    let target = target.and_then(|value| target_of(&value, declared));
    let access = section.require(
        "auth",
        "say which resource a token must be for, or say `auth: public` to leave it open",
    );
    let access = access.and_then(|value| access_of(&value, declared));
    let rewrite = section.within("rewrite", |rewrite| rewrite_of(rewrite, matches.as_ref()));
    let levels = [("refusals", AuditLevel::Refusals), ("all", AuditLevel::All)];
    Some(Route {
        rate_limits: section.or("rate_limits", Vec::new(), |value| {
            Some(spends(value, declared.rate_limits))
        }),
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
        rewrite,
        name: name?,
        matches: matches?,
        target: target?,
        access: access?,
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
        return Err(format!(
            "never comes, methods are upper case: write {}",
            text.to_ascii_uppercase()
        ));
    }
    Ok(method)
}

fn host(text: &str) -> Result<String, String> {
    let address = text
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>()
        .is_ok();
    if !address && !is_host_name(text) {
        return Err(
            "is no host: write a name such as api.example.com, without port and wildcard"
                .to_owned(),
        );
    }
    Ok(text.to_ascii_lowercase())
}

fn target_of(value: &Value<'_>, declared: &Declared<'_>) -> Option<Target> {
    let name = value.text()?;
    if name == BUILTIN_AUTH {
        if declared.auth.is_none() {
            value.mistake(
                "the embedded auth service needs its section: write `auth:`, or remove this route",
            );
        }
        return Some(Target::Auth);
    }
    let upstream = declared
        .upstreams
        .iter()
        .find(|upstream| upstream.name == name);
    if upstream.is_none() {
        let known = declared
            .upstreams
            .iter()
            .map(|upstream| upstream.name.as_str())
            .chain([BUILTIN_AUTH]);
        value.mistake(names::unknown(
            "upstream",
            &name,
            known,
            "declare it under `upstreams`",
        ));
    }
    upstream.map(|upstream| Target::Upstream(Arc::clone(upstream)))
}

fn access_of(value: &Value<'_>, declared: &Declared<'_>) -> Option<Access> {
    if value.is_single() {
        return value.parse(|text| match text {
            "public" => Ok(Access::Public),
            _ => Err("is not known here: write public, or `resource: …` below it".to_owned()),
        });
    }
    value.section(|section| {
        for key in ["tenant", "fresh", "optional"] {
            section.later_unless(key, &["false"]);
        }
        if declared.auth.is_none() && declared.issuers.is_empty() {
            section.mistake(
                "no token could be accepted: write `auth:` or `issuers:`, or `auth: public` here",
            );
        }
        Access::Protected(access_rule(section, declared))
    })
}

fn access_rule(section: &Section<'_>, declared: &Declared<'_>) -> AccessRule {
    let resource = section
        .require("resource", "name what a token must be for")
        .and_then(|value| resource(&value, declared));
    let resource = resource.unwrap_or_default();
    let (all_scopes, any_scopes) = section.within("scopes", |scopes| {
        let read = |key| {
            scopes.or(key, Vec::new(), |value| {
                Some(scopes_of(value, &resource, declared))
            })
        };
        (read("all"), read("any"))
    });
    let any_roles = section.within("roles", |roles| {
        roles.or("any", Vec::new(), |value| Some(roles_of(value, declared)))
    });
    let issuers = section.or("issuers", Vec::new(), |value| {
        Some(issuers_of(value, declared))
    });
    AccessRule {
        resource,
        all_scopes,
        any_scopes,
        any_roles,
        issuers,
    }
}

/// Known are our own resources and the audiences of other issuers. Where an issuer keeps the resource in another claim,
/// nothing can be said about what it will name.
fn resource(value: &Value<'_>, declared: &Declared<'_>) -> Option<String> {
    let name = value.name()?;
    let ours = declared.auth.into_iter().flat_map(|auth| {
        auth.resources
            .keys()
            .map(String::as_str)
            .chain([PORTCULLIS_RESOURCE])
    });
    let theirs = declared
        .issuers
        .iter()
        .flat_map(|issuer| issuer.audiences.iter().map(String::as_str));
    let known: Vec<&str> = ours.chain(theirs).collect();
    let open = declared
        .issuers
        .iter()
        .any(|issuer| issuer.claims.resource != "aud");
    if !open && !known.is_empty() && !known.contains(&name.as_str()) {
        value.mistake(names::unknown(
            "resource",
            &name,
            known.into_iter(),
            "declare it under `auth.resources`",
        ));
    }
    Some(name)
}

/// Scopes are known where the resource is ours; what another issuer grants for its own is not written in this file.
fn scopes_of(value: &Value<'_>, resource: &str, declared: &Declared<'_>) -> Vec<String> {
    let known: Option<Vec<&str>> = if resource == PORTCULLIS_RESOURCE {
        Some(PORTCULLIS_SCOPES.to_vec())
    } else {
        let ours = declared.auth.and_then(|auth| auth.resources.get(resource));
        ours.map(|resource| resource.scopes.iter().map(String::as_str).collect())
    };
    value.each(|element| {
        let scope = element.text()?;
        if let Some(known) = known
            .as_ref()
            .filter(|known| !known.contains(&scope.as_str()))
        {
            let remedy = format!("declare it in the scopes of {}", names::quote(resource));
            element.mistake(names::unknown(
                "scope",
                &scope,
                known.iter().copied(),
                &remedy,
            ));
        }
        Some(scope)
    })
}

fn roles_of(value: &Value<'_>, declared: &Declared<'_>) -> Vec<String> {
    let known = roles(declared.auth, declared.issuers);
    value.each(|element| {
        let role = element.text()?;
        if !known.contains(&role) {
            let known = known.iter().map(String::as_str);
            element.mistake(names::unknown(
                "role",
                &role,
                known,
                "declare it under `auth.roles`",
            ));
        }
        Some(role)
    })
}

fn issuers_of(value: &Value<'_>, declared: &Declared<'_>) -> Vec<String> {
    let ours = declared.auth.map(|_| LOCAL);
    let known: Vec<&str> = declared
        .issuers
        .iter()
        .map(|issuer| issuer.name.as_str())
        .chain(ours)
        .collect();
    value.each(|element| {
        let name = element.text()?;
        if !known.contains(&name.as_str()) {
            element.mistake(names::unknown(
                "issuer",
                &name,
                known.iter().copied(),
                "declare it under `issuers`",
            ));
        }
        Some(name)
    })
}

fn spends(value: &Value<'_>, limits: &[Arc<RateLimit>]) -> Vec<Spend> {
    let mut spends: Vec<Spend> = Vec::new();
    for element in value.list() {
        let Some(spend) = spend(&element, limits) else {
            continue;
        };
        if spends
            .iter()
            .any(|other| other.limit.name == spend.limit.name)
        {
            element.mistake("is spent on twice: keep one, and raise its `cost` if that was meant");
        }
        spends.push(spend);
    }
    spends
}

fn spend(value: &Value<'_>, limits: &[Arc<RateLimit>]) -> Option<Spend> {
    if value.is_single() {
        return Some(Spend {
            limit: limit(value, limits)?,
            cost: NonZeroU32::MIN,
        });
    }
    let spend = value.section(|section| {
        let limit = section
            .require("limit", "name one of `rate_limits`")
            .and_then(|value| limit(&value, limits));
        let cost = section.or("cost", NonZeroU32::MIN, |value| {
            cost(value, limit.as_deref())
        });
        Some(Spend {
            limit: limit?,
            cost,
        })
    });
    spend.flatten()
}

fn limit(value: &Value<'_>, limits: &[Arc<RateLimit>]) -> Option<Arc<RateLimit>> {
    let name = value.text()?;
    let limit = limits.iter().find(|limit| limit.name == name);
    if limit.is_none() {
        let known = limits.iter().map(|limit| limit.name.as_str());
        value.mistake(names::unknown(
            "rate limit",
            &name,
            known,
            "declare it under `rate_limits`",
        ));
    }
    limit.cloned()
}

fn cost(value: &Value<'_>, limit: Option<&RateLimit>) -> Option<NonZeroU32> {
    let cost = value
        .number::<u32>(1..=u64::from(u32::MAX))
        .and_then(NonZeroU32::new)?;
    if let Some(limit) = limit.filter(|limit| u64::from(cost.get()) > limit.burst.get()) {
        let text = format!(
            "is more than {} holds at once ({}): no request would ever pass",
            names::quote(&limit.name),
            limit.burst
        );
        value.mistake(text);
    }
    Some(cost)
}

fn rewrite_of(section: &Section<'_>, matches: Option<&RouteMatch>) -> Rewrite {
    let strip_prefix = section.or("strip_prefix", String::new(), |value| {
        let prefix = value.parse(prefix)?;
        if matches.is_some_and(|matches| !begins_with(&matches.path, &prefix)) {
            value.mistake("is not how the paths of this route begin: nothing would be stripped");
        }
        Some(prefix)
    });
    Rewrite {
        strip_prefix,
        add_prefix: section.or("add_prefix", String::new(), |value| value.parse(prefix)),
    }
}

fn prefix(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let pattern = PathPattern::parse(text)?;
    let literal = pattern
        .segments
        .iter()
        .all(|segment| matches!(segment, Segment::Literal(_)));
    if pattern.subtree || !literal || text.ends_with('/') {
        return Err("is no prefix: write whole segments without `*` and without a `/` at the end, such as /api".to_owned());
    }
    Ok(text.to_owned())
}

fn begins_with(path: &PathPattern, prefix: &str) -> bool {
    let mut segments = path.segments.iter();
    prefix
        .split('/')
        .skip(1)
        .all(|wanted| match segments.next() {
            Some(Segment::Literal(literal)) => literal == wanted,
            Some(Segment::Any) => true,
            None => false,
        })
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

/// For two routes of one path. A route that names hosts is more specific than one that takes every host, so these two
/// are not the same; methods do not rank, and a route that takes every method overlaps all.
fn same(left: &RouteMatch, right: &RouteMatch) -> bool {
    let hosts = match (left.hosts.is_empty(), right.hosts.is_empty()) {
        (true, true) => true,
        (false, false) => left.hosts.iter().any(|host| right.hosts.contains(host)),
        (true, false) | (false, true) => false,
    };
    let every_method = left.methods.is_empty() || right.methods.is_empty();
    hosts
        && (every_method
            || left
                .methods
                .iter()
                .any(|method| right.methods.contains(method)))
}
