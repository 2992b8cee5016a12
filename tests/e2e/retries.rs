//! Sending a request once more: where it is safe, within the budget, and never beyond what the route has time for.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use portcullis_harness::{
    client::{Client, Request},
    gateway::Gateway,
    ports::free_port,
    upstream::{Reaction, Upstream},
    wait,
};

use crate::stage;

const STURDY: &str = "circuit_breaker: { consecutive_failures: 100000 }";

/// A gateway before these endpoints of one upstream, asked in turn.
fn start(endpoints: &[&Upstream], more: &str) -> Gateway {
    let endpoints: Vec<_> = endpoints.iter().map(|one| one.address()).collect();
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
upstreams:
  pool: {{ endpoints: {endpoints:?}, balance: round_robin, {more} }}
routes:
  - {{ name: pool, match: {{ path: /pool/** }}, upstream: pool, auth: public, body: 1MiB }}
"
        )
    })
}

fn retries(gateway: &Gateway) -> f64 {
    gateway
        .metrics()
        .unwrap()
        .sum("portcullis_upstream_retries_total", &[("upstream", "pool")])
}

#[test]
fn an_answer_of_a_sick_endpoint_is_bettered_by_another() {
    let (sick, well) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    sick.reacts_with(Reaction::answer(503, "sick"));
    let gateway = start(
        &[&sick, &well],
        &format!("retries: {{ attempts: 2, when: [connect, 503] }}, {STURDY}"),
    );
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(client.get("/pool/x").unwrap().text(), "ok");
    }
    let asked = sick.count();
    assert!(
        asked >= 1,
        "one in two requests begins at the sick endpoint"
    );
    assert_eq!((well.count(), retries(&gateway)), (10, asked as f64));
}

#[test]
fn the_last_answer_is_passed_on() {
    let sick = Upstream::start().unwrap();
    sick.reacts_with(Reaction::answer(503, "sick"));
    let gateway = start(
        &[&sick],
        &format!("retries: {{ attempts: 3, when: [503] }}, {STURDY}"),
    );
    let answer = gateway.client().get("/pool/x").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (503, "sick"));
    assert_eq!((sick.count(), retries(&gateway)), (3, 2.0));
}

#[test]
fn only_the_answers_that_are_listed_are_given_up() {
    let sick = Upstream::start().unwrap();
    let gateway = start(
        &[&sick],
        &format!("retries: {{ attempts: 3, when: [502, 504] }}, {STURDY}"),
    );
    let mut client = gateway.client();
    for (status, attempts) in [(500, 1), (502, 3), (503, 1), (504, 3), (429, 1)] {
        sick.reacts_with(Reaction::answer(status, "sick"));
        sick.take_received();
        assert_eq!(client.get("/pool/x").unwrap().status, status);
        assert_eq!(sick.count(), attempts, "{status}");
    }
}

#[test]
fn what_might_be_carried_out_twice_is_sent_once() {
    let sick = Upstream::start().unwrap();
    sick.reacts_with(Reaction::answer(503, "sick"));
    let gateway = start(
        &[&sick],
        &format!("retries: {{ attempts: 5, when: [503] }}, {STURDY}"),
    );
    let mut client = gateway.client();
    for method in ["POST", "PATCH"] {
        sick.take_received();
        let request = Request::new(method, "/pool/x").body("order");
        assert_eq!(client.send(&request).unwrap().text(), "sick");
        assert_eq!(sick.count(), 1, "{method}");
    }
}

#[test]
fn a_body_is_sent_again_whole_or_not_at_all() {
    let sick = Upstream::start().unwrap();
    sick.reacts_with(Reaction::answer(503, "sick"));
    let gateway = start(
        &[&sick],
        &format!("retries: {{ attempts: 2, when: [503] }}, {STURDY}"),
    );
    let put = |length: usize| {
        sick.take_received();
        let request = Request::new("PUT", "/pool/x").body(vec![b'a'; length]);
        let mut client = Client::of(gateway.address());
        assert_eq!(client.send(&request).unwrap().text(), "sick");
        let received = sick.take_received();
        received
            .iter()
            .map(|received| received.body.len())
            .collect::<Vec<_>>()
    };
    assert_eq!(put(50_000), [50_000, 50_000]);
    assert_eq!(put(500_000), [500_000], "longer than what is kept");
}

#[test]
fn a_storm_of_failures_is_not_doubled() {
    const REQUESTS: usize = 1_000;
    let sick = Upstream::start().unwrap();
    sick.reacts_with(Reaction::answer(503, "sick"));
    let gateway = start(
        &[&sick],
        &format!("retries: {{ attempts: 2, when: [503], budget: 20% }}, {STURDY}"),
    );
    let mut client = gateway.client();
    let ((), took) = wait::timed(|| {
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/pool/x").unwrap().text(), "sick");
        }
    });
    // A fifth of the requests, what was saved before, and ten for each second that it took.
    let allowed = 200.0 + 100.0 + 10.0 * (took.as_secs_f64() + 1.0);
    let made = retries(&gateway);
    assert!(
        (200.0..=allowed).contains(&made),
        "{made} retries where {allowed} are allowed"
    );
    assert_eq!(sick.count() as f64, REQUESTS as f64 + made);
}

#[test]
fn each_attempt_asks_the_breaker() {
    let sick = Upstream::start().unwrap();
    sick.reacts_with(Reaction::answer(503, "sick"));
    let gateway = start(
        &[&sick],
        "retries: { attempts: 5, when: [503] }, circuit_breaker: { consecutive_failures: 3, open_for: 600s }",
    );
    let mut client = gateway.client();
    let last = client.get("/pool/x").unwrap();
    assert_eq!(
        (last.text().as_str(), sick.count()),
        ("sick", 3),
        "the third failure opens the breaker, and the answer at hand is passed on"
    );
    assert_eq!(client.get("/pool/x").unwrap().code(), "circuit-open");
    assert_eq!(sick.count(), 3);
}

#[test]
fn all_attempts_together_have_the_routes_time() {
    let slow = Upstream::start().unwrap();
    // Each by itself is in time; five of them are not.
    slow.reacts_with(Reaction::answer(503, "sick").delayed(Duration::from_millis(1_500)));
    let gateway = start(
        &[&slow],
        &format!("timeouts: {{ request: 5s }}, retries: {{ attempts: 5, when: [503] }}, {STURDY}"),
    );
    let answer = gateway.client().get("/pool/x").unwrap();
    assert_eq!(answer.code(), "upstream-timeout", "the route has 5 s");
    let asked = slow.count();
    assert!((1..5).contains(&asked), "it was asked {asked} times");
}

#[test]
fn a_connection_that_cannot_be_made_is_final_where_the_file_says_so() {
    let well = Upstream::start().unwrap();
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let gateway = stage::start(|places| {
        let server = stage::server(places, "");
        let well = well.address();
        format!(
            "{server}
upstreams:
  pool: {{ endpoints: [{nobody}, {well}], balance: round_robin, retries: {{ when: [] }}, {STURDY} }}
routes:
  - {{ name: pool, match: {{ path: /pool/** }}, upstream: pool, auth: public }}
"
        )
    });
    let mut client = gateway.client();
    let codes: Vec<_> = (0..10)
        .map(|_| client.get("/pool/x").unwrap().code())
        .collect();
    assert!(
        codes.iter().any(|code| code == "upstream-unreachable"),
        "{codes:?}"
    );
    assert_eq!(retries(&gateway), 0.0);
}
