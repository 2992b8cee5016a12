//! From the tree to the values: one file a section, in the order of `gateway.yaml`.
//!
//! Sections are read before those that name them, so that a route finds its upstream and its limits already made. A
//! section with a mistake still stands under its name: what refers to it is not wrong because of that.

mod access;
mod auth;
mod cors;
mod endpoints;
mod header_rules;
mod in_flight;
mod issuers;
mod limit_keys;
mod limits;
mod mail;
mod providers;
mod redirects;
mod redis;
mod refresh_tokens;
mod retries;
mod revocations;
mod rewriting;
mod routes;
mod server;
mod shadow;
mod sharing;
mod storage;
mod tenant;
mod tls;
mod upstreams;

pub(crate) use cors::canonical as canonical_origin;
#[cfg(test)]
pub(crate) use redis::shown as shown_redis;

use crate::{
    Config,
    reader::{Section, Value},
    units::LONGEST,
};

/// Nothing or a wrong value only where `root` is no mapping or mistakes were reported.
pub(crate) fn config(root: &Value<'_>) -> Option<Config> {
    root.section(|file| {
        version(file);
        let server = file.within("server", server::server);
        let storage = file.within("storage", storage::storage);
        let auth = file
            .find("auth")
            .and_then(|value| value.section(|auth| auth::auth(auth, storage.redis.is_some())));
        let issuers = issuers::issuers(file, auth.as_ref());
        let roles = roles(auth.as_ref(), &issuers);
        let upstreams = upstreams::upstreams(file);
        let limits = limits::limits(file, &roles);
        let sharing = sharing::sharing(file, storage.redis.is_some());
        let declared = routes::Declared {
            auth: auth.as_ref(),
            issuers: &issuers,
            roles: &roles,
            upstreams: &upstreams,
            limits: &limits,
        };
        let routes = routes::routes(file, &declared);
        let audit = audit(file) || auth.is_some();
        file.later("alerts");
        Config {
            server,
            storage,
            auth,
            issuers,
            upstreams,
            rate_limits: limits.rates,
            in_flight_limits: limits.in_flight,
            sharing,
            routes,
            audit,
        }
    })
}

fn version(file: &Section<'_>) {
    let Some(version) = file.require("version", "begin the file with `version: 1`") else {
        return;
    };
    version.parse(|text| match text {
        "1" => Ok(()),
        _ => Err("is not a version this gateway reads: write 1".to_owned()),
    });
}

/// `audit:` may be empty: writing it is what asks for a log where `auth` does not.
fn audit(file: &Section<'_>) -> bool {
    let Some(value) = file.find("audit") else {
        return false;
    };
    value.section(|audit| {
        audit.later("retention");
        audit.later("checkpoint");
        audit.later("sinks");
    });
    true
}

/// The roles a caller can have: our own, and those that other issuers' roles are mapped to.
fn roles(auth: Option<&crate::auth::Auth>, issuers: &[crate::issuers::Issuer]) -> Vec<String> {
    let ours = auth.into_iter().flat_map(|auth| auth.roles.keys());
    let mapped = issuers.iter().flat_map(|issuer| issuer.roles.values());
    ours.chain(mapped).cloned().collect()
}

/// A timeout or interval: never zero, which would end everything before it begins.
fn at_least_a_millisecond() -> std::ops::RangeInclusive<std::time::Duration> {
    std::time::Duration::from_millis(1)..=LONGEST
}
