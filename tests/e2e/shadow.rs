//! Checks that only report: the request goes on as if they were not there, and what they would have done is told.

use portcullis_harness::{
    client::{Client, Request, Response, Socket},
    gateway::Gateway,
    upstream::{Reaction, Received, Upstream},
    wait::{self, PATIENCE},
};
use serde_json::{Value, json};

use crate::stage::{self, CORP, corp_claims, corp_token};

fn gateway(upstream: &Upstream) -> Gateway {
    with_breaker(upstream, "600s")
}

/// Every route has one check in its shadow, but for one, which has them all. The breaker of that one stays open for so long.
fn with_breaker(upstream: &Upstream, open_for: &str) -> Gateway {
    let address = upstream.address();
    stage::start(|places| {
        let server = stage::server(places, "limits: { body: 2KiB }");
        format!(
            "{server}{CORP}
upstreams:
  hotel: {{ endpoints: [{address}], circuit_breaker: {{ consecutive_failures: 100000 }}, max_in_flight: 1 }}
  sick: {{ endpoints: [{address}], circuit_breaker: {{ consecutive_failures: 1, open_for: {open_for} }} }}
rate_limits:
  narrow: {{ key: ip, limit: 1/1h }}
  wide: {{ key: ip, limit: 5/1h }}
  mine: {{ key: user, limit: 1/1h }}
routes:
  - name: token
    match: {{ path: /token/** }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }}
    shadow: [token]
  - name: access
    match: {{ path: /access/** }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:write] }} }}
    shadow: [access]
  - name: limits
    match: {{ path: /limits/** }}
    upstream: hotel
    auth: public
    rate_limits: [wide, narrow]
    shadow: [narrow]
  - name: all
    match: {{ path: /all/** }}
    upstream: sick
    auth: {{ resource: hotel }}
    body: 10
    ip: {{ deny: [127.0.0.0/8] }}
    rate_limits: [mine]
    shadow: [address, body, token, access, mine, circuit_breaker]
  - name: full
    match: {{ path: /full/** }}
    upstream: hotel
    auth: public
    shadow: [max_in_flight]
"
        )
    })
}

/// Requests are counted once they have ended, which is after the client has its answer.
fn check_would_reject(gateway: &Gateway, route: &str, code: &str, expected: f64) {
    let labels = [("route", route), ("code", code)];
    let what = format!("{expected} of {code} on {route}");
    let counted = wait::until(&what, PATIENCE, || {
        let metrics = gateway.metrics().unwrap();
        (metrics.sum("portcullis_would_reject_total", &labels) == expected).then_some(())
    });
    counted.unwrap();
}

/// The access line of an answer.
fn line(gateway: &Gateway, answer: &Response) -> Value {
    let id = answer.field("x-request-id").unwrap();
    wait::until("the access line", PATIENCE, || {
        gateway
            .stdout()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["request_id"] == id)
    })
    .unwrap()
}

fn only(upstream: &Upstream) -> Received {
    let mut received = upstream.take_received();
    assert_eq!(received.len(), 1, "{received:?}");
    received.remove(0)
}

#[test]
fn a_shadowed_token_check_lets_a_caller_pass_as_nobody() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let forged = Request::get("/token/x").bearer("not.a.token");
    let forged = client.send(&forged.with("X-User-Id", "admin")).unwrap();
    assert_eq!(forged.status, 200);
    let received = only(&upstream);
    for name in [
        "x-user-id",
        "x-user-roles",
        "x-user-scopes",
        "authorization",
    ] {
        assert_eq!(
            received.field(name),
            None,
            "{name} must not reach the upstream"
        );
    }
    assert_eq!(
        line(&gateway, &forged)["would_reject"],
        json!(["invalid-token"])
    );
    assert_eq!(line(&gateway, &forged)["code"], Value::Null);
    assert_eq!(client.get("/token/x").unwrap().status, 200);
    check_would_reject(&gateway, "token", "invalid-token", 1.0);
    check_would_reject(&gateway, "token", "authentication-required", 1.0);
    assert_eq!(
        gateway
            .metrics()
            .unwrap()
            .sum("portcullis_rejections_total", &[]),
        0.0,
        "what was let off is no rejection"
    );
}

#[test]
fn a_shadowed_token_check_still_knows_a_good_caller_and_checks_its_rights() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let good = corp_token(&corp_claims("alice"));
    let answer = client
        .send(&Request::get("/token/x").bearer(&good))
        .unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(only(&upstream).field("x-user-id"), Some("corp:alice"));
    assert_eq!(line(&gateway, &answer)["would_reject"], json!([]));
    let mut elsewhere = corp_claims("alice");
    elsewhere["aud"] = json!("event");
    let other = Request::get("/token/x").bearer(&corp_token(&elsewhere));
    assert_eq!(client.send(&other).unwrap().code(), "wrong-resource");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn shadowed_access_lets_a_known_caller_pass_and_nobody_else() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let reader = Request::get("/access/x").bearer(&corp_token(&corp_claims("alice")));
    assert_eq!(client.send(&reader).unwrap().status, 200);
    assert_eq!(only(&upstream).field("x-user-id"), Some("corp:alice"));
    check_would_reject(&gateway, "access", "insufficient-scope", 1.0);
    assert_eq!(
        client.get("/access/x").unwrap().code(),
        "authentication-required"
    );
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_shadowed_limit_neither_refuses_nor_keeps_others_from_being_spent() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let answers: Vec<Response> = (0..6).map(|_| client.get("/limits/x").unwrap()).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    for answer in &answers {
        let policy = answer.field("ratelimit-policy").unwrap();
        assert!(policy.starts_with("\"wide\""), "{policy}");
    }
    // The sixth was refused before the shadowed limit could be asked.
    check_would_reject(&gateway, "limits", "rate-limited", 4.0);
    let metrics = gateway.metrics().unwrap();
    let decisions = |limit, outcome| {
        let labels = [("limit", limit), ("outcome", outcome)];
        metrics.sum("portcullis_rate_limit_decisions_total", &labels)
    };
    assert_eq!(decisions("narrow", "allowed"), 1.0);
    assert_eq!(decisions("narrow", "would_refuse"), 4.0);
    assert_eq!(decisions("narrow", "refused"), 0.0);
    assert_eq!(
        (decisions("wide", "allowed"), decisions("wide", "refused")),
        (5.0, 1.0)
    );
}

#[test]
fn with_every_check_in_its_shadow_a_route_refuses_nobody_and_tells_everything() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    upstream.reacts_with(Reaction::answer(500, "sick"));
    assert_eq!(client.get("/all/x").unwrap().status, 500);
    let post = Request::post("/all/x").body("more than ten bytes");
    let answer = client.send(&post).unwrap();
    assert_eq!(answer.status, 500, "the upstream's own answer");
    let told = line(&gateway, &answer);
    let expected = [
        "address-not-allowed",
        "body-too-large",
        "authentication-required",
        "rate-limited",
        "circuit-open",
    ];
    assert_eq!(told["would_reject"], json!(expected));
    assert_eq!(upstream.count(), 2);
    for code in ["address-not-allowed", "authentication-required"] {
        check_would_reject(&gateway, "all", code, 2.0);
    }
    for code in ["body-too-large", "rate-limited", "circuit-open"] {
        check_would_reject(&gateway, "all", code, 1.0);
    }
}

#[test]
fn a_shadowed_breaker_still_learns() {
    let upstream = Upstream::start().unwrap();
    let gateway = with_breaker(&upstream, "2s");
    let mut client = gateway.client();
    upstream.reacts_with(Reaction::answer(503, "sick"));
    client.get("/all/x").unwrap();
    upstream.reacts_with(Reaction::ok());
    assert_eq!(
        client.get("/all/x").unwrap().status,
        200,
        "the breaker is open, and does not bind"
    );
    wait::until("a probe that closes the breaker", PATIENCE, || {
        client.get("/all/x").unwrap();
        let labels = [("upstream", "sick"), ("to", "closed")];
        let metrics = gateway.metrics().unwrap();
        (metrics.sum("portcullis_circuit_breaker_transitions_total", &labels) == 1.0).then_some(())
    })
    .unwrap();
}

#[test]
fn a_shadowed_body_limit_leaves_the_servers_in_force() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let declared = Request::post("/all/x").body(vec![b'x'; 3 << 10]);
    assert_eq!(client.send(&declared).unwrap().code(), "body-too-large");
    let streamed = |length: usize| {
        let mut socket = Socket::connect(gateway.address()).unwrap();
        let head = "POST /all/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked";
        let body = "x".repeat(length);
        socket.send(format!("{head}\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"));
        socket.response().unwrap()
    };
    assert_eq!(streamed(100).status, 200);
    check_would_reject(&gateway, "all", "body-too-large", 1.0);
    assert_eq!(streamed(3 << 10).code(), "body-too-large");
}

#[test]
fn a_shadowed_cap_lets_more_requests_to_the_upstream() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    upstream.reacts_with(Reaction::hang());
    std::thread::scope(|scope| {
        let address = gateway.address();
        for _ in 0..2 {
            scope.spawn(move || Client::of(address).get("/full/x"));
        }
        let both = || (upstream.count() == 2).then_some(());
        wait::until("both requests at the upstream", PATIENCE, both).unwrap();
        drop(upstream);
    });
    check_would_reject(&gateway, "full", "overloaded", 1.0);
}
