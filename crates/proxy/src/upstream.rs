//! Where a request goes: the endpoints of an upstream, the choice among them, and what each attempt tells the breaker.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use portcullis_config::upstreams::{self as config, Balance, Endpoint, Retries, UpstreamTimeouts};
use portcullis_policy::{breaker::Breaker, retry_budget::RetryBudget};

use crate::{
    metrics::{Metrics, UpstreamMetrics},
    resolve,
    snapshot::Surroundings,
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
    /// What the endpoints' names resolve to now; `resolve.rs` swaps it.
    pub(crate) targets: ArcSwap<Vec<Arc<Target>>>,
    balance: Balance,
    /// Turns with every choice, so that ties and rounds are shared out.
    turn: AtomicU64,
}

/// One address that can be connected to.
pub(crate) struct Target {
    pub(crate) address: Address,
    /// Cloned for each attempt: building one parses and allocates more.
    peer: HttpPeer,
    pub(crate) in_flight: Arc<AtomicUsize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Inet(SocketAddr),
    Unix(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(inet) => inet.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl Target {
    /// `None` where the path of a Unix socket is longer than the system can name.
    pub(crate) fn new(address: Address, timeouts: &UpstreamTimeouts) -> Option<Self> {
        let mut peer = match &address {
            // With an address and not a name: Pingora would resolve a name in place, and block on it.
            Address::Inet(inet) => HttpPeer::new(*inet, false, String::new()),
            Address::Unix(path) => HttpPeer::new_uds(path, false, String::new()).ok()?,
        };
        let options = &mut peer.options;
        options.connection_timeout = Some(timeouts.connect);
        options.total_connection_timeout = Some(timeouts.connect);
        options.read_timeout = Some(timeouts.request);
        options.write_timeout = Some(timeouts.request);
        options.idle_timeout = Some(timeouts.idle);
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        Some(Self {
            address,
            peer,
            in_flight: Arc::default(),
        })
    }

    /// The same address under other timeouts: what is in flight there still is.
    pub(crate) fn renewed(&self, timeouts: &UpstreamTimeouts) -> Option<Self> {
        Some(Self {
            in_flight: Arc::clone(&self.in_flight),
            ..Self::new(self.address.clone(), timeouts)?
        })
    }

    /// The peer for one attempt that may take `timeout` in all.
    pub(crate) fn peer(&self, timeout: Duration) -> Box<HttpPeer> {
        let mut peer = Box::new(self.peer.clone());
        peer.options.read_timeout = Some(timeout);
        peer.options.write_timeout = Some(timeout);
        peer
    }
}

impl Upstream {
    /// `before` is the upstream of this name in the configuration before this one.
    fn new(
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
            targets: ArcSwap::default(),
            balance: upstream.balance,
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
                .map(|path| Endpoint::Unix(path.to_owned()))
                .into_iter()
                .collect(),
            targets: ArcSwap::default(),
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

    /// The target for the next attempt, other than `failed` where there is another.
    pub(crate) fn choose(&self, failed: Option<&Arc<Target>>) -> Option<Arc<Target>> {
        let targets = self.targets.load();
        let turn = self.turn.fetch_add(1, Relaxed);
        let first = pick(&targets, turn)?;
        let chosen = match self.balance {
            Balance::RoundRobin => first,
            Balance::LeastRequests => less_busy(first, pick_other(&targets, turn)?),
        };
        let is_failed =
            |target: &Arc<Target>| failed.is_some_and(|failed| failed.address == target.address);
        if is_failed(chosen) {
            return targets
                .iter()
                .find(|target| !is_failed(target))
                .or(Some(chosen))
                .cloned();
        }
        Some(Arc::clone(chosen))
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

fn pick(targets: &[Arc<Target>], turn: u64) -> Option<&Arc<Target>> {
    let count = u64::try_from(targets.len())
        .ok()
        .filter(|count| *count > 0)?;
    targets.get(usize::try_from(turn % count).ok()?)
}

/// Any but the one that [`pick`] gives, where there is more than one: two of two are all there are.
fn pick_other(targets: &[Arc<Target>], turn: u64) -> Option<&Arc<Target>> {
    let others = u64::try_from(targets.len()).ok()?.saturating_sub(1).max(1);
    pick(targets, turn.wrapping_add(1 + scatter(turn) % others))
}

/// The less busy of two keeps the load as even as comparing all would, for the price of two reads.
fn less_busy<'a>(one: &'a Arc<Target>, other: &'a Arc<Target>) -> &'a Arc<Target> {
    if other.in_flight.load(Relaxed) < one.in_flight.load(Relaxed) {
        other
    } else {
        one
    }
}

/// Spreads consecutive turns over the whole range (the finaliser of `SplitMix64`), so that the second pick is
/// independent of the first.
pub(crate) fn scatter(turn: u64) -> u64 {
    let mut z = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// All upstreams of one configuration, found by name while routes are compiled and never again.
pub(crate) struct Upstreams {
    named: HashMap<String, Arc<Upstream>>,
    auth: Arc<Upstream>,
    /// Has no endpoint: what leads here is unreachable.
    nowhere: Arc<Upstream>,
}

impl Upstreams {
    pub(crate) fn build(upstreams: &[Arc<config::Upstream>], around: &Surroundings<'_>) -> Self {
        let before = |name: &str| Some(&**around.previous?.upstream(name)?);
        let named = upstreams.iter().zip(0..).map(|(upstream, nth)| {
            let seed = scatter(around.seed.wrapping_add(nth));
            let before = before(&upstream.name);
            let compiled = Upstream::new(upstream, before, around.metrics, seed);
            resolve::set_known(&compiled, before);
            (upstream.name.clone(), Arc::new(compiled))
        });
        Self {
            named: named.collect(),
            auth: Arc::new(Upstream::auth(
                around.auth_socket,
                before(AUTH),
                around.metrics,
            )),
            nowhere: Arc::new(Upstream::auth(None, None, around.metrics)),
        }
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
        self.named.values().cloned().chain(auth).collect()
    }
}
