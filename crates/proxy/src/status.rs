//! What the admin listener may show: a view of the running gateway that changes nothing.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use portcullis_policy::{clock::Moment, fitness::Condition};
use serde::Serialize;

use crate::{gateway::Gateway, target::Target, upstream::Upstream};

/// A handle on the running gateway.
#[derive(Clone)]
pub struct Status {
    gateway: Arc<Gateway>,
}

/// One upstream as it stands.
#[derive(Debug, Serialize)]
pub struct UpstreamStatus {
    pub name: String,
    /// Absent for the embedded auth service, which has none.
    pub breaker: Option<BreakerStatus>,
    pub in_flight: usize,
    /// What is connected to: of a name, each address it resolves to now.
    pub endpoints: Vec<EndpointStatus>,
}

#[derive(Debug, Serialize)]
pub struct BreakerStatus {
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Until an open breaker lets somebody try.
    pub rests_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct EndpointStatus {
    pub address: String,
    pub weight: u8,
    /// By its checks; true where it has none.
    pub healthy: bool,
    /// By how requests fared there.
    pub ejected: bool,
    pub in_flight: usize,
}

impl Status {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }

    /// Requests that have arrived and are not answered in full.
    pub fn in_flight(&self) -> usize {
        self.gateway.in_flight()
    }

    pub fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.gateway
            .snapshot
            .load()
            .upstreams
            .iter()
            .map(|upstream| self.upstream(upstream))
            .collect()
    }

    /// How many keys each limit remembers, by its name.
    pub fn limit_keys(&self) -> Vec<(Arc<str>, usize)> {
        self.gateway.limiter.key_counts()
    }

    /// Brings the gauges up to date that are read when somebody looks and not kept while serving.
    pub fn refresh_gauges(&self) {
        let (metrics, now) = (&self.gateway.metrics, self.gateway.now());
        for (limit, keys) in self.gateway.limiter.key_counts() {
            let keys = i64::try_from(keys).unwrap_or(i64::MAX);
            metrics
                .rate_limit_keys
                .with_label_values(&[&*limit])
                .set(keys);
        }
        for upstream in &self.gateway.snapshot.load().upstreams {
            let in_flight = i64::try_from(upstream.in_flight.load(Relaxed)).unwrap_or(i64::MAX);
            upstream.metrics.in_flight.set(in_flight);
            if let Some(breaker) = &upstream.breaker {
                // An open breaker whose rest is over shows as half-open, though nobody has asked it yet.
                upstream.metrics.show(breaker.state(now));
            }
        }
        metrics.count_cache(self.gateway.cache_counts());
        self.show_endpoints(now);
    }

    fn show_endpoints(&self, now: Moment) {
        let snapshot = self.gateway.snapshot.load();
        let shown = snapshot.upstreams.iter().flat_map(|upstream| {
            let endpoints = upstream.roster.load_full();
            let shown = endpoints.targets.iter().map(|target| {
                let condition = upstream.condition(target, now);
                let labels = [upstream.name.to_string(), target.site.address.to_string()];
                (labels, condition.is_healthy && !condition.is_ejected)
            });
            shown.collect::<Vec<_>>()
        });
        self.gateway.metrics.endpoints().show(shown);
    }

    fn upstream(&self, upstream: &Upstream) -> UpstreamStatus {
        let now = self.gateway.now();
        UpstreamStatus {
            name: upstream.name.to_string(),
            breaker: upstream.breaker.as_ref().map(|breaker| BreakerStatus {
                state: breaker.state(now).as_str(),
                rests_seconds: breaker.rests(now).map(|rest| rest.as_secs_f64()),
            }),
            in_flight: upstream.in_flight.load(Relaxed),
            endpoints: upstream
                .roster
                .load()
                .targets
                .iter()
                .map(|target| endpoint(target, upstream.condition(target, now)))
                .collect(),
        }
    }
}

fn endpoint(target: &Target, condition: Condition) -> EndpointStatus {
    EndpointStatus {
        address: target.site.address.to_string(),
        weight: condition.weight,
        healthy: condition.is_healthy,
        ejected: condition.is_ejected,
        in_flight: target.load().in_flight,
    }
}
