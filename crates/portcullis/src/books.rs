//! The audit log of one run: the desk everybody hands events in at, the writer behind it, the rows that open and close it.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use portcullis_audit::{Action, Desk, DeskLimits, Event, Outcome, Party, PartyKind};
use portcullis_store::Store;
use prometheus::Registry;
use tokio::time::timeout;

use crate::{
    audit_writer::{AuditMetrics, AuditWriter},
    clock,
    status::Origin,
    stop::Stop,
};

/// Without a database nothing is kept, so nothing is queued: the desk only counts, in a handful of rows.
const COUNT_ONLY: DeskLimits = DeskLimits {
    queue: 0,
    kinds: 0,
    window: Duration::from_secs(10),
};

pub(crate) struct Books {
    pub(crate) desk: Arc<Desk>,
    kept: Option<(Store, AuditWriter)>,
}

impl Books {
    /// Must be called inside the runtime.
    pub(crate) fn open(store: Option<Store>, registry: &Registry) -> anyhow::Result<Self> {
        let Some(store) = store else {
            let desk = Arc::new(Desk::new(COUNT_ONLY));
            return Ok(Self { desk, kept: None });
        };
        let (desk, metrics) = (Arc::new(Desk::default()), AuditMetrics::register(registry)?);
        let store = store.observed_by(metrics.observer());
        let writer = AuditWriter::start(Arc::clone(&desk), store.clone(), metrics);
        Ok(Self {
            desk,
            kept: Some((store, writer)),
        })
    }

    /// The database in which the log is kept; who changes it should use this handle, so that its rows are counted.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.kept.as_ref().map(|(store, _)| store)
    }

    /// Writes that the gateway starts, and with which configuration. If that cannot be kept, it does not start.
    pub(crate) async fn begin(&self, origin: &Origin) -> anyhow::Result<()> {
        let Some(store) = self.store() else {
            return Ok(());
        };
        let file = Party::new(PartyKind::Config, &origin.file);
        let loaded = happened(Action::ConfigurationLoaded)
            .on(file.named(format!("sha256:{}", origin.sha256)));
        let version = Party::system("gateway").named(env!("CARGO_PKG_VERSION"));
        let started = happened(Action::GatewayStarted).on(version);
        let written = store.append_events(&[loaded, started]).await;
        written.context("cannot write the audit log")
    }

    /// Writes what is left and that the gateway ends, within the time there is.
    pub(crate) async fn close(self, stop: Stop) {
        let Some((store, writer)) = self.kept else {
            return;
        };
        let stopped = happened(Action::GatewayStopped).because(stop.signal);
        self.desk.offer(stopped, clock::wall());
        writer.finish(stop.deadline).await;
        if timeout(stop.left(), store.close()).await.is_err() {
            tracing::warn!("the database was not closed in time");
        }
    }
}

fn happened(action: Action) -> Event {
    Event::new(
        clock::wall(),
        action,
        Outcome::Success,
        Party::system("gateway"),
    )
}
