//! The scripts on a real Redis, by a clock that the test sets.

mod interleavings;

use std::{collections::BTreeMap, num::NonZeroU32, sync::LazyLock, time::Duration};

use portcullis_config::{
    limits::{KeyPart, RateLimit, Tier},
    units::Rate,
};
use portcullis_harness::redis::Redis;
use portcullis_policy::limits::{
    Caller, LimitPlan, Limiter,
    shared::{SharedDraw, shared, ticks},
};
use redis::{Client, aio::MultiplexedConnection, cmd};
use tokio::runtime::{Builder, Runtime};

use super::script::{
    Belief, Bucket, BucketTold, Cost, LeaseAsk, Names, Scripts, Told, Wanted, buckets_told, told,
};

/// One server for all tests: each has its own limit, and so its own keys.
static REDIS: LazyLock<Redis> = LazyLock::new(|| Redis::start().expect("a redis-server"));

/// A Redis whose clock stands still until it is told to go on.
struct Store {
    runtime: Runtime,
    connection: MultiplexedConnection,
    scripts: Scripts,
    run: String,
    micros: u64,
}

impl Store {
    /// In a database of its own, which begins empty: `clock` and the mark of the memory are keys like any other.
    fn open(database: u8) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::open(format!("redis://{}/{database}", REDIS.address())).unwrap();
        let connection = runtime
            .block_on(client.get_multiplexed_async_connection())
            .unwrap();
        let mut store = Self {
            runtime,
            connection,
            scripts: Scripts::by_a_clock_of_the_test(),
            run: "first".to_owned(),
            micros: 0,
        };
        store.empty();
        // The first of all has lost nothing.
        let (told, _) = store.ask("a", "", &[]);
        assert_eq!(told.mark.lost, "");
        store
    }

    fn empty(&mut self) {
        self.command(&["FLUSHDB"]);
        self.go_on(1);
    }

    fn command(&mut self, words: &[&str]) -> redis::Value {
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        let reply = command.query_async(&mut self.connection);
        self.runtime.block_on(reply).unwrap()
    }

    fn go_on(&mut self, micros: u64) {
        self.micros += micros;
        // 2026, where the scripts begin to count, and a bit.
        let (seconds, rest) = (
            1_800_000_000 + self.micros / 1_000_000,
            self.micros % 1_000_000,
        );
        self.command(&["DEL", "clock"]);
        self.command(&["RPUSH", "clock", &seconds.to_string(), &rest.to_string()]);
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    fn ask(&mut self, holder: &str, seen: &str, buckets: &[Bucket<'_>]) -> (Told, Vec<BucketTold>) {
        let belief = Belief {
            run: &self.run,
            seen,
            guarded: true,
            holder,
        };
        let call = self.scripts.take(&Names::new(1), 0, &belief, buckets);
        let reply = self
            .runtime
            .block_on(call.on(&mut self.connection))
            .unwrap();
        let (told, numbers) = told(reply).unwrap();
        (told, buckets_told(&numbers, buckets.len()).unwrap())
    }

    fn take(&mut self, draw: &SharedDraw) -> BucketTold {
        self.ask("a", "first", &[Bucket::of(draw, draw.cost)]).1[0]
    }
}

fn limit(name: &str, count: u64, seconds: u64, burst: u64) -> RateLimit {
    RateLimit {
        name: name.to_owned(),
        key: vec![KeyPart::Route],
        rate: Rate {
            count: count.try_into().unwrap(),
            period: Duration::from_secs(seconds),
        },
        burst: burst.try_into().unwrap(),
        ipv6_prefix: 64,
        tiers: BTreeMap::from([("slow".to_owned(), Tier::Unlimited)]),
    }
}

fn draw_of(plan: &LimitPlan, cost: u32) -> SharedDraw {
    let headers = http::HeaderMap::new();
    let caller = Caller {
        address: [192, 0, 2, 1].into(),
        headers: &headers,
        route: "hotel",
        principal: None,
    };
    let draw = plan.draw(&caller, NonZeroU32::new(cost).unwrap()).unwrap();
    shared(&[draw], &caller).remove(0)
}

fn plan(count: u64, seconds: u64, burst: u64) -> LimitPlan {
    Limiter::new((1, 2), 100).plan(&limit("hotel", count, seconds, burst))
}

fn millis(millis: u64) -> u64 {
    ticks(millis * 1_000_000)
}

#[test]
fn a_burst_passes_and_the_next_is_told_when_to_come() {
    let mut store = Store::open(1);
    let draw = draw_of(&plan(60, 60, 3), 1);
    for left in [2000, 1000, 0] {
        let told = store.take(&draw).weighing;
        assert_eq!((told.left, told.wait), (millis(left), 0));
        assert_eq!(told.reset, millis(3000 - left));
    }
    store.go_on(400_000);
    assert_eq!(
        store.take(&draw).weighing.wait,
        millis(600),
        "a refusal costs nothing"
    );
    store.go_on(600_000);
    assert_eq!(
        store.take(&draw).weighing.wait,
        0,
        "come when told, and pass"
    );
}

#[test]
fn a_stage_spends_on_all_buckets_or_on_none() {
    let mut store = Store::open(2);
    let wide = draw_of(&Limiter::new((1, 2), 9).plan(&limit("wide", 60, 60, 10)), 1);
    let narrow = draw_of(&Limiter::new((1, 2), 9).plan(&limit("narrow", 1, 60, 1)), 1);
    let both = [
        Bucket::of(&wide, wide.cost),
        Bucket::of(&narrow, narrow.cost),
    ];
    for _ in 0..5 {
        store.ask("a", "first", &both);
    }
    assert_eq!(
        store.take(&wide).weighing.left,
        millis(8000),
        "it was spent on once, and now"
    );
}

#[test]
fn what_is_given_back_can_be_had_again_but_not_invented() {
    let mut store = Store::open(3);
    let draw = draw_of(&plan(60, 60, 2), 1);
    let taken = Bucket::of(&draw, draw.cost);
    store.ask("a", "first", &[taken.back()]);
    assert_eq!(
        store.take(&draw).weighing.left,
        millis(1000),
        "nothing had been taken"
    );
    store.take(&draw);
    assert!(store.take(&draw).weighing.wait > 0);
    store.ask("a", "first", &[taken.back()]);
    assert_eq!(store.take(&draw).weighing.wait, 0);
}

#[test]
fn every_key_has_a_time_to_live() {
    let mut store = Store::open(4);
    let draw = draw_of(&plan(60, 60, 60), 1);
    let lease = LeaseAsk {
        serial: 1,
        spent: 0,
        wanted: Wanted::More(draw.cost * 4),
    };
    store.ask(
        "a",
        "first",
        &[Bucket {
            lease,
            ..Bucket::of(&draw, draw.cost)
        }],
    );
    let keys: Vec<String> =
        redis::from_redis_value(store.command(&["KEYS", "portcullis:*"])).unwrap();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in keys {
        let ttl: i64 = redis::from_redis_value(store.command(&["PTTL", &key])).unwrap();
        assert!(ttl > 0, "{key}: {ttl}");
        assert!(!key.contains("192"), "{key} tells an address");
    }
}

#[test]
fn a_script_that_the_server_has_forgotten_is_told_again() {
    let mut store = Store::open(5);
    let draw = draw_of(&plan(60, 60, 3), 1);
    store.take(&draw);
    store.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(store.take(&draw).weighing.left, millis(1000));
}

#[test]
fn a_memory_that_was_lost_begins_empty_for_those_who_knew_it() {
    let mut store = Store::open(6);
    let draw = draw_of(&plan(60, 60, 6), 1);
    store.take(&draw);
    store.run = "second".to_owned();
    let (told, _) = store.ask("a", "first", &[]);
    assert_ne!(told.mark.lost, "");
    assert_eq!(store.take(&draw).weighing.wait, millis(1000), "empty");
    let back = Bucket {
        brought: millis(2000),
        ..Bucket::of(&draw, draw.cost)
    };
    assert_eq!(
        store.ask("b", "first", &[back]).1[0].weighing.left,
        millis(1000)
    );
    store.go_on(6_000_000);
    assert_eq!(
        store.take(&draw).weighing.left,
        millis(5000),
        "full after one window"
    );
}

#[test]
fn an_emptied_memory_is_a_lost_one() {
    let mut store = Store::open(7);
    let draw = draw_of(&plan(60, 60, 6), 1);
    store.empty();
    assert!(store.take(&draw).weighing.wait > 0);
}

#[test]
fn a_lease_is_at_most_half_of_what_is_left_and_in_whole_requests() {
    let mut store = Store::open(8);
    let draw = draw_of(&plan(60, 60, 10), 1);
    let lease = LeaseAsk {
        serial: 1,
        spent: 0,
        wanted: Wanted::More(draw.cost * 100),
    };
    let told = store
        .ask(
            "a",
            "first",
            &[Bucket {
                lease,
                ..Bucket::of(&draw, draw.cost)
            }],
        )
        .1[0];
    assert_eq!(told.taken, draw.cost * 4);
    assert_eq!(told.weighing.left, draw.cost * 5);
    let back = LeaseAsk {
        spent: draw.cost,
        wanted: Wanted::End,
        ..lease
    };
    let told = store
        .ask(
            "a",
            "first",
            &[Bucket {
                lease: back,
                ..Bucket::of(&draw, 0)
            }],
        )
        .1[0];
    assert_eq!(told.weighing.left, draw.cost * 8, "three of four came back");
}

#[test]
fn what_a_lease_may_still_spend_keeps_the_bucket_from_filling() {
    let mut store = Store::open(9);
    let draw = draw_of(&plan(60, 60, 10), 1);
    let lease = LeaseAsk {
        serial: 1,
        spent: 0,
        wanted: Wanted::More(draw.cost * 4),
    };
    store.ask(
        "a",
        "first",
        &[Bucket {
            lease,
            ..Bucket::of(&draw, 0)
        }],
    );
    store.go_on(1_999_000);
    let look = Bucket::of(&draw, 0);
    assert_eq!(
        store.ask("b", "first", &[look]).1[0].weighing.left,
        draw.cost * 6
    );
    store.go_on(1_001_000);
    let left = store.ask("b", "first", &[look]).1[0].weighing.left;
    assert_eq!(
        left,
        draw.cost * 7,
        "its two seconds are over, and one more has passed"
    );
}

#[test]
fn an_older_lease_does_not_touch_a_newer_one() {
    let mut store = Store::open(10);
    let draw = draw_of(&plan(60, 60, 100), 1);
    let lease = |serial, wanted| LeaseAsk {
        serial,
        spent: 0,
        wanted,
    };
    let ask = |lease| Bucket {
        lease,
        ..Bucket::of(&draw, 0)
    };
    store.ask("a", "first", &[ask(lease(2, Wanted::More(draw.cost * 10)))]);
    store.ask("a", "first", &[ask(lease(1, Wanted::End))]);
    store.ask("a", "first", &[ask(lease(1, Wanted::More(draw.cost * 10)))]);
    let told = store.ask("b", "first", &[ask(LeaseAsk::default())]).1[0];
    assert_eq!(told.weighing.left, draw.cost * 90);
}
