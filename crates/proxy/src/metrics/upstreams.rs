//! What is counted of an upstream, and which state its breaker is in.

use std::sync::Arc;

use portcullis_policy::breaker::{State, Transition};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{LATENCY_BUCKETS, Registrar, endpoints::EndpointGauges};

pub(super) struct UpstreamFamilies {
    pub(super) endpoints: EndpointGauges,
    seconds: HistogramVec,
    retries: IntCounterVec,
    in_flight: IntGaugeVec,
    breaker_state: IntGaugeVec,
    breaker_transitions: IntCounterVec,
}

impl UpstreamFamilies {
    pub(super) fn register(to: &Registrar<'_>) -> Result<Self, prometheus::Error> {
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

    pub(super) fn of(&self, upstream: &str) -> UpstreamMetrics {
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
    use prometheus::Registry;

    use super::super::Metrics;
    use super::*;

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
