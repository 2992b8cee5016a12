//! Sessions in a Redis that puts a standby in the place of a master: what the master held ends, and a standby that missed
//! something takes no spent token for a current one.

use portcullis_harness::{
    client::Client,
    gateway::Gateway,
    jose::Compact,
    postgres::Postgres,
    redis::{Cluster, Redis, Sentinels},
    wait::{self, PATIENCE},
};

use crate::{
    session_stage::{
        SQLITE, Stage, Tokens, door, is_away, log_in, refresh, refresh_when_it_is_back,
        refused_soon, sign_in,
    },
    stage::{all_rows, sqlite},
};

fn storage(database: &str, redis: &[String]) -> String {
    format!("{database}, redis: [{}]", redis.join(", "))
}

fn key(tokens: &Tokens) -> String {
    let claims = Compact::parse(&tokens.access).unwrap().claims().unwrap();
    format!("portcullis:session:{{{}}}", claims["sid"].as_str().unwrap())
}

/// The number of the refresh token that this server takes for the current one; empty where it has none of them.
fn current(server: &Redis, tokens: &Tokens) -> String {
    let told = server.ask(&["HGET", &key(tokens), "generation"]).unwrap();
    let number = told.lines().nth(1).unwrap_or_default();
    number.to_owned()
}

/// Signs in until the session lies there.
fn sign_in_at(server: &Redis, client: &mut Client) -> Tokens {
    let found = wait::until("a session on a certain server", PATIENCE, || {
        let tokens = sign_in(client);
        (!current(server, &tokens).is_empty()).then_some(tokens)
    });
    found.unwrap()
}

fn wait_for_copy(standby: &Redis, tokens: &Tokens) {
    let copied = || standby.ask(&["KEYS", "portcullis:session:*"]).unwrap();
    wait::until("a copy of the session", PATIENCE, || {
        copied().contains(&key(tokens)).then_some(())
    })
    .unwrap();
}

/// Once it has a copy, the standby hears of nothing more, not even of what is already on its way.
fn leave_behind(standby: &Redis, master: &Redis, tokens: &Tokens) {
    wait_for_copy(standby, tokens);
    standby.pause().unwrap();
    master.ask(&["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
}

#[test]
fn a_standby_that_missed_a_rotation_takes_no_spent_token_when_it_is_master() {
    let (postgres, redis) = (Postgres::start().unwrap(), Sentinels::start().unwrap());
    let database = format!("database: '{}'", postgres.fresh_database().unwrap());
    let stage = Stage::of(2, &storage(&database, &redis.urls()), "redis");
    let (mut here, mut there) = (stage.client(0), stage.client(1));
    let first = sign_in(&mut here);
    leave_behind(&redis.standby, &redis.master, &first);
    let second = Tokens::of(&refresh_when_it_is_back(&mut here, &first.refresh));
    redis.master.kill().unwrap();
    redis.standby.resume().unwrap();
    redis.wait_for_failover().unwrap();
    assert_eq!(current(&redis.standby, &first), "0", "the spent one");
    for token in [&first.refresh, &second.refresh] {
        for client in [&mut there, &mut here] {
            assert_eq!(refresh_when_it_is_back(client, token).status, 401);
        }
    }
    let again = sign_in(&mut here);
    let answer = refresh_when_it_is_back(&mut there, &again.refresh);
    assert_eq!(answer.status, 200, "the standby keeps sessions now");
}

#[test]
fn a_cluster_that_lost_a_master_has_lost_its_sessions_and_no_others() {
    let cluster = Cluster::start_with_standby().unwrap();
    let (master, standby) = (cluster.first(), cluster.standby());
    let stage = Stage::of(1, &storage(SQLITE, &cluster.urls()), "redis");
    let mut client = stage.client(0);
    let elsewhere = sign_in_at(&cluster.others()[0], &mut client);
    let first = sign_in_at(master, &mut client);
    leave_behind(standby, master, &first);
    let second = Tokens::of(&refresh_when_it_is_back(&mut client, &first.refresh));
    master.kill().unwrap();
    standby.resume().unwrap();
    is_away(&refresh(&mut client, &second.refresh));
    is_away(&log_in(&mut client));
    for tokens in [&first, &second, &elsewhere] {
        assert_eq!(door(&mut client, &tokens.access), 200, "it needs no Redis");
    }
    cluster.allow_failover().unwrap();
    cluster.wait_for_failover().unwrap();
    assert_eq!(current(standby, &first), "0", "the spent one");
    for token in [&first.refresh, &second.refresh] {
        assert_eq!(refresh_when_it_is_back(&mut client, token).status, 401);
    }
    refused_soon(&mut client, &second.access);
    let answer = refresh_when_it_is_back(&mut client, &elsewhere.refresh);
    assert_eq!(door(&mut client, &Tokens::of(&answer).access), 200);
    assert_eq!(lost(&stage.gateways[0]), 1);
    let again = sign_in_at(standby, &mut client);
    let answer = refresh_when_it_is_back(&mut client, &again.refresh);
    assert_eq!(answer.status, 200, "the standby keeps sessions now");
}

#[test]
fn a_master_that_hung_has_none_of_its_sessions_when_it_is_master_again() {
    let cluster = Cluster::start_with_standby().unwrap();
    let (master, standby) = (cluster.first(), cluster.standby());
    let stage = Stage::of(1, &storage(SQLITE, &cluster.urls()), "redis");
    let mut client = stage.client(0);
    let (asked, unasked) = (
        sign_in_at(master, &mut client),
        sign_in_at(master, &mut client),
    );
    wait_for_copy(standby, &unasked);
    master.pause().unwrap();
    cluster.allow_failover().unwrap();
    cluster.wait_for_failover().unwrap();
    let between = sign_in_at(standby, &mut client);
    let answer = refresh_when_it_is_back(&mut client, &asked.refresh);
    assert_eq!(answer.status, 401);
    master.resume().unwrap();
    cluster.fail_back().unwrap();
    assert_eq!(current(master, &unasked), "0", "it has it still");
    for tokens in [&asked, &unasked, &between] {
        let answer = refresh_when_it_is_back(&mut client, &tokens.refresh);
        assert_eq!(answer.status, 401);
    }
    let again = sign_in_at(master, &mut client);
    let answer = refresh_when_it_is_back(&mut client, &again.refresh);
    assert_eq!(answer.status, 200);
}

fn lost(gateway: &Gateway) -> usize {
    let rows = all_rows(&sqlite(gateway)).into_iter();
    rows.filter(|row| row.reason.as_deref() == Some("store-lost-it"))
        .count()
}
