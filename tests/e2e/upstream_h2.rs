//! Upstreams that speak HTTP/2, with and without TLS: what arrives there, and what becomes of those that do not speak it.

use http::{StatusCode, Version};
use portcullis_harness::{
    certificates::Authority,
    client::{Request, Socket},
    gateway::Gateway,
    secured_upstream::{Reply, SecuredUpstream},
    upstream::Upstream,
    wait::{self, PATIENCE},
};

use crate::stage;

pub(crate) fn start(pool: &str) -> Gateway {
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
upstreams:
  pool: {{ {pool}, circuit_breaker: {{ consecutive_failures: 1000 }} }}
routes:
  - {{ name: pool, match: {{ path: /pool/** }}, upstream: pool, auth: public }}
"
        )
    })
}

#[test]
fn a_request_arrives_as_one_of_http2() {
    let upstream = SecuredUpstream::http2().unwrap();
    let gateway = start(&format!(
        "endpoints: [{}], protocol: h2c",
        upstream.address()
    ));
    let request = Request::post("/pool/x?y=1")
        .with("X-Room", "7")
        .body("a body");
    let answer = gateway.client().send(&request).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let asked = upstream.take_asked().remove(0);
    assert_eq!(asked.version, Version::HTTP_2);
    assert_eq!(
        asked.uri.to_string(),
        format!("http://{}/pool/x?y=1", gateway.address())
    );
    assert_eq!(asked.body, "a body");
    assert_eq!(asked.headers["x-room"], "7");
    assert!(asked.headers.contains_key("x-request-id"));
    assert!(!asked.headers.contains_key("host"));
}

#[test]
fn requests_share_a_connection() {
    const AT_ONCE: usize = 40;
    let upstream = SecuredUpstream::http2().unwrap();
    let gateway = start(&format!(
        "endpoints: [{}], protocol: h2c",
        upstream.address()
    ));
    let mut client = gateway.client();
    assert_eq!(client.get("/pool/x").unwrap().status, 200);
    upstream.decides(|_| Reply {
        held: true,
        ..Reply::ok()
    });
    let mut waiting: Vec<Socket> = Vec::new();
    for nth in 1..=AT_ONCE {
        let mut socket = Socket::connect(gateway.address()).unwrap();
        socket.send("GET /pool/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
        waiting.push(socket);
        wait::until("the request", PATIENCE, || {
            (upstream.count() > nth).then_some(())
        })
        .unwrap();
    }
    upstream.let_go();
    for mut socket in waiting {
        assert_eq!(socket.response().unwrap().status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn bodies_are_the_same_on_the_other_side() {
    let upstream = SecuredUpstream::http2().unwrap();
    upstream.decides(|asked| Reply {
        body: asked.body.clone(),
        ..Reply::ok()
    });
    let gateway = start(&format!(
        "endpoints: [{}], protocol: h2c",
        upstream.address()
    ));
    let body: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let request = Request::post("/pool/x").body(body.clone());
    let answer = gateway.client().send(&request).unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer.body == body,
        "{} of {}",
        answer.body.len(),
        body.len()
    );
}

#[test]
fn http2_over_tls_is_settled_by_alpn() {
    let authority = Authority::new("ca").unwrap();
    let server = authority.server(&["hotel.internal"]).unwrap();
    let upstream =
        SecuredUpstream::over_tls(server.tls_server(&["h2", "http/1.1"], None).unwrap()).unwrap();
    let gateway = start(&format!(
        "endpoints: [{}], protocol: h2, tls: {{ server_name: hotel.internal, ca: {} }}",
        upstream.address(),
        authority.certificate().display()
    ));
    assert_eq!(gateway.client().get("/pool/x").unwrap().status, 200);
    let asked = upstream.take_asked().remove(0);
    assert_eq!(asked.version, Version::HTTP_2);
    assert_eq!(asked.uri.scheme_str(), Some("https"));
}

#[test]
fn an_endpoint_that_speaks_only_http1_over_tls_gets_no_request() {
    let authority = Authority::new("ca").unwrap();
    let server = authority.server(&["hotel.internal"]).unwrap();
    // One that refuses what is offered, and one that has never heard of offers.
    for protocols in [&["http/1.1"][..], &[]] {
        let upstream =
            SecuredUpstream::over_tls(server.tls_server(protocols, None).unwrap()).unwrap();
        let gateway = start(&format!(
            "endpoints: [{}], protocol: h2, tls: {{ server_name: hotel.internal, ca: {} }}",
            upstream.address(),
            authority.certificate().display()
        ));
        let mut client = gateway.client();
        for _ in 0..3 {
            assert_eq!(client.get("/pool/x").unwrap().status, 502, "{protocols:?}");
        }
        assert_eq!(upstream.count(), 0, "{protocols:?}");
    }
}

#[test]
fn an_endpoint_that_speaks_only_http1_without_tls_gets_no_request() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&format!(
        "endpoints: [{}], protocol: h2c, timeouts: {{ request: 2s }}",
        upstream.address()
    ));
    let status = gateway.client().get("/pool/x").unwrap().status;
    assert!(matches!(status, 502 | 504), "{status}");
    let received = upstream.take_received();
    assert!(
        received.iter().all(|one| one.target() != "/pool/x"),
        "{received:?}"
    );
}

#[test]
fn a_failure_is_passed_on_and_the_connection_stays() {
    let upstream = SecuredUpstream::http2().unwrap();
    let gateway = start(&format!(
        "endpoints: [{}], protocol: h2c",
        upstream.address()
    ));
    upstream.decides(|_| Reply::status(StatusCode::SERVICE_UNAVAILABLE));
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.get("/pool/x").unwrap().status, 503);
    }
    upstream.decides(|_| Reply::ok());
    assert_eq!(client.get("/pool/x").unwrap().status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_endpoint_that_comes_back_is_used_again() {
    let upstream = SecuredUpstream::http2().unwrap();
    let gateway = start(&format!(
        "endpoints: [{}], protocol: h2c",
        upstream.address()
    ));
    let mut client = gateway.client();
    assert_eq!(client.get("/pool/x").unwrap().status, 200);
    let address = upstream.address();
    drop(upstream);
    assert_eq!(client.get("/pool/x").unwrap().status, 502);
    let upstream = wait::until("the port", PATIENCE, || {
        SecuredUpstream::http2_at(address).ok()
    })
    .unwrap();
    wait::until("an answer", PATIENCE, || {
        (client.get("/pool/x").unwrap().status == 200).then_some(())
    })
    .unwrap();
    assert!(upstream.count() > 0);
}

#[test]
fn health_is_asked_in_the_protocol_of_the_upstream() {
    let upstream = SecuredUpstream::http2().unwrap();
    let other = Upstream::start().unwrap();
    let gateway = start(&format!(
        "endpoints: [{}, {}], protocol: h2c, health_check: {{ path: /healthz, interval: 100ms, timeout: 10s }}",
        upstream.address(),
        other.address()
    ));
    wait::until("a check that failed", PATIENCE, || {
        let labels = [("endpoint", &*other.address().to_string())].map(|(k, v)| (k, v.to_owned()));
        let labels = labels.each_ref().map(|(k, v)| (*k, v.as_str()));
        let metrics = gateway.metrics().unwrap();
        (metrics.sum("portcullis_upstream_endpoint_healthy", &labels) == 0.0).then_some(())
    })
    .unwrap();
    let asked = wait::until("two checks", PATIENCE, || {
        (upstream.count() >= 2).then(|| upstream.take_asked())
    })
    .unwrap();
    assert_eq!(asked[0].version, Version::HTTP_2);
    assert_eq!(asked[0].uri.path(), "/healthz");
    assert_ne!(asked[0].connection, asked[1].connection);
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(client.get("/pool/x").unwrap().status, 200);
    }
}
