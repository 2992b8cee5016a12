//! Where a request goes: a named group of endpoints, with what it is doing right now.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portcullis_config::upstreams::{
    self as config, Balance, Endpoint, HealthCheck, Location, Outlier, Retries, UpstreamTimeouts,
};
use portcullis_policy::{
    balance::{self, scatter},
    breaker::Breaker,
    clock::Moment,
    fitness::{Among, Condition, Ejection},
    retry_budget::RetryBudget,
};

use crate::{
    metrics::{Metrics, UpstreamMetrics},
    resolve,
    roster::{Roster, Wish},
    snapshot::Surroundings,
    target::Target,
    transport::Transport,
};

/// How the embedded auth service is called among the upstreams. No configured one can be: names have no colon.
const AUTH: &str = "builtin:auth";

/// A named group of endpoints, with what it is doing right now.
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) timeouts: UpstreamTimeouts,
    /// None for the embedded auth service: a login storm must not take refresh, logout and the key set with it.
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) retries: Retries,
    pub(crate) retry_budget: Arc<RetryBudget>,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) in_flight: Arc<AtomicUsize>,
    pub(crate) is_auth: bool,
    pub(crate) metrics: UpstreamMetrics,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) health_check: Option<HealthCheck>,
    outlier: Option<Outlier>,
    /// What the endpoints' names resolve to now, and who of them is asked.
    pub(crate) roster: ArcSwap<Roster>,
    /// When the roster must be assessed anew, in monotonic nanoseconds.
    stands_until: AtomicU64,
    pub(crate) assessing: Mutex<()>,
    balance: Balance,
    /// Turns with every choice, so that ties and rounds are shared out.
    turn: AtomicU64,
}

impl Upstream {
    /// `before` is the upstream of this name in the configuration before this one.
    pub(crate) fn new(
        upstream: &config::Upstream,
        before: Option<&Self>,
        metrics: &Metrics,
        seed: u64,
    ) -> Self {
        let fresh_breaker = || {
            Arc::new(Breaker::new(
                &upstream.circuit_breaker,
                probe_lease(upstream),
                seed,
            ))
        };
        Self {
            name: Arc::from(upstream.name.as_str()),
            timeouts: upstream.timeouts,
            breaker: before
                .and_then(|before| before.breaker.clone())
                .or_else(|| Some(fresh_breaker())),
            retries: upstream.retries.clone(),
            retry_budget: before.map_or_else(
                || Arc::new(RetryBudget::new(upstream.retries.budget)),
                |before| Arc::clone(&before.retry_budget),
            ),
            max_in_flight: upstream.max_in_flight,
            in_flight: in_flight_of(before),
            is_auth: false,
            metrics: metrics.upstream(&upstream.name),
            endpoints: upstream.endpoints.clone(),
            transport: Arc::new(Transport::of(upstream)),
            health_check: upstream.health_check.clone(),
            outlier: upstream.outlier,
            roster: ArcSwap::default(),
            stands_until: AtomicU64::new(0),
            assessing: Mutex::default(),
            balance: upstream.balance.clone(),
            turn: AtomicU64::new(seed),
        }
    }

    /// The embedded auth service: one Unix socket, no breaker, no second attempt. Without a socket it has no endpoint.
    fn auth(socket: Option<&Path>, before: Option<&Self>, metrics: &Metrics) -> Self {
        let timeouts = UpstreamTimeouts {
            connect: Duration::from_secs(1),
            request: Duration::from_secs(30),
            idle: Duration::from_secs(55),
        };
        let auth = Self {
            name: Arc::from(AUTH),
            breaker: None,
            retries: Retries {
                attempts: 1,
                on_connect: false,
                on_status: Vec::new(),
                budget: 0,
            },
            retry_budget: Arc::new(RetryBudget::new(0)),
            max_in_flight: None,
            in_flight: in_flight_of(before),
            is_auth: true,
            metrics: metrics.upstream(AUTH),
            endpoints: socket
                .map(|path| Endpoint::new(Location::Unix(path.to_owned())))
                .into_iter()
                .collect(),
            transport: Arc::new(Transport::local(timeouts)),
            health_check: None,
            outlier: None,
            roster: ArcSwap::default(),
            stands_until: AtomicU64::new(0),
            assessing: Mutex::default(),
            balance: Balance::RoundRobin,
            turn: AtomicU64::new(0),
            timeouts,
        };
        resolve::set_known(&auth, before);
        auth
    }

    /// The breaker and the retry budget are those that were there before, with all they have seen.
    pub(crate) fn reconfigure(&self, settings: &config::Upstream) {
        self.retry_budget.reconfigure(settings.retries.budget);
        if let Some(breaker) = &self.breaker {
            breaker.reconfigure(&settings.circuit_breaker, probe_lease(settings));
        }
    }

    /// What a request is hashed by, where this upstream hashes and the request has it.
    pub(crate) fn key_of(&self, caller: &balance::Caller<'_>) -> Option<u64> {
        match &self.balance {
            Balance::Hash(by) => balance::key_of(by, caller),
            Balance::LeastRequests | Balance::RoundRobin => None,
        }
    }

    /// The target for the next attempt, other than `failed` where there is another.
    pub(crate) fn choose(
        &self,
        key: Option<u64>,
        failed: Option<&Target>,
        now: Moment,
    ) -> Option<Arc<Target>> {
        if now.nanos() >= self.stands_until.load(Relaxed) {
            self.assess(now);
        }
        let wish = Wish {
            balance: &self.balance,
            turn: self.turn.fetch_add(1, Relaxed),
            key,
            failed,
        };
        self.roster.load().choose(wish).cloned()
    }

    /// From now on these are the endpoints.
    pub(crate) fn replace(&self, targets: Vec<Arc<Target>>) {
        let _alone = self.assessing.lock();
        self.roster.store(Arc::new(Roster::of(targets)));
        self.look_again();
    }

    /// Something has changed about an endpoint: the next request finds out what it means.
    pub(crate) fn look_again(&self) {
        self.stands_until.store(0, Relaxed);
    }

    /// A request has failed there.
    pub(crate) fn endpoint_failed(&self, target: &Target, now: Moment) {
        let ejection = self
            .outlier
            .and_then(|settings| target.record.outlier.fail(&settings, now));
        if let Some(Ejection { lasts, in_a_row }) = ejection {
            let (upstream, endpoint) = (&self.name, &target.site.address);
            tracing::warn!(%upstream, %endpoint, ?lasts, in_a_row, "endpoint ejected: requests fail there");
            self.look_again();
        }
    }

    /// As far as it is asked about: what was known of an endpoint before a reload may be none of this configuration's
    /// business, and would never change again.
    pub(crate) fn condition(&self, target: &Target, now: Moment) -> Condition {
        let record = &target.record;
        Condition {
            weight: target.site.weight,
            is_healthy: self.health_check.is_none() || record.health.lock().is_healthy(),
            is_ejected: self.outlier.is_some() && record.outlier.is_ejected(now),
        }
    }

    /// Whoever comes second goes on with the roster as it was.
    fn assess(&self, now: Moment) {
        let Some(_alone) = self.assessing.try_lock() else {
            return;
        };
        // First of all: what changes from here on is looked at again.
        self.stands_until.store(u64::MAX, Relaxed);
        let before = self.roster.load_full();
        let most = self
            .outlier
            .map_or(100, |outlier| outlier.max_ejected_percent);
        let roster = before.assessed(most, |target| self.condition(target, now));
        // Of a name that is not resolved yet there is nothing to tell.
        if !roster.targets.is_empty() {
            self.tell(before.among, roster.among);
        }
        let until = roster.stands_until(now);
        self.roster.store(Arc::new(roster));
        self.stands_until.fetch_min(until, Relaxed);
    }

    fn tell(&self, before: Option<Among>, after: Option<Among>) {
        let upstream = &self.name;
        let (Some(after), true) = (after, before != after) else {
            return;
        };
        match after {
            Among::TheFit if before.is_some() => {
                tracing::info!(%upstream, "only fit endpoints are asked again");
            }
            Among::TheFit => {}
            Among::TheHealthy => {
                tracing::warn!(%upstream, "more endpoints fail than may be ejected: none is left out for it");
            }
            Among::All => tracing::warn!(%upstream, "no endpoint is healthy: all are asked"),
        }
    }
}

/// A probe outlives its request only if its outcome is lost; then its place is free after two timeouts.
fn probe_lease(upstream: &config::Upstream) -> Duration {
    2 * upstream.timeouts.request
}

/// Requests that began before a reload count on.
fn in_flight_of(before: Option<&Upstream>) -> Arc<AtomicUsize> {
    before.map_or_else(Arc::default, |before| Arc::clone(&before.in_flight))
}

/// All upstreams of one configuration in the order of the file, found by name while routes are compiled and never again.
pub(crate) struct Upstreams {
    listed: Vec<Arc<Upstream>>,
    named: HashMap<String, Arc<Upstream>>,
    auth: Arc<Upstream>,
    /// Has no endpoint: what leads here is unreachable.
    nowhere: Arc<Upstream>,
}

impl Upstreams {
    pub(crate) fn build(upstreams: &[Arc<config::Upstream>], around: &Surroundings<'_>) -> Self {
        let before = |name: &str| Some(&**around.previous?.upstream(name)?);
        let listed = upstreams.iter().zip(0..).map(|(upstream, nth)| {
            let seed = scatter(around.seed.wrapping_add(nth));
            let before = before(&upstream.name);
            let compiled = Upstream::new(upstream, before, around.metrics, seed);
            resolve::set_known(&compiled, before);
            Arc::new(compiled)
        });
        let listed: Vec<_> = listed.collect();
        let named = listed
            .iter()
            .map(|upstream| (upstream.name.to_string(), Arc::clone(upstream)));
        Self {
            named: named.collect(),
            listed,
            auth: Arc::new(Upstream::auth(
                around.auth_socket,
                before(AUTH),
                around.metrics,
            )),
            nowhere: Arc::new(Upstream::auth(None, None, around.metrics)),
        }
    }

    /// For routes that answer by themselves.
    pub(crate) fn nowhere(&self) -> Arc<Upstream> {
        Arc::clone(&self.nowhere)
    }

    /// The loader has resolved every name. One that is missing all the same leads nowhere, and never to another upstream.
    pub(crate) fn named(&self, name: &str) -> Arc<Upstream> {
        Arc::clone(self.named.get(name).unwrap_or(&self.nowhere))
    }

    pub(crate) fn auth(&self) -> Arc<Upstream> {
        Arc::clone(&self.auth)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Upstream>> {
        let auth = (!self.auth.endpoints.is_empty()).then(|| self.auth());
        self.listed.iter().cloned().chain(auth).collect()
    }
}
