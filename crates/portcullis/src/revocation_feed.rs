//! Follows the database's ordered log of revocations, so that what another replica or the command line revoked is
//! refused here a second later. The first reading happens before the gateway is ready.

use std::{sync::Arc, time::Duration};

use portcullis_store::{Store, StoreError};
use portcullis_tokens::Revocations;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;

const POLL: Duration = Duration::from_secs(1);

/// How far the log has been read.
pub(crate) struct RevocationFeed {
    store: Store,
    revocations: Arc<Revocations>,
    after: u64,
}

impl RevocationFeed {
    /// Reads the whole log. An error here ends the start: without it revoked tokens would pass.
    pub(crate) async fn read(
        store: Store,
        revocations: Arc<Revocations>,
    ) -> Result<Self, StoreError> {
        let mut feed = Self {
            store,
            revocations,
            after: 0,
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
        let began = clock::wall();
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
        self.revocations.confirm(began);
        Ok(())
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
    use portcullis_config::storage::Database;
    use portcullis_store::{FileRoles, NewUser, OpenMode, RightsChange};
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
        let revocations = Arc::new(Revocations::new());
        let feed = RevocationFeed::read(gateway, Arc::clone(&revocations)).await;
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
        assert!(!revocations.are_stale(now), "an empty log was read whole");

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
        let change = RightsChange {
            event: &event(Action::UserDisabled),
            file: &FileRoles::new(),
            until,
        };
        tool.set_disabled("u1", true, &change).await.unwrap();
        assert!(!revocations.refuses(&bearer, now), "nobody has polled yet");
        feed.poll().await.unwrap();
        assert!(revocations.refuses(&bearer, now));
    }
}
