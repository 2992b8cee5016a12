//! Joins the auth service, which takes an administrator's word, with the proxy, which owns the breakers.
//!
//! The service is started first, because the proxy must know its socket; the handle is empty until the proxy is there.

use std::sync::{Arc, OnceLock};

use portcullis_policy::breaker::{BreakerSwitch, BreakerView, Forced};

#[derive(Default)]
pub(crate) struct BreakerHandle(OnceLock<Arc<dyn BreakerSwitch>>);

impl BreakerHandle {
    /// The first one stays: a process has one proxy.
    pub(crate) fn lead_to(&self, proxy: Arc<dyn BreakerSwitch>) {
        self.0.get_or_init(|| proxy);
    }
}

impl BreakerSwitch for BreakerHandle {
    fn breakers(&self) -> Vec<BreakerView> {
        self.0.get().map_or_else(Vec::new, |proxy| proxy.breakers())
    }

    fn force(&self, upstream: &str, forced: Option<Forced>) -> Option<BreakerView> {
        self.0.get()?.force(upstream, forced)
    }
}
