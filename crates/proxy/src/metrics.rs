//! The proxy's metrics, with their handles taken once: looking a label up by its text costs more than counting.
//!
//! Labels are routes, upstreams, limits and codes: words of the configuration or of this program, never of a client.

mod endpoints;
mod routes;
mod upstreams;

use std::net::SocketAddr;

use portcullis_config::certificates::KeyPair;
use portcullis_tokens::CacheCounts;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

use endpoints::EndpointGauges;
use routes::RouteFamilies;
pub(crate) use routes::RouteMetrics;
use upstreams::UpstreamFamilies;
pub(crate) use upstreams::UpstreamMetrics;

const LATENCY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
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
