//! Reads the configuration again, on SIGHUP and when one of its files has changed, and brings it into force as a whole
//! or not at all.
//!
//! What needs a restart is left as it is and named; the rest is applied. A file that is no use changes nothing: every
//! mistake is logged, the attempt is counted, and the gateway goes on with what it has.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use portcullis_audit::{Action, Desk, Event, Outcome as Ended, Party, PartyKind};
use portcullis_config::{Config, Key, Mistakes};
use portcullis_proxy::{ReloadParts, Reloader};
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::{
    signal::unix::Signal,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use crate::{
    clock,
    configuration::Reading,
    identity::Identity,
    in_force::{Configuration, InForce, LastReload},
    readiness::Readiness,
    status::Origin,
    watch::{self, Fingerprint, Watch},
};

/// What makes us read again: also the reason in the audit log.
#[derive(Clone, Copy, Debug)]
enum Trigger {
    Signal,
    Change,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "sighup",
            Self::Change => "file-changed",
        }
    }
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Applied,
    /// But for keys that are read only at the start.
    Partial,
    Rejected,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Applied, Self::Partial, Self::Rejected];

    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Partial => "partial",
            Self::Rejected => "rejected",
        }
    }
}

pub(crate) struct ReloadMetrics {
    reloads: IntCounterVec,
    last: IntGauge,
}

impl ReloadMetrics {
    pub(crate) fn register(registry: &Registry) -> anyhow::Result<Self> {
        let reloads = Opts::new(
            "portcullis_config_reloads_total",
            "Reloads of the configuration since the start.",
        );
        let metrics = Self {
            reloads: IntCounterVec::new(reloads, &["outcome"])?,
            last: IntGauge::new(
                "portcullis_config_last_reload_timestamp_seconds",
                "When the configuration in force was loaded.",
            )?,
        };
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.last.clone()))?;
        for outcome in Outcome::ALL {
            metrics.reloads.with_label_values(&[outcome.as_str()]);
        }
        Ok(metrics)
    }

    fn in_force_since(&self, configuration: &Configuration) {
        let seconds = configuration.loaded_at.as_millis() / 1000;
        self.last.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}

/// What a reload needs, and what it keeps from one to the next.
pub(crate) struct Reload {
    pub(crate) path: PathBuf,
    pub(crate) watch: Watch,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) proxy: Reloader,
    pub(crate) desk: Arc<Desk>,
    pub(crate) metrics: ReloadMetrics,
}

impl Reload {
    /// Until a stop begins: what is about to end is not changed any more.
    pub(crate) async fn follow(mut self, mut hangups: Signal, readiness: Arc<Readiness>) {
        self.metrics.in_force_since(&self.in_force.configuration());
        let mut looks = interval(watch::EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let trigger = tokio::select! {
                Some(()) = hangups.recv() => Trigger::Signal,
                _ = looks.tick() => Trigger::Change,
            };
            if readiness.is_draining() {
                return tracing::info!("stopping: the configuration is not read again");
            }
            let files = self.watch.files();
            let Ok(seen) = spawn_blocking(move || Fingerprint::of(&files)).await else {
                continue;
            };
            let is_wanted = match trigger {
                Trigger::Signal => true,
                Trigger::Change => self.watch.is_settled_change(&seen),
            };
            if is_wanted {
                self.read_again(trigger, seen).await;
            }
        }
    }

    async fn read_again(&mut self, trigger: Trigger, seen: Fingerprint) {
        let path = self.path.clone();
        // It reads files and makes keys of them, which may take a moment.
        let Ok(reading) = spawn_blocking(move || Reading::of(&path)).await else {
            return;
        };
        let running = self.in_force.configuration();
        let mut files = reading.files;
        if reading.config.is_err() {
            // Its keys and certificates are still those of what is in force.
            files.extend(running.config.files().map(PathBuf::from));
        }
        self.watch.took(seen, &files);
        let outcome = match self.apply(reading.config, &reading.origin, &running).await {
            Ok(needs_restart) => tell_applied(trigger, &reading.origin, &needs_restart),
            Err(refusal) => tell_rejected(trigger, &refusal),
        };
        self.note(trigger, outcome, &reading.origin);
    }

    /// The keys that were left as they are.
    async fn apply(
        &mut self,
        config: Result<Config, Mistakes>,
        origin: &Origin,
        running: &Configuration,
    ) -> anyhow::Result<Vec<Key>> {
        let mut config = config?;
        let needs_restart = config.keep_what_needs_a_restart(&running.config);
        let verifier = self
            .identity
            .verifier(&config)
            .context("the issuers cannot be used")?;
        let parts = ReloadParts {
            config: &config,
            verifier,
        };
        self.proxy.reload(parts).await?;
        let configuration = Configuration {
            config,
            origin: origin.clone(),
            loaded_at: clock::wall(),
            needs_restart: needs_restart.clone(),
        };
        self.metrics.in_force_since(&configuration);
        self.in_force.replace(configuration);
        Ok(needs_restart)
    }

    /// For those who were not watching: the metric, `/status` and the audit log.
    fn note(&self, trigger: Trigger, outcome: Outcome, origin: &Origin) {
        let (at, word) = (clock::wall(), outcome.as_str());
        self.metrics.reloads.with_label_values(&[word]).inc();
        self.in_force.note(LastReload { at, outcome: word });
        let (action, ended) = match outcome {
            Outcome::Applied | Outcome::Partial => (Action::ConfigurationReloaded, Ended::Success),
            Outcome::Rejected => (Action::ConfigurationRejected, Ended::Failure),
        };
        let file =
            Party::new(PartyKind::Config, &origin.file).named(format!("sha256:{}", origin.sha256));
        let event = Event::new(at, action, ended, Party::system("gateway"));
        let event = event.because(trigger.as_str()).on(file);
        self.desk.offer(event, at);
    }
}

fn tell_applied(trigger: Trigger, origin: &Origin, needs_restart: &[Key]) -> Outcome {
    let trigger = trigger.as_str();
    for key in needs_restart {
        tracing::warn!(
            key,
            "{key} has changed and needs a restart; until then what was there at the start stays"
        );
    }
    tracing::info!(trigger, file = %origin.file, sha256 = %origin.sha256, "the configuration was reloaded");
    if needs_restart.is_empty() {
        Outcome::Applied
    } else {
        Outcome::Partial
    }
}

fn tell_rejected(trigger: Trigger, refusal: &anyhow::Error) -> Outcome {
    let trigger = trigger.as_str();
    // Mistakes of the file are a line each.
    for line in format!("{refusal:#}").lines() {
        tracing::error!(trigger, "{line}");
    }
    tracing::error!(
        trigger,
        "the configuration was not reloaded; what was in force stays"
    );
    Outcome::Rejected
}
