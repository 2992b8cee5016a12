//! `upstreams:`. The types are in [`crate::upstreams`].

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::{
    at_least_a_millisecond,
    endpoints::{balance, endpoints, health_check, outlier},
    retries::retries,
    tls::upstream_tls,
};
use crate::{
    reader::{Section, Value},
    units::MOST,
    upstreams::{
        Balance, CircuitBreaker, FailureRate, Protocol, SlowCalls, Upstream, UpstreamTimeouts,
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
    Upstream {
        name: name.to_owned(),
        endpoints: endpoints(section),
        tls: section
            .find("tls")
            .and_then(|value| value.section(upstream_tls)),
        protocol: section.or("protocol", Protocol::Http1, |value| {
            protocol(value, section)
        }),
        balance: section.or("balance", Balance::LeastRequests, balance),
        health_check: section
            .find("health_check")
            .and_then(|value| value.section(health_check)),
        outlier: section
            .find("outlier")
            .and_then(|value| value.section(outlier)),
        timeouts: section.within("timeouts", timeouts),
        retries: section.within("retries", retries),
        circuit_breaker: section.within("circuit_breaker", circuit_breaker),
        max_in_flight: section
            .find("max_in_flight")
            .and_then(|value| value.number(1..=MOST)),
    }
}

/// HTTP/2 is settled within TLS or known beforehand; which of the two is said, so that neither is taken for the other.
fn protocol(value: &Value<'_>, upstream: &Section<'_>) -> Option<Protocol> {
    let words = [
        ("http1", Protocol::Http1),
        ("h2", Protocol::H2),
        ("h2c", Protocol::H2c),
    ];
    let protocol = value.word(&words)?;
    match (protocol, upstream.find("tls").is_some()) {
        (Protocol::H2, false) => {
            value.mistake("needs `tls`: write it, or h2c for HTTP/2 without TLS")
        }
        (Protocol::H2c, true) => value.mistake("is HTTP/2 without TLS: write h2, or remove `tls`"),
        (Protocol::Http1, _) | (Protocol::H2, true) | (Protocol::H2c, false) => {}
    }
    Some(protocol)
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

pub(super) fn at_least_one(value: &Value<'_>) -> Option<NonZeroU32> {
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
