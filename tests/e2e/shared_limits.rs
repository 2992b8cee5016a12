//! Limits that three gateways have in common through a Redis: what they let through together, with the store there,
//! with the store gone, and after it came back.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use portcullis_harness::wait::{self, PATIENCE, timed};

use crate::replicas::{
    AWAY, BACK, LIMIT, Replicas, Statuses, flood, never_missed_the_store, said, undisturbed,
    wait_for,
};

#[test]
fn three_gateways_let_through_exactly_the_limit() {
    let statuses = undisturbed(|| {
        let replicas = Replicas::start("mode: exact, timeout: 10s, replicas: 3");
        let statuses = replicas.flood(LIMIT);
        replicas.never_missed_the_store().then_some(statuses)
    });
    assert_eq!(
        (statuses.admitted, statuses.unavailable),
        (LIMIT, 0),
        "{statuses:?}"
    );
}

#[test]
fn leases_let_through_the_limit_and_never_more() {
    let (all, admitted, calls) = undisturbed(|| {
        let replicas = Replicas::with_limit(1200, "mode: leased, timeout: 10s, replicas: 3");
        let mut admitted = replicas.flood(700).admitted;
        // While all hammer on the last of it, some of it lies with a gateway that nobody asks just then; what nobody
        // spends is given back. A gateway that was held up for seconds may have let a lease end, hence not all of it.
        let all = wait::until("nearly all of the limit", PATIENCE, || {
            admitted += replicas.flood(12).admitted;
            (admitted >= 1140).then_some(())
        });
        admitted += replicas.flood(200).admitted;
        let outcome = (all, admitted, replicas.script_calls());
        replicas.never_missed_the_store().then_some(outcome)
    });
    all.unwrap_or_else(|error| panic!("{error}: {admitted}"));
    assert!(admitted <= 1200, "{admitted}");
    assert!(
        calls < 1200,
        "{calls} calls for more than 2000 requests are no leases"
    );
}

#[test]
fn a_gateway_that_stops_gives_back_what_it_has_taken_ahead() {
    const BUCKET: &str = "tight";
    let (left, before, rest) = undisturbed(|| {
        let mut replicas = Replicas::with_limit(1200, "mode: leased, timeout: 10s, replicas: 3");
        let stopped = replicas.gateways.remove(0);
        let mut before = flood(&stopped, 300).admitted;
        // The instant at which it is full, and the lease, which lasts no longer than it is spent from.
        wait::until("a lease", PATIENCE, || {
            before += flood(&stopped, 20).admitted;
            (replicas.fields(BUCKET) == 2).then_some(())
        })
        .ok()?;
        let missed_nothing = never_missed_the_store(&stopped);
        stopped.stop().unwrap();
        let left = replicas.fields(BUCKET);
        let rest = flood(&replicas.gateways[0], 1200).admitted;
        let was_there = missed_nothing && replicas.never_missed_the_store();
        was_there.then_some((left, before, rest))
    });
    assert_eq!(left, 1, "no lease is left");
    assert!(
        (1140..=1200).contains(&(before + rest)),
        "{before} and {rest}"
    );
}

#[test]
fn gateways_that_are_killed_and_replaced_never_let_through_more() {
    let sharing = "mode: leased, timeout: 10s, replicas: 3";
    let admitted = undisturbed(|| {
        let mut replicas = Replicas::with_limit(900, sharing);
        let (mut admitted, mut was_there) = (0, true);
        for _ in 0..3 {
            admitted += replicas.flood(100).admitted;
            was_there &= replicas.never_missed_the_store();
            // Killed with what it has taken ahead.
            drop(replicas.gateways.remove(0));
            replicas.add(sharing);
        }
        admitted += replicas.flood(400).admitted;
        was_there &= replicas.never_missed_the_store();
        was_there.then_some(admitted)
    });
    assert!((450..=900).contains(&admitted), "{admitted}");
}

#[test]
fn a_store_that_lost_its_memory_costs_no_more_than_one_further_window() {
    lose_the_memory("exact");
    lose_the_memory("leased");
}

/// The worst case: one gateway lets the whole limit pass, so that the shares of the others are whole.
fn lose_the_memory(mode: &str) {
    let (mut replicas, before) = undisturbed(|| {
        let replicas = Replicas::start(&format!("mode: {mode}, timeout: 10s, replicas: 3"));
        let before = flood(&replicas.gateways[0], LIMIT + 10);
        // A lease may end while its gateway is held up.
        let is_whole = replicas.never_missed_the_store() && before.admitted == LIMIT;
        is_whole.then_some((replicas, before))
    });
    replicas.redis.kill().unwrap();
    let without = replicas.flood(LIMIT);
    assert_eq!(
        without.admitted,
        LIMIT / 3 * 2,
        "the shares that were left: {without:?}"
    );
    replicas.redis.restart().unwrap();
    replicas.wait_for(BACK, 2);
    let after = replicas.flood(LIMIT);
    assert_eq!(after.unavailable, 0);
    let all = before.and(without).and(after);
    assert!(
        all.admitted <= 2 * LIMIT,
        "{before:?} {without:?} {after:?}"
    );
}

#[test]
fn what_is_left_of_the_shares_is_brought_back_to_a_store_that_lost_its_memory() {
    let mut replicas = Replicas::start("mode: exact, timeout: 10s, replicas: 3");
    assert_eq!(flood(&replicas.gateways[0], 1).admitted, 1);
    replicas.redis.kill().unwrap();
    assert_eq!(flood(&replicas.gateways[1], 1).admitted, 1, "of its share");
    replicas.redis.restart().unwrap();
    // Only who met the loss tells of it; the others find the connection broken at their next request.
    wait_for(&replicas.gateways[1], BACK, 2);
    let after = replicas.flood(LIMIT);
    // One was let through before the loss and one after it, which costs three of a share that is a third.
    assert!((40..LIMIT).contains(&after.admitted), "{after:?}");
}

#[test]
fn a_loss_in_the_middle_of_a_flood_costs_no_more_than_one_further_window() {
    lose_the_memory_under_load("exact");
    lose_the_memory_under_load("leased");
}

fn lose_the_memory_under_load(mode: &str) {
    let mut replicas = Replicas::start(&format!("mode: {mode}, timeout: 10s, replicas: 3"));
    let over = AtomicBool::new(false);
    let admitted: u32 = thread::scope(|scope| {
        let floods: Vec<_> = replicas
            .gateways
            .iter()
            .map(|gateway| {
                scope.spawn(|| {
                    let mut admitted = 0;
                    while !over.load(Relaxed) {
                        admitted += flood(gateway, 10).admitted;
                    }
                    admitted
                })
            })
            .collect();
        replicas.redis.kill().unwrap();
        replicas.wait_for(AWAY, 1);
        replicas.redis.restart().unwrap();
        replicas.wait_for(BACK, 2);
        over.store(true, Relaxed);
        floods.into_iter().map(|flood| flood.join().unwrap()).sum()
    });
    let after = replicas.flood(LIMIT);
    let all = admitted + after.admitted;
    assert!(
        (LIMIT / 3..=2 * LIMIT).contains(&all),
        "{admitted} and {after:?}"
    );
}

#[test]
fn a_store_that_hangs_holds_up_one_request_and_none_after_it() {
    let replicas = undisturbed(|| {
        let replicas = Replicas::start("mode: exact, timeout: 3s, replicas: 3");
        let is_whole = flood(&replicas.gateways[0], 1).admitted == 1;
        (is_whole && replicas.never_missed_the_store()).then_some(replicas)
    });
    let gateway = &replicas.gateways[0];
    replicas.redis.pause().unwrap();
    let (statuses, took) = timed(|| flood(gateway, LIMIT));
    assert_eq!(
        statuses.admitted,
        LIMIT / 3 - 1,
        "of its share: {statuses:?}"
    );
    // Were each to wait, it would be three minutes at the least.
    assert!(took < PATIENCE, "{took:?}");
    wait_for(gateway, AWAY, 1);
    assert_eq!(said(gateway, AWAY), 1, "{}", gateway.stderr());
    let metrics = gateway.metrics().unwrap();
    assert_eq!(
        metrics.sum("portcullis_rate_limit_store_errors_total", &[]),
        1.0
    );
    replicas.redis.resume().unwrap();
    wait_for(gateway, BACK, 2);
    assert_eq!((said(gateway, AWAY), said(gateway, BACK)), (1, 2));
}

#[test]
fn without_the_store_the_operator_s_word_counts() {
    let mut replicas =
        Replicas::start("mode: exact, timeout: 10s, replicas: 3, on_store_failure: deny");
    replicas.add("mode: exact, timeout: 10s, replicas: 3, on_store_failure: allow");
    replicas.redis.kill().unwrap();
    let denied = flood(&replicas.gateways[0], 10);
    assert_eq!(
        denied,
        Statuses {
            unavailable: 10,
            ..Statuses::default()
        }
    );
    let answer = replicas.gateways[0].client().get("/open/room").unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "store-unavailable")
    );
    assert_eq!(answer.field("retry-after"), Some("1"));
    let metrics = replicas.gateways[0].metrics().unwrap();
    let undecided = [("limit", "tight"), ("outcome", "store_unavailable")];
    assert_eq!(
        metrics.sum("portcullis_rate_limit_decisions_total", &undecided),
        11.0
    );
    let allowed = flood(&replicas.gateways[3], LIMIT * 2);
    assert_eq!(allowed.admitted, LIMIT * 2, "{allowed:?}");
    replicas.redis.restart().unwrap();
    wait_for(&replicas.gateways[0], BACK, 2);
    assert_eq!(flood(&replicas.gateways[0], 10).admitted, 10);
}

#[test]
fn a_gateway_starts_without_the_store_and_with_an_empty_share() {
    let mut replicas = Replicas::start("mode: exact, timeout: 10s, replicas: 3");
    replicas.redis.kill().unwrap();
    replicas.add("mode: exact, timeout: 10s, replicas: 3");
    let late = &replicas.gateways[3];
    wait_for(late, AWAY, 1);
    assert_eq!(
        flood(late, 5).limited,
        5,
        "another before it may have spent its share"
    );
    replicas.redis.restart().unwrap();
    wait_for(late, BACK, 1);
}
