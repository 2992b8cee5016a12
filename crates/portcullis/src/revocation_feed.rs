//! Follows the database's ordered log of revocations, so that what another replica or the command line revoked is
//! refused here a second later. The first reading happens before the gateway is ready.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis_store::{Store, StoreError};
use portcullis_tokens::Revocations;
use prometheus::{Gauge, Registry};
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;

const POLL: Duration = Duration::from_secs(1);
/// From here on each route that asks for fresh revocations would have to refuse.
const STALE: Duration = Duration::from_secs(15);

/// How far the log has been read.
pub(crate) struct RevocationFeed {
    store: Store,
    revocations: Arc<Revocations>,
    after: u64,
    age: Arc<FeedAge>,
}

impl RevocationFeed {
    /// Reads the whole log. An error here ends the start: without it revoked tokens would pass.
    pub(crate) async fn read(
        store: Store,
        revocations: Arc<Revocations>,
        age: Arc<FeedAge>,
    ) -> Result<Self, StoreError> {
        let mut feed = Self {
            store,
            revocations,
            after: 0,
            age,
        };
        feed.poll().await?;
        Ok(feed)
    }

    /// Polls until the runtime ends.
    pub(crate) async fn follow(mut self) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.poll().await {
                self.complain(&error);
            }
        }
    }

    async fn poll(&mut self) -> Result<(), StoreError> {
        loop {
            let page = self
                .store
                .revocations_after(self.after, clock::wall())
                .await?;
            let Some((last, ..)) = page.last() else { break };
            self.after = *last;
            page.into_iter()
                .for_each(|(_, revocation, until)| self.revocations.revoke(revocation, until));
        }
        self.age.renew();
        Ok(())
    }

    fn complain(&self, error: &StoreError) {
        let age = self.age.elapsed();
        if age >= STALE {
            tracing::error!(%error, age_seconds = age.as_secs(), "the revocations are stale");
        } else {
            tracing::warn!(%error, "the revocations could not be read");
        }
    }
}

/// How long ago the log was last read whole.
pub(crate) struct FeedAge {
    started: Instant,
    renewed_after_millis: AtomicU64,
    gauge: Gauge,
}

impl FeedAge {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = Gauge::new(
            "portcullis_revocation_feed_age_seconds",
            "Since the revocations were last read.",
        )?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(Self {
            started: clock::monotonic(),
            renewed_after_millis: AtomicU64::new(0),
            gauge,
        })
    }

    /// Brings the gauge up to date; an age is only right at the moment it is read.
    pub(crate) fn refresh(&self) {
        self.gauge.set(self.elapsed().as_secs_f64());
    }

    fn renew(&self) {
        self.renewed_after_millis
            .store(self.millis_since_start(), Ordering::Relaxed);
    }

    fn elapsed(&self) -> Duration {
        let renewed = self.renewed_after_millis.load(Ordering::Relaxed);
        Duration::from_millis(self.millis_since_start().saturating_sub(renewed))
    }

    fn millis_since_start(&self) -> u64 {
        let since = clock::monotonic().saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_audit::{Action, Event, Outcome, Party};
    use portcullis_config::storage::Database;
    use portcullis_store::{NewUser, OpenMode};
    use portcullis_tokens::Bearer;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_another_process_revoked_is_refused_after_the_next_poll() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(folder.path().join("portcullis.db"));
        let gateway = Store::open(&database, OpenMode::Serve, "gateway")
            .await
            .unwrap();
        gateway.migrate().await.unwrap();
        let age = Arc::new(FeedAge::register(&Registry::new()).unwrap());
        let revocations = Arc::new(Revocations::new());
        let feed = RevocationFeed::read(gateway, Arc::clone(&revocations), age).await;
        let mut feed = feed.expect("an empty log is no error");
        let (now, bearer) = (
            clock::wall(),
            Bearer {
                session: None,
                subject: "u1",
                version: 1,
                key_id: None,
            },
        );
        assert!(!revocations.refuses(&bearer, now));

        let tool = Store::open(&database, OpenMode::Tool, "command-line")
            .await
            .unwrap();
        let event = |action| Event::new(now, action, Outcome::Success, Party::operator("test"));
        let user = NewUser {
            id: "u1".to_owned(),
            username: Some("saad".to_owned()),
            username_key: Some("saad".to_owned()),
            created_at: now,
            ..NewUser::default()
        };
        tool.create_user(&user, &[], &event(Action::UserCreated))
            .await
            .unwrap();
        let until = now.plus(Duration::from_secs(60));
        tool.set_disabled("u1", true, until, &event(Action::UserDisabled))
            .await
            .unwrap();
        assert!(!revocations.refuses(&bearer, now), "nobody has polled yet");
        feed.poll().await.unwrap();
        assert!(revocations.refuses(&bearer, now));
    }
}
