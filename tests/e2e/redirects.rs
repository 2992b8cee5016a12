//! Routes that send clients elsewhere, and paths that upstreams are asked under.

use portcullis_harness::{
    client::{Request, Response, Socket},
    gateway::Gateway,
    upstream::Upstream,
};

use crate::{
    stage::{self, CORP, corp_claims, corp_token},
    tls_stage::TlsStage,
};

fn gateway(upstream: &Upstream) -> Gateway {
    let address = upstream.address();
    stage::start(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}{CORP}
upstreams:
  hotel: {{ endpoints: [{address}] }}
rate_limits:
  few: {{ key: ip, limit: 2/1h }}
routes:
  - name: secure
    match: {{ path: /**, hosts: [a.example, b.example] }}
    redirect: {{ to: \"https://{{host}}{{path}}\" }}
    auth: public
  - name: moved
    match: {{ path: /old/*/** }}
    redirect: {{ to: \"/new/{{1}}/in/{{rest}}\", status: 301 }}
    auth: public
  - name: members
    match: {{ path: /members/** }}
    redirect: {{ to: \"https://members.example/welcome?from=hotel\", status: 303 }}
    auth: {{ resource: hotel }}
    rate_limits: [few]
  - name: template
    match: {{ path: /api/*/** }}
    upstream: hotel
    auth: public
    rewrite: {{ template: \"/v2/{{1}}/all/{{rest}}\" }}
  - name: prefixes
    match: {{ path: /pre/** }}
    upstream: hotel
    auth: public
    rewrite: {{ strip_prefix: /pre, add_prefix: /post }}
"
        )
    })
}

fn location(answer: &Response) -> (u16, Option<&str>) {
    (answer.status, answer.field("location"))
}

/// Sent as it is, to any host, each on the connection of the one before.
fn ask(socket: &mut Socket, method: &str, host: &str, target: &str) -> Response {
    socket.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    ));
    socket
        .response_to(method, portcullis_harness::wait::PATIENCE)
        .unwrap()
}

#[test]
fn clients_are_sent_to_the_host_that_the_route_names() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut socket = Socket::connect(gateway.address()).unwrap();
    let mut check = |host: &str, target: &str, expected: &str| {
        let answer = ask(&mut socket, "GET", host, target);
        assert_eq!(location(&answer), (308, Some(expected)), "{host}{target}");
        assert_eq!(answer.field("content-length"), Some("0"));
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
        assert!(answer.field("x-request-id").is_some());
    };
    check("a.example", "/x/y?q=1", "https://a.example/x/y?q=1");
    check("B.EXAMPLE:8080", "/", "https://b.example/");
    check(
        "a.example",
        "/%7Euser/a%20b",
        "https://a.example/~user/a%20b",
    );
    check(
        "a.example",
        "/?next=//evil.test",
        "https://a.example/?next=//evil.test",
    );
    let head = ask(&mut socket, "HEAD", "a.example", "/x");
    assert_eq!(location(&head), (308, Some("https://a.example/x")));
    let post = "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
    socket.send(post);
    assert_eq!(socket.response().unwrap().status, 308);
    let again = ask(&mut socket, "GET", "a.example", "/after");
    assert_eq!(again.status, 308, "the body was read, the connection kept");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn no_spelling_of_a_request_sends_a_client_to_another_host() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    for (host, target) in [
        ("evil.test", "/x"),
        ("a.example", "//evil.test/x"),
        ("a.example", "/\\evil.test"),
        ("a.example", "/%2f%2fevil.test"),
        ("a.example", "/%0d%0aLocation:%20https://evil.test"),
        ("a.example@evil.test", "/x"),
        ("a.example", "http://evil.test/x"),
    ] {
        let mut socket = Socket::connect(gateway.address()).unwrap();
        let answer = ask(&mut socket, "GET", host, target);
        assert_eq!(answer.field("location"), None, "{host} {target}");
        assert!([400, 404].contains(&answer.status), "{host} {target}");
    }
    let mut socket = Socket::connect(gateway.address()).unwrap();
    let dotted = ask(&mut socket, "GET", "any.test", "/old/.../x");
    assert_eq!(location(&dotted), (301, Some("/new/.../in/x")));
}

#[test]
fn a_redirect_is_made_of_what_the_route_matched() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let mut check = |target, expected| {
        let answer = client.get(target).unwrap();
        assert_eq!(location(&answer), (301, Some(expected)), "{target}");
    };
    check("/old/7/a/b?q", "/new/7/in/a/b?q");
    check("/old/7", "/new/7/in");
    check("/old/7/", "/new/7/in/");
}

#[test]
fn a_redirect_comes_after_the_checks_of_its_route() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    assert_eq!(
        client.get("/members/x").unwrap().code(),
        "authentication-required"
    );
    let member = Request::get("/members/x?q=1").bearer(&corp_token(&corp_claims("alice")));
    let answer = client.send(&member).unwrap();
    let expected = "https://members.example/welcome?from=hotel";
    assert_eq!(
        location(&answer),
        (303, Some(expected)),
        "with its own query alone"
    );
    assert_eq!(answer.field("x-ratelimit-remaining"), Some("0"));
    assert_eq!(client.send(&member).unwrap().code(), "rate-limited");
}

#[test]
fn an_upstream_is_asked_under_the_rewritten_path() {
    let upstream = Upstream::start().unwrap();
    let gateway = gateway(&upstream);
    let mut client = gateway.client();
    let mut check = |target, expected: &str| {
        assert_eq!(client.get(target).unwrap().status, 200, "{target}");
        let received = upstream.take_received().remove(0);
        assert_eq!(received.target(), expected, "{target}");
    };
    check("/api/rooms/7/keys?q=%20", "/v2/rooms/all/7/keys?q=%20");
    check("/api/rooms", "/v2/rooms/all");
    check("/api/rooms/", "/v2/rooms/all/");
    check("/api/%72ooms/a%2cb", "/v2/rooms/all/a%2Cb");
    check("/pre/a/b?q", "/post/a/b?q");
    check("/pre", "/post");
    for escape in [
        "/api/../admin",
        "/api/%2e%2e/admin",
        "/api/x/..%2fadmin",
        "/api//admin",
    ] {
        assert_eq!(client.get(escape).unwrap().status, 400, "{escape}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_redirect_ends_its_stream_and_not_the_connection_of_http2() {
    let stage = TlsStage::build();
    let mut http2 = stage.http2();
    for _ in 0..2 {
        let answer = http2.get("https://a.test/moved/x?q").unwrap();
        assert_eq!(answer.status, 308);
        assert_eq!(answer.field("location"), Some("https://a.test/new/x?q"));
        assert!(answer.body.is_empty());
    }
}
