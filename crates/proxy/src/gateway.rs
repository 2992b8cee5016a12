//! What all requests share: the snapshot in force, and the state that outlives it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_audit::{Action, Desk, Event, Outcome, Party, PartyKind};
use portcullis_config::Config;
use portcullis_policy::{
    breaker::{State, Transition},
    clock::Moment,
    limits::{Limiter, shared::SharedLimits},
    traces::RequestSpan,
};
use portcullis_tokens::{CacheCounts, IssuerName, Principal, Refused, Verifier};
use tokio::{runtime::Handle, task::JoinSet};

use crate::{
    access_log::AccessLog,
    health,
    ids::RequestIds,
    metrics::Metrics,
    resolve,
    serve::{Parts, StartError},
    snapshot::{Snapshot, Surroundings},
    upstream::Upstream,
};

/// Reads both clocks at once. Handed in, so that whoever runs the gateway owns the time.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// Takes the span of each request that is recorded. It must neither wait nor fail: what cannot be kept is dropped there.
pub type SpanSink = Box<dyn Fn(RequestSpan) + Send + Sync>;

/// The application Pingora runs; its hooks are in `lifecycle.rs`.
pub(crate) struct Gateway {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) limiter: Arc<Limiter>,
    /// Absent where each replica counts for itself.
    pub(crate) shared_limits: Option<Arc<dyn SharedLimits>>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    pub(crate) spans: Option<SpanSink>,
    pub(crate) ids: RequestIds,
    pub(crate) in_flight: Arc<AtomicUsize>,
    pub(crate) clock: Clock,
    auth_socket: Option<PathBuf>,
    seed: u64,
    /// What verifiers counted that are no longer in force.
    retired_counts: Mutex<CacheCounts>,
    /// What goes on in the background for the snapshot in force, and ends with it.
    tending: Mutex<JoinSet<()>>,
}

impl Gateway {
    pub(crate) fn assemble(parts: Parts<'_>) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::register(parts.registry)?);
        let settings = &parts.config.server.access_log;
        let access_log = AccessLog::open(settings, metrics.access_log_dropped.clone())
            .map_err(StartError::AccessLog)?;
        let around = Surroundings {
            metrics: &metrics,
            limiter: &parts.limiter,
            verifier: &parts.verifier,
            auth_socket: parts.auth_socket,
            seed: parts.seed[0],
            previous: None,
        };
        Ok(Self {
            snapshot: ArcSwap::from_pointee(Snapshot::compile(parts.config, &around)),
            ids: RequestIds::new(parts.seed),
            limiter: parts.limiter,
            shared_limits: parts.shared_limits,
            desk: parts.desk,
            in_flight: Arc::default(),
            clock: parts.clock,
            auth_socket: parts.auth_socket.map(PathBuf::from),
            seed: parts.seed[0],
            retired_counts: Mutex::default(),
            tending: Mutex::default(),
            access_log,
            spans: parts.spans,
            metrics,
        })
    }

    /// The snapshot of another configuration, which is in force only once it is put there.
    pub(crate) fn compile(&self, config: &Config, verifier: &Arc<Verifier>) -> Snapshot {
        let current = self.snapshot.load();
        let around = Surroundings {
            metrics: &self.metrics,
            limiter: &self.limiter,
            auth_socket: self.auth_socket.as_deref(),
            seed: self.seed,
            previous: Some(&current),
            verifier,
        };
        Snapshot::compile(config, &around)
    }

    /// Every request that begins after this gets the new snapshot.
    pub(crate) fn put_in_force(&self, snapshot: Arc<Snapshot>, runtime: &Handle) {
        // Held over the swap, so that no scrape in between counts a verifier twice or not at all.
        let mut retired = self.retired_counts.lock();
        let replaced = self.snapshot.swap(snapshot);
        let counts = replaced.verifier.cache_counts();
        retired.hits += counts.hits;
        retired.misses += counts.misses;
        drop(retired);
        self.tend(runtime);
        self.forget_gauges(&replaced);
    }

    /// Gauges of what the configuration has no more; those of what it still has are set when somebody looks.
    fn forget_gauges(&self, replaced: &Snapshot) {
        self.metrics.rate_limit_keys.reset();
        let snapshot = self.snapshot.load();
        for upstream in &replaced.upstreams {
            if snapshot.upstream(&upstream.name).is_none() {
                upstream.metrics.forget();
            }
        }
    }

    /// Begins what has to go on beside the requests, and ends what went on for the snapshot before.
    pub(crate) fn tend(&self, runtime: &Handle) {
        let mut tasks = JoinSet::new();
        let snapshot = self.snapshot.load();
        resolve::keep_fresh(&snapshot, &mut tasks, runtime);
        health::keep_checking(&snapshot, self.seed, &mut tasks, runtime);
        *self.tending.lock() = tasks;
    }

    /// How tokens fared in the caches of all verifiers so far.
    pub(crate) fn cache_counts(&self) -> CacheCounts {
        let retired = self.retired_counts.lock();
        let counts = self.snapshot.load().verifier.cache_counts();
        CacheCounts {
            hits: retired.hits + counts.hits,
            misses: retired.misses + counts.misses,
        }
    }

    pub(crate) fn now(&self) -> Moment {
        (self.clock)()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Makes a breaker's change of state known; they are rare enough for a log line and an audit row each.
    pub(crate) fn note(&self, upstream: &Upstream, transition: Option<Transition>, now: Moment) {
        let Some(transition) = transition else { return };
        upstream.metrics.transition(&transition);
        let (from, to, reason) = (
            transition.from.as_str(),
            transition.to.as_str(),
            transition.reason.as_str(),
        );
        tracing::warn!(upstream = %upstream.name, from, to, reason, "circuit breaker changed");
        let action = match transition.to {
            State::Open => Action::BreakerOpened,
            State::Closed => Action::BreakerClosed,
            // Trying is no outcome; what the probes find is told by the next change.
            State::HalfOpen => return,
        };
        let target = Party::new(PartyKind::Upstream, &*upstream.name);
        let event = Event::new(
            now.wall,
            action,
            Outcome::Success,
            Party::system("circuit-breaker"),
        );
        self.desk.offer(event.because(reason).on(target), now.wall);
    }

    /// A refused token counts for the issuer it claims to be of, if that is one of ours: nobody has vouched for it, but
    /// no client can invent a label.
    pub(crate) fn count_verification(&self, verified: &Result<Arc<Principal>, Refused>) {
        match verified.as_ref().map(|principal| principal.issuer()) {
            // By far the most, and worth a handle.
            Ok(IssuerName::Local) => self.metrics.verified_local.inc(),
            Ok(IssuerName::Foreign(name)) => self.metrics.verification(name, "valid").inc(),
            Err(refused) => {
                let issuer = refused.issuer.as_ref().map_or("", IssuerName::as_str);
                let outcome = refused.cause.outcome();
                self.metrics.verification(issuer, outcome).inc();
            }
        }
    }
}
