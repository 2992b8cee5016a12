//! TLS on the gateway's own listener: what is shown to whom, what is agreed on, and what an upstream is told of it.

use std::net::TcpStream;

use bytes::Bytes;
use http::Request;
use portcullis_harness::{
    certificates::{Authority, Certified},
    client::Socket,
    wait::{self, PATIENCE, SOON},
    wire::Ending,
};

use crate::{
    stage::{corp_claims, corp_token},
    tls_stage::{TlsStage, pair, shown},
};

const GET: &str = "GET /open/x HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn status(socket: &mut Socket) -> u16 {
    socket.send(GET);
    socket.response().unwrap().status
}

#[test]
fn http_1_and_http_2_are_served_over_tls_as_the_client_prefers() {
    let stage = TlsStage::build();
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], "h2"),
        (&["http/1.1"], "http/1.1"),
        (&[], ""),
    ] {
        let socket = stage.connect("a.test", offered, None).unwrap();
        assert_eq!(shown(&socket).1, agreed.as_bytes(), "{offered:?}");
    }
    let mut socket = stage.http1("a.test").unwrap();
    assert_eq!(status(&mut socket), 200);
    assert_eq!(status(&mut socket), 200, "the connection is kept");
    let mut http2 = stage.http2();
    for _ in 0..2 {
        assert_eq!(http2.get("https://a.test/open/x").unwrap().status, 200);
    }
    assert_eq!(stage.upstream.count(), 4);
}

#[test]
fn a_protocol_that_is_not_spoken_ends_the_handshake() {
    let stage = TlsStage::build();
    assert!(stage.connect("a.test", &["spdy/3"], None).is_err());
}

#[test]
fn a_request_over_http_2_passes_the_same_checks_and_gets_the_same_headers() {
    let stage = TlsStage::build();
    let mut http2 = stage.http2();
    let refused = http2.get("https://a.test/admin/x").unwrap();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "authentication-required")
    );
    assert!(refused.field("www-authenticate").is_some());
    assert_eq!(
        http2.get("https://a.test/nowhere").unwrap().code(),
        "route-not-found"
    );
    let token = corp_token(&corp_claims("alice"));
    let request = Request::get("https://a.test/admin/x")
        .header("authorization", format!("Bearer {token}"))
        .header("x-user-id", "mallory")
        .body(Bytes::new());
    let answer = http2.send(request.unwrap()).unwrap();
    assert_eq!(answer.status, 200);
    for name in [
        "x-request-id",
        "x-content-type-options",
        "strict-transport-security",
        "x-process-time",
    ] {
        assert!(answer.field(name).is_some(), "{name}: {answer:?}");
    }
    let seen = stage.upstream.take_received();
    assert_eq!(seen.len(), 1, "only the admitted one");
    assert_eq!(seen[0].head.field("x-user-id"), Some("corp:alice"));
    assert_eq!(seen[0].head.field("authorization"), None);
}

#[test]
fn cookies_that_come_one_by_one_reach_the_upstream_in_one_line() {
    let stage = TlsStage::build();
    let request = Request::get("https://a.test/open/x")
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .body(Bytes::new());
    assert_eq!(stage.http2().send(request.unwrap()).unwrap().status, 200);
    let seen = stage.upstream.take_received();
    assert_eq!(seen[0].field("cookie"), Some("a=1; b=2; c=3"));
}

#[test]
fn an_upstream_is_told_of_tls_and_of_the_host() {
    let stage = TlsStage::build();
    status(&mut stage.http1("a.test").unwrap());
    stage.http2().get("https://a.test/open/x").unwrap();
    for request in stage.upstream.take_received() {
        let head = &request.head;
        assert_eq!(head.field("x-forwarded-proto"), Some("https"), "{head:?}");
        assert_eq!(head.field("x-forwarded-host"), Some("a.test"), "{head:?}");
        assert_eq!(head.field("host"), Some("a.test"), "{head:?}");
        assert_eq!(head.field("x-forwarded-for"), Some("127.0.0.1"), "{head:?}");
    }
}

#[test]
fn each_name_gets_its_own_certificate_and_any_other_the_first() {
    let mut issued = Vec::new();
    let stage = TlsStage::with("header_timeout: 10s", |authority| {
        issued = [&["a.test"][..], &["b.test", "c.test"], &["*.wild.test"]]
            .map(|names| authority.server(names).unwrap())
            .into();
        let listed: Vec<_> = issued
            .iter()
            .map(|one| format!("{{ {} }}", pair(one)))
            .collect();
        format!("certificates: [{}]", listed.join(", "))
    });
    for (name, expected) in [
        ("a.test", 0),
        ("B.test", 1),
        ("c.test", 1),
        ("x.wild.test", 2),
    ] {
        let socket = stage.http1(name).unwrap();
        assert_eq!(shown(&socket).0, issued[expected].der(), "{name}");
    }
    // The client sees a certificate that is for another name, and leaves.
    for name in ["x.y.wild.test", "wild.test", "other.test"] {
        let error = stage.http1(name).err().expect("nothing is for this name");
        assert!(
            format!("{error:#}").contains("a.test"),
            "{name} gets the first: {error:#}"
        );
    }
}

#[test]
fn a_client_must_show_a_certificate_where_one_is_asked_for() {
    let stage = TlsStage::with("header_timeout: 10s", |authority| {
        let server = authority.server(&["a.test"]).unwrap();
        format!(
            "{}, client_ca: {}",
            pair(&server),
            authority.certificate().display()
        )
    });
    let known = stage.authority.client("till").unwrap();
    let mut socket = stage.connect("a.test", &[], Some(&known)).unwrap();
    assert_eq!(status(&mut socket), 200);

    let other = Authority::new("other").unwrap();
    let strangers = [
        None,
        Some(stage.authority.expired_client("till").unwrap()),
        Some(other.client("till").unwrap()),
        Some(stage.authority.server(&["till"]).unwrap()),
    ];
    for stranger in &strangers {
        assert!(is_shut_out(&stage, stranger.as_ref()), "{stranger:?}");
    }
    assert_eq!(stage.upstream.count(), 1);
    // A client sees the end of its connection a moment before it is counted.
    wait::until("each to be counted", PATIENCE, || {
        (failed_handshakes(&stage) >= strangers.len() as f64).then_some(())
    })
    .unwrap();
    assert_eq!(failed_handshakes(&stage), strangers.len() as f64);
}

fn failed_handshakes(stage: &TlsStage) -> f64 {
    let metrics = stage.gateway.metrics().unwrap();
    metrics.sum("portcullis_tls_handshake_failures_total", &[])
}

/// In TLS 1.3 a client takes the handshake for made before the server has looked at its certificate.
fn is_shut_out(stage: &TlsStage, identity: Option<&Certified>) -> bool {
    match stage.connect("a.test", &[], identity) {
        Err(_) => true,
        Ok(mut socket) => {
            socket.send(GET);
            socket
                .response_within(PATIENCE)
                .is_err_and(Ending::is_close)
        }
    }
}

#[test]
fn a_handshake_that_does_not_come_to_its_end_is_ended_and_counts_meanwhile() {
    let stage = TlsStage::with_limits("header_timeout: 8s, idle_timeout: 300s, connections: 3");
    let mut silent = Socket::connect(stage.gateway.address()).unwrap();
    let mut halting = Socket::connect(stage.gateway.address()).unwrap();
    halting.send(b"\x16\x03\x01\x02\x00\x01\x00");
    let open = || {
        let metrics = stage.gateway.metrics().unwrap();
        metrics.sum("portcullis_open_connections", &[])
    };
    wait::until("both to be counted", PATIENCE, || {
        (open() >= 2.0).then_some(())
    })
    .unwrap();
    for socket in [&mut silent, &mut halting] {
        assert!(socket.closes_within(PATIENCE), "the timeout is 8 s");
    }
    wait::until("their places to be free", PATIENCE, || {
        (open() == 0.0).then_some(())
    })
    .unwrap();
    assert_eq!(status(&mut stage.http1("a.test").unwrap()), 200);
}

#[test]
fn deadlines_of_http_1_hold_inside_tls() {
    let stage = TlsStage::with_limits("header_timeout: 2s, idle_timeout: 2s");
    let mut halting = used(&stage);
    halting.send("GET /open/x HTTP/1.1\r\nHost: a.te");
    let told = halting.response();
    assert!(
        told.is_ok_and(|answer| answer.status == 408),
        "half a header"
    );
    assert!(halting.closes_within(PATIENCE));
    assert!(used(&stage).closes_within(SOON), "idle_timeout is 2 s");
    wait::until("an answer to what is no chunk", PATIENCE, || {
        let mut broken = stage.http1("a.test").ok()?;
        broken.send(
            "POST /open/x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        );
        let refused = broken.response().ok()?;
        assert_eq!(refused.status, 400, "the wire is watched inside TLS");
        Some(())
    })
    .unwrap();
    let seen = stage.upstream.take_received();
    assert!(seen.iter().all(|one| one.method() == "GET"), "{seen:?}");
}

/// A connection on which a request was answered. A machine that holds up one of them for longer than the limits allow has it
/// begin anew.
fn used(stage: &TlsStage) -> Socket {
    wait::until("a connection that is in use", PATIENCE, || {
        let mut socket = stage.http1("a.test").ok()?;
        socket.send(GET);
        let answer = socket.response().ok()?;
        (answer.status == 200).then_some(socket)
    })
    .unwrap()
}

#[test]
fn connections_over_a_cap_are_closed_before_the_handshake() {
    let stage = TlsStage::with_limits("connections_per_ip: 2");
    let _held: Vec<_> = wait::until("two connections", PATIENCE, || {
        let both: Result<Vec<_>, _> = (0..2).map(|_| stage.http1("a.test")).collect();
        both.ok()
    })
    .unwrap();
    assert!(stage.http1("a.test").is_err(), "the third of this address");
    wait::until("a refusal that is counted", PATIENCE, || {
        let metrics = stage.gateway.metrics().unwrap();
        let refused = metrics.sum("portcullis_rejections_total", &[("code", "overloaded")]);
        (refused >= 1.0).then_some(())
    })
    .unwrap();
}

#[test]
fn a_plain_request_to_a_tls_listener_reaches_nobody() {
    let stage = TlsStage::build();
    let mut socket = Socket::connect(stage.gateway.address()).unwrap();
    socket.send(GET);
    assert!(socket.closes_within(PATIENCE));
    assert_eq!(stage.upstream.count(), 0);
}

#[test]
fn health_and_readiness_do_not_need_a_plain_listener() {
    let stage = TlsStage::build();
    // It gives a gateway two seconds, and a machine may hold up either of them for longer.
    wait::until("a healthy gateway", PATIENCE, || {
        let said = stage.gateway.house().command(&["healthcheck"]).unwrap();
        said.status.success().then_some(())
    })
    .unwrap();
    drop(TcpStream::connect(stage.gateway.address()).unwrap());
    assert_eq!(
        failed_handshakes(&stage),
        0.0,
        "a probe that says nothing is no failure"
    );
}
