//! The proxy's metrics, with their handles taken once: looking a label up by its text costs more than counting.
//!
//! Labels are routes, upstreams, limits and codes: words of the configuration or of this program, never of a client.

mod endpoints;

use std::{net::SocketAddr, sync::Arc};

use http::{Method, StatusCode};
use parking_lot::RwLock;
use portcullis_config::certificates::KeyPair;
use portcullis_policy::breaker::{State, Transition};
use portcullis_tokens::CacheCounts;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector,
};

use endpoints::EndpointGauges;

const LATENCY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
const OVERHEAD_BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025,
];

/// The label of what belongs to no route: a request that none matched, or a connection turned away.
const NO_ROUTE: &str = "";

pub(crate) struct Metrics {
    routes: RouteFamilies,
    upstreams: UpstreamFamilies,
    /// For requests that no route matched.
    pub(crate) no_route: RouteMetrics,
    rate_limit_decisions: IntCounterVec,
    pub(crate) rate_limit_keys: IntGaugeVec,
    token_verifications: IntCounterVec,
    pub(crate) verified_local: IntCounter,
    token_cache: IntCounterVec,
    open_connections: IntGaugeVec,
    failed_handshakes: IntCounterVec,
    pub(crate) certificate_expiry: IntGaugeVec,
    pub(crate) malformed_requests: IntCounter,
    pub(crate) access_log_dropped: IntCounter,
}

impl Metrics {
    /// # Errors
    /// Where a family of that name is registered already, as when two gateways share one registry.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let to = Registrar(registry);
        let routes = RouteFamilies::register(&to)?;
        let malformed = "Requests whose framing was refused before any check could run.";
        let dropped = "Access lines dropped because the log could not be written fast enough.";
        let token_verifications = to.counters(
            "token_verifications_total",
            "Access tokens looked at. No issuer where the token names none that is configured.",
            &["issuer", "outcome"],
        )?;
        Ok(Self {
            no_route: routes.of(NO_ROUTE),
            routes,
            upstreams: UpstreamFamilies::register(&to)?,
            rate_limit_decisions: to.counters(
                "rate_limit_decisions_total",
                "Decisions of each limit.",
                &["limit", "outcome"],
            )?,
            rate_limit_keys: to.gauges(
                "rate_limit_keys",
                "Keys that hold a bucket.",
                &["limit"],
            )?,
            verified_local: token_verifications.with_label_values(&["local", "valid"]),
            token_verifications,
            token_cache: to.counters(
                "token_cache_total",
                "Tokens known from before (hit) and verified by their signature (miss).",
                &["outcome"],
            )?,
            open_connections: to.gauges(
                "open_connections",
                "Client connections open now.",
                &["listener"],
            )?,
            certificate_expiry: to.gauges(
                "tls_certificate_expiry_timestamp_seconds",
                "When clients begin to refuse the certificate in this file.",
                &["listener", "certificate"],
            )?,
            failed_handshakes: to.counters(
                "tls_handshake_failures_total",
                "Connections that ended before TLS was agreed on.",
                &["listener"],
            )?,
            malformed_requests: to.counter("malformed_requests_total", malformed)?,
            access_log_dropped: to.counter("access_log_dropped_total", dropped)?,
        })
    }

    pub(crate) fn route(&self, route: &str) -> RouteMetrics {
        self.routes.of(route)
    }

    pub(crate) fn endpoints(&self) -> &EndpointGauges {
        &self.upstreams.endpoints
    }

    pub(crate) fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        self.upstreams.of(upstream)
    }

    pub(crate) fn limit_decisions(&self, limit: &str, outcome: &'static str) -> IntCounter {
        self.rate_limit_decisions
            .with_label_values(&[limit, outcome])
    }

    pub(crate) fn rejection(&self, route: Option<&str>, code: &'static str) {
        let labels = [route.unwrap_or(NO_ROUTE), code];
        self.routes.rejections.with_label_values(&labels).inc();
    }

    pub(crate) fn would_reject(&self, route: Option<&str>, code: &'static str) {
        let labels = [route.unwrap_or(NO_ROUTE), code];
        self.routes.would_reject.with_label_values(&labels).inc();
    }

    pub(crate) fn strangers(&self) -> IntCounter {
        let labels = [NO_ROUTE, "address-not-allowed"];
        self.routes.rejections.with_label_values(&labels)
    }

    pub(crate) fn turned_away(&self) -> IntCounter {
        self.routes
            .rejections
            .with_label_values(&[NO_ROUTE, "overloaded"])
    }

    pub(crate) fn verification(&self, issuer: &str, outcome: &'static str) -> IntCounter {
        self.token_verifications
            .with_label_values(&[issuer, outcome])
    }

    /// The verifier keeps its own counts; what is new in them is added here.
    pub(crate) fn count_cache(&self, counts: CacheCounts) {
        for (outcome, count) in [("hit", counts.hits), ("miss", counts.misses)] {
            let counter = self.token_cache.with_label_values(&[outcome]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    pub(crate) fn open_connections(&self, listener: SocketAddr) -> IntGauge {
        self.open_connections
            .with_label_values(&[&listener.to_string()])
    }

    pub(crate) fn certificate_expires(&self, listener: SocketAddr, pair: &KeyPair) {
        let labels = [&*listener.to_string(), &*pair.certificate.to_string_lossy()];
        let seconds = i64::try_from(pair.expires().as_millis() / 1000).unwrap_or(i64::MAX);
        let gauge = self.certificate_expiry.with_label_values(&labels);
        gauge.set(seconds);
    }

    pub(crate) fn failed_handshakes(&self, listener: SocketAddr) -> IntCounter {
        self.failed_handshakes
            .with_label_values(&[&listener.to_string()])
    }
}

struct RouteFamilies {
    requests: IntCounterVec,
    rejections: IntCounterVec,
    would_reject: IntCounterVec,
    request_seconds: HistogramVec,
    overhead_seconds: HistogramVec,
}

impl RouteFamilies {
    fn register(to: &Registrar<'_>) -> Result<Self, prometheus::Error> {
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

    fn of(&self, route: &str) -> RouteMetrics {
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

struct UpstreamFamilies {
    endpoints: EndpointGauges,
    seconds: HistogramVec,
    retries: IntCounterVec,
    in_flight: IntGaugeVec,
    breaker_state: IntGaugeVec,
    breaker_transitions: IntCounterVec,
}

impl UpstreamFamilies {
    fn register(to: &Registrar<'_>) -> Result<Self, prometheus::Error> {
        let took = "From asking the upstream to the last byte of its answer.";
        let state = "1 for the state the breaker is in, 0 for the others.";
        Ok(Self {
            endpoints: EndpointGauges::new(to.gauges(
                "upstream_endpoint_healthy",
                "1 where nothing speaks against an endpoint: it passes its checks and is not ejected.",
                &["upstream", "endpoint"],
            )?),
            seconds: to.seconds(
                ("upstream_duration_seconds", took),
                "upstream",
                LATENCY_BUCKETS,
            )?,
            retries: to.counters(
                "upstream_retries_total",
                "Attempts after the first.",
                &["upstream"],
            )?,
            in_flight: to.gauges(
                "upstream_in_flight",
                "Requests at the upstream now.",
                &["upstream"],
            )?,
            breaker_state: to.gauges("circuit_breaker_state", state, &["upstream", "state"])?,
            breaker_transitions: to.counters(
                "circuit_breaker_transitions_total",
                "Changes of a breaker's state.",
                &["upstream", "from", "to", "reason"],
            )?,
        })
    }

    fn of(&self, upstream: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            name: Arc::from(upstream),
            seconds: self.seconds.with_label_values(&[upstream]),
            retries: self.retries.with_label_values(&[upstream]),
            in_flight: self.in_flight.with_label_values(&[upstream]),
            breaker_state: self.breaker_state.clone(),
            breaker_transitions: self.breaker_transitions.clone(),
        }
    }
}

/// Registers families under the common prefix.
struct Registrar<'a>(&'a Registry);

impl Registrar<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.registered(IntCounter::new(prefixed(name), help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(Opts::new(prefixed(name), help), labels)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.registered(IntGaugeVec::new(Opts::new(prefixed(name), help), labels)?)
    }

    fn seconds(
        &self,
        (name, help): (&str, &str),
        label: &str,
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(prefixed(name), help).buckets(buckets.to_vec());
        self.registered(HistogramVec::new(options, &[label])?)
    }

    fn registered<C: Collector + Clone + 'static>(
        &self,
        family: C,
    ) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }
}

fn prefixed(name: &str) -> String {
    format!("portcullis_{name}")
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

pub(crate) struct UpstreamMetrics {
    name: Arc<str>,
    pub(crate) seconds: Histogram,
    pub(crate) retries: IntCounter,
    pub(crate) in_flight: IntGauge,
    breaker_state: IntGaugeVec,
    breaker_transitions: IntCounterVec,
}

impl UpstreamMetrics {
    pub(crate) fn transition(&self, transition: &Transition) {
        let (from, to) = (transition.from.as_str(), transition.to.as_str());
        let labels = [&*self.name, from, to, transition.reason.as_str()];
        self.breaker_transitions.with_label_values(&labels).inc();
        self.show(transition.to);
    }

    /// Of an upstream that the configuration no longer has: what it was is not what it is.
    pub(crate) fn forget(&self) {
        self.in_flight.set(0);
        for state in State::ALL {
            // Only those that were ever shown are there.
            let labels = [&*self.name, state.as_str()];
            self.breaker_state.remove_label_values(&labels).ok();
        }
    }

    /// The state gauges are one-hot, so that a dashboard can sum and compare them.
    pub(crate) fn show(&self, current: State) {
        for state in State::ALL {
            let gauge = self
                .breaker_state
                .with_label_values(&[&*self.name, state.as_str()]);
            gauge.set(i64::from(state == current));
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn exactly_one_breaker_state_shows() {
        let metrics = Metrics::register(&Registry::new()).expect("a fresh registry");
        let upstream = metrics.upstream("hotel");
        upstream.show(State::Open);
        let shown = |state: State| {
            upstream
                .breaker_state
                .with_label_values(&["hotel", state.as_str()])
                .get()
        };
        assert_eq!(State::ALL.map(shown).iter().sum::<i64>(), 1);
        assert_eq!(shown(State::Open), 1);
    }
}
