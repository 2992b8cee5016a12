//! Three gateways with one store between them, and how many requests they let through.

use std::thread;

use portcullis_harness::{
    gateway::{Gateway, Places},
    redis::Redis,
    upstream::Upstream,
    wait::{self, PATIENCE},
};

use crate::stage::{server, start};

/// In a day: nothing flows back during a test.
pub(crate) const LIMIT: u32 = 60;

/// What a gateway says once each time the store goes, and once each time it is found.
pub(crate) const AWAY: &str = "the store of the shared limits is away";
pub(crate) const BACK: &str = "limits are shared through the store";

/// Three gateways before one upstream. `/open/**` takes from `tight`, which counts the address, and from `wide`, which
/// is ten times as much; `/wide/**` from `wide` alone.
pub(crate) struct Replicas<S = Redis> {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) redis: S,
    limit: u32,
    /// Of the store, as the file has it.
    address: String,
    upstream: Upstream,
}

impl Replicas {
    pub(crate) fn start(sharing: &str) -> Self {
        Self::with_limit(LIMIT, sharing)
    }

    pub(crate) fn with_limit(limit: u32, sharing: &str) -> Self {
        let redis = Redis::start().unwrap();
        let address = format!("'{}'", redis.url());
        Self::before(redis, address, limit, sharing)
    }

    /// How often Redis was asked.
    pub(crate) fn script_calls(&self) -> u32 {
        let statistics = self.redis.ask(&["INFO", "commandstats"]).unwrap();
        let evalsha = statistics.split("cmdstat_evalsha:calls=").nth(1);
        let digits = evalsha.and_then(|rest| rest.split(',').next());
        digits.and_then(|digits| digits.parse().ok()).unwrap()
    }

    /// How much Redis keeps of the only bucket of a limit.
    pub(crate) fn fields(&self, limit: &str) -> u32 {
        let keys = self
            .redis
            .ask(&["KEYS", &format!("portcullis:limit:{limit}:*")]);
        let keys = keys.unwrap();
        let key = keys.lines().find(|line| line.starts_with("portcullis:"));
        let length = self.redis.ask(&["HLEN", key.unwrap_or_default()]).unwrap();
        length.trim().trim_start_matches(':').parse().unwrap()
    }
}

impl<S> Replicas<S> {
    pub(crate) fn before(redis: S, address: String, limit: u32, sharing: &str) -> Self {
        let mut replicas = Self {
            gateways: Vec::new(),
            redis,
            limit,
            address,
            upstream: Upstream::start().unwrap(),
        };
        for _ in 0..3 {
            replicas.add(sharing);
        }
        // One that found nothing at once goes on looking.
        replicas.wait_for(BACK, 1);
        replicas
    }

    /// Whether none of those that run has ever taken the store for gone.
    pub(crate) fn never_missed_the_store(&self) -> bool {
        self.gateways.iter().all(never_missed_the_store)
    }

    pub(crate) fn add(&mut self, sharing: &str) {
        let gateway = start(|places| self.configuration(places, sharing));
        self.gateways.push(gateway);
    }

    fn configuration(&self, places: &Places, sharing: &str) -> String {
        let (server, upstream, address) =
            (server(places, ""), self.upstream.address(), &self.address);
        let (limit, more) = (self.limit, self.limit * 10);
        format!(
            "{server}
storage: {{ redis: {address} }}
upstreams:
  hotel: {{ endpoints: [{upstream}], circuit_breaker: {{ consecutive_failures: 100000 }} }}
rate_limits:
  tight: {{ key: ip, limit: {limit}/1d }}
  wide: {{ key: ip, limit: {more}/1d }}
  sharing: {{ {sharing} }}
routes:
  - {{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public, rate_limits: [wide, tight] }}
  - {{ name: wide, match: {{ path: /wide/** }}, upstream: hotel, auth: public, rate_limits: [wide] }}
"
        )
    }

    /// Requests to all gateways at once, so many to each, from one address; how many of them were let through.
    pub(crate) fn flood(&self, requests_each: u32) -> Statuses {
        thread::scope(|scope| {
            let floods: Vec<_> = self
                .gateways
                .iter()
                .flat_map(|gateway| [gateway, gateway])
                .map(|gateway| scope.spawn(|| flood(gateway, requests_each / 2)))
                .collect();
            let all = floods.into_iter().map(|flood| flood.join().unwrap());
            all.reduce(Statuses::and).unwrap_or_default()
        })
    }

    /// Until every gateway has said this so often.
    pub(crate) fn wait_for(&self, line: &str, times: usize) {
        for gateway in &self.gateways {
            wait_for(gateway, line, times);
        }
    }
}

pub(crate) fn never_missed_the_store(gateway: &Gateway) -> bool {
    said(gateway, AWAY) == 0
}

/// What a run says in which nobody missed the store, which `run` tells by an answer. On a machine that holds up the store for
/// half a second it is taken for gone, and then shares count: such a run says nothing of a store that is there.
pub(crate) fn undisturbed<T>(run: impl FnMut() -> Option<T>) -> T {
    wait::until("a run in which the store is there", 5 * PATIENCE, run).unwrap()
}

pub(crate) fn said(gateway: &Gateway, line: &str) -> usize {
    gateway.stderr().matches(line).count()
}

pub(crate) fn wait_for(gateway: &Gateway, line: &str, times: usize) {
    let said = wait::until(line, PATIENCE, || {
        (said(gateway, line) >= times).then_some(())
    });
    said.unwrap_or_else(|error| panic!("{error}: {}", gateway.stderr()));
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statuses {
    pub(crate) admitted: u32,
    pub(crate) limited: u32,
    pub(crate) unavailable: u32,
}

impl Statuses {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            admitted: self.admitted + other.admitted,
            limited: self.limited + other.limited,
            unavailable: self.unavailable + other.unavailable,
        }
    }
}

pub(crate) fn flood(gateway: &Gateway, requests: u32) -> Statuses {
    let mut client = gateway.client();
    let mut statuses = Statuses::default();
    for _ in 0..requests {
        match client.get("/open/room").unwrap().status {
            // An upstream out of breath was asked all the same.
            200 | 502 => statuses.admitted += 1,
            429 => statuses.limited += 1,
            503 => statuses.unavailable += 1,
            other => panic!("nobody answers {other}"),
        }
    }
    statuses
}
