//! Heads over HTTP/2 that two parties could read differently: none becomes a request.

use portcullis_harness::{
    frames::{END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, fields_of},
    wait::PATIENCE,
};

use crate::tls_stage::TlsStage;

/// What a table changes of a good head; an empty value of a pseudo field leaves it out.
const GOOD: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a.test"),
    (":path", "/open/x"),
];

/// How the gateway took a head: the status of its answer, or what ended the stream.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Answered(u16),
    Reset,
    Closed,
}

fn taken(stage: &TlsStage, fields: &[(&str, &str)]) -> Taken {
    let mut frames = stage.frames();
    let whole = END_STREAM | END_HEADERS;
    frames.send(&Frame::new(HEADERS, whole, 1, fields_of(fields)));
    let answer = frames.until(PATIENCE, |frame| {
        frame.kind == GOAWAY || frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM)
    });
    match answer {
        Ok(frame) if frame.kind == HEADERS => Taken::Answered(status(&frame.payload)),
        Ok(frame) if frame.kind == RST_STREAM => Taken::Reset,
        Ok(_) => Taken::Closed,
        Err(ending) => {
            assert!(ending.is_close(), "{fields:?}: {ending}");
            Taken::Closed
        }
    }
}

/// The first field of an answer is its status: one of seven in the static table, or a literal with its name there
/// (RFC 7541 appendix A).
fn status(block: &[u8]) -> u16 {
    match block {
        [indexed @ 0x88..=0x8e, ..] => {
            [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
        }
        [0x08 | 0x48, length, rest @ ..] => {
            let digits = &rest[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                return String::from_utf8_lossy(digits).parse().unwrap_or_default();
            }
            digits_of(digits)
        }
        _ => 0,
    }
}

/// Three digits in the Huffman code (RFC 7541 appendix B): `0`, `1` and `2` are five bits, the others six.
fn digits_of(packed: &[u8]) -> u16 {
    let bits: Vec<u8> = packed
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let (mut at, mut number) = (0, 0);
    let take = |from: usize, count: usize| {
        bits[from..from + count]
            .iter()
            .fold(0u16, |sum, bit| sum << 1 | u16::from(*bit))
    };
    for _ in 0..3 {
        let short = take(at, 5);
        let digit = if short < 3 {
            at += 5;
            short
        } else {
            at += 6;
            take(at - 6, 6) - 0x19 + 3
        };
        number = number * 10 + digit;
    }
    number
}

fn head(changes: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let replaced = |name: &str| {
        changes
            .iter()
            .find(|(changed, _)| *changed == name && name.starts_with(':'))
    };
    let pseudo = GOOD
        .iter()
        .map(|(name, value)| replaced(name).copied().unwrap_or((name, value)));
    let pseudo = pseudo.filter(|(_, value)| !value.is_empty());
    let others = changes
        .iter()
        .filter(|(name, _)| !name.starts_with(':'))
        .copied();
    pseudo.chain(others).collect()
}

#[test]
fn a_good_head_is_answered() {
    let stage = TlsStage::build();
    assert_eq!(taken(&stage, &head(&[])), Taken::Answered(200));
    assert_eq!(
        taken(&stage, &head(&[("host", "a.test")])),
        Taken::Answered(200)
    );
    let without = head(&[(":authority", ""), ("host", "a.test")]);
    assert_eq!(
        taken(&stage, &without),
        Taken::Answered(200),
        "a host is enough"
    );
    assert_eq!(
        taken(&stage, &head(&[(":path", "/nowhere")])),
        Taken::Answered(404)
    );
    assert_eq!(
        taken(&stage, &head(&[(":path", "/admin/x")])),
        Taken::Answered(401)
    );
    assert_eq!(stage.upstream.count(), 3);
}

#[test]
fn no_ambiguous_head_becomes_a_request() {
    let stage = TlsStage::build();
    let table: &[&[(&str, &str)]] = &[
        &[("transfer-encoding", "chunked")],
        &[("connection", "x-a")],
        &[("connection", "keep-alive")],
        &[("keep-alive", "timeout=5")],
        &[("proxy-connection", "keep-alive")],
        &[("upgrade", "websocket")],
        &[("te", "gzip")],
        &[("X-Upper", "a")],
        &[("x a", "a")],
        &[("", "a")],
        &[("x-value", "a\r\nx-evil: b")],
        &[("x-value", "a\0b")],
        &[("content-length", "5"), ("content-length", "6")],
        &[("content-length", "+5")],
        &[("host", "b.test")],
        &[("host", "a.test"), ("host", "b.test")],
        &[(":authority", ""), ("host", "a.test"), ("host", "b.test")],
        &[(":authority", "")],
        &[(":authority", "user@a.test")],
        &[(":authority", "a.test:99999")],
        &[(":authority", "a.test/x")],
        &[(":authority", "a.test, b.test")],
        &[(":method", "")],
        &[(":method", "GET /open/x")],
        &[(":method", "get")],
        &[(":method", "TRACE")],
        &[(":method", "CONNECT")],
        &[(":scheme", "")],
        &[(":scheme", "file")],
        &[(":path", "")],
        &[(":path", "*")],
        &[(":path", "open/x")],
        &[(":path", "http://evil.test/x")],
        &[(":path", "//evil.test/open/x")],
        &[(":path", "/open/x HTTP/1.1")],
        &[(":path", "/open/x\r\nx-evil: b")],
        &[(":path", "/open/../admin/x")],
        &[(":path", "/open/%2e%2e/admin/x")],
        &[(":path", "/open/x%2f..%2fadmin")],
        &[(":path", "/open/x;a=b")],
        &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
    ];
    for changes in table {
        let found = taken(&stage, &head(changes));
        assert!(
            matches!(
                found,
                Taken::Reset | Taken::Closed | Taken::Answered(400 | 405 | 501)
            ),
            "{changes:?}: {found:?}"
        );
    }
    assert_eq!(stage.upstream.count(), 0);
}

/// The library that parses the target has cut it off before anybody could ask.
#[test]
fn a_fragment_is_no_part_of_the_path_that_is_routed_and_forwarded() {
    let stage = TlsStage::build();
    assert_eq!(
        taken(&stage, &head(&[(":path", "/open/x#/../admin/x")])),
        Taken::Answered(200)
    );
    assert_eq!(stage.upstream.take_received()[0].target(), "/open/x");
    assert_eq!(
        taken(&stage, &head(&[(":path", "/admin/x#/open/x")])),
        Taken::Answered(401)
    );
}

#[test]
fn pseudo_fields_twice_after_others_or_of_an_answer_are_refused() {
    let stage = TlsStage::build();
    let wrong = [
        [&GOOD[..], &[(":path", "/admin/x")]].concat(),
        [&[("x-first", "a")], &GOOD[..]].concat(),
        [&GOOD[..], &[(":status", "200")]].concat(),
        [&GOOD[..], &[(":unknown", "a")]].concat(),
    ];
    for fields in wrong {
        let found = taken(&stage, &fields);
        assert!(
            matches!(found, Taken::Reset | Taken::Closed),
            "{fields:?}: {found:?}"
        );
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[test]
fn a_client_that_goes_on_with_such_heads_loses_its_connection() {
    let stage = TlsStage::build();
    let mut frames = stage.frames();
    let fields = fields_of(&head(&[("host", "b.test")]));
    let sent = (0..200u32).all(|nth| {
        frames.send(&Frame::new(
            HEADERS,
            END_STREAM | END_HEADERS,
            nth * 2 + 1,
            fields.clone(),
        ))
    });
    assert!(!sent || frames.closes_within(PATIENCE));
}
