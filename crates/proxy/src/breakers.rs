//! The breakers of all upstreams, for an operator's hand.
//!
//! A forced breaker stays so over reloads, which keep breakers by name, and until the process ends. Who forced it is
//! written by whoever asked: here it is only counted and logged.

use std::sync::Arc;

use portcullis_policy::{
    breaker::{Breaker, BreakerSwitch, BreakerView, Forced},
    clock::Moment,
};

use crate::{gateway::Gateway, upstream::Upstream};

/// A handle on the running gateway's breakers.
pub(crate) struct Switch(pub(crate) Arc<Gateway>);

impl BreakerSwitch for Switch {
    fn breakers(&self) -> Vec<BreakerView> {
        let now = self.0.now();
        let snapshot = self.0.snapshot.load();
        let shown = snapshot.upstreams.iter().filter_map(|upstream| {
            let breaker = upstream.breaker.as_ref()?;
            Some(view(upstream, breaker, now))
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by(|one, other| one.upstream.cmp(&other.upstream));
        shown
    }

    fn force(&self, upstream: &str, forced: Option<Forced>) -> Option<BreakerView> {
        let now = self.0.now();
        let snapshot = self.0.snapshot.load();
        let mut upstreams = snapshot.upstreams.iter();
        let upstream = upstreams.find(|candidate| *candidate.name == *upstream)?;
        let breaker = upstream.breaker.as_ref()?;
        if let Some(transition) = breaker.force(forced, now) {
            upstream.metrics.transition(&transition);
        }
        let held = forced.map_or("itself", Forced::as_str);
        tracing::warn!(upstream = %upstream.name, held, "circuit breaker forced");
        Some(view(upstream, breaker, now))
    }
}

fn view(upstream: &Upstream, breaker: &Breaker, now: Moment) -> BreakerView {
    BreakerView {
        upstream: upstream.name.to_string(),
        state: breaker.state(now),
        forced: breaker.forced(),
    }
}
