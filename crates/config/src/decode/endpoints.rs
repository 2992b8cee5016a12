//! Of an upstream: its endpoints, the choice among them, and what takes one of them out. The types are in
//! [`crate::upstreams`].

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use http::HeaderName;

use super::{at_least_a_millisecond, upstreams::at_least_one};
use crate::{
    reader::{Section, Value},
    upstreams::{Balance, Endpoint, HashKey, HealthCheck, Location, Outlier},
};

const HEAVIEST: u64 = 100;

pub(super) fn endpoints(section: &Section<'_>) -> Vec<Endpoint> {
    let Some(value) = section.require("endpoints", "name at least one, such as [127.0.0.1:9001]")
    else {
        return Vec::new();
    };
    let elements = value.list();
    if elements.is_empty() {
        value.mistake("is empty: name at least one, such as [127.0.0.1:9001]");
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for element in elements {
        let Some(endpoint) = endpoint(&element) else {
            continue;
        };
        if endpoints.iter().any(|other| other.at == endpoint.at) {
            element.mistake("is written twice: keep one, with a `weight` if it is to get more");
        }
        endpoints.push(endpoint);
    }
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        value.mistake("every endpoint has the weight 0: nothing could be sent to any of them");
    }
    endpoints
}

fn endpoint(value: &Value<'_>) -> Option<Endpoint> {
    if !value.is_mapping() {
        let at = value.parse(location)?;
        return Some(Endpoint::new(at));
    }
    let endpoint = value.section(|section| {
        let weight = section.or("weight", 1, |weight| weight.number(0..=HEAVIEST));
        let address = section.require("address", "write host:port")?;
        let at = address.parse(location)?;
        Some(Endpoint { at, weight })
    });
    endpoint.flatten()
}

fn location(text: &str) -> Result<Location, String> {
    const REMEDY: &str = "is not an endpoint: write host:port or unix:/path, without http://";
    if let Some(path) = text.strip_prefix("unix:") {
        let absolute = path.starts_with('/') && path.len() > 1;
        return if absolute {
            Ok(Location::Unix(PathBuf::from(path)))
        } else {
            Err(REMEDY.to_owned())
        };
    }
    let (host, port) = text.rsplit_once(':').ok_or(REMEDY)?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or(REMEDY)?;
    match text.parse() {
        Ok(address) => Ok(Location::Address(address)),
        Err(_not_an_address) if is_host_name(host) => Ok(Location::Name {
            host: host.to_ascii_lowercase(),
            port,
        }),
        Err(_not_an_address) => Err(REMEDY.to_owned()),
    }
}

/// RFC 1123 section 2.1, and the underscore that Docker's names have. A name whose last part is a number is a
/// mistyped address (RFC 3696 section 2).
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253 && text.split('.').all(label) && !numeric
}

/// `least_requests`, `round_robin`, `"hash:ip"` or `{ hash: ip }`: plain YAML has no `hash: ip` inside a line.
pub(super) fn balance(value: &Value<'_>) -> Option<Balance> {
    if value.is_mapping() {
        let key = value.section(|section| {
            let key = section.require("hash", &format!("write {HASH_KEYS}"));
            key.and_then(|key| key.parse(hash_key))
        });
        return key.flatten().map(Balance::Hash);
    }
    value.parse(|text| match text {
        "least_requests" => Ok(Balance::LeastRequests),
        "round_robin" => Ok(Balance::RoundRobin),
        _ => match text.strip_prefix("hash:") {
            Some(key) => hash_key(key.trim_start()).map(Balance::Hash),
            None => Err(
                "is not known here: write least_requests, round_robin or { hash: ip }".to_owned(),
            ),
        },
    })
}

const HASH_KEYS: &str = "ip, user, header:NAME or cookie:NAME";

fn hash_key(text: &str) -> Result<HashKey, String> {
    let refused = || format!("cannot be hashed by: write {HASH_KEYS}");
    match text.split_once(':') {
        None if text == "ip" => Ok(HashKey::Ip),
        None if text == "user" => Ok(HashKey::User),
        Some(("header", name)) => HeaderName::try_from(name)
            .map(HashKey::Header)
            .map_err(|_no_name| refused()),
        Some(("cookie", name)) if HeaderName::try_from(name).is_ok() => {
            // RFC 6265 section 4.1.1: a cookie's name is a token, as a header's is, but keeps its case.
            Ok(HashKey::Cookie(name.to_owned()))
        }
        Some(_) | None => Err(refused()),
    }
}

pub(super) fn health_check(section: &Section<'_>) -> HealthCheck {
    let duration = |key, seconds| {
        section.or(key, Duration::from_secs(seconds), |value| {
            value.duration(at_least_a_millisecond())
        })
    };
    let path = section.require("path", "write what to ask for, such as /healthz");
    HealthCheck {
        path: path
            .and_then(|path| path.parse(check_path))
            .unwrap_or_default(),
        interval: duration("interval", 5),
        timeout: duration("timeout", 1),
        healthy: counted(section, "healthy", 2),
        unhealthy: counted(section, "unhealthy", 3),
    }
}

/// Sent as it is written, a query included.
fn check_path(text: &str) -> Result<String, String> {
    let is_target = text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        && text.parse::<http::uri::PathAndQuery>().is_ok();
    if is_target {
        Ok(text.to_owned())
    } else {
        Err("is not a path: begin it with `/` and write no spaces, such as /healthz".to_owned())
    }
}

pub(super) fn outlier(section: &Section<'_>) -> Outlier {
    Outlier {
        consecutive_failures: counted(section, "consecutive_failures", 5),
        eject_for: section.or("eject_for", Duration::from_secs(30), |value| {
            value.duration(at_least_a_millisecond())
        }),
        max_ejected_percent: section.or("max_ejected", 50, |value| value.parse(share)),
    }
}

fn share(text: &str) -> Result<u8, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.parse().ok());
    number
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| "is not a share: write 1% to 100%".to_owned())
}

fn counted(section: &Section<'_>, key: &'static str, default: u32) -> NonZeroU32 {
    let default = NonZeroU32::new(default).expect("a default counts to one at least");
    section.or(key, default, at_least_one)
}
