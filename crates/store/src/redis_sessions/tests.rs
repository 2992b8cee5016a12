//! The scripts and the link on a real Redis; where time matters, by a clock that the test sets.

use std::{
    net::TcpListener,
    sync::{Arc, LazyLock},
    time::Duration,
};

use portcullis_config::{storage::Redis as Address, units::Timestamp};
use portcullis_harness::{
    redis::{Cluster, Redis, Sentinels},
    wait,
};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::{runtime::Runtime, time::sleep};

use super::{Evicts, RedisSessions, Turn, Verdict, script::Kept};
use crate::error::StoreError;

/// One server for the tests that do it no harm: each has keys of its own.
static REDIS: LazyLock<Redis> = LazyLock::new(|| Redis::start().expect("a redis-server"));

const GRACE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(3600);
const ABSOLUTE: Duration = Duration::from_secs(5000);
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A Redis whose clock stands still until it is told to go on.
struct Bench {
    sessions: Arc<RedisSessions>,
    now: Timestamp,
}

impl Bench {
    async fn new() -> Self {
        let mut bench = Self {
            sessions: RedisSessions::of_a_test(&address(&REDIS)).await,
            now: START,
        };
        bench.go_on(Duration::ZERO).await;
        bench
    }

    async fn go_on(&mut self, by: Duration) {
        self.now = self.now.plus(by);
        self.sessions.set_clock(self.now).await;
    }

    async fn begin(&self, sid: &str) {
        self.sessions.begin(sid, IDLE, ABSOLUTE).await.unwrap();
    }

    async fn turn(&self, generation: u64) -> Verdict {
        self.sessions.turn(&turn("s", generation)).await.unwrap()
    }

    async fn look(&self, generation: u64) -> Verdict {
        self.sessions.look(&turn("s", generation)).await.unwrap()
    }

    fn kept(&self, generation: u64) -> Kept {
        Kept {
            generation,
            rotated_at: self.now,
            idle_expires_at: self.now.plus(IDLE),
        }
    }
}

fn address(redis: &Redis) -> Address {
    Address::Single(redis.url().into())
}

fn turn(sid: &str, generation: u64) -> Turn<'_> {
    Turn {
        sid,
        generation,
        grace: GRACE,
        most_repeats: 3,
        idle: IDLE,
    }
}

#[tokio::test]
async fn a_token_is_turned_once_and_repeated_for_a_while() {
    let mut bench = Bench::new().await;
    bench.begin("s").await;
    let successor = bench.kept(1);
    assert_eq!(bench.turn(0).await, Verdict::Rotated(successor));
    bench.go_on(GRACE - Duration::from_millis(1)).await;
    assert_eq!(bench.turn(0).await, Verdict::Repeated(successor));
    bench.go_on(Duration::from_millis(1)).await;
    assert_eq!(bench.turn(0).await, Verdict::Reused);
    assert_eq!(bench.turn(1).await, Verdict::Rotated(bench.kept(2)));
    assert_eq!(
        bench.turn(0).await,
        Verdict::Reused,
        "its grandparent, at once"
    );
}

#[tokio::test]
async fn repetitions_are_counted_anew_for_each_generation() {
    let bench = Bench::new().await;
    bench.begin("s").await;
    bench.turn(0).await;
    for _ in 0..3 {
        assert_eq!(bench.turn(0).await, Verdict::Repeated(bench.kept(1)));
    }
    assert_eq!(bench.turn(0).await, Verdict::TooManyRepeats);
    assert_eq!(bench.turn(1).await, Verdict::Rotated(bench.kept(2)));
    assert_eq!(bench.turn(1).await, Verdict::Repeated(bench.kept(2)));
}

#[tokio::test]
async fn a_look_tells_what_would_be_and_changes_nothing() {
    let bench = Bench::new().await;
    bench.begin("s").await;
    for _ in 0..5 {
        assert_eq!(bench.look(0).await, Verdict::Rotated(bench.kept(1)));
    }
    bench.turn(0).await;
    for _ in 0..5 {
        assert_eq!(bench.look(0).await, Verdict::Repeated(bench.kept(1)));
    }
    assert_eq!(bench.turn(0).await, Verdict::Repeated(bench.kept(1)));
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_or_old() {
    let mut bench = Bench::new().await;
    bench.begin("s").await;
    bench.go_on(IDLE - Duration::from_millis(1)).await;
    bench.begin("idle").await;
    let turned = bench.turn(0).await;
    let Verdict::Rotated(kept) = turned else {
        panic!("{turned:?}");
    };
    assert_eq!(kept.idle_expires_at, START.plus(ABSOLUTE), "and no later");
    bench.go_on(ABSOLUTE - IDLE).await;
    let seen = bench.sessions.see(&["s", "idle"]).await.unwrap();
    assert_eq!((seen[0], seen[1].is_some()), (Some(kept), true));
    bench.go_on(Duration::from_millis(1)).await;
    assert_eq!(bench.look(1).await, Verdict::Lost);
    assert_eq!(bench.sessions.see(&["s"]).await.unwrap(), [None]);
    bench.go_on(IDLE).await;
    assert_eq!(bench.sessions.see(&["idle"]).await.unwrap(), [None]);
}

#[tokio::test]
async fn a_session_that_began_does_not_begin_again() {
    let bench = Bench::new().await;
    bench.begin("s").await;
    bench.turn(0).await;
    bench.begin("s").await;
    assert_eq!(bench.turn(1).await, Verdict::Rotated(bench.kept(2)));
}

#[tokio::test]
async fn what_is_forgotten_or_was_never_made_is_lost() {
    let bench = Bench::new().await;
    assert_eq!(bench.turn(0).await, Verdict::Lost);
    bench.begin("s").await;
    assert_eq!(bench.turn(1).await, Verdict::Reused, "it was not made yet");
    bench.sessions.forget(&["s", "never"]).await;
    assert_eq!(bench.turn(0).await, Verdict::Lost);
}

#[tokio::test]
async fn every_key_has_an_end() {
    let redis = Redis::start().unwrap();
    let sessions = found(&redis).await;
    sessions.begin("s", IDLE, ABSOLUTE).await.unwrap();
    sessions.turn(&turn("s", 0)).await.unwrap();
    let told = redis.ask(&["PTTL", "portcullis:session:{s}"]).unwrap();
    let left: u128 = told.trim().trim_start_matches(':').parse().unwrap();
    assert!((1..=IDLE.as_millis()).contains(&left), "{left}");
    let told = redis.ask(&["PTTL", "portcullis:sessions:{0}"]).unwrap();
    assert_ne!(told.trim(), ":-1");
}

/// What happens to one session: a token is presented, or time passes.
#[derive(Clone, Debug)]
enum Step {
    Present(u64),
    Pass(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0u64..6).prop_map(Step::Present),
        // Together less than it may be idle.
        1 => (0u64..12_000).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
    ];
    prop::collection::vec(step, 1..40)
}

/// Until its first reuse, which would end it: each generation is made once, and who repeats gets what was made.
#[test]
fn each_generation_is_made_exactly_once() {
    let runtime = Runtime::new().unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    let outcome = runner.run(&steps(), |steps| {
        runtime.block_on(async {
            let mut bench = Bench::new().await;
            bench.begin("s").await;
            let mut made = 0;
            for step in &steps {
                match step {
                    Step::Pass(time) => bench.go_on(*time).await,
                    Step::Present(generation) => match bench.turn(*generation).await {
                        Verdict::Rotated(kept) => {
                            prop_assert_eq!((*generation, kept.generation), (made, made + 1));
                            made += 1;
                        }
                        Verdict::Repeated(kept) => {
                            prop_assert_eq!((*generation + 1, kept.generation), (made, made));
                        }
                        Verdict::TooManyRepeats => prop_assert_eq!(*generation + 1, made),
                        Verdict::Reused => prop_assert!(*generation != made),
                        Verdict::Lost => prop_assert!(false, "nothing expires here"),
                    },
                }
            }
            Ok(())
        })
    });
    outcome.unwrap();
}

async fn found(redis: &Redis) -> Arc<RedisSessions> {
    RedisSessions::found(&address(redis)).await
}

/// Asks until Redis answers.
async fn answered(sessions: &RedisSessions, generation: u64) -> Verdict {
    let deadline = tokio::time::Instant::now() + wait::PATIENCE;
    loop {
        match sessions.look(&turn("s", generation)).await {
            Ok(verdict) => return verdict,
            Err(StoreError::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "Redis is not found");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_promoted_standby_has_none_of_the_sessions_it_copied_and_neither_has_the_old_master_later()
 {
    let (first, second) = (Redis::start().unwrap(), Redis::start().unwrap());
    let follow = |who: &Redis, whom: &Redis| {
        let port = whom.address().port().to_string();
        who.ask(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
        wait::until("a copy", wait::PATIENCE, || {
            let told = who.ask(&["INFO", "replication"]).ok()?;
            told.contains("master_link_status:up").then_some(())
        })
        .unwrap();
    };
    follow(&second, &first);
    let at_first = found(&first).await;
    at_first.begin("s", IDLE, ABSOLUTE).await.unwrap();
    let has_it = || second.ask(&["EXISTS", "portcullis:session:{s}"]).unwrap();
    wait::until("the session at the standby", wait::PATIENCE, || {
        has_it().contains('1').then_some(())
    })
    .unwrap();
    second.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
    // The standby does not know of this one.
    at_first.turn(&turn("s", 0)).await.unwrap();
    let at_second = found(&second).await;
    assert_eq!(answered(&at_second, 0).await, Verdict::Lost);
    assert!(has_it().contains('1'), "and yet it is there");

    follow(&first, &second);
    let told = at_first.look(&turn("s", 1)).await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    first.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
    for generation in [0, 1] {
        assert_eq!(answered(&at_first, generation).await, Verdict::Lost);
    }
}

#[tokio::test]
async fn a_restart_ends_sessions_that_were_on_disk() {
    let mut redis = Redis::start_appending().unwrap();
    let sessions = found(&redis).await;
    sessions.begin("s", IDLE, ABSOLUTE).await.unwrap();
    redis.kill().unwrap();
    let away = sessions.look(&turn("s", 0)).await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    redis.restart().unwrap();
    assert_eq!(answered(&sessions, 0).await, Verdict::Lost);
    let kept = redis.ask(&["EXISTS", "portcullis:session:{s}"]).unwrap();
    assert!(kept.contains('1'), "the file brought it back: {kept}");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_nobody_a_refusal() {
    let redis = Redis::start().unwrap();
    let sessions = found(&redis).await;
    sessions.begin("s", IDLE, ABSOLUTE).await.unwrap();
    for generation in 0..3 {
        redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]).ok();
        let told = sessions.turn(&turn("s", generation)).await.unwrap();
        assert!(matches!(told, Verdict::Rotated(_)), "{told:?}");
    }
}

#[tokio::test]
async fn a_redis_that_says_nothing_is_away_soon_and_found_again() {
    let redis = Redis::start().unwrap();
    let sessions = found(&redis).await;
    sessions.begin("s", IDLE, ABSOLUTE).await.unwrap();
    redis.pause().unwrap();
    let told = sessions.look(&turn("s", 0)).await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    assert!(sessions.check_present().is_err());
    redis.resume().unwrap();
    let told = answered(&sessions, 0).await;
    assert!(
        matches!(told, Verdict::Rotated(_)),
        "nothing was lost: {told:?}"
    );
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_at_the_start_and_later() {
    let redis = Redis::start().unwrap();
    let sessions = found(&redis).await;
    redis
        .ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .unwrap();
    let refused: Evicts = loop {
        // One whose first look comes to nothing starts, and refuses sessions later.
        if let Err(evicts) = RedisSessions::open(&address(&redis)).await {
            break evicts;
        }
    };
    assert!(refused.to_string().contains("allkeys-lru"));
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]).ok();
    let told = sessions.begin("s", IDLE, ABSOLUTE).await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    redis
        .ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .unwrap();
    assert_eq!(answered(&sessions, 0).await, Verdict::Lost);
}

#[tokio::test]
async fn a_full_redis_is_away_until_there_is_room() {
    let redis = Redis::start().unwrap();
    let sessions = found(&redis).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let told = sessions.begin("s", IDLE, ABSOLUTE).await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(answered(&sessions, 0).await, Verdict::Lost);
}

#[tokio::test]
async fn on_a_cluster_each_session_lies_on_its_node_and_all_nodes_are_needed() {
    let cluster = Cluster::start().unwrap();
    let urls = cluster.urls().into_iter();
    let seeds = urls.map(|url| url.replace("redis+cluster", "redis").into());
    let address = Address::Cluster(seeds.collect());
    let sessions = RedisSessions::found(&address).await;
    let sids: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
    for sid in &sids {
        sessions.begin(sid, IDLE, ABSOLUTE).await.unwrap();
        let turned = sessions.turn(&turn(sid, 0)).await.unwrap();
        assert!(matches!(turned, Verdict::Rotated(_)), "{sid}: {turned:?}");
    }
    let sids: Vec<&str> = sids.iter().map(String::as_str).collect();
    let seen = sessions.see(&sids).await.unwrap();
    assert!(seen.iter().flatten().all(|kept| kept.generation == 1));
    assert_eq!(seen.iter().flatten().count(), sids.len());
    for node in &cluster.nodes {
        let keys = node.ask(&["KEYS", "portcullis:session:*"]).unwrap();
        assert!(keys.contains("portcullis:session:"), "none at one: {keys}");
    }
    sessions.forget(&sids).await;
    let seen = sessions.see(&sids).await.unwrap();
    assert_eq!(seen.iter().flatten().count(), 0);
    cluster.nodes[2].pause().unwrap();
    let told = sessions.see(&sids).await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
}

#[tokio::test]
async fn a_host_that_says_nothing_keeps_nobody_from_the_others() {
    // Connections are made by the kernel, and nobody reads from them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    let beside = |urls: Vec<String>| {
        let silent = urls[0].replacen(&authority(&urls[0]), &silent, 1);
        [silent].into_iter().chain(urls)
    };
    let cluster = Cluster::start().unwrap();
    let seeds = beside(cluster.urls()).map(|url| url.replace("redis+cluster", "redis").into());
    let sentinels = Sentinels::start().unwrap();
    let watchers =
        beside(sentinels.urls()).map(|url| format!("redis://{}", authority(&url)).into());
    for address in [
        Address::Cluster(seeds.collect()),
        Address::Sentinel {
            sentinels: watchers.collect(),
            master: "main".to_owned(),
        },
    ] {
        let sessions = RedisSessions::open(&address).await.unwrap();
        assert_eq!(answered(&sessions, 0).await, Verdict::Lost);
    }
}

/// The host and the port of a URL.
fn authority(url: &str) -> String {
    let after = url.split("//").nth(1).unwrap();
    after.split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_redis_that_comes_after_the_start_is_found() {
    let mut redis = Redis::start().unwrap();
    redis.kill().unwrap();
    let sessions = RedisSessions::open(&address(&redis)).await.unwrap();
    let told = sessions.begin("s", IDLE, ABSOLUTE).await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    redis.restart().unwrap();
    assert_eq!(answered(&sessions, 0).await, Verdict::Lost);
}
