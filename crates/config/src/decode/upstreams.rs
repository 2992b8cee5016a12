//! `upstreams:`. The types are in [`crate::upstreams`].

use std::{num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use super::{at_least_a_millisecond, retries::retries};
use crate::{
    reader::{Section, Value},
    units::MOST,
    upstreams::{
        Balance, CircuitBreaker, Endpoint, FailureRate, SlowCalls, Upstream, UpstreamTimeouts,
    },
};

pub(super) fn upstreams(file: &Section<'_>) -> Vec<Arc<Upstream>> {
    let Some(value) = file.find("upstreams") else {
        return Vec::new();
    };
    let entries = value.named_entries().into_iter();
    entries
        .filter_map(|(name, value)| value.section(|section| Arc::new(upstream(name, section))))
        .collect()
}

fn upstream(name: &str, section: &Section<'_>) -> Upstream {
    tls(section);
    section.later_unless("protocol", &["http1"]);
    section.later("health_check");
    section.later("outlier");
    Upstream {
        name: name.to_owned(),
        endpoints: endpoints(section),
        balance: section.or("balance", Balance::LeastRequests, |value| {
            value.parse(balance)
        }),
        timeouts: section.within("timeouts", timeouts),
        retries: section.within("retries", retries),
        circuit_breaker: section.within("circuit_breaker", circuit_breaker),
        max_in_flight: section
            .find("max_in_flight")
            .and_then(|value| value.number(1..=MOST)),
    }
}

fn tls(section: &Section<'_>) {
    let Some(value) = section.find("tls") else {
        return;
    };
    let named = value.section(|tls| {
        for key in ["ca", "certificate", "key"] {
            tls.find(key);
        }
        tls.find("server_name").is_some()
    });
    match named {
        Some(true) => value.mistake("is not supported yet: remove it"),
        Some(false) => {
            value.mistake("TLS without a server name would not be verified: write `server_name`")
        }
        None => {}
    }
}

fn endpoints(section: &Section<'_>) -> Vec<Endpoint> {
    let Some(value) = section.require("endpoints", "name at least one, such as [127.0.0.1:9001]")
    else {
        return Vec::new();
    };
    let elements = value.list();
    if elements.is_empty() {
        value.mistake("is empty: name at least one, such as [127.0.0.1:9001]");
    }
    let mut endpoints = Vec::new();
    for element in elements {
        let Some(endpoint) = endpoint(&element) else {
            continue;
        };
        if endpoints.contains(&endpoint) {
            element.mistake("is written twice: keep one");
        }
        endpoints.push(endpoint);
    }
    endpoints
}

fn endpoint(value: &Value<'_>) -> Option<Endpoint> {
    if !value.is_mapping() {
        return value.parse(parse_endpoint);
    }
    let endpoint = value.section(|section| {
        section.later_unless("weight", &["1"]);
        section
            .require("address", "write host:port")
            .and_then(|address| address.parse(parse_endpoint))
    });
    endpoint.flatten()
}

fn parse_endpoint(text: &str) -> Result<Endpoint, String> {
    const REMEDY: &str = "is not an endpoint: write host:port or unix:/path, without http://";
    if let Some(path) = text.strip_prefix("unix:") {
        let absolute = path.starts_with('/') && path.len() > 1;
        return if absolute {
            Ok(Endpoint::Unix(PathBuf::from(path)))
        } else {
            Err(REMEDY.to_owned())
        };
    }
    let (host, port) = text.rsplit_once(':').ok_or(REMEDY)?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or(REMEDY)?;
    match text.parse() {
        Ok(address) => Ok(Endpoint::Address(address)),
        Err(_not_an_address) if is_host_name(host) => Ok(Endpoint::Name {
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

fn balance(text: &str) -> Result<Balance, String> {
    match text {
        "least_requests" => Ok(Balance::LeastRequests),
        "round_robin" => Ok(Balance::RoundRobin),
        _ if text.starts_with("hash:") => {
            Err("is not supported yet: write least_requests or round_robin".to_owned())
        }
        _ => Err("is not known here: write least_requests or round_robin".to_owned()),
    }
}

fn timeouts(section: &Section<'_>) -> UpstreamTimeouts {
    let timeout = |key, seconds| {
        section.or(key, Duration::from_secs(seconds), |value| {
            value.duration(at_least_a_millisecond())
        })
    };
    UpstreamTimeouts {
        connect: timeout("connect", 1),
        request: timeout("request", 30),
        idle: timeout("idle", 55),
    }
}

fn circuit_breaker(section: &Section<'_>) -> CircuitBreaker {
    let counted = |key, default: u32| {
        let default = NonZeroU32::new(default).expect("a default counts to one at least");
        section.or(key, default, |value| at_least_one(value))
    };
    CircuitBreaker {
        consecutive_failures: counted("consecutive_failures", 5),
        failure_rate: section
            .find("failure_rate")
            .and_then(|value| value.section(failure_rate)),
        slow_calls: section
            .find("slow_calls")
            .and_then(|value| value.section(slow_calls)),
        open_for: section.or("open_for", Duration::from_secs(60), |value| {
            value.duration(at_least_a_millisecond())
        }),
        half_open_requests: counted("half_open_requests", 1),
        close_after: counted("close_after", 1),
    }
}

fn at_least_one(value: &Value<'_>) -> Option<NonZeroU32> {
    const HIGHEST: u64 = 1_000_000;
    value.number::<u32>(1..=HIGHEST).and_then(NonZeroU32::new)
}

fn failure_rate(section: &Section<'_>) -> FailureRate {
    let default_minimum = NonZeroU32::new(20).expect("20 is not zero");
    FailureRate {
        percent: percent(section),
        window: section.or("window", Duration::from_secs(10), |value| {
            value.duration(Duration::from_secs(1)..=Duration::from_secs(3600))
        }),
        minimum_requests: section.or("minimum_requests", default_minimum, at_least_one),
    }
}

fn slow_calls(section: &Section<'_>) -> SlowCalls {
    SlowCalls {
        slower_than: section
            .require("slower_than", "write what counts as slow, such as 5s")
            .and_then(|value| value.duration(at_least_a_millisecond()))
            .unwrap_or_default(),
        percent: percent(section),
    }
}

fn percent(section: &Section<'_>) -> u8 {
    let value = section.require("percent", "write the share at which it opens, 1 to 100");
    value.and_then(|value| value.number(1..=100)).unwrap_or(100)
}
