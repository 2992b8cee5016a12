//! Empties the desk into the database, in batches, in the order of the desk.
//!
//! While the database is away the batch in hand is kept and tried again; the desk fills up behind it and counts what it
//! cannot hold. What no database takes in the end goes to the operator's log, whole.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis_audit::{Action, Desk, Event, Outcome, Party};
use portcullis_store::{Observer, Store, StoreError};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use crate::clock;

/// One transaction, one fsync.
const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_millis(50);
const SHORTEST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// So often a database that answers may refuse a batch, before its events are tried one by one.
const REFUSALS: u32 = 5;

/// The running writer.
pub(crate) struct AuditWriter {
    task: JoinHandle<()>,
    /// Until when the rest may be written, once the gateway ends.
    stop_by: watch::Sender<Option<Instant>>,
}

impl AuditWriter {
    pub(crate) fn start(desk: Arc<Desk>, store: Store, metrics: AuditMetrics) -> Self {
        let (stop_by, deadline) = watch::channel(None);
        let worker = Worker {
            desk,
            store,
            metrics,
            deadline,
        };
        Self {
            task: tokio::spawn(worker.work()),
            stop_by,
        }
    }

    /// Writes everything that has been handed in, but not beyond `deadline`.
    pub(crate) async fn finish(self, deadline: Instant) {
        self.stop_by.send_replace(Some(deadline));
        if let Err(e) = self.task.await {
            tracing::error!(error = %e, "the audit writer ended badly");
        }
    }
}

pub(crate) struct AuditMetrics {
    events: IntCounterVec,
    depth: IntGauge,
    aggregated: IntCounter,
}

impl AuditMetrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let events = IntCounterVec::new(
            Opts::new(
                "portcullis_audit_events_total",
                "Audit events written, with the repeats that a row stands for.",
            ),
            &["event", "outcome"],
        )?;
        let depth = IntGauge::new(
            "portcullis_audit_queue_depth",
            "Audit events that wait to be written.",
        )?;
        let aggregated = IntCounter::new(
            "portcullis_audit_aggregated_total",
            "Repeated denials that were counted into the row of another.",
        )?;
        registry.register(Box::new(events.clone()))?;
        registry.register(Box::new(depth.clone()))?;
        registry.register(Box::new(aggregated.clone()))?;
        Ok(Self {
            events,
            depth,
            aggregated,
        })
    }

    fn refresh(&self, desk: &Desk) {
        self.depth
            .set(i64::try_from(desk.depth()).unwrap_or(i64::MAX));
        self.aggregated
            .inc_by(desk.aggregated().saturating_sub(self.aggregated.get()));
    }

    /// What the store is observed by, so that rows which came with a change are counted like those of the desk.
    pub(crate) fn observer(&self) -> Observer {
        let written = self.events.clone();
        Arc::new(move |events| count(&written, events))
    }
}

fn count(written: &IntCounterVec, events: &[Event]) {
    for event in events {
        let labels = [event.action.as_str(), event.outcome.as_str()];
        written.with_label_values(&labels).inc_by(event.count);
    }
}

struct Worker {
    desk: Arc<Desk>,
    store: Store,
    metrics: AuditMetrics,
    deadline: watch::Receiver<Option<Instant>>,
}

impl Worker {
    async fn work(mut self) {
        loop {
            let stopping = self.deadline.borrow().is_some();
            if stopping {
                self.desk.close_windows();
            }
            let batch = self.desk.take(BATCH, clock::wall());
            self.metrics.refresh(&self.desk);
            if !batch.is_empty() {
                self.keep(batch).await;
            } else if stopping {
                return;
            } else {
                self.pause(PAUSE).await;
            }
        }
    }

    /// Returns once the batch is in the database, or in the log because there was no way to keep it.
    async fn keep(&mut self, batch: Vec<Event>) {
        let (mut refusals, mut retry) = (0, SHORTEST_RETRY);
        loop {
            let Err(error) = self.store.append_events(&batch).await else {
                return;
            };
            let (events, cause) = (batch.len(), cause(&error));
            tracing::error!(%error, cause, events, "audit events could not be written, they are kept");
            if self.is_late() {
                return batch.iter().for_each(|event| give_up(event, &error));
            }
            refusals += u32::from(!matches!(error, StoreError::Unavailable(_)));
            if refusals >= REFUSALS {
                return self.single_out(batch, &error).await;
            }
            self.metrics.refresh(&self.desk);
            self.pause(retry).await;
            retry = retry.saturating_mul(2).min(LONGEST_RETRY);
        }
    }

    /// One event that the database will not have must not hold up all others for ever: each is tried by itself.
    async fn single_out(&mut self, batch: Vec<Event>, error: &StoreError) {
        if let [event] = batch.as_slice() {
            give_up(event, error);
            return self.tell_of_gap(event);
        }
        for event in batch {
            Box::pin(self.keep(vec![event])).await;
        }
    }

    /// A gap that cannot be written either is not told of again: that would never end.
    fn tell_of_gap(&self, lost: &Event) {
        if lost.action != Action::AuditGap {
            let now = clock::wall();
            let gap = Event::new(
                now,
                Action::AuditGap,
                Outcome::Failure,
                Party::system("audit"),
            );
            self.desk.offer(
                Event {
                    count: lost.count,
                    ..gap.because("not-storable")
                },
                now,
            );
        }
    }

    fn is_late(&self) -> bool {
        self.deadline
            .borrow()
            .is_some_and(|deadline| clock::monotonic() >= deadline)
    }

    /// A stop ends the pause early. A sender that is gone would end every pause, so then only time does.
    async fn pause(&mut self, length: Duration) {
        tokio::select! {
            () = sleep(length) => {}
            Ok(()) = self.deadline.changed() => {}
        }
    }
}

fn give_up(event: &Event, error: &StoreError) {
    let event = serde_json::to_string(event).unwrap_or_else(|e| e.to_string());
    tracing::error!(event, %error, "an audit event is only in this log");
}

fn cause(error: &StoreError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use portcullis_config::storage::Database;
    use portcullis_store::{AuditFilter, OpenMode};
    use tempfile::TempDir;

    use super::*;

    async fn store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(folder.path().join("portcullis.db"));
        let store = Store::open(&database, OpenMode::Serve, "gateway")
            .await
            .unwrap();
        store.migrate().await.unwrap();
        (folder, store)
    }

    fn refused() -> Event {
        Event::new(
            clock::wall(),
            Action::AccessDenied,
            Outcome::Refused,
            Party::user("saad"),
        )
    }

    fn in_a_while() -> Instant {
        clock::monotonic() + Duration::from_secs(20)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everything_handed_in_is_kept_once_the_writer_has_finished() {
        let (_folder, store) = store().await;
        let (desk, registry) = (Arc::new(Desk::default()), Registry::new());
        let metrics = AuditMetrics::register(&registry).unwrap();
        let store = store.observed_by(metrics.observer());
        let counter = metrics
            .events
            .with_label_values(&["access_denied", "refused"]);
        let writer = AuditWriter::start(Arc::clone(&desk), store.clone(), metrics);
        for _ in 0..600 {
            desk.offer(refused(), clock::wall());
        }
        for _ in 0..10 {
            desk.denial(refused(), clock::wall());
        }
        writer.finish(in_a_while()).await;
        let rows = store.audit_rows(&AuditFilter::default()).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 610);
        assert_eq!(rows.len(), 602, "nine repeats share a row");
        assert_eq!(counter.get(), 610, "the metric tells the same");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_database_that_is_gone_does_not_hold_up_the_end() {
        let (_folder, store) = store().await;
        let desk = Arc::new(Desk::default());
        let metrics = AuditMetrics::register(&Registry::new()).unwrap();
        store.close().await;
        let writer = AuditWriter::start(Arc::clone(&desk), store, metrics);
        desk.offer(refused(), clock::wall());
        let ended =
            tokio::time::timeout(Duration::from_secs(20), writer.finish(clock::monotonic()));
        assert!(
            ended.await.is_ok(),
            "the writer went on beyond its deadline"
        );
        assert_eq!(desk.depth(), 0, "the event is in the log instead");
    }
}
