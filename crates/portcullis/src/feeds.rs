//! The revocations of other gateways, as this binary follows them, and how old all that is known of revocations is.

use std::{sync::Arc, time::Duration};

use portcullis_outbound::revocation_feeds::FeedKeeper;
use portcullis_tokens::Revocations;
use prometheus::{Gauge, Registry};
use tokio::runtime::Handle;

use crate::{clock, issuer_keys::roll};

/// How long a start waits for the first readings. Without them it goes on, for their issuers may need this gateway.
pub(crate) const FIRST_READINGS: Duration = Duration::from_secs(5);

/// One for the whole run, so that a reload goes on with what is known. Must be called inside the runtime on which others
/// are asked.
pub(crate) fn keeper() -> FeedKeeper {
    FeedKeeper::new(Handle::current(), Box::new(roll), Arc::new(clock::wall))
}

/// `revocation_feed_age_seconds`: of the feed that was not confirmed for the longest, the database's among them.
pub(crate) struct FeedAge {
    /// Where there is a database.
    own: Option<Arc<Revocations>>,
    keeper: Arc<FeedKeeper>,
    gauge: Gauge,
}

impl FeedAge {
    pub(crate) fn register(
        registry: &Registry,
        own: Option<Arc<Revocations>>,
        keeper: Arc<FeedKeeper>,
    ) -> prometheus::Result<Self> {
        let gauge = Gauge::new(
            "portcullis_revocation_feed_age_seconds",
            "Since the revocations were last read, of the feed where that is longest ago; 0 where none is followed.",
        )?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(Self { own, keeper, gauge })
    }

    /// An age is only right at the moment it is read.
    pub(crate) fn refresh(&self) {
        let now = clock::wall();
        let own = self.own.as_ref().and_then(|own| own.age(now));
        let oldest = own.max(self.keeper.oldest_age(now));
        self.gauge.set(oldest.unwrap_or_default().as_secs_f64());
    }
}
