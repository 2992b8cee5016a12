//! Another configuration while requests run: none fails, none sees a mixture, and nothing begins anew that should not.

use portcullis_harness::{
    client::{Request, Socket},
    gateway::Places,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE, SOON},
};
use rustix::process::Signal;

use crate::{
    reload_stage::{Trickle, echo_targets, reload, start, status, versioned, wait_for_version},
    stage,
};

#[test]
fn no_request_fails_and_none_sees_a_mixture_while_versions_change() {
    let upstream = Upstream::start().unwrap();
    echo_targets(&upstream);
    let gateway = start(&upstream);
    let trickle = Trickle::begin(&gateway);
    for version in 2..=8 {
        let text = versioned(gateway.house().places(), &upstream, version);
        reload(&gateway, &text, "applied");
        wait_for_version(&gateway, version);
        trickle.goes_on(20);
    }
    let wrong = trickle.end();
    assert!(
        wrong.is_empty(),
        "{} wrong: {:?}",
        wrong.len(),
        wrong.first()
    );
}

#[test]
fn limits_and_breakers_are_not_given_back_by_a_reload() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    for _ in 0..3 {
        assert_eq!(gateway.client().get("/scarce").unwrap().status, 200);
    }
    upstream.reacts_with(Reaction::answer(503, "sick"));
    for _ in 0..2 {
        assert_eq!(gateway.client().get("/left/x").unwrap().status, 503);
    }
    upstream.reacts_with(Reaction::ok());
    let asked = upstream.count();
    for version in 2..=3 {
        let text = versioned(gateway.house().places(), &upstream, version);
        reload(&gateway, &text, "applied");
        assert_eq!(gateway.client().get("/scarce").unwrap().status, 429);
        let refused = gateway.client().get("/left/x").unwrap();
        assert_eq!(refused.status, 503);
        assert!(
            refused.text().contains("circuit-open"),
            "{}",
            refused.text()
        );
        assert_eq!(
            refused.field("x-version"),
            Some(version.to_string().as_str())
        );
    }
    assert_eq!(upstream.count(), asked, "the upstream must be left alone");
}

#[test]
fn a_request_in_flight_ends_with_what_it_began_with() {
    let (old, new) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    old.reacts_with(Reaction::answer(200, "the old one").held());
    let gateway = start(&old);
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send("GET /left/slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait::until("the request", PATIENCE, || (old.count() == 1).then_some(())).unwrap();
    let text = versioned(gateway.house().places(), &new, 2);
    reload(&gateway, &text, "applied");
    let hotel = &status(&gateway)["upstreams"][0];
    assert_eq!(
        hotel["in_flight"], 1,
        "the old one's request still counts: {hotel}"
    );
    assert_eq!(
        gateway.client().get("/left/x").unwrap().text(),
        "ok",
        "new requests go to the new one"
    );
    old.let_go();
    let answer = socket.response().unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"the old one".as_slice())
    );
    assert_eq!(answer.field("x-version"), Some("1"));
    // The same connection gets the new one with its next request.
    socket.send("GET /left/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(socket.response().unwrap().field("x-version"), Some("2"));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_applied() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let admin = gateway.admin();
    let text = versioned(gateway.house().places(), &upstream, 2)
        .replace("threads: 2", "threads: 1")
        .replace(&format!("admin: {admin}"), "admin: 127.0.0.1:1");
    reload(&gateway, &text, "partial");
    wait_for_version(&gateway, 2);
    let log = gateway.stderr();
    for key in ["server.admin", "server.threads"] {
        assert!(
            log.contains(&format!("{key} has changed and needs a restart")),
            "{log}"
        );
    }
    let waiting = &status(&gateway)["configuration"]["needs_restart"];
    assert_eq!(
        *waiting,
        serde_json::json!(["server.admin", "server.threads"])
    );
    let back = versioned(gateway.house().places(), &upstream, 3);
    reload(&gateway, &back, "applied");
    assert_eq!(
        status(&gateway)["configuration"]["needs_restart"],
        serde_json::json!([])
    );
}

#[test]
fn connection_caps_and_drain_times_follow() {
    let upstream = Upstream::start().unwrap();
    let with = |places: &Places, version, server: &str| {
        versioned(places, &upstream, version)
            .replace("threads: 2", &format!("threads: 2\n  {server}"))
    };
    let mut gateway =
        stage::start(|places| with(places, 1, "shutdown: { drain_delay: 0s, timeout: 60s }"));
    let text = with(
        gateway.house().places(),
        2,
        "limits: { connections: 1 }\n  shutdown: { drain_delay: 0s, timeout: 2s }",
    );
    reload(&gateway, &text, "applied");
    // What asked whether the gateway is ready may hold the only place still.
    let attempt = || {
        let mut socket = Socket::connect(gateway.address()).unwrap();
        socket.send("GET /left/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let is_inside = socket.response().is_ok_and(|answer| answer.status == 200);
        is_inside.then_some(socket)
    };
    let mut held = wait::until("the only place", PATIENCE, attempt).unwrap();
    let mut second = Socket::connect(gateway.address()).unwrap();
    let refused = second.response().unwrap();
    assert_eq!(refused.status, 503, "the cap is one connection now");
    assert_eq!(refused.field("x-version"), Some("2"));
    upstream.reacts_with(Reaction::hang());
    held.send("GET /left/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait::until("the request", PATIENCE, || {
        (upstream.count() == 2).then_some(())
    })
    .unwrap();
    gateway.signal(Signal::TERM).unwrap();
    let (ended, took) = wait::timed(|| gateway.wait_for_end(PATIENCE));
    assert_eq!(ended.unwrap().code(), Some(0));
    assert!(
        took < SOON,
        "the timeout is 2 s now and not 60, it took {took:?}"
    );
}

#[test]
fn a_changed_issuer_is_believed_from_the_reload_on() {
    let upstream = Upstream::start().unwrap();
    let configuration = |places: &Places, secret: &str| {
        let server = stage::server(places, "");
        let corp = stage::CORP.replace(stage::CORP_SECRET, secret);
        let address = upstream.address();
        format!(
            "{server}{corp}
upstreams: {{ hotel: {{ endpoints: [{address}] }} }}
routes:
  - name: admin
    match: {{ path: /admin/** }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }}
"
        )
    };
    let gateway =
        stage::start(|places| configuration(places, "another secret, of at least 32 bytes"));
    let token = stage::corp_token(&stage::corp_claims("ann"));
    let ask = || {
        let request = Request::get("/admin/x").bearer(&token);
        gateway.client().send(&request).unwrap().status
    };
    assert_eq!(ask(), 401);
    let places = gateway.house().places();
    reload(
        &gateway,
        &configuration(places, stage::CORP_SECRET),
        "applied",
    );
    assert_eq!(ask(), 200);
    let third = configuration(places, "a third secret, of at least 32 bytes too");
    reload(&gateway, &third, "applied");
    assert_eq!(
        ask(),
        401,
        "a token that was remembered must not outlive its issuer's secret"
    );
}
