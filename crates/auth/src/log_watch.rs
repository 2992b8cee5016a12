//! Waiting for the revocation log to grow. All who wait share one look at the database each half second, and when the
//! gateway stops none of them holds it up.

use std::time::Duration;

use portcullis_store::{Store, StoreError};
use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit, watch},
    time::{Instant, sleep_until},
};

/// Gateways that wait at the same time. Each is a connection and a task, and nothing more.
const PLACES: usize = 1024;
const LOOK: Duration = Duration::from_millis(500);

pub(crate) struct LogWatch {
    places: Semaphore,
    /// The number found last, and when.
    head: Mutex<Option<(Instant, u64)>>,
    stopping: watch::Sender<bool>,
}

impl LogWatch {
    pub(crate) fn new() -> Self {
        Self {
            places: Semaphore::new(PLACES),
            head: Mutex::new(None),
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
        loop {
            let head = self.head(store).await?;
            let next_look = Instant::now() + LOOK;
            if head != seq || *stopping.borrow() || deadline < next_look {
                return Ok(head);
            }
            tokio::select! {
                () = sleep_until(next_look) => {}
                _told_or_gone = stopping.changed() => {}
            }
        }
    }

    /// At most half as old as a look is long.
    async fn head(&self, store: &Store) -> Result<u64, StoreError> {
        let mut head = self.head.lock().await;
        if let Some((at, head)) = *head
            && at.elapsed() < LOOK / 2
        {
            return Ok(head);
        }
        let found = store.revocation_head().await?;
        *head = Some((Instant::now(), found));
        Ok(found)
    }

    #[cfg(test)]
    pub(crate) fn take_all_places(&self) -> SemaphorePermit<'_> {
        let all = u32::try_from(PLACES).unwrap();
        self.places.try_acquire_many(all).unwrap()
    }
}
