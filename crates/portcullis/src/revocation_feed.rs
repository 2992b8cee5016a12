//! Follows the database's ordered log of revocations, so that what another replica or the command line revoked is
//! refused here a second later, and at once where the database tells of it. The first reading happens before the gateway
//! is ready.

use std::{sync::Arc, time::Duration};

use portcullis_store::{RevocationNews, Store, StoreError};
use portcullis_tokens::{Revocation, Revocations};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::{
    select,
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use crate::clock;

const POLL: Duration = Duration::from_secs(1);
/// After a look because of news. What is told meanwhile is read at one go, however much it is.
const GAP: Duration = Duration::from_millis(50);

/// How far the log has been read.
pub(crate) struct RevocationFeed {
    store: Store,
    revocations: Arc<Revocations>,
    after: u64,
    key_revoked: Arc<Notify>,
    read: IntCounterVec,
}

impl RevocationFeed {
    pub(crate) fn new(
        store: Store,
        revocations: Arc<Revocations>,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let read = Opts::new(
            "portcullis_revocations_read_total",
            "Revocations read from the log of the database, by what made the gateway look: its poll, or a notice.",
        );
        let read = IntCounterVec::new(read, &["by"])?;
        registry.register(Box::new(read.clone()))?;
        Ok(Self {
            store,
            revocations,
            after: 0,
            key_revoked: Arc::default(),
            read,
        })
    }

    /// Told when a key was taken back.
    pub(crate) fn key_revoked(&self) -> Arc<Notify> {
        Arc::clone(&self.key_revoked)
    }

    /// Reads the whole log. An error here ends the start: without it revoked tokens would pass.
    pub(crate) async fn read(mut self) -> Result<Self, StoreError> {
        self.look().await?;
        Ok(self)
    }

    /// Polls, and looks as soon as there is `news`, until the runtime ends.
    pub(crate) async fn follow(self, news: RevocationNews) {
        self.look_each(POLL, news).await;
    }

    async fn look_each(mut self, pause: Duration, mut news: RevocationNews) {
        let mut ticks = interval_at(Instant::now() + pause, pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (by, gap) = select! {
                _ = ticks.tick() => ("poll", Duration::ZERO),
                () = news.heard() => ("notice", GAP),
            };
            match self.look().await {
                Ok(read) => self.read.with_label_values(&[by]).inc_by(read),
                Err(error) => self.complain(&error),
            }
            sleep(gap).await;
        }
    }

    /// How many revocations there were.
    async fn look(&mut self) -> Result<u64, StoreError> {
        let (began, mut read) = (clock::wall(), 0);
        loop {
            let page = self
                .store
                .revocations_after(self.after, clock::wall())
                .await?;
            let Some((last, ..)) = page.last() else { break };
            self.after = *last;
            for (_, revocation, until) in page {
                let is_of_a_key = matches!(revocation, Revocation::Key(_));
                self.revocations.revoke(revocation, until);
                if is_of_a_key {
                    self.key_revoked.notify_one();
                }
                read += 1;
            }
        }
        self.revocations.confirm(began);
        Ok(read)
    }

    fn complain(&self, error: &StoreError) {
        let now = clock::wall();
        let age = self.revocations.age(now).unwrap_or_default().as_secs();
        if self.revocations.are_stale(now) {
            tracing::error!(%error, age_seconds = age, "the revocations are stale: routes with `fresh` refuse our tokens");
        } else {
            tracing::warn!(%error, "the revocations could not be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_audit::{Action, Event, Outcome, Party};
    use portcullis_config::{storage::Database, units::Timestamp};
    use portcullis_store::OpenMode;
    use portcullis_tokens::Bearer;
    use tempfile::TempDir;
    use tokio::{sync::watch, time::timeout};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(30);
    const OF_SESSION: Bearer<'_> = Bearer {
        session: Some("s1"),
        subject: "u1",
        version: 1,
        key_id: None,
    };

    /// A gateway that has read an empty log, and somebody else who revokes.
    struct Bench {
        revocations: Arc<Revocations>,
        tool: Store,
        now: Timestamp,
        _folder: TempDir,
    }

    impl Bench {
        async fn new() -> (RevocationFeed, Self) {
            let folder = tempfile::tempdir().unwrap();
            let database = Database::Sqlite(folder.path().join("portcullis.db"));
            let gateway = Store::open(&database, OpenMode::Serve, "gateway").await;
            let gateway = gateway.unwrap();
            gateway.migrate().await.unwrap();
            let tool = Store::open(&database, OpenMode::Tool, "command-line").await;
            let revocations = Arc::new(Revocations::new());
            let feed = RevocationFeed::new(gateway, Arc::clone(&revocations), &Registry::new());
            let feed = feed.unwrap().read().await;
            let bench = Self {
                revocations,
                tool: tool.unwrap(),
                now: clock::wall(),
                _folder: folder,
            };
            (feed.expect("an empty log is no error"), bench)
        }

        async fn revoke(&self, revocation: &Revocation) {
            let party = Party::operator("test");
            let event = Event::new(self.now, Action::SessionEnded, Outcome::Success, party);
            let until = self.now.plus(Duration::from_secs(60));
            let revoked = self.tool.revoke(revocation, until, &event).await;
            revoked.unwrap();
        }

        fn is_refused(&self) -> bool {
            self.revocations.refuses(&OF_SESSION, self.now)
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_another_process_revoked_is_refused_after_the_next_look() {
        let (mut feed, bench) = Bench::new().await;
        let is_stale = bench.revocations.are_stale(bench.now);
        assert!(!is_stale, "an empty log was read whole");
        bench.revoke(&Revocation::Session("s1".to_owned())).await;
        assert!(!bench.is_refused(), "nobody has looked yet");
        assert_eq!(feed.look().await.unwrap(), 1);
        assert!(bench.is_refused());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn news_are_read_at_once_however_long_the_pause() {
        let (feed, bench) = Bench::new().await;
        let (tell, told) = watch::channel(0);
        let read = feed.read.clone();
        let following = tokio::spawn(feed.look_each(HOUR, told.into()));
        bench.revoke(&Revocation::Session("s1".to_owned())).await;
        tell.send_replace(1);
        let by_a_notice = async {
            while read.with_label_values(&["notice"]).get() == 0 {
                sleep(GAP).await;
            }
        };
        timeout(PATIENCE, by_a_notice).await.expect("it is read");
        assert!(bench.is_refused());
        following.abort();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_keeps_the_keys_is_told_when_one_was_taken_back() {
        let (mut feed, bench) = Bench::new().await;
        let told = feed.key_revoked();
        bench.revoke(&Revocation::Session("s1".to_owned())).await;
        feed.look().await.unwrap();
        let nothing = timeout(Duration::ZERO, told.notified()).await;
        assert!(nothing.is_err(), "a session is no key");
        bench.revoke(&Revocation::Key("k1".to_owned())).await;
        feed.look().await.unwrap();
        timeout(PATIENCE, told.notified())
            .await
            .expect("it is told");
    }
}
