//! What `/status` shows: which file is in force and since when, what it routes where, how upstreams, breakers and limits
//! stand, and whose tokens are taken. No secret of the file is in it, because only names and addresses are taken over.

use std::sync::Arc;

use portcullis_audit::rfc3339;
use portcullis_config::{
    Config,
    routes::{Access, PathPattern, Route, Segment, Target},
    units::Timestamp,
};
use portcullis_outbound::issuer_keys::Standing;
use portcullis_proxy::Status;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::in_force::{Configuration, InForce, LastReload};

/// Which text the configuration was read from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) file: String,
    /// In hexadecimal, as `sha256sum` prints it.
    pub(crate) sha256: String,
}

impl Origin {
    pub(crate) fn of_text(file: &str, text: &[u8]) -> Self {
        let sha256 = Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            file: file.to_owned(),
            sha256,
        }
    }
}

/// The whole document, as things stand now.
pub(crate) fn document(
    started_at: Timestamp,
    in_force: &InForce,
    proxy: &Status,
    keys: &[Standing],
) -> Value {
    let configuration = in_force.configuration();
    let config = &configuration.config;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": rfc3339(started_at),
        "configuration": about(&configuration, in_force.last_reload()),
        "in_flight": proxy.in_flight(),
        "listeners": config.server.listeners.iter().map(|listener| listener.address).collect::<Vec<_>>(),
        "routes": config.routes.iter().map(route).collect::<Vec<_>>(),
        "upstreams": proxy.upstreams(),
        "rate_limits": limits(config, &proxy.limit_keys()),
        "issuers": issuers(config, keys),
    })
}

fn about(configuration: &Configuration, last: Option<LastReload>) -> Value {
    json!({
        "file": configuration.origin.file,
        "sha256": configuration.origin.sha256,
        "loaded_at": rfc3339(configuration.loaded_at),
        "last_reload": last.map(|last| json!({ "at": rfc3339(last.at), "outcome": last.outcome })),
        "needs_restart": configuration.needs_restart,
    })
}

/// With the keys that each remembers; a limit that no route spends from remembers none.
fn limits(config: &Config, keys: &[(Arc<str>, usize)]) -> Vec<Value> {
    let remembered = |name: &str| keys.iter().find(|(limit, _)| **limit == *name);
    let limits = config.rate_limits.iter().map(|limit| {
        json!({
            "name": limit.name,
            "keys": remembered(&limit.name).map_or(0, |(_, keys)| *keys),
            "mode": config.sharing.mode.as_str(),
        })
    });
    limits.collect()
}

/// Our own first. Of those whose keys are fetched, also how they stand.
fn issuers(config: &Config, keys: &[Standing]) -> Vec<Value> {
    let own = config.auth.as_ref();
    let own = own.map(|auth| json!({ "name": "local", "issuer": auth.issuer }));
    let foreign = config.issuers.iter();
    let foreign = foreign.map(|issuer| {
        // The last of the name is that of the configuration in force.
        let standing = keys.iter().rfind(|standing| standing.name == issuer.name);
        json!({
            "name": issuer.name,
            "issuer": issuer.issuer,
            "keys": standing.map(|standing| json!({
                "count": standing.keys,
                "age_seconds": standing.age.as_secs(),
                "failures": standing.failures,
            })),
        })
    });
    own.into_iter().chain(foreign).collect()
}

fn route(route: &Route) -> Value {
    json!({
        "name": route.name,
        "path": path(&route.matches.path),
        "methods": route.matches.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "hosts": route.matches.hosts,
        "upstream": match &route.target {
            Target::Upstream(upstream) => upstream.name.as_str(),
            Target::Auth => "builtin:auth",
            Target::Redirect(_) => "none",
        },
        "auth": match &route.access {
            Access::Public => "public",
            Access::Optional(rule) | Access::Protected(rule) => rule.resource.as_str(),
        },
        "rate_limits": route.limit_names().collect::<Vec<_>>(),
    })
}

fn path(pattern: &PathPattern) -> String {
    let segments = pattern.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => text.as_str(),
        Segment::Any => "*",
    });
    let written: String = segments
        .chain(pattern.subtree.then_some("**"))
        .flat_map(|segment| ["/", segment])
        .collect();
    if written.is_empty() {
        "/".to_owned()
    } else {
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        for written in ["/", "/x", "/x/*/y", "/x/**", "/**"] {
            assert_eq!(path(&PathPattern::parse(written).unwrap()), written);
        }
    }

    #[test]
    fn the_fingerprint_is_what_sha256sum_prints() {
        let origin = Origin::of_text("x", b"");
        assert_eq!(
            origin.sha256,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
