//! Endpoints at which requests fail: who is left out for it, for how long, and what happens where all fail.

use portcullis_harness::{
    client::Client,
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};

use crate::stage;

fn start(pool: &[Upstream], outlier: &str) -> Gateway {
    let addresses: Vec<String> = pool.iter().map(|one| one.address().to_string()).collect();
    let endpoints = addresses.join(", ");
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
upstreams:
  pool:
    endpoints: [{endpoints}]
    balance: round_robin
    circuit_breaker: {{ consecutive_failures: 1000 }}
    outlier: {{ {outlier} }}
routes:
  - {{ name: pool, match: {{ path: /pool/** }}, upstream: pool, auth: public }}
"
        )
    })
}

fn pool<const N: usize>() -> [Upstream; N] {
    [(); N].map(|()| Upstream::start().unwrap())
}

fn ejected(gateway: &Gateway, nth: usize) -> bool {
    let status = Client::of(gateway.admin()).get("/status").unwrap().json();
    status["upstreams"][0]["endpoints"][nth]["ejected"] == true
}

/// How many of these answers were failures.
fn ask(client: &mut Client, times: usize) -> usize {
    let answers = (0..times).map(|_| client.get("/pool/x").unwrap().status);
    answers.filter(|status| *status != 200).count()
}

#[test]
fn an_endpoint_that_fails_is_left_out() {
    let pool = pool::<3>();
    pool[1].reacts_with(Reaction::answer(500, "broken"));
    let gateway = start(&pool, "consecutive_failures: 3, eject_for: 1h");
    let mut client = gateway.client();
    assert_eq!(ask(&mut client, 9), 3);
    assert!(ejected(&gateway, 1) && !ejected(&gateway, 0));
    assert_eq!(ask(&mut client, 30), 0);
    assert_eq!(pool[1].count(), 3);
    let address = pool[1].address().to_string();
    let labels = [("upstream", "pool"), ("endpoint", address.as_str())];
    let metrics = gateway.metrics().unwrap();
    assert!(metrics.has("portcullis_upstream_endpoint_healthy"));
    assert_eq!(
        metrics.sum("portcullis_upstream_endpoint_healthy", &labels),
        0.0
    );
    assert!(gateway.stderr().contains("endpoint ejected"));
}

#[test]
fn an_endpoint_that_is_left_out_comes_back_by_itself() {
    let pool = pool::<2>();
    pool[0].reacts_with(Reaction::close());
    let gateway = start(&pool, "consecutive_failures: 1, eject_for: 300ms");
    let mut client = gateway.client();
    assert_eq!(ask(&mut client, 2), 1);
    pool[0].reacts_with(Reaction::ok());
    let before = pool[0].count();
    wait::until("the endpoint that was left out", PATIENCE, || {
        assert_eq!(ask(&mut client, 1), 0);
        (pool[0].count() > before).then_some(())
    })
    .unwrap();
    assert!(!ejected(&gateway, 0));
}

#[test]
fn the_last_endpoint_is_never_left_out() {
    let [only] = pool::<1>();
    only.reacts_with(Reaction::answer(503, "broken"));
    let pool = [only];
    let gateway = start(
        &pool,
        "consecutive_failures: 1, eject_for: 1h, max_ejected: 100%",
    );
    assert_eq!(ask(&mut gateway.client(), 20), 20);
    assert_eq!(pool[0].count(), 20, "each was sent");
}

#[test]
fn where_more_fail_than_may_be_left_out_all_are_asked() {
    let pool = pool::<3>();
    for broken in &pool[..2] {
        broken.reacts_with(Reaction::answer(500, "broken"));
    }
    let gateway = start(
        &pool,
        "consecutive_failures: 1, eject_for: 1h, max_ejected: 50%",
    );
    let mut client = gateway.client();
    // Whose turn comes first is drawn, so a round may pass over one of them once the other is out.
    wait::until("both to fail", PATIENCE, || {
        ask(&mut client, 1);
        (ejected(&gateway, 0) && ejected(&gateway, 1)).then_some(())
    })
    .unwrap();
    // The next request finds out what they mean, and turns begin anew.
    ask(&mut client, 1);
    let before = pool.each_ref().map(Upstream::count);
    ask(&mut client, 30);
    let after = pool.each_ref().map(Upstream::count);
    let shares: Vec<usize> = before.iter().zip(after).map(|(b, a)| a - b).collect();
    assert_eq!(shares, [10, 10, 10]);
    wait::until("the log to tell", PATIENCE, || {
        let log = gateway.stderr();
        log.contains("more endpoints fail than may be ejected")
            .then_some(())
    })
    .unwrap();
}

#[test]
fn an_answer_about_the_request_ejects_nobody() {
    let pool = pool::<2>();
    let gateway = start(&pool, "consecutive_failures: 1, eject_for: 1h");
    let mut client = gateway.client();
    for status in [404, 429, 501] {
        for one in &pool {
            one.reacts_with(Reaction::answer(status, "no"));
        }
        ask(&mut client, 4);
    }
    assert!(!ejected(&gateway, 0) && !ejected(&gateway, 1));
}
