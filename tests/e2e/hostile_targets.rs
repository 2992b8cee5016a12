//! Hosts, targets, methods and versions that try to be another request than they seem. `/admin` stands for any route
//! with a rule, `/open` for one without.

use portcullis_harness::{client::Socket, wait::PATIENCE};

use crate::{
    hostile::{CLOSED, Case, check, clean, passed, refused},
    stage::{Stage, corp_claims, corp_token},
};

const BAD: &[u16] = &[400];
/// What a request for `/admin` without a token gets, or else it is malformed; never does it pass.
const GUARDED: &[u16] = &[400, 401, 403, 404];

fn to(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n").into_bytes()
}

fn at(host_lines: &str) -> String {
    format!("GET /open/x HTTP/1.1\r\n{host_lines}\r\n")
}

fn hosts() -> Vec<Case> {
    let bad = |name: &str, lines: &str| refused(name, at(lines), BAD);
    vec![
        bad("no host", ""),
        bad("two hosts", "Host: a.test\r\nHost: b.test\r\n"),
        bad("the same host twice", "Host: a.test\r\nHost: a.test\r\n"),
        bad("an empty host", "Host:\r\n"),
        bad("a list of hosts", "Host: a.test, b.test\r\n"),
        bad("user info", "Host: a.test@b.test\r\n"),
        bad("a port beyond 65535", "Host: a.test:99999\r\n"),
        bad("a port that is none", "Host: a.test:http\r\n"),
        bad("a path", "Host: a.test/x\r\n"),
        bad("a query", "Host: a.test?x\r\n"),
        bad("a blank", "Host: a.test b.test\r\n"),
        bad("a broken address", "Host: [::1\r\n"),
        passed(
            "capitals and a trailing dot",
            at("Host: A.Test.\r\n"),
            "/open/x",
            "",
        ),
        passed("a port", at("Host: a.test:8080\r\n"), "/open/x", ""),
        passed(
            "an address of IPv6",
            at("Host: [::1]:8080\r\n"),
            "/open/x",
            "",
        ),
    ]
}

fn forms() -> Vec<Case> {
    let options = |target: &str| format!("OPTIONS {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    vec![
        refused(
            "absolute-form of another host",
            to("http://b.test/open/x"),
            BAD,
        ),
        passed(
            "absolute-form of the same host",
            to("http://a.test/open/x"),
            "/open/x",
            "",
        ),
        clean(
            "absolute-form with https",
            to("https://a.test/open/x"),
            &[400, 200],
        ),
        refused(
            "absolute-form of a protected path",
            to("http://a.test/admin/x"),
            GUARDED,
        ),
        refused(
            "absolute-form of an unknown scheme",
            to("ftp://a.test/open/x"),
            BAD,
        ),
        refused(
            "absolute-form with user info",
            to("http://b.test@a.test/open/x"),
            BAD,
        ),
        refused("authority-form", to("a.test:80"), BAD),
        refused("asterisk-form", to("*"), BAD),
        refused("OPTIONS *", options("*"), &[200, 204, 400]),
        refused("no slash", to("open/x"), BAD),
        refused(
            "no target",
            b"GET  HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
            BAD,
        ),
    ]
}

fn characters() -> Vec<Case> {
    vec![
        refused("a fragment", to("/open/x#y"), BAD),
        refused("a blank", to("/open/x y"), BAD),
        refused("a tab", to("/open/x\ty"), BAD),
        refused("NUL", to("/open/x\0y"), BAD),
        refused("a control character", to("/open/x\u{1}y"), BAD),
        clean("UTF-8", to("/open/caf\u{e9}"), &[400, 200]),
        clean(
            "a byte that is no UTF-8",
            b"GET /open/\xff HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
            &[400, 200],
        ),
        clean("UTF-8 in the query", to("/open/x?q=caf\u{e9}"), &[400, 200]),
        refused(
            "20 kB",
            to(&format!("/open/{}", "a".repeat(20_000))),
            &[414],
        ),
        refused(
            "20 kB of query",
            to(&format!("/open/x?{}", "a".repeat(20_000))),
            &[414],
        ),
        passed(
            "a query",
            to("/open/x?a=/../admin&b=%2e"),
            "/open/x?a=/../admin&b=%2e",
            "",
        ),
    ]
}

fn paths() -> Vec<Case> {
    let guarded = [
        "/open/../admin/x",
        "/open/%2e%2e/admin/x",
        "/open/%2E%2E/admin/x",
        "//admin/x",
        "/./admin/x",
        "/%61dmin/x",
        "/%2e/admin/x",
        "/open%2f..%2fadmin/x",
        "/open/..;/admin/x",
        "/admin/x;y=1",
        "/admin;x=1/x",
        "/ADMIN/x",
        "/Admin/x",
        "/open\\..\\admin/x",
        "/open%5c..%5cadmin/x",
        "/admin%2fx",
        "/admin//x",
        "/admin",
        "/admin/",
        "/admin/x",
        "/open/x/../../admin/x",
        "/admin/x?y",
        "/admin/x/..",
        "/admin%00/x",
        "/%252e%252e/admin/x",
    ];
    let malformed = [
        "/%00/admin/x",
        "/open/%zz",
        "/open/%4",
        "/open/%",
        "/../../etc/passwd",
        "/open/..",
        "/open/x%0d%0ay",
    ];
    let guarded = guarded.iter().map(|path| refused(*path, to(path), GUARDED));
    let malformed = malformed.iter().map(|path| refused(*path, to(path), BAD));
    let passing = [
        passed("an escaped letter", to("/open/%61"), "/open/a", ""),
        passed(
            "a doubly escaped letter",
            to("/open/%2561"),
            "/open/%2561",
            "",
        ),
        passed(
            "an escape in small letters",
            to("/open/%c3%a9"),
            "/open/%C3%A9",
            "",
        ),
        passed("three dots", to("/open/.../x"), "/open/.../x", ""),
    ];
    guarded.chain(malformed).chain(passing).collect()
}

fn methods() -> Vec<Case> {
    let with = |method: &str| format!("{method} /open/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    vec![
        refused("get in small letters", with("get"), &[400, 405, 501]),
        refused("an unknown method", with("FOO"), &[405, 501]),
        refused(
            "5 kB of method",
            with(&"A".repeat(5_000)),
            &[400, 405, 414, 501],
        ),
        refused("an empty method", with(""), BAD),
        refused("a method that is no token", with("GE(T"), BAD),
        refused("TRACE", with("TRACE"), &[405]),
        refused(
            "CONNECT",
            "CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n",
            &[400, 405, 501],
        ),
        refused("CONNECT with a path", with("CONNECT"), &[400, 405, 501]),
        passed("POST", with("POST"), "/open/x", ""),
    ]
}

fn versions() -> Vec<Case> {
    let with = |version: &str| format!("GET /open/x {version}\r\nHost: a.test\r\n\r\n");
    vec![
        clean("HTTP/1.2", with("HTTP/1.2"), &[200, 400, 505, CLOSED]),
        refused("HTTP/2.0", with("HTTP/2.0"), &[400, 505, CLOSED]),
        refused("HTTP/0.9", with("HTTP/0.9"), &[400, 505, CLOSED]),
        refused("HTTP/9.9", with("HTTP/9.9"), &[400, 505, CLOSED]),
        refused(
            "http in small letters",
            with("http/1.1"),
            &[400, 505, CLOSED],
        ),
        refused("no version", "GET /open/x\r\n\r\n", &[400, CLOSED]).and_no_more(),
        clean("HTTP/1.0", with("HTTP/1.0"), &[200]),
    ]
}

#[test]
fn a_request_is_for_exactly_one_host() {
    check(&Stage::build(), hosts());
}

#[test]
fn a_target_is_a_plain_path() {
    check(&Stage::build(), forms().into_iter().chain(characters()));
}

#[test]
fn no_spelling_of_a_protected_path_is_open() {
    check(&Stage::build(), paths());
}

#[test]
fn methods_are_known_words() {
    check(&Stage::build(), methods());
}

#[test]
fn other_versions_of_http_are_not_spoken() {
    check(&Stage::build(), versions());
}

/// Sends one request and returns what the upstream received of it.
fn received(stage: &Stage, request: &str) -> (u16, Vec<portcullis_harness::upstream::Received>) {
    let mut socket = Socket::connect(stage.gateway.address()).unwrap();
    socket.send(request);
    let status = socket.response().unwrap().status;
    (status, stage.upstream.take_received())
}

#[test]
fn what_a_client_says_of_itself_does_not_reach_the_upstream() {
    let stage = Stage::build();
    let token = corp_token(&corp_claims("alice"));
    let request = format!(
        "GET /admin/x HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\
         X-User-Id: root\r\nx-user-id: root2\r\nX_User_Id: root3\r\nX-User-Roles: admin\r\nX-User-Scopes: all\r\n\
         X-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil.test\r\nX-Portcullis-Client-Address: 192.0.2.1\r\nX-Request-ID: mine\r\n\
         Proxy: http://evil.test\r\nX-Original-URL: /root\r\nX-Rewrite-URL: /root\r\n\
         X-HTTP-Method-Override: DELETE\r\n\r\n"
    );
    let (status, received) = received(&stage, &request);
    assert_eq!((status, received.len()), (200, 1));
    let one = &received[0];
    assert_eq!(one.field("x-user-id"), Some("corp:alice"));
    assert_eq!(one.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(one.field("x-forwarded-proto"), Some("http"));
    assert_eq!(one.field("x-forwarded-host"), Some("a.test"));
    assert_ne!(
        one.field("x-request-id"),
        Some("mine"),
        "an id is kept from a trusted proxy only"
    );
    assert!(one.field("x-request-id").is_some(), "{one:?}");
    let raw = String::from_utf8_lossy(&one.head.raw).to_lowercase();
    for smuggled in [
        "root",
        "admin,",
        "192.0.2.1",
        "evil.test",
        "x_user_id",
        "x-portcullis",
        "authorization",
    ] {
        assert!(
            !raw.contains(smuggled),
            "{smuggled} reached the upstream: {raw}"
        );
    }
    assert_eq!(
        one.method(),
        "GET",
        "an override must not become the method"
    );
}

#[test]
fn an_upgrade_that_no_route_takes_opens_no_tunnel() {
    let stage = Stage::build();
    let behind = "GET /admin/behind HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let h2c = "GET /open/x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    let websocket = "GET /open/x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    for handshake in [h2c, websocket] {
        let mut socket = Socket::connect(stage.gateway.address()).unwrap();
        socket.send(format!("{handshake}{behind}"));
        let status = socket.response().unwrap().status;
        assert!([200, 400, 426].contains(&status), "{status} to {handshake}");
        let received = stage.upstream.take_received();
        assert!(
            received.len() <= 1,
            "more than the handshake went through: {received:?}"
        );
        for one in received {
            assert_eq!(
                (one.target(), one.field("upgrade")),
                ("/open/x", None),
                "{one:?}"
            );
        }
    }
}

#[test]
fn two_pipelined_requests_are_answered_in_order_or_the_second_is_not_taken() {
    let stage = Stage::build();
    let mut socket = Socket::connect(stage.gateway.address()).unwrap();
    let one = |name: &str| format!("GET /open/{name} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    socket.send(one("first") + &one("second"));
    assert_eq!(socket.response().unwrap().status, 200);
    let second = socket.response();
    let targets: Vec<String> = stage
        .upstream
        .take_received()
        .iter()
        .map(|one| one.target().to_owned())
        .collect();
    match second {
        Ok(answer) => assert_eq!(
            (answer.status, targets.as_slice()),
            (
                200,
                ["/open/first".to_owned(), "/open/second".to_owned()].as_slice()
            )
        ),
        Err(ending) => {
            assert!(ending.is_close(), "neither an answer nor an end: {ending}");
            assert_eq!(
                targets,
                ["/open/first"],
                "a request that was not answered must not be carried out"
            );
        }
    }
}

#[test]
fn a_client_that_waits_for_leave_gets_it_and_its_body_arrives_once() {
    let stage = Stage::build();
    let mut socket = Socket::connect(stage.gateway.address()).unwrap();
    socket.send("POST /open/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let leave = socket.head_within(PATIENCE).unwrap();
    assert!(leave.first_line.contains(" 100 "), "{leave:?}");
    socket.send("hello");
    assert_eq!(socket.response().unwrap().status, 200);
    let received = stage.upstream.take_received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].body, b"hello");
}

#[test]
fn an_unknown_expectation_is_refused_or_ignored() {
    let stage = Stage::build();
    let request = "GET /open/x HTTP/1.1\r\nHost: a.test\r\nExpect: the-unexpected\r\n\r\n";
    check(
        &stage,
        [clean("an unknown expectation", request, &[200, 400, 417])],
    );
}
