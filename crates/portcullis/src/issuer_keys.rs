//! The keys of other issuers, as this binary keeps and shows them.

use std::sync::Arc;

use portcullis_outbound::issuer_keys::KeyKeeper;
use prometheus::{GaugeVec, Opts, Registry};
use tokio::runtime::Handle;

/// One for the whole run, so that a reload goes on with the keys that are there. Must be called inside the runtime on
/// which issuers are asked.
pub(crate) fn keeper() -> KeyKeeper {
    KeyKeeper::new(Handle::current(), Box::new(roll))
}

/// From 0 to 1. Without randomness gateways that were started together ask together, and nothing worse.
pub(crate) fn roll() -> f64 {
    let mut bytes = [0; 2];
    let drawn = aws_lc_rs::rand::fill(&mut bytes).map(|()| u16::from_ne_bytes(bytes));
    f64::from(drawn.unwrap_or(u16::MAX / 2)) / f64::from(u16::MAX)
}

/// `issuer_keys_age_seconds`.
pub(crate) struct KeyAges {
    keeper: Arc<KeyKeeper>,
    gauge: GaugeVec,
}

impl KeyAges {
    pub(crate) fn register(
        registry: &Registry,
        keeper: Arc<KeyKeeper>,
    ) -> Result<Self, prometheus::Error> {
        let options = Opts::new(
            "portcullis_issuer_keys_age_seconds",
            "Since the issuer's keys were last had, or since they were first asked for.",
        );
        let gauge = GaugeVec::new(options, &["issuer"])?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(Self { keeper, gauge })
    }

    /// An age is only right at the moment it is read. Issuers that a reload took away go.
    pub(crate) fn refresh(&self) {
        self.gauge.reset();
        for standing in self.keeper.standings() {
            let age = self.gauge.with_label_values(&[&standing.name]);
            age.set(standing.age.as_secs_f64());
        }
    }
}
