//! Waiting for the revocation log to grow. All who wait share one look at the database each half second, and another one as
//! soon as there is news; when the gateway stops none of them holds it up.

use std::time::Duration;

use portcullis_store::{RevocationNews, Store, StoreError};
use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit, watch},
    time::{Instant, sleep_until},
};

/// Gateways that wait at the same time. Each is a connection and a task, and nothing more.
const PLACES: usize = 1024;
const LOOK: Duration = Duration::from_millis(500);

pub(crate) struct LogWatch {
    places: Semaphore,
    pause: Duration,
    news: RevocationNews,
    seen: Mutex<Option<Look>>,
    stopping: watch::Sender<bool>,
}

/// The latest.
struct Look {
    at: Instant,
    /// How often there had been news.
    news: u64,
    head: u64,
}

impl LogWatch {
    pub(crate) fn new(news: RevocationNews) -> Self {
        Self {
            places: Semaphore::new(PLACES),
            pause: LOOK,
            news,
            seen: Mutex::new(None),
            stopping: watch::Sender::new(false),
        }
    }

    /// `None` while all places are taken.
    pub(crate) fn enter(&self) -> Option<SemaphorePermit<'_>> {
        self.places.try_acquire().ok()
    }

    /// Ends all waits, now and from now on.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// The head of the log once it is beyond `seq`, or as it is after `wait`.
    pub(crate) async fn beyond(
        &self,
        store: &Store,
        seq: u64,
        wait: Duration,
    ) -> Result<u64, StoreError> {
        let deadline = Instant::now() + wait;
        let mut stopping = self.stopping.subscribe();
        let mut news = self.news.from_now_on();
        loop {
            let head = self.head(store).await?;
            let next_look = Instant::now() + self.pause;
            if head != seq || *stopping.borrow() || deadline < next_look {
                return Ok(head);
            }
            tokio::select! {
                () = sleep_until(next_look) => {}
                () = news.heard() => {}
                _told_or_gone = stopping.changed() => {}
            }
        }
    }

    /// At most half as old as a pause is long, and not older than the latest news.
    async fn head(&self, store: &Store) -> Result<u64, StoreError> {
        let mut seen = self.seen.lock().await;
        let news = self.news.count();
        if let Some(look) = &*seen
            && look.news == news
            && look.at.elapsed() < self.pause / 2
        {
            return Ok(look.head);
        }
        let head = store.revocation_head().await?;
        *seen = Some(Look {
            at: Instant::now(),
            news,
            head,
        });
        Ok(head)
    }

    #[cfg(test)]
    pub(crate) fn take_all_places(&self) -> SemaphorePermit<'_> {
        let all = u32::try_from(PLACES).unwrap();
        self.places.try_acquire_many(all).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_audit::{Action, Event, Outcome, Party};
    use portcullis_config::units::Timestamp;
    use portcullis_tokens::Revocation;
    use tokio::{task::yield_now, time::timeout};

    use super::*;
    use crate::tests::House;

    const HOUR: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn news_end_a_wait_however_long_the_pause() {
        let house = House::open().await;
        let store = &house.service.store;
        let (tell, told) = watch::channel(0);
        let log = LogWatch {
            pause: HOUR,
            ..LogWatch::new(told.into())
        };
        let revoked_later = async {
            while log.seen.lock().await.is_none() {
                yield_now().await;
            }
            let revocation = Revocation::Session("s1".to_owned());
            let until = Timestamp::from_millis(1);
            let party = Party::operator("root");
            let ended = Event::new(until, Action::SessionEnded, Outcome::Success, party);
            store.revoke(&revocation, until, &ended).await.unwrap();
            tell.send_replace(1);
        };
        let both = async { tokio::join!(log.beyond(store, 0, 2 * HOUR), revoked_later) };
        let (head, ()) = timeout(PATIENCE, both).await.expect("the wait ends");
        assert_eq!(head.unwrap(), 1);
    }
}
