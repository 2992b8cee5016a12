//! Limits that replicas have in common, wired: where the configuration shares them, the proxy asks Redis.

use std::sync::Arc;

use portcullis_config::{Config, sharing::Mode};
use portcullis_policy::limits::shared;
use portcullis_proxy::Clock;
use portcullis_store::RedisLimits;
use prometheus::{IntCounter, Registry};
use tokio::time::timeout;

use crate::stop::Stop;

/// Empty where each replica counts for itself.
#[derive(Clone)]
pub(crate) struct SharedLimits(Option<Shared>);

#[derive(Clone)]
struct Shared {
    limits: Arc<RedisLimits>,
    store_errors: IntCounter,
}

impl SharedLimits {
    /// Must be called inside the runtime. The clock must be the proxy's own, and `name` another for each process.
    pub(crate) async fn open(
        config: &Config,
        clock: &Clock,
        registry: &Registry,
        name: u64,
    ) -> anyhow::Result<Self> {
        let shared = match (config.sharing.mode, &config.storage.redis) {
            (Mode::Exact | Mode::Leased, Some(redis)) => redis,
            (Mode::Exact | Mode::Leased, None) | (Mode::Local, _) => return Ok(Self(None)),
        };
        let store_errors = IntCounter::new(
            "portcullis_rate_limit_store_errors_total",
            "Calls to the store of shared limits that failed or came too late.",
        )?;
        registry.register(Box::new(store_errors.clone()))?;
        let clock = Arc::clone(clock);
        let limits = RedisLimits::open(shared, &config.sharing, clock, name).await;
        Ok(Self(Some(Shared {
            limits,
            store_errors,
        })))
    }

    pub(crate) fn for_proxy(&self) -> Option<Arc<dyn shared::SharedLimits>> {
        let shared = self.0.as_ref()?;
        Some(Arc::<RedisLimits>::clone(&shared.limits))
    }

    /// Gives back what was taken ahead, within the time there is.
    pub(crate) async fn close(&self, stop: &Stop) {
        let Some(shared) = &self.0 else { return };
        // What is not given back in time ends by itself.
        timeout(stop.left(), shared.limits.close()).await.ok();
    }

    /// The limits keep their own count; what is new in it is added here.
    pub(crate) fn refresh(&self) {
        let Some(shared) = &self.0 else { return };
        let counter = &shared.store_errors;
        counter.inc_by(shared.limits.store_errors().saturating_sub(counter.get()));
    }
}
