//! Clients that hold on to a connection, and what one connection may be used for after a refusal.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use portcullis_harness::{
    client::{Client, Response, Socket},
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, Deadline, PATIENCE, SOON},
    wire::Ending,
};

use crate::stage::{self, Stage, corp_claims, corp_token};

/// One of them short, so that the tests are, and the other far off, to tell which of them it was.
const HURRIED_HEADERS: &str = "header_timeout: 1s, idle_timeout: 300s";
const HURRIED_SILENCE: &str = "header_timeout: 300s, idle_timeout: 3s";
const HALF_A_HEADER: &str = "GET /open/x HTTP/1.1\r\nHost: a.te";

/// When the connection ended, whether with an answer before or without.
fn end_of(socket: &mut Socket) -> (Option<u16>, Duration) {
    let (answer, took) = wait::timed(|| {
        let answer = socket.response();
        assert!(socket.closes_within(PATIENCE), "the connection stays open");
        answer
    });
    match answer {
        Ok(Response { status, .. }) => (Some(status), took),
        Err(ending) => {
            assert!(ending.is_close(), "{ending}");
            (None, took)
        }
    }
}

/// A connection that has carried so many requests. A machine that holds up one of them for longer than the limits allow has
/// it begin anew.
fn used(to: SocketAddr, requests: usize) -> Socket {
    let carry = |socket: &mut Socket| {
        socket.send("GET /open/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
        socket.response().is_ok_and(|answer| answer.status == 200)
    };
    let attempt = || {
        let mut socket = Socket::connect(to).unwrap();
        (0..requests).all(|_| carry(&mut socket)).then_some(socket)
    };
    wait::until("a connection that is in use", PATIENCE, attempt).unwrap()
}

#[test]
fn half_a_header_is_answered_with_408_in_time() {
    let stage = Stage::with_limits(HURRIED_HEADERS);
    let mut socket = Socket::connect(stage.gateway.address()).unwrap();
    socket.send(HALF_A_HEADER);
    let (status, took) = end_of(&mut socket);
    assert!(matches!(status, Some(408) | None), "{status:?}");
    assert!(
        (Duration::from_millis(500)..SOON).contains(&took),
        "header_timeout is 1 s: {took:?}"
    );
    assert_eq!(stage.upstream.count(), 0);
}

#[test]
fn a_header_that_trickles_in_has_no_more_time_than_one_that_stops() {
    let stage = Stage::with_limits(HURRIED_HEADERS);
    let mut socket = Socket::connect(stage.gateway.address()).unwrap();
    socket.send(HALF_A_HEADER);
    let watch = Deadline::within(PATIENCE);
    // A byte with each look, some ten a second, as slowloris does.
    let ended = wait::until("the end of a slow header", PATIENCE, || {
        socket.send("a");
        match socket.response_within(Duration::from_millis(10)) {
            Err(Ending::TimedOut) => None,
            ended => Some(ended.map(|answer| answer.status)),
        }
    });
    let ended = ended.unwrap();
    assert!(
        matches!(ended, Ok(408) | Err(Ending::Closed | Ending::Reset)),
        "{ended:?}"
    );
    assert!(watch.elapsed() < SOON, "it lasted {:?}", watch.elapsed());
}

#[test]
fn a_later_header_on_a_kept_connection_has_the_same_time() {
    let stage = Stage::with_limits(HURRIED_HEADERS);
    let mut socket = used(stage.gateway.address(), 2);
    socket.send(HALF_A_HEADER);
    let (status, took) = end_of(&mut socket);
    assert!(matches!(status, Some(408) | None), "{status:?}");
    assert!(took < SOON, "header_timeout is 1 s: {took:?}");
}

#[test]
fn an_idle_connection_is_closed() {
    let stage = Stage::with_limits(HURRIED_SILENCE);
    let mut silent = Socket::connect(stage.gateway.address()).unwrap();
    let mut used = used(stage.gateway.address(), 1);
    for (name, socket) in [("never used", &mut silent), ("used", &mut used)] {
        let (status, took) = end_of(socket);
        assert_eq!(status, None, "{name}: nobody asked anything");
        assert!(
            took < SOON,
            "{name}: idle_timeout is 3 s, it lasted {took:?}"
        );
    }
}

#[test]
fn half_a_body_never_becomes_a_request() {
    let stage = Stage::with_limits(HURRIED_SILENCE);
    let mut socket = Socket::connect(stage.gateway.address()).unwrap();
    socket.send("POST /open/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nhalf of it");
    let (status, took) = end_of(&mut socket);
    assert!(matches!(status, Some(408) | None), "{status:?}");
    assert!(took < SOON, "idle_timeout is 3 s, it lasted {took:?}");
    assert_eq!(
        stage.upstream.count(),
        0,
        "the upstream must not take it for whole"
    );
}

fn is_turned_away(socket: &mut Socket) -> bool {
    socket.send("GET /open/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    match socket.response() {
        Ok(answer) if answer.status == 503 => {
            assert_eq!(answer.code(), "overloaded");
            assert!(answer.field("retry-after").is_some());
            true
        }
        Ok(answer) => {
            assert_eq!(answer.status, 200);
            false
        }
        // The answer to a connection that is turned away may be lost with the request that was never read.
        Err(ending) => {
            assert!(ending.is_close(), "{ending}");
            true
        }
    }
}

/// A connection within the cap. What asked whether the gateway is ready held one for a moment, and may hold it still.
fn connect_within_the_cap(to: SocketAddr) -> Socket {
    let attempt = || {
        let mut socket = Socket::connect(to).unwrap();
        (!is_turned_away(&mut socket)).then_some(socket)
    };
    wait::until("a connection within the cap", PATIENCE, attempt).unwrap()
}

#[test]
fn connections_beyond_the_cap_are_turned_away_until_there_is_room() {
    let stage = Stage::with_limits("connections: 4");
    let to = stage.gateway.address();
    let mut held: Vec<Socket> = (0..4).map(|_| connect_within_the_cap(to)).collect();
    let mut fifth = Socket::connect(to).unwrap();
    assert!(is_turned_away(&mut fifth), "the fifth is over the cap");
    assert!(
        !is_turned_away(&mut held[0]),
        "those inside are not affected"
    );
    held.pop();
    connect_within_the_cap(to);
}

#[test]
fn one_address_cannot_take_all_connections() {
    let stage = Stage::with_limits("connections_per_ip: 2");
    let to = stage.gateway.address();
    let _held: Vec<Socket> = (0..2).map(|_| connect_within_the_cap(to)).collect();
    let mut third = Socket::connect(to).unwrap();
    assert!(is_turned_away(&mut third), "the third of this address");
    let mut other = Socket::connect_from(Ipv4Addr::new(127, 0, 0, 2), to).unwrap();
    assert!(
        !is_turned_away(&mut other),
        "another address is not affected"
    );
}

/// One second, one request: then it is empty.
fn stingy(upstream: &Upstream) -> Gateway {
    let address = upstream.address();
    stage::start(|places| {
        let server = stage::server(places, "limits: { body: 1KiB }");
        format!(
            "{server}{}
upstreams:
  hotel: {{ endpoints: [{address}], circuit_breaker: {{ consecutive_failures: 1, open_for: 60s }} }}
rate_limits: {{ once: {{ key: route, limit: 1/1h }} }}
routes:
  - {{ name: admin, match: {{ path: /admin/**, methods: [GET] }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:write] }} }} }}
  - {{ name: once, match: {{ path: /once }}, upstream: hotel, auth: public, rate_limits: [once] }}
  - {{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public }}
  - {{ name: denied, match: {{ path: /denied }}, upstream: hotel, auth: public, ip: {{ deny: [127.0.0.0/8] }} }}
",
            stage::CORP
        )
    })
}

#[test]
fn a_refusal_keeps_the_connection_open() {
    let upstream = Upstream::start().unwrap();
    let gateway = stingy(&upstream);
    let token = corp_token(&corp_claims("alice"));
    let mut socket = Socket::connect(gateway.address()).unwrap();
    let mut ask = |line: &str, fields: &str, body: &str| {
        socket.send(format!(
            "{line} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{body}"
        ));
        let answer = socket
            .response()
            .unwrap_or_else(|ending| panic!("{line}: {ending}"));
        let closes = answer
            .head
            .fields_named("connection")
            .any(|value| value.eq_ignore_ascii_case("close"));
        assert!(!closes, "{line} closes the connection: {answer:?}");
        (answer.status, answer.code())
    };
    let unread = format!("Content-Length: 1000\r\nAuthorization: Bearer {token}\r\n");
    assert_eq!(ask("GET /admin/x", "", "").0, 401);
    assert_eq!(
        ask("GET /admin/x", "Authorization: Bearer x\r\n", "").0,
        401
    );
    assert_eq!(
        ask("GET /admin/x", &unread, &"a".repeat(1_000)),
        (403, "insufficient-scope".into())
    );
    assert_eq!(
        ask("GET /denied", "", ""),
        (403, "address-not-allowed".into())
    );
    assert_eq!(ask("GET /nowhere", "", "").0, 404);
    assert_eq!(
        ask("POST /admin/x", "Content-Length: 5\r\n", "hello").0,
        405
    );
    assert_eq!(ask("GET /open/../x", "", "").0, 400);
    assert_eq!(ask("GET /once", "", "").0, 200);
    assert_eq!(ask("GET /once", "", "").0, 429);
    upstream.reacts_with(Reaction::answer(500, "sick"));
    assert_eq!(ask("GET /open/x", "", "").0, 500);
    assert_eq!(ask("GET /open/x", "", ""), (503, "circuit-open".into()));
    assert_eq!(ask("GET /nowhere", "", "").0, 404);
    assert_eq!(
        upstream.count(),
        2,
        "only what was admitted reached the upstream"
    );
}

#[test]
fn a_head_request_is_refused_without_a_body() {
    let upstream = Upstream::start().unwrap();
    let gateway = stingy(&upstream);
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send("HEAD /nowhere HTTP/1.1\r\nHost: a.test\r\n\r\nGET /open/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(socket.response_to("HEAD", PATIENCE).unwrap().status, 404);
    // Whatever else came for the first would be read here as the beginning of the second answer.
    match socket.response() {
        Ok(answer) => assert_eq!(answer.status, 200),
        Err(ending) => assert!(ending.is_close(), "{ending}"),
    }
}

#[test]
fn a_crowd_that_sends_garbage_leaves_the_gateway_serving() {
    let mut stage = Stage::build();
    let to = stage.gateway.address();
    let garbage: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET",
        b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET /open/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc",
    ];
    let crowd: Vec<Socket> = (0..500)
        .map(|number| {
            let mut socket = Socket::connect(to).unwrap();
            socket.send(garbage[number % garbage.len()]);
            socket
        })
        .collect();
    let mut client = Client::of(to);
    assert_eq!(
        client.get("/open/x").unwrap().status,
        200,
        "beside the crowd"
    );
    drop(crowd);
    assert_eq!(
        client.get("/open/x").unwrap().status,
        200,
        "after the crowd"
    );
    let left = wait::until("the crowd's connections to go", PATIENCE, || {
        let open = stage
            .gateway
            .metrics()
            .unwrap()
            .sum("portcullis_open_connections", &[]);
        (open <= 2.0).then_some(())
    });
    left.unwrap();
    assert!(!stage.gateway.has_ended());
    assert!(
        !stage.gateway.stderr().contains("panicked"),
        "{}",
        stage.gateway.stderr()
    );
    stage.gateway.stop().unwrap();
}
