//! What is counted of a route, and of each of its answers.

use std::sync::Arc;

use http::{Method, StatusCode};
use parking_lot::RwLock;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::{LATENCY_BUCKETS, Registrar};

const OVERHEAD_BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025,
];

pub(super) struct RouteFamilies {
    requests: IntCounterVec,
    pub(super) rejections: IntCounterVec,
    pub(super) would_reject: IntCounterVec,
    request_seconds: HistogramVec,
    overhead_seconds: HistogramVec,
}

impl RouteFamilies {
    pub(super) fn register(to: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: to.counters(
                "requests_total",
                "Requests answered.",
                &["route", "method", "status"],
            )?,
            rejections: to.counters(
                "rejections_total",
                "Requests the gateway answered itself, by problem code.",
                &["route", "code"],
            )?,
            would_reject: to.counters(
                "would_reject_total",
                "Requests that a check in the route's shadow would have refused, by problem code.",
                &["route", "code"],
            )?,
            request_seconds: to.seconds(
                (
                    "request_duration_seconds",
                    "From the request's header to the end of the answer.",
                ),
                "route",
                LATENCY_BUCKETS,
            )?,
            overhead_seconds: to.seconds(
                (
                    "gateway_overhead_seconds",
                    "What the gateway itself took of a request.",
                ),
                "route",
                OVERHEAD_BUCKETS,
            )?,
        })
    }

    pub(super) fn of(&self, route: &str) -> RouteMetrics {
        RouteMetrics {
            request_seconds: self.request_seconds.with_label_values(&[route]),
            overhead_seconds: self.overhead_seconds.with_label_values(&[route]),
            requests: AnswerCounters {
                family: self.requests.clone(),
                route: Arc::from(route),
                at_hand: RwLock::default(),
            },
        }
    }
}

pub(crate) struct RouteMetrics {
    pub(crate) request_seconds: Histogram,
    pub(crate) overhead_seconds: Histogram,
    pub(crate) requests: AnswerCounters,
}

/// `requests_total` of one route: the few pairs of method and status that really occur, found by a short walk.
pub(crate) struct AnswerCounters {
    family: IntCounterVec,
    route: Arc<str>,
    at_hand: RwLock<Vec<(Method, u16, IntCounter)>>,
}

/// Upstreams may invent status codes; beyond this many pairs they are counted without being kept at hand.
const PAIRS_AT_HAND: usize = 64;

impl AnswerCounters {
    pub(crate) fn count(&self, method: &Method, status: u16) {
        let is_pair = |(m, s, _): &&(Method, u16, IntCounter)| *s == status && m == method;
        if let Some((_, _, counter)) = self.at_hand.read().iter().find(is_pair) {
            return counter.inc();
        }
        let known = StatusCode::from_u16(status).is_ok_and(|status| status.as_u16() < 600);
        let label = if known {
            status.to_string()
        } else {
            String::from("other")
        };
        let counter = self
            .family
            .with_label_values(&[&*self.route, method_label(method), &label]);
        counter.inc();
        let mut at_hand = self.at_hand.write();
        if at_hand.len() < PAIRS_AT_HAND {
            at_hand.push((method.clone(), status, counter));
        }
    }
}

/// A request is counted before its method is believed, and a client may invent any number of them.
fn method_label(method: &Method) -> &str {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    if KNOWN.contains(method) {
        method.as_str()
    } else {
        "other"
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, core::Collector};

    use super::super::Metrics;
    use super::*;

    #[test]
    fn a_client_cannot_invent_label_values() {
        let metrics = Metrics::register(&Registry::new()).expect("a fresh registry");
        let route = metrics.route("hotel");
        for made_up in ["AAAA", "BBBB", "CCCC"] {
            route.requests.count(
                &Method::from_bytes(made_up.as_bytes()).expect("a token"),
                405,
            );
        }
        let series = metrics.routes.requests.collect()[0].get_metric().len();
        assert_eq!(series, 1, "three made-up methods share one series");
    }
}
