//! What guards a route beside its token: lists of addresses, the size of a body, and headers that browsers heed.

use portcullis_harness::{
    client::{Request, Response, Socket},
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::PATIENCE,
};

use crate::stage;

/// Only 127.0.0.40 is a proxy of ours.
fn gateway(upstream: &Upstream, security: &str) -> Gateway {
    let address = upstream.address();
    stage::start(|places| {
        let more = format!(
            "trusted_proxies: [127.0.0.40/32]\n  limits: {{ body: 4KiB }}\n  headers: {{ security: {security} }}"
        );
        let server = stage::server(places, &more);
        format!(
            "{server}
upstreams: {{ hotel: {{ endpoints: [{address}] }} }}
routes:
  - {{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public }}
  - {{ name: small, match: {{ path: /small/** }}, upstream: hotel, auth: public, body: 1KiB }}
  - {{ name: large, match: {{ path: /large/** }}, upstream: hotel, auth: public, body: 64KiB }}
  - name: guarded
    match: {{ path: /guarded/** }}
    upstream: hotel
    auth: public
    ip: {{ allow: [192.0.2.0/24, \"2001:db8::/32\", 198.51.100.7], deny: [192.0.2.128/25] }}
  - name: denying
    match: {{ path: /denying/** }}
    upstream: hotel
    auth: public
    ip: {{ deny: [203.0.113.0/24] }}
"
        )
    })
}

fn from(gateway: &Gateway, path: &str, client: &str) -> Response {
    let request = Request::get(path).with("X-Forwarded-For", client);
    gateway.client_at(40).send(&request).unwrap()
}

#[test]
fn only_addresses_that_are_allowed_and_not_denied_reach_a_route() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream, "owasp");
    for (path, client) in [
        ("/guarded/x", "192.0.2.127"),
        ("/guarded/x", "::ffff:192.0.2.1"),
        ("/guarded/x", "2001:db8:1::2"),
        ("/guarded/x", "198.51.100.7"),
        ("/denying/x", "203.0.114.1"),
    ] {
        assert_eq!(from(&gateway, path, client).status, 200, "{path} {client}");
    }
    assert_eq!(upstream.take_received().len(), 5);
    for (path, client) in [
        ("/guarded/x", "192.0.2.128"),
        ("/guarded/x", "::ffff:192.0.2.200"),
        ("/guarded/x", "192.0.3.1"),
        ("/guarded/x", "2001:db9::1"),
        ("/guarded/x", "198.51.100.8"),
        ("/denying/x", "203.0.113.255"),
        ("/denying/x", "::ffff:203.0.113.1"),
    ] {
        let refused = from(&gateway, path, client);
        let told = (refused.status, refused.code());
        assert_eq!(
            told,
            (403, "address-not-allowed".to_owned()),
            "{path} {client}"
        );
    }
    // Whoever comes without the proxy is taken by its own address, whatever it claims.
    let claim = Request::get("/guarded/x").with("X-Forwarded-For", "192.0.2.1");
    let claimed = gateway.client_at(41).send(&claim).unwrap();
    assert_eq!(claimed.code(), "address-not-allowed");
    assert_eq!(upstream.count(), 0, "the upstream knows nothing of them");
}

/// In pieces, so that the end is not known before it comes.
fn stream(gateway: &Gateway, path: &str, pieces: usize) -> Response {
    let mut socket = Socket::connect(gateway.address()).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = format!("100\r\n{}\r\n", "x".repeat(0x100));
    let mut sent = socket.send(head);
    for _ in 0..pieces {
        sent = sent && socket.send(&piece);
    }
    // A gateway that has refused already may have closed.
    let _whole = sent && socket.send("0\r\n\r\n");
    socket.response_within(PATIENCE).unwrap()
}

#[test]
fn a_body_is_bounded_as_declared_and_as_it_streams() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream, "owasp");
    let declared = |path: &str, length: usize| {
        let request = Request::post(path).body(vec![b'x'; length]);
        gateway.client().send(&request).unwrap()
    };
    for (path, limit) in [
        ("/small/x", 1 << 10),
        ("/open/x", 4 << 10),
        ("/large/x", 64 << 10),
    ] {
        assert_eq!(
            declared(path, limit).status,
            200,
            "{path}: exactly the limit"
        );
        assert_eq!(
            stream(&gateway, path, limit >> 8).status,
            200,
            "{path}: streamed"
        );
        let received = upstream.take_received();
        assert!(
            received.iter().all(|request| request.body.len() == limit),
            "{path}"
        );
        let refused = declared(path, limit + 1);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (413, "body-too-large"),
            "{path}"
        );
        assert_eq!(
            upstream.count(),
            0,
            "{path}: what declares too much is not begun"
        );
        let refused = stream(&gateway, path, (limit >> 8) + 1);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (413, "body-too-large"),
            "{path}"
        );
        assert_eq!(
            upstream.count(),
            0,
            "{path}: the upstream never has it whole"
        );
    }
}

fn scripted(upstream: &Upstream) {
    upstream.decides(|_| {
        Reaction::send(
            "HTTP/1.1 200 OK\r\nX-Frame-Options: SAMEORIGIN\r\nContent-Length: 0\r\n\r\n",
        )
    });
}

#[test]
fn owasp_is_on_every_answer_and_what_the_upstream_set_stays() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream, "owasp");
    scripted(&upstream);
    let passed = gateway.client().get("/open/x").unwrap();
    let refused = gateway.client().get("/nowhere").unwrap();
    assert_eq!((passed.status, refused.status), (200, 404));
    for answer in [&passed, &refused] {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            (
                "strict-transport-security",
                "max-age=31536000; includeSubDomains",
            ),
            ("referrer-policy", "no-referrer"),
            ("x-xss-protection", "0"),
        ] {
            assert_eq!(answer.field(name), Some(value), "{name}");
        }
    }
    assert_eq!(passed.field("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(refused.field("x-frame-options"), Some("DENY"));
    let policy = "default-src 'none'; frame-ancestors 'none'";
    assert_eq!(refused.field("content-security-policy"), Some(policy));
    assert_eq!(
        passed.field("content-security-policy"),
        None,
        "the upstream's pages are its own"
    );
}

#[test]
fn an_explicit_map_takes_the_place_of_owasp_and_none_of_anything() {
    let upstream = Upstream::start().unwrap();
    scripted(&upstream);
    let map = "{ X-Frame-Options: DENY, Permissions-Policy: \"camera=()\" }";
    let explicit = gateway(&upstream, map);
    let passed = explicit.client().get("/open/x").unwrap();
    let refused = explicit.client().get("/nowhere").unwrap();
    for answer in [&passed, &refused] {
        assert_eq!(answer.field("permissions-policy"), Some("camera=()"));
        assert_eq!(answer.field("x-content-type-options"), None);
        assert_eq!(answer.field("content-security-policy"), None);
    }
    assert_eq!(passed.field("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(refused.field("x-frame-options"), Some("DENY"));
    let none = gateway(&upstream, "none");
    let refused = none.client().get("/nowhere").unwrap();
    for name in [
        "x-frame-options",
        "x-content-type-options",
        "strict-transport-security",
    ] {
        assert_eq!(refused.field(name), None, "{name}");
    }
}
