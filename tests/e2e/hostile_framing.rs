//! Requests whose length, lines or header fields could be read in more than one way.

use portcullis_harness::{
    client::Socket,
    wait::{self, PATIENCE},
};

use crate::{
    hostile::{CLOSED, Case, check, clean, passed, refused},
    stage::{Stage, corp_claims, corp_token},
};

const BAD: &[u16] = &[400];
const BAD_OR_CLOSED: &[u16] = &[400, CLOSED];

/// A POST with these lines below `Host`, and what follows the head.
fn post(lines: &str, body: &str) -> String {
    format!("POST /open/x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n{body}")
}

fn get(lines: &str) -> String {
    format!("GET /open/x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n")
}

/// The body that a smuggler hopes to be taken for the next request.
const SMUGGLED: &str = "0\r\n\r\nGET /admin/smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn lengths() -> Vec<Case> {
    let with = |value: &str| post(&format!("Content-Length: {value}"), "hello");
    let twice = |one: &str, other: &str| {
        post(
            &format!("Content-Length: {one}\r\nContent-Length: {other}"),
            "hello",
        )
    };
    vec![
        // RFC 9112 section 6.1 lets the coding win, if the length goes no further and the connection ends.
        clean(
            "length and chunked",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked", SMUGGLED),
            &[400, 200],
        )
        .and_closes(),
        clean(
            "chunked and length",
            post("Transfer-Encoding: chunked\r\nContent-Length: 5", SMUGGLED),
            &[400, 200],
        )
        .and_closes(),
        refused("two lengths", twice("5", "6"), BAD).and_closes(),
        refused("the same length twice", twice("5", "5"), BAD).and_closes(),
        refused("a list of lengths", with("5, 5"), BAD).and_closes(),
        refused("a length with a plus", with("+5"), BAD).and_closes(),
        refused("a negative length", with("-1"), BAD).and_closes(),
        refused("a hexadecimal length", with("0x5"), BAD).and_closes(),
        refused("a length beyond 64 bits", with("18446744073709551621"), BAD).and_closes(),
        refused("an empty length", with(""), BAD).and_closes(),
        refused("a length with a blank inside", with("1 5"), BAD).and_closes(),
        passed(
            "a GET with a body",
            "GET /open/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
            "/open/x",
            "hello",
        ),
        refused(
            "a body that ends too early",
            post("Content-Length: 50", "hello"),
            &[400, 408, CLOSED],
        )
        .after_the_head()
        .and_no_more(),
    ]
}

fn codings() -> Vec<Case> {
    let with = |value: &str| post(&format!("Transfer-Encoding: {value}"), SMUGGLED);
    vec![
        passed("chunked", post("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"), "/open/x", "hello"),
        passed("Chunked in capitals", post("transfer-encoding: CHUNKED", "5\r\nhello\r\n0\r\n\r\n"), "/open/x", "hello"),
        refused("chunked, identity", with("chunked, identity"), &[400, 501]).and_closes(),
        refused("gzip, chunked", with("gzip, chunked"), &[400, 501]).and_closes(),
        refused("identity", with("identity"), &[400, 501]).and_closes(),
        refused("xchunked", with("xchunked"), &[400, 501]).and_closes(),
        refused("an empty member", with(",chunked"), &[400, 501]).and_closes(),
        refused("chunked, chunked", with("chunked, chunked"), &[400, 501]).and_closes(),
        refused("chunked in two fields", with("chunked\r\nTransfer-Encoding: chunked"), BAD).and_closes(),
        refused("chunked and identity in two fields", with("identity\r\nTransfer-Encoding: chunked"), BAD).and_closes(),
        refused("a blank before the colon", post("Transfer-Encoding : chunked", SMUGGLED), BAD).and_closes(),
        refused("a vertical tab before chunked", with("\u{b}chunked"), BAD).and_closes(),
        refused("a folded coding", post("Transfer-Encoding:\r\n chunked", SMUGGLED), BAD).and_closes(),
        refused(
            "chunked in HTTP/1.0",
            format!("POST /open/x HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{SMUGGLED}"),
            &[400, 426, CLOSED],
        )
        .and_closes(),
    ]
}

/// The head is well, so it may have gone to the upstream by the time the body turns out not to be.
fn chunks() -> Vec<Case> {
    let with = |body: &str| post("Transfer-Encoding: chunked", body);
    let bad = |name: &str, body: &str| {
        refused(name, with(body), BAD_OR_CLOSED)
            .after_the_head()
            .and_closes()
    };
    vec![
        bad("a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        bad("a size with a plus", "+3\r\nabc\r\n0\r\n\r\n"),
        bad(
            "a size beyond 64 bits",
            "10000000000000003\r\nabc\r\n0\r\n\r\n",
        ),
        bad("a negative size", "-1\r\nabc\r\n0\r\n\r\n"),
        bad("no size", "\r\nabc\r\n0\r\n\r\n"),
        bad(
            "an extension that ends in LF",
            "3;a\nbc\r\nabc\r\n0\r\n\r\n",
        ),
        bad("a trailer that ends in LF", "3\r\nabc\r\n0\r\nX: 1\n\r\n"),
        refused(
            "an extension of 20 kB",
            with(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000))),
            &[400, 413, CLOSED],
        )
        .after_the_head()
        .and_closes(),
        bad("a word for a size", "three\r\nabc\r\n0\r\n\r\n"),
        bad("a size line that ends in LF", "3\nabc\r\n0\r\n\r\n"),
        bad("data without a line end", "3\r\nabcd\r\n0\r\n\r\n"),
        refused(
            "a last chunk that never comes",
            with("3\r\nabc\r\n"),
            &[400, 408, CLOSED],
        )
        .after_the_head()
        .and_no_more(),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        clean("a folded field", get("X-A: one\r\n two"), &[400, 200]),
        refused(
            "LF line ends",
            "GET /open/x HTTP/1.1\nHost: a.test\n\n",
            BAD,
        )
        .and_closes(),
        refused("CR in a value", get("X-A: one\rtwo"), BAD).and_closes(),
        refused("NUL in a value", get("X-A: one\0two"), BAD).and_closes(),
        refused(
            "a control character in a value",
            get("X-A: one\u{1}two"),
            BAD,
        )
        .and_closes(),
        refused("DEL in a value", get("X-A: one\u{7f}two"), BAD).and_closes(),
        refused("NUL in a name", get("X\0A: one"), BAD).and_closes(),
        refused("a blank in a name", get("X A: one"), BAD).and_closes(),
        refused("a blank before the colon", get("X-A : one"), BAD).and_closes(),
        refused("a line without a colon", get("X-A"), BAD).and_closes(),
        refused("an empty name", get(": one"), BAD).and_closes(),
        refused(
            "a first field that begins with a blank",
            "GET /open/x HTTP/1.1\r\n Host: a.test\r\n\r\n",
            BAD,
        )
        .and_closes(),
        passed(
            "empty lines before the request",
            format!("\r\n\r\n{}", get("X-A: 1")),
            "/open/x",
            "",
        ),
        refused(
            "a TLS greeting",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03random\r\n\r\n".to_vec(),
            BAD_OR_CLOSED,
        )
        .and_no_more(),
        refused(
            "noise",
            b"\x00\xff\x80\x0d\x0a\x13\x37\r\n\r\n".to_vec(),
            BAD_OR_CLOSED,
        )
        .and_no_more(),
        refused(
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[400, 405, 501, 505, CLOSED],
        )
        .and_no_more(),
    ]
}

fn sizes() -> Vec<Case> {
    let many: Vec<String> = (0..300).map(|n| format!("X-{n}: 1")).collect();
    let some: Vec<String> = (0..101).map(|n| format!("X-{n}: 1")).collect();
    vec![
        refused(
            "a field of 70 kB",
            get(&format!("X-A: {}", "a".repeat(70_000))),
            &[431],
        ),
        refused(
            "fields of 20 kB",
            get(&format!("X-A: {}\r\nX-B: {0}", "a".repeat(10_000))),
            &[431],
        ),
        refused("300 fields", get(&many.join("\r\n")), &[431, 400]),
        refused("101 fields", get(&some.join("\r\n")), &[431]),
        refused(
            "a declared body of 11 MiB",
            post("Content-Length: 11534336", ""),
            &[413],
        )
        .and_closes(),
        refused(
            "a field of 2 MB",
            get(&format!("X-A: {}", "a".repeat(2_000_000))),
            &[431, 400, CLOSED],
        )
        .and_no_more(),
    ]
}

#[test]
fn a_length_that_can_be_read_in_two_ways_is_refused() {
    check(&Stage::build(), lengths());
}

#[test]
fn the_only_coding_is_one_plain_chunked() {
    check(&Stage::build(), codings());
}

#[test]
fn a_broken_chunk_never_completes_a_request() {
    check(&Stage::build(), chunks());
}

/// The head and a good chunk have long gone to the upstream when the fault arrives.
#[test]
fn a_chunk_that_breaks_later_never_completes_a_request_either() {
    let stage = Stage::build();
    for broken in [
        "3;a\nbc\r\nabc\r\n0\r\n\r\n",
        "\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "0\r\n\n",
    ] {
        let before = stage.upstream.connections();
        let mut socket = Socket::connect(stage.gateway.address()).unwrap();
        socket.send(post("Transfer-Encoding: chunked", "5\r\nhello\r\n"));
        let began = || (stage.upstream.connections() > before).then_some(());
        wait::until("the head at the upstream", PATIENCE, began).unwrap();
        socket.send(broken);
        match socket.response() {
            Ok(answer) => assert_eq!(answer.code(), "malformed-request", "{broken:?}"),
            Err(ending) => assert!(ending.is_close(), "{broken:?}: {ending}"),
        }
        assert!(socket.closes_within(PATIENCE), "{broken:?}");
        let broke_off = || (!stage.upstream.take_broken_off().is_empty()).then_some(());
        wait::until("the end of the request upstream", PATIENCE, broke_off).unwrap();
        assert_eq!(
            stage.upstream.count(),
            0,
            "{broken:?} became a whole request"
        );
    }
}

#[test]
fn lines_that_are_no_header_lines_are_refused_or_cleaned() {
    check(&Stage::build(), lines());
}

#[test]
fn what_is_too_large_is_refused_by_its_name() {
    check(&Stage::build(), sizes());
}

#[test]
fn a_body_beyond_its_limit_is_refused_without_being_completed() {
    let stage = Stage::with_limits("body: 1KiB");
    let chunk = format!("400\r\n{}\r\n", "a".repeat(0x400));
    let body = format!("{chunk}{chunk}0\r\n\r\n");
    check(
        &stage,
        [
            passed(
                "just the limit",
                post("Content-Length: 1024", &"a".repeat(1024)),
                "/open/x",
                "a".repeat(1024),
            ),
            refused(
                "declared beyond",
                post("Content-Length: 1025", &"a".repeat(1025)),
                &[413],
            )
            .and_closes(),
            refused(
                "streamed beyond",
                post("Transfer-Encoding: chunked", &body),
                &[413],
            )
            .after_the_head()
            .and_closes(),
        ],
    );
}

/// RFC 9110 section 7.6.1 lets a client name fields that the next hop takes away; it must not name ours.
#[test]
fn connection_cannot_take_away_what_others_rely_on() {
    let stage = Stage::build();
    let token = corp_token(&corp_claims("alice"));
    let nominating = |name: &str| {
        format!(
            "GET /admin/x HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\nConnection: close, {name}\r\n\r\n"
        )
    };
    let named = [
        "authorization",
        "x-user-id",
        "X-USER-ROLES",
        "cookie",
        "content-length",
        "transfer-encoding",
        "host",
    ];
    let traced = [
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-host",
        "traceparent",
    ];
    let cases = named
        .iter()
        .chain(&traced)
        .map(|name| refused(*name, nominating(name), BAD));
    check(&stage, cases);
    check(
        &stage,
        [passed(
            "a field of the client's own",
            nominating("x-mine"),
            "/admin/x",
            "",
        )],
    );
}

#[test]
fn trailers_never_become_header_fields() {
    let stage = Stage::build();
    let body = "5\r\nhello\r\n0\r\nContent-Length: 99\r\nAuthorization: Bearer x\r\nX-User-Id: root\r\n\r\n";
    let request = post("Transfer-Encoding: chunked\r\nTrailer: Authorization", body);
    let mut socket = Socket::connect(stage.gateway.address()).unwrap();
    socket.send(request);
    let answer = socket.response().unwrap();
    assert!([200, 400].contains(&answer.status), "{answer:?}");
    for received in stage.upstream.take_received() {
        for name in ["authorization", "x-user-id", "content-length"] {
            assert_eq!(
                received.field(name),
                None,
                "a trailer became the field {name}: {received:?}"
            );
        }
        assert_eq!(received.body, b"hello");
    }
}
