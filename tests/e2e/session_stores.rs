//! Sessions of whole gateways, wherever they are kept, and what becomes of them when a gateway, a database or a Redis is
//! lost: who was answered goes on, who was not asks again, and of no session are there ever two that go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::House,
    postgres::Postgres,
    redis::Redis,
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    session_stage::{
        SQLITE, Stage, Tokens, configuration, door, is_away, log_in, refresh,
        refresh_when_it_is_back, refused_soon, sign_in, sign_out,
    },
    stage::{self, all_rows, sqlite},
};

/// Some of the clients that refresh while a gateway is killed.
const CLIENTS: usize = 4;
const KILLS: usize = 5;

/// Refreshes until nobody answers, and returns the token that was sent last.
fn refresh_on(
    mut client: Client,
    mut token: String,
    answered: &Arc<AtomicUsize>,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<String> {
    let (answered, stop) = (Arc::clone(answered), Arc::clone(stop));
    thread::spawn(move || {
        while !stop.load(Relaxed) {
            let body = json!({ "refresh_token": token });
            let request = Request::post("/v1/auth/refresh").json(&body);
            let Ok(answer) = client.send(&request) else {
                break;
            };
            // A gateway that is killed behind its own front door, or a store that was held up: whoever is there is asked again.
            if answer.status >= 500 {
                continue;
            }
            token = Tokens::of(&answer).refresh;
            answered.fetch_add(1, Relaxed);
        }
        token
    })
}

/// Kills a gateway again and again while clients refresh. Whichever moment it was, between the commit and the answer
/// included, all go on where they were.
fn every_answer_that_was_lost_can_be_asked_for_again(storage: &str, sessions: &str) {
    let mut stage = Stage::of(1, storage, sessions);
    let mut gateway = stage.gateways.remove(0);
    let mut tokens: Vec<String> = (0..CLIENTS)
        .map(|_| sign_in(&mut gateway.client()).refresh)
        .collect();
    for kill in 1..=KILLS {
        let (answered, stop) = (Arc::default(), Arc::default());
        let refreshing: Vec<_> = tokens
            .drain(..)
            .map(|token| refresh_on(gateway.client(), token, &answered, &stop))
            .collect();
        let enough = || (answered.load(Relaxed) >= 5 * kill).then_some(());
        wait::until("some refreshes", PATIENCE, enough).unwrap();
        gateway.signal(Signal::KILL).unwrap();
        gateway.wait_for_end(PATIENCE).unwrap();
        stop.store(true, Relaxed);
        let unanswered: Vec<String> = refreshing
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect();
        gateway = gateway.keep().launch(&["run"]).unwrap();
        gateway.wait_ready().unwrap();
        let mut client = gateway.client();
        for token in unanswered {
            let answer = refresh_when_it_is_back(&mut client, &token);
            assert_eq!(answer.status, 200, "kill {kill}: {}", answer.text());
            tokens.push(Tokens::of(&answer).refresh);
        }
    }
}

#[test]
fn a_killed_gateway_on_sqlite_loses_no_session() {
    every_answer_that_was_lost_can_be_asked_for_again(SQLITE, "database");
}

#[test]
fn a_killed_gateway_on_postgresql_loses_no_session() {
    let postgres = Postgres::start().unwrap();
    let storage = format!("database: '{}'", postgres.fresh_database().unwrap());
    every_answer_that_was_lost_can_be_asked_for_again(&storage, "database");
}

#[test]
fn a_killed_gateway_with_sessions_in_redis_loses_none() {
    let redis = Redis::start().unwrap();
    let storage = format!("{SQLITE}, redis: '{}'", redis.url());
    every_answer_that_was_lost_can_be_asked_for_again(&storage, "redis");
}

/// Alone and with sessions in Redis: the row that tells of a refresh is PostgreSQL's in either case.
fn sessions_outlive_their_database(postgres: &mut Postgres, stage: &Stage) {
    let mut client = stage.client(0);
    let first = sign_in(&mut client);
    let second = Tokens::of(&refresh_when_it_is_back(&mut client, &first.refresh));
    postgres.crash().unwrap();
    is_away(&refresh(&mut client, &second.refresh));
    is_away(&log_in(&mut client));
    assert_eq!(
        door(&mut client, &second.access),
        200,
        "it needs no database"
    );
    postgres.restart().unwrap();
    let third = refresh_when_it_is_back(&mut client, &second.refresh);
    let third = Tokens::of(&third);
    assert_eq!(door(&mut client, &third.access), 200);
    // Nothing that was spent before is good again.
    assert_eq!(
        refresh_when_it_is_back(&mut client, &first.refresh).status,
        401
    );
    assert_eq!(
        refresh_when_it_is_back(&mut client, &third.refresh).status,
        401
    );
    assert_eq!(
        door(&mut client, &third.access),
        401,
        "in the very next request"
    );
}

#[test]
fn sessions_in_postgresql_outlive_a_crash_of_it() {
    let mut postgres = Postgres::start().unwrap();
    let storage = format!("database: '{}'", postgres.fresh_database().unwrap());
    let stage = Stage::of(1, &storage, "database");
    sessions_outlive_their_database(&mut postgres, &stage);
}

#[test]
fn sessions_in_redis_outlive_a_crash_of_the_database_beside_it() {
    let (mut postgres, redis) = (Postgres::start().unwrap(), Redis::start().unwrap());
    let database = postgres.fresh_database().unwrap();
    let storage = format!("database: '{database}', redis: '{}'", redis.url());
    let stage = Stage::of(1, &storage, "redis");
    sessions_outlive_their_database(&mut postgres, &stage);
}

#[test]
fn with_redis_away_tokens_are_verified_sign_outs_hold_and_nobody_signs_in() {
    let redis = Redis::start().unwrap();
    let stage = Stage::of(1, &format!("{SQLITE}, redis: '{}'", redis.url()), "redis");
    let mut client = stage.client(0);
    let (stays, leaves) = (sign_in(&mut client), sign_in(&mut client));
    redis.pause().unwrap();
    for _ in 0..2 {
        is_away(&refresh(&mut client, &stays.refresh));
        is_away(&log_in(&mut client));
        assert_eq!(door(&mut client, &stays.access), 200);
    }
    assert_eq!(sign_out(&mut client, &leaves.access), 204);
    assert_eq!(
        door(&mut client, &leaves.access),
        401,
        "in the very next request"
    );
    redis.resume().unwrap();
    let stays = refresh_when_it_is_back(&mut client, &stays.refresh);
    assert_eq!(door(&mut client, &Tokens::of(&stays).access), 200);
    let late = refresh_when_it_is_back(&mut client, &leaves.refresh);
    assert_eq!(late.status, 401, "Redis still has it");
    assert_eq!(stage.gateways[0].readiness(), Some(200));
}

#[test]
fn a_redis_that_comes_back_without_its_sessions_ends_them() {
    let mut redis = Redis::start_appending().unwrap();
    let stage = Stage::of(1, &format!("{SQLITE}, redis: '{}'", redis.url()), "redis");
    let mut client = stage.client(0);
    let flushed = sign_in(&mut client);
    redis.ask(&["FLUSHALL"]).unwrap();
    assert_eq!(
        door(&mut client, &flushed.access),
        200,
        "nobody has noticed"
    );
    assert_eq!(
        refresh_when_it_is_back(&mut client, &flushed.refresh).status,
        401
    );
    refused_soon(&mut client, &flushed.access);

    let first = sign_in(&mut client);
    let second = Tokens::of(&refresh_when_it_is_back(&mut client, &first.refresh));
    redis.kill().unwrap();
    redis.restart().unwrap();
    let keys = redis.ask(&["KEYS", "portcullis:session:*"]).unwrap();
    assert!(keys.contains("session"), "its file brought it back: {keys}");
    for token in [&first.refresh, &second.refresh] {
        assert_eq!(refresh_when_it_is_back(&mut client, token).status, 401);
    }
    let again = sign_in(&mut client);
    assert_eq!(
        refresh_when_it_is_back(&mut client, &again.refresh).status,
        200
    );
    let rows = all_rows(&sqlite(&stage.gateways[0]));
    let lost = rows
        .iter()
        .filter(|row| row.reason.as_deref() == Some("store-lost-it"));
    assert_eq!(lost.count(), 2);
}

#[test]
fn replicas_that_refresh_one_session_at_once_agree_and_none_outlives_a_sign_out() {
    const ROUNDS: usize = 60;
    let (postgres, redis) = (Postgres::start().unwrap(), Redis::start().unwrap());
    let database = postgres.fresh_database().unwrap();
    let storage = format!("database: '{database}', redis: '{}'", redis.url());
    let stage = Stage::of(3, &storage, "redis");
    let mut clients: Vec<Client> = (0..3).map(|gateway| stage.client(gateway)).collect();
    let mut given = Vec::new();
    for round in 0..ROUNDS {
        let first = sign_in(&mut clients[round % 3]);
        let answers: Vec<Response> = at_once(&mut clients, |_, client| {
            refresh_when_it_is_back(client, &first.refresh)
        });
        let mut tokens: Vec<Tokens> = answers.iter().map(Tokens::of).collect();
        let successor = tokens[0].refresh.clone();
        assert!(tokens.iter().all(|one| one.refresh == successor), "{round}");
        let answers = at_once(&mut clients, |gateway, client| {
            if gateway == round % 3 {
                let request = Request::post("/v1/auth/logout").bearer(&first.access);
                client.send(&request.json(&json!({}))).unwrap()
            } else {
                refresh_when_it_is_back(client, &successor)
            }
        });
        assert_eq!(answers[round % 3].status, 204, "{round}");
        let refreshed = answers.iter().filter(|answer| answer.status == 200);
        tokens.extend(refreshed.map(Tokens::of));
        for client in &mut clients {
            for one in &tokens {
                assert_eq!(
                    refresh_when_it_is_back(client, &one.refresh).status,
                    401,
                    "{round}"
                );
            }
        }
        given.extend(tokens.into_iter().map(|one| one.access));
    }
    for client in &mut clients {
        for access in &given {
            refused_soon(client, access);
        }
    }
}

fn at_once(
    clients: &mut [Client],
    request: impl Fn(usize, &mut Client) -> Response + Sync,
) -> Vec<Response> {
    thread::scope(|scope| {
        let request = &request;
        let all = clients.iter_mut().enumerate();
        let all: Vec<_> = all
            .map(|(number, client)| scope.spawn(move || request(number, client)))
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn a_redis_that_evicts_is_no_place_for_sessions() {
    let redis = Redis::start().unwrap();
    let policy = ["CONFIG", "SET", "maxmemory-policy", "volatile-lru"];
    redis.ask(&policy).unwrap();
    let upstream = Upstream::start().unwrap();
    let storage = format!("{SQLITE}, redis: '{}'", redis.url());
    let house = stage::build(|places| configuration(places, &upstream, &storage, "redis"));
    let said = refused_at_the_start(house);
    assert!(
        said.contains("volatile-lru") && said.contains("noeviction"),
        "{said}"
    );
}

/// What it says to a start that fails. One whose first look a loaded machine holds up starts, and refuses sessions later.
fn refused_at_the_start(mut house: House) -> String {
    for _ in 0..5 {
        let mut gateway = house.launch(&["run"]).unwrap();
        wait::until("an end or a start", PATIENCE, || {
            (gateway.has_ended() || gateway.readiness() == Some(200)).then_some(())
        })
        .unwrap();
        if gateway.has_ended() {
            let status = gateway.wait_for_end(PATIENCE).unwrap();
            assert!(!status.success());
            return gateway.stderr();
        }
        gateway.signal(Signal::KILL).unwrap();
        gateway.wait_for_end(PATIENCE).unwrap();
        house = gateway.keep();
    }
    panic!("it starts each time");
}
