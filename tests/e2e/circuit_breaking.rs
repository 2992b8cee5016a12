//! Breakers: when they open, whom they refuse, and how one probe closes them.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use portcullis_harness::{
    client::{Client, Request},
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};

use crate::{
    demo::{demo, hospital_backend},
    stage,
};

#[test]
fn five_failures_open_the_breaker_of_that_backend_only() {
    let mut client = demo().client_at(19);
    let token = client.log_in("admin", "admin", "hospital").unwrap();
    let request = Request::get("/hospital-db").bearer(&token);
    let told = Client::of(hospital_backend())
        .send(&Request::post("/fail?for=600s"))
        .unwrap();
    assert_eq!(told.status, 200);
    let statuses: Vec<u16> = (0..5)
        .map(|_| client.send(&request).unwrap().status)
        .collect();
    assert_eq!(statuses, [500; 5]);
    let answer = client.send(&request).unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "circuit-open")
    );
    let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let hotel = client.log_in("admin", "admin", "hotel").unwrap();
    assert_eq!(
        client
            .send(&Request::get("/hotel-db").bearer(&hotel))
            .unwrap()
            .status,
        200
    );
    let metrics = demo().metrics().unwrap();
    let state = |upstream, state| {
        metrics.sum(
            "portcullis_circuit_breaker_state",
            &[("upstream", upstream), ("state", state)],
        )
    };
    assert_eq!(
        (state("hospital", "open"), state("hospital", "closed")),
        (1.0, 0.0)
    );
    assert_eq!(
        (state("hotel", "open"), state("hotel", "closed")),
        (0.0, 1.0)
    );
}

/// The shipped file opens for a minute; this one for as long as a slow machine needs to ask once more, with an upstream
/// that counts.
fn short_breaker(upstream: SocketAddr) -> Gateway {
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
upstreams:
  sick: {{ endpoints: [{upstream}], circuit_breaker: {{ consecutive_failures: 5, open_for: 10s }} }}
routes:
  - {{ name: sick, match: {{ path: /sick/** }}, upstream: sick, auth: public }}
"
        )
    })
}

#[test]
fn an_open_breaker_leaves_the_backend_in_peace_until_one_probe_closes_it() {
    let upstream = Upstream::start().unwrap();
    let gateway = short_breaker(upstream.address());
    let mut client = gateway.client();
    upstream.reacts_with(Reaction::answer(503, "sick"));
    let passed: Vec<u16> = (0..5)
        .map(|_| client.get("/sick/x").unwrap().status)
        .collect();
    assert_eq!(
        (passed.as_slice(), upstream.count()),
        ([503; 5].as_slice(), 5)
    );
    upstream.reacts_with(Reaction::ok());
    let refused = client.get("/sick/x").unwrap();
    assert_eq!(refused.code(), "circuit-open");
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    assert_eq!(
        upstream.count(),
        5,
        "an open breaker must not contact the backend"
    );
    let closed = wait::until("a closed breaker", PATIENCE, || {
        (client.get("/sick/x").unwrap().status == 200).then_some(())
    });
    closed.unwrap();
    assert_eq!(upstream.count(), 6, "exactly one probe closes it");
    assert_eq!(client.get("/sick/x").unwrap().status, 200);
    let metrics = gateway.metrics().unwrap();
    let count = |from, to| {
        metrics.sum(
            "portcullis_circuit_breaker_transitions_total",
            &[("upstream", "sick"), ("from", from), ("to", to)],
        )
    };
    // The words for half-open are the metric's own; what matters is that each change was counted once.
    assert_eq!(count("closed", "open"), 1.0, "{}", metrics.text());
    assert_eq!(
        metrics.sum(
            "portcullis_circuit_breaker_transitions_total",
            &[("to", "closed")]
        ),
        1.0
    );
    assert_eq!(
        metrics.sum(
            "portcullis_circuit_breaker_state",
            &[("upstream", "sick"), ("state", "closed")]
        ),
        1.0
    );
    gateway.stop().unwrap();
}

#[test]
fn a_failed_probe_opens_it_again() {
    let upstream = Upstream::start().unwrap();
    let gateway = short_breaker(upstream.address());
    let mut client = gateway.client();
    upstream.reacts_with(Reaction::reset());
    for _ in 0..5 {
        assert_eq!(client.get("/sick/x").unwrap().code(), "upstream-failed");
    }
    let before = upstream.count();
    assert_eq!(client.get("/sick/x").unwrap().code(), "circuit-open");
    let probe = wait::until("a probe", PATIENCE, || {
        let answer = client.get("/sick/x").unwrap();
        (answer.code() != "circuit-open").then(|| answer.code())
    });
    assert_eq!(probe.unwrap(), "upstream-failed");
    assert_eq!(client.get("/sick/x").unwrap().code(), "circuit-open");
    assert_eq!(
        upstream.count(),
        before + 1,
        "one probe, and then peace again"
    );
}

/// An upstream with this breaker, and how often it was asked until it was left alone.
fn opens_after(
    breaker: &str,
    react: impl Fn(usize) -> Reaction + Send + Sync + 'static,
) -> (usize, Gateway) {
    let upstream = Upstream::start().unwrap();
    let turn = AtomicUsize::new(0);
    upstream.decides(move |_| react(turn.fetch_add(1, Ordering::Relaxed)));
    let address = upstream.address();
    let gateway = stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
upstreams:
  sick: {{ endpoints: [{address}], circuit_breaker: {{ consecutive_failures: 1000, open_for: 60s, {breaker} }} }}
routes:
  - {{ name: sick, match: {{ path: /sick/** }}, upstream: sick, auth: public }}
"
        )
    });
    let mut client = gateway.client();
    let asked = (0..100).take_while(|_| client.get("/sick/x").unwrap().code() != "circuit-open");
    (asked.count(), gateway)
}

fn opened_for(gateway: &Gateway, reason: &str) -> f64 {
    let labels = [("upstream", "sick"), ("to", "open"), ("reason", reason)];
    let metrics = gateway.metrics().unwrap();
    metrics.sum("portcullis_circuit_breaker_transitions_total", &labels)
}

#[test]
fn a_share_of_failures_opens_it_though_no_two_come_in_a_row() {
    let breaker = "failure_rate: { percent: 50, window: 60s, minimum_requests: 20 }";
    let (asked, gateway) = opens_after(breaker, |turn| match turn % 2 {
        0 => Reaction::ok(),
        _ => Reaction::answer(503, "no"),
    });
    assert_eq!(asked, 20, "not before so many, and then at once");
    assert_eq!(opened_for(&gateway, "failure_rate"), 1.0);
}

#[test]
fn a_share_of_slow_answers_opens_it_though_all_are_well() {
    let breaker = "failure_rate: { percent: 100, window: 60s, minimum_requests: 5 }, slow_calls: { slower_than: 50ms, percent: 60 }";
    let (asked, gateway) = opens_after(breaker, |_| {
        Reaction::ok().delayed(Duration::from_millis(80))
    });
    assert_eq!(asked, 5);
    assert_eq!(opened_for(&gateway, "slow_calls"), 1.0);
}
