//! WebSockets through the gateway: who gets a tunnel, what travels in it, and what ends it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use portcullis_harness::{
    client::Socket as RawSocket,
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE, SOON},
    websocket::{self, Echo, Opening, Socket},
};

use crate::stage;

/// `/ws/**` is public and takes tunnels, `/guarded/**` wants a token of `corp` as well, `/plain/**` takes none.
fn start(echo: SocketAddr, upstream: &str, route: &str) -> Gateway {
    start_with(echo, "limits: { idle_timeout: 60s }", upstream, route)
}

/// With timeouts that are short, for those who are to outlive them or to run out of time. The handshake is not: a machine
/// may hold up the upstream for seconds.
fn hurried(echo: SocketAddr, request: &str) -> Gateway {
    let upstream = format!("timeouts: {{ request: {request} }}");
    start_with(
        echo,
        "limits: { idle_timeout: 2s }",
        &upstream,
        "body: 1MiB",
    )
}

fn start_with(echo: SocketAddr, server: &str, upstream: &str, route: &str) -> Gateway {
    stage::start(|places| {
        let server = stage::server(places, server);
        let corp = stage::CORP;
        format!(
            "{server}{corp}
upstreams:
  echo: {{ endpoints: [{echo}], {upstream} }}
routes:
  - {{ name: ws, match: {{ path: /ws/** }}, upstream: echo, auth: public, upgrade: websocket, {route} }}
  - {{ name: guarded, match: {{ path: /guarded/** }}, upstream: echo, auth: {{ resource: hotel }}, upgrade: websocket }}
  - {{ name: plain, match: {{ path: /plain/** }}, upstream: echo, auth: public }}
"
        )
    })
}

const HANDSHAKE: &str = "GET /ws/x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
const NOTHING_MORE: &str = "max_in_flight: 100";

fn usual(echo: &Echo) -> Gateway {
    start(echo.address(), NOTHING_MORE, "body: 1MiB")
}

fn open(gateway: &Gateway, target: &str) -> Box<Socket> {
    match websocket::open(gateway.address(), target, &[]).unwrap() {
        Opening::Open(socket) => socket,
        Opening::Refused(status) => panic!("{target} was refused with {status}"),
    }
}

fn refusal(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> u16 {
    match websocket::open(gateway.address(), target, headers).unwrap() {
        Opening::Open(_) => panic!("{target} opened a tunnel"),
        Opening::Refused(status) => status,
    }
}

fn in_flight(gateway: &Gateway) -> f64 {
    gateway
        .metrics()
        .unwrap()
        .sum("portcullis_upstream_in_flight", &[("upstream", "echo")])
}

#[test]
fn what_is_said_in_a_tunnel_is_heard_at_its_other_end() {
    let echo = Echo::start().unwrap();
    let gateway = usual(&echo);
    let mut socket = open(&gateway, "/ws/x");
    for text in ["one", "two", "three"] {
        assert_eq!(socket.ask(text).unwrap(), text.as_bytes());
    }
    let large = "b".repeat(4 << 20);
    assert!(
        socket.ask(&large).unwrap() == large.as_bytes(),
        "more than the body limit, for a tunnel has no body"
    );
    assert_eq!(socket.ask("say 8000000").unwrap().len(), 8_000_000);
}

/// Answers before it has read anything, which no honest upstream can beat; then it repeats one message and closes.
fn hasty() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.write_all(SWITCHED.as_bytes()).unwrap();
            let mut read = Vec::new();
            let mut byte = [0];
            while !read.ends_with(b"message") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                read.extend(byte);
            }
            if read.ends_with(b"message") {
                stream.write_all(b"message").unwrap();
            }
        }
    });
    address
}

/// Pingora closes a tunnel whose `101` overtakes the end of the handshake's empty body; each of these would race.
#[test]
fn a_tunnel_stays_open_however_quick_its_upstream_is() {
    let gateway = start(hasty(), NOTHING_MORE, "body: 1MiB");
    for number in 0..50 {
        let mut socket = RawSocket::connect(gateway.address()).unwrap();
        socket.send(HANDSHAKE);
        let head = socket.head_within(PATIENCE).unwrap();
        assert!(head.first_line.contains("101"), "{}", head.first_line);
        socket.send("message");
        let heard = socket.rest_within(PATIENCE);
        assert_eq!(
            heard.as_deref(),
            Ok(b"message".as_slice()),
            "tunnel {number}"
        );
    }
}

#[test]
fn either_side_may_close() {
    let echo = Echo::start().unwrap();
    let gateway = usual(&echo);
    let mut theirs = open(&gateway, "/ws/x");
    theirs.send("close").unwrap();
    assert!(theirs.is_closed_within(PATIENCE), "the upstream closed");
    assert!(open(&gateway, "/ws/x").close(), "the client closed");
    let mut gone = open(&gateway, "/ws/x");
    gone.send("vanish").unwrap();
    assert!(gone.is_closed_within(PATIENCE), "the upstream went away");
    drop(open(&gateway, "/ws/x"));
    wait::until("no tunnel left at the upstream", PATIENCE, || {
        (echo.open() == 0).then_some(())
    })
    .unwrap();
    wait::until("nothing in flight", PATIENCE, || {
        (in_flight(&gateway) == 0.0).then_some(())
    })
    .unwrap();
}

#[test]
fn a_silent_tunnel_outlives_every_timeout_of_a_request() {
    let echo = Echo::start().unwrap();
    let gateway = hurried(echo.address(), "2s");
    let mut socket = wait::until("a tunnel in time", PATIENCE, || {
        match websocket::open(gateway.address(), "/ws/x", &[]) {
            Ok(Opening::Open(socket)) => Some(socket),
            Ok(Opening::Refused(_)) | Err(_) => None,
        }
    })
    .unwrap();
    assert!(
        !socket.is_closed_within(Duration::from_secs(5)),
        "the route's timeout and the client's idle timeout are 2 s"
    );
    assert_eq!(socket.ask("still there").unwrap(), b"still there");
}

#[test]
fn a_tunnel_ends_at_its_longest_life_busy_or_not() {
    let echo = Echo::start().unwrap();
    let gateway = start(echo.address(), NOTHING_MORE, "max_connection_life: 2s");
    let mut silent = open(&gateway, "/ws/x");
    let mut busy = open(&gateway, "/ws/x");
    let ended = wait::until("the end of a busy tunnel", SOON, || {
        busy.ask("again").is_err().then_some(())
    });
    ended.unwrap();
    assert!(silent.is_closed_within(SOON));
    wait::until("no tunnel left at the upstream", PATIENCE, || {
        (echo.open() == 0).then_some(())
    })
    .unwrap();
    let told = wait::until("a line for each", PATIENCE, || {
        let output = gateway.stdout();
        (output.matches('\n').count() >= 2).then_some(output)
    });
    for line in told.unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["reason"], "max-connection-life");
        assert_eq!(line["cause"], serde_json::Value::Null, "told once: {line}");
    }
}

#[test]
fn a_tunnel_is_admitted_like_any_request() {
    let echo = Echo::start().unwrap();
    let gateway = usual(&echo);
    assert_eq!(refusal(&gateway, "/guarded/x", &[]), 401);
    let token = stage::corp_token(&stage::corp_claims("saad"));
    let bearer = format!("Bearer {token}");
    let Opening::Open(mut socket) = websocket::open(
        gateway.address(),
        "/guarded/x",
        &[("authorization", &bearer), ("x-user-id", "admin")],
    )
    .unwrap() else {
        panic!("a good token opens the tunnel");
    };
    let head = String::from_utf8(socket.ask("whoami").unwrap()).unwrap();
    assert!(head.contains("x-user-id: corp:saad"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
    assert_eq!(
        echo.opened(),
        1,
        "who was refused has not reached the upstream"
    );
}

#[test]
fn a_route_without_upgrade_opens_no_tunnel() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(upstream.address(), NOTHING_MORE, "body: 1MiB");
    assert_eq!(refusal(&gateway, "/plain/x", &[]), 200);
    let received = upstream.take_received();
    assert_eq!(received.first().unwrap().field("upgrade"), None);
}

#[test]
fn an_answer_other_than_the_upgrade_is_passed_on() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(upstream.address(), NOTHING_MORE, "body: 1MiB");
    upstream.reacts_with(Reaction::answer(403, "not you"));
    for _ in 0..3 {
        assert_eq!(refusal(&gateway, "/ws/x", &[]), 403);
    }
    assert_eq!(upstream.count(), 3);
    upstream.reacts_with(Reaction::ok());
    assert_eq!(
        gateway.client().get("/ws/x").unwrap().text(),
        "ok",
        "a request that asks for no tunnel is an ordinary one"
    );
}

#[test]
fn an_upgrade_to_something_else_is_no_tunnel() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(upstream.address(), NOTHING_MORE, "body: 1MiB");
    upstream.reacts_with(
        Reaction::send("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nraw")
            .then_close(),
    );
    assert_eq!(refusal(&gateway, "/ws/x", &[]), 502);
}

#[test]
fn a_handshake_that_is_not_answered_times_out() {
    let upstream = Upstream::start().unwrap();
    let gateway = hurried(upstream.address(), "1s");
    upstream.reacts_with(Reaction::hang());
    // A client that is held up for longer than it may be idle begins anew.
    let refused = wait::until("a refusal", PATIENCE, || {
        let (opening, took) = wait::timed(|| websocket::open(gateway.address(), "/ws/x", &[]));
        match opening {
            Ok(Opening::Refused(status)) => Some((status, took)),
            Ok(Opening::Open(_)) => panic!("nobody has answered"),
            Err(_) => None,
        }
    });
    let (status, took) = refused.unwrap();
    assert_eq!(status, 504);
    assert!(took < SOON, "the route's timeout is 1 s: {took:?}");
    upstream.reacts_with(
        Reaction::send("HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\nhalf").then_hang(),
    );
    let mut socket = RawSocket::connect(gateway.address()).unwrap();
    socket.send(HANDSHAKE);
    assert!(
        socket.closes_within(SOON),
        "the timeout covers an answer that is no tunnel to its end"
    );
}

#[test]
fn a_breaker_counts_handshakes_and_refuses_them() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(
        upstream.address(),
        "circuit_breaker: { consecutive_failures: 2, open_for: 600s }",
        "body: 1MiB",
    );
    upstream.reacts_with(Reaction::reset());
    assert_eq!(refusal(&gateway, "/ws/x", &[]), 502);
    assert_eq!(refusal(&gateway, "/ws/x", &[]), 502);
    assert_eq!(refusal(&gateway, "/ws/x", &[]), 503);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn tunnels_count_as_in_flight_until_they_end() {
    let echo = Echo::start().unwrap();
    let gateway = start(echo.address(), "max_in_flight: 2", "body: 1MiB");
    let (mut one, two) = (open(&gateway, "/ws/x"), open(&gateway, "/ws/x"));
    assert_eq!(refusal(&gateway, "/ws/x", &[]), 503);
    assert_eq!(in_flight(&gateway), 2.0);
    assert!(two.close());
    let again = wait::until("a free place", PATIENCE, || {
        match websocket::open(gateway.address(), "/ws/x", &[]).unwrap() {
            Opening::Open(socket) => Some(socket),
            Opening::Refused(_) => None,
        }
    });
    assert_eq!(again.unwrap().ask("in").unwrap(), b"in");
    assert_eq!(one.ask("here").unwrap(), b"here");
}

#[test]
fn a_tunnel_does_not_keep_a_stopping_gateway() {
    let echo = Echo::start().unwrap();
    let gateway = stage::start(|places| {
        let server = stage::server(places, "shutdown: { timeout: 1s }");
        let echo = echo.address();
        format!(
            "{server}
upstreams: {{ echo: {{ endpoints: [{echo}] }} }}
routes: [{{ name: ws, match: {{ path: /ws/** }}, upstream: echo, auth: public, upgrade: websocket }}]
"
        )
    });
    let mut socket = open(&gateway, "/ws/x");
    assert_eq!(socket.ask("hello").unwrap(), b"hello");
    let (stopped, took) = wait::timed(|| gateway.stop());
    stopped.unwrap();
    assert!(took < SOON, "the shutdown's timeout is 1 s: {took:?}");
    assert!(socket.is_closed_within(PATIENCE));
}

#[test]
fn a_tunnel_ends_when_its_user_is_disabled() {
    let echo = Echo::start().unwrap();
    let gateway = stage::start(|places| {
        let server = stage::server(places, "");
        let echo = echo.address();
        format!(
            "{server}
auth:
  issuer: http://localhost
  default_resource: hotel
  default_role: guest
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
upstreams: {{ echo: {{ endpoints: [{echo}] }} }}
routes:
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: ws, match: {{ path: /ws/** }}, upstream: echo, auth: {{ resource: hotel }}, upgrade: websocket }}
"
        )
    });
    stage::add_user(gateway.house(), "saad", "guest");
    let mut client = gateway.client();
    let token = client.log_in("saad", stage::PASSWORD, "hotel").unwrap();
    stage::add_user(gateway.house(), "mona", "guest");
    let other = client.log_in("mona", stage::PASSWORD, "hotel").unwrap();
    let open = |token: &str| {
        let bearer = format!("Bearer {token}");
        let opening =
            websocket::open(gateway.address(), "/ws/x", &[("authorization", &bearer)]).unwrap();
        let Opening::Open(socket) = opening else {
            panic!("a good token opens the tunnel");
        };
        socket
    };
    let (mut revoked, mut kept) = (open(&token), open(&other));
    assert_eq!(revoked.ask("hello").unwrap(), b"hello");
    let disabled = gateway
        .house()
        .command(&["user", "disable", "saad"])
        .unwrap();
    assert!(disabled.status.success());
    assert!(
        revoked.is_closed_within(PATIENCE),
        "the tunnel outlived what it was admitted with"
    );
    assert_eq!(
        kept.ask("hello").unwrap(),
        b"hello",
        "nothing was taken back from its user"
    );
    wait::until("a line that says why", PATIENCE, || {
        gateway.stdout().contains("session-revoked").then_some(())
    })
    .unwrap();
}
