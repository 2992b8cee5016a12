//! Pages of other origins: what a browser is told before and after it lets one send a request.

use bytes::Bytes;
use portcullis_harness::{
    client::{Request, Response, Socket},
    gateway::Gateway,
    upstream::{Reaction, Upstream},
};

use crate::{
    stage::{self, CORP, corp_claims, corp_token},
    tls_stage::TlsStage,
};

const APP: &str = "https://app.example.com";

fn gateway(upstream: &Upstream) -> Gateway {
    let address = upstream.address();
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}{CORP}
upstreams:
  hotel: {{ endpoints: [{address}], circuit_breaker: {{ consecutive_failures: 1 }} }}
rate_limits:
  few: {{ key: ip, limit: 3/1h }}
routes:
  - name: api
    match: {{ path: /api/**, methods: [GET, PUT] }}
    upstream: hotel
    auth: {{ resource: hotel }}
    cors: {{ origins: [\"{APP}\"], credentials: true, max_age: 5m, headers: [Authorization, X-Page], expose: [ETag] }}
  - name: any
    match: {{ path: /any/** }}
    upstream: hotel
    auth: public
    rate_limits: [few]
    cors: {{ origins: [\"*\"] }}
  - {{ name: plain, match: {{ path: /plain/** }}, upstream: hotel, auth: public }}
  - name: closed
    match: {{ path: /closed/** }}
    upstream: hotel
    auth: public
    ip: {{ deny: [127.0.0.0/8] }}
    cors: {{ origins: [\"{APP}\"] }}
"
        )
    })
}

fn preflight(path: &str, origin: &str, method: &str) -> Request {
    Request::new("OPTIONS", path)
        .with("Origin", origin)
        .with("Access-Control-Request-Method", method)
        .with("Access-Control-Request-Headers", "authorization, x-page")
}

/// Whatever of the protocol the answer says, by the last part of its name.
fn said(answer: &Response) -> Vec<(&str, &str)> {
    let names = ["origin", "credentials", "methods", "headers"];
    let of = |name: &'static str| {
        let field = format!("access-control-allow-{name}");
        answer.field(&field).map(|value| (name, value))
    };
    names.into_iter().filter_map(of).collect()
}

fn varies(answer: &Response) -> bool {
    answer
        .head
        .fields_named("vary")
        .any(|value| value == "Origin")
}

#[test]
fn a_preflight_is_answered_by_the_gateway_before_any_token() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut socket = Socket::connect(gateway.address()).unwrap();
    for _ in 0..2 {
        socket.send(format!(
            "OPTIONS /api/x HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\nAccess-Control-Request-Method: PUT\r\n\r\n"
        ));
        let answer = socket.response().unwrap();
        assert_eq!(answer.status, 204, "on the same connection");
        let expected = [
            ("origin", APP),
            ("credentials", "true"),
            ("methods", "GET, PUT"),
            ("headers", "authorization, x-page"),
        ];
        assert_eq!(said(&answer), expected);
        assert_eq!(answer.field("access-control-max-age"), Some("300"));
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.field("content-length"), None, "RFC 9110 section 8.6");
        assert!(varies(&answer), "{:?}", answer.head);
    }
    assert_eq!(upstream.count(), 0, "the upstream must not be asked");
}

#[test]
fn a_preflight_of_another_origin_learns_nothing() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    for origin in [
        "https://evil.test",
        "null",
        "http://app.example.com",
        "https://app.example.com:8443",
    ] {
        let answer = client.send(&preflight("/api/x", origin, "PUT")).unwrap();
        assert_eq!((answer.status, said(&answer)), (204, vec![]), "{origin}");
        assert!(varies(&answer), "{origin}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_preflight_spends_the_clients_limits_and_passes_the_address_lists() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let ask = preflight("/any/x", APP, "PUT");
    let answers: Vec<Response> = (0..4).map(|_| client.send(&ask).unwrap()).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [204, 204, 204, 429]);
    assert_eq!(answers[0].field("x-ratelimit-remaining"), Some("2"));
    assert_eq!(answers[3].field("access-control-allow-origin"), Some("*"));
    let denied = client.send(&preflight("/closed/x", APP, "GET")).unwrap();
    assert_eq!(denied.code(), "address-not-allowed");
    assert_eq!(said(&denied), [("origin", APP)]);
}

#[test]
fn what_is_no_preflight_of_such_a_route_passes_on() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    upstream.decides(|_| {
        Reaction::send("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://own.test\r\nContent-Length: 0\r\n\r\n")
    });
    let answer = client.send(&preflight("/plain/x", APP, "PUT")).unwrap();
    assert_eq!(
        said(&answer),
        [("origin", "https://own.test")],
        "the upstream's own"
    );
    let received = upstream.take_received().remove(0);
    assert_eq!(received.method(), "OPTIONS");
    assert_eq!(received.field("access-control-request-method"), Some("PUT"));
    let options = Request::new("OPTIONS", "/any/x").with("Origin", APP);
    assert_eq!(client.send(&options).unwrap().status, 200);
    assert_eq!(upstream.count(), 1, "it asks for no method");
    let unlisted = client.send(&preflight("/api/x", APP, "DELETE")).unwrap();
    assert_eq!(unlisted.code(), "method-not-allowed");
}

#[test]
fn an_answer_tells_who_may_read_it_whatever_the_upstream_says() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    upstream.decides(|_| {
        Reaction::send(
            "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Origin: https://evil.test\r\n\
             Access-Control-Allow-Methods: DELETE\r\nVary: Accept\r\nContent-Length: 0\r\n\r\n",
        )
    });
    let token = corp_token(&corp_claims("alice"));
    let get = |origin: &str| Request::get("/api/x").bearer(&token).with("Origin", origin);
    let answer = client.send(&get(APP)).unwrap();
    assert_eq!(said(&answer), [("origin", APP), ("credentials", "true")]);
    let exposed = answer.field("access-control-expose-headers").unwrap();
    for name in ["etag", "x-request-id", "ratelimit", "retry-after"] {
        assert!(
            exposed.split(", ").any(|listed| listed == name),
            "{exposed}"
        );
    }
    for origin in ["https://evil.test", "null"] {
        let answer = client.send(&get(origin)).unwrap();
        assert_eq!((answer.status, said(&answer)), (200, vec![]), "{origin}");
        assert!(varies(&answer));
    }
    let answer = client.send(&Request::get("/api/x").bearer(&token)).unwrap();
    assert_eq!(said(&answer), []);
    assert!(varies(&answer), "a cache must not give it to a page");
    let vary: Vec<&str> = answer.head.fields_named("vary").collect();
    assert!(vary.contains(&"Accept"), "{vary:?}");
}

#[test]
fn a_page_can_read_why_it_was_refused() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let readable = |answer: &Response, code: &str| {
        assert_eq!(answer.code(), code);
        assert_eq!(
            said(answer),
            [("origin", APP), ("credentials", "true")],
            "{code}"
        );
        assert!(varies(answer), "{code}");
    };
    let get = || Request::get("/api/x").with("Origin", APP);
    readable(&client.send(&get()).unwrap(), "authentication-required");
    let mut elsewhere = corp_claims("alice");
    elsewhere["aud"] = serde_json::json!("event");
    let elsewhere = client.send(&get().bearer(&corp_token(&elsewhere))).unwrap();
    readable(&elsewhere, "wrong-resource");
    upstream.reacts_with(Reaction::close());
    let token = corp_token(&corp_claims("alice"));
    readable(
        &client.send(&get().bearer(&token)).unwrap(),
        "upstream-failed",
    );
    readable(&client.send(&get().bearer(&token)).unwrap(), "circuit-open");
}

#[test]
fn a_browser_that_speaks_http2_is_told_the_same() {
    let stage = TlsStage::build();
    let mut http2 = stage.http2();
    let mut ask = |method: &str, asked: Option<&str>| {
        let head = http::Request::builder()
            .method(method)
            .uri("https://a.test/pages/x");
        let head = head.header("origin", APP);
        let head = asked.into_iter().fold(head, |head, asked| {
            head.header("access-control-request-method", asked)
        });
        http2.send(head.body(Bytes::new()).unwrap()).unwrap()
    };
    let permitted = ask("OPTIONS", Some("DELETE"));
    assert_eq!(permitted.status, 204);
    assert_eq!(permitted.field("access-control-allow-origin"), Some(APP));
    let methods = permitted.field("access-control-allow-methods").unwrap();
    assert!(methods.contains("DELETE"), "{methods}");
    let refused = ask("GET", None);
    assert_eq!(refused.code(), "authentication-required");
    assert_eq!(refused.field("access-control-allow-origin"), Some(APP));
    assert_eq!(stage.upstream.count(), 0);
}
