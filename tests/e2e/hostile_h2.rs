//! Clients that speak HTTP/2 and mean no good: each is ended or held within bounds, and the next client is served.

use bytes::Bytes;
use http::Request;
use portcullis_harness::{
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, fields_of,
    },
    upstream::Reaction,
    wait::{self, PATIENCE},
    wire::Ending,
};

use crate::tls_stage::TlsStage;

/// More than the gateway takes of anything that costs it work.
const FLOOD: u32 = 20_000;

/// What a whole request for `path` begins with.
fn head_of<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", path),
    ]
}

/// Sends what `frame` makes of each number until the gateway ends the connection.
fn is_cut(frames: &mut Frames, count: u32, frame: impl Fn(u32) -> Vec<u8>) -> bool {
    let sent_all = (0..count).all(|nth| frames.send_bytes(&frame(nth)));
    !sent_all || frames.closes_within(PATIENCE)
}

fn serves(stage: &TlsStage) -> bool {
    let answer = stage.http2().get("https://a.test/open/after");
    answer.is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_connection_without_a_preface_has_the_time_of_a_header() {
    // The handshake has as long, and that one is honest.
    let stage = TlsStage::with_limits("header_timeout: 5s, idle_timeout: 1h");
    let config = stage.authority.tls_client(&["h2"], None).unwrap();
    let mut silent = Frames::silent(stage.gateway.address(), "a.test", config).unwrap();
    silent.send_bytes(b"PRI * HT");
    assert!(silent.closes_within(PATIENCE));
}

#[test]
fn a_connection_without_streams_is_closed_when_idle_whatever_it_pings() {
    let stage = TlsStage::with_limits("idle_timeout: 1s");
    let mut idle = stage.frames();
    let ping = Frame::new(PING, 0, 0, [0; 8]);
    let ended = wait::until("the end of an idle connection", PATIENCE, || {
        (!idle.send(&ping)).then_some(())
    });
    ended.unwrap();
}

#[test]
fn a_head_that_never_ends_is_ended() {
    let stage = TlsStage::with_limits("header_timeout: 1h, idle_timeout: 2s");
    let mut halting = stage.frames();
    halting.send(&Frame::new(
        HEADERS,
        END_STREAM,
        1,
        fields_of(&head_of("GET", "/open/x")),
    ));
    assert!(halting.closes_within(PATIENCE));
    assert_eq!(stage.upstream.count(), 0);
}

#[test]
fn streams_that_are_opened_and_reset_at_once_end_the_connection() {
    let stage = TlsStage::build();
    let mut frames = stage.frames();
    let cut = is_cut(&mut frames, 3_000, |nth| {
        let stream = nth * 2 + 1;
        let mut bytes = Frame::get(stream, "/open/x").bytes();
        bytes.extend(Frame::new(RST_STREAM, 0, stream, [0, 0, 0, 8]).bytes());
        bytes
    });
    assert!(cut, "3,000 streams were opened and reset");
    assert!(stage.upstream.count() < 1_500, "{}", stage.upstream.count());
    assert!(serves(&stage));
}

/// One by one, each once the gateway has taken it in: nothing piles up, and each costs a whole request.
#[test]
fn streams_that_are_reset_once_they_are_served_end_the_connection() {
    let stage = TlsStage::build();
    stage.upstream.reacts_with(Reaction::hang());
    let mut frames = stage.frames();
    let ping = Frame::new(PING, 0, 0, [0; 8]);
    let mut open_and_reset = |nth: u32| {
        let stream = nth * 2 + 1;
        frames.send(&Frame::get(stream, "/open/x"));
        frames.send(&ping);
        let acked = |frame: &Frame| frame.kind == PING && frame.flags == ACK;
        let taken_in = frames.until(PATIENCE, acked).is_ok();
        taken_in && frames.send(&Frame::new(RST_STREAM, 0, stream, [0, 0, 0, 8]))
    };
    let survived = (0..2_000).take_while(|nth| open_and_reset(*nth)).count();
    assert!((100..1_000).contains(&survived), "{survived} streams");
    stage.upstream.reacts_with(Reaction::ok());
    assert!(serves(&stage));
}

#[test]
fn streams_that_make_the_gateway_reset_them_end_the_connection() {
    let stage = TlsStage::build();
    let mut frames = stage.frames();
    // A window that is moved by nothing is an error of the stream, which the gateway has to reset.
    let cut = is_cut(&mut frames, 2_000, |nth| {
        let stream = nth * 2 + 1;
        let mut bytes = Frame::get(stream, "/open/x").bytes();
        bytes.extend(Frame::new(WINDOW_UPDATE, 0, stream, [0, 0, 0, 0]).bytes());
        bytes
    });
    assert!(cut);
    assert!(serves(&stage));
}

#[test]
fn a_head_in_more_pieces_than_any_needs_ends_the_connection() {
    let stage = TlsStage::build();
    for piece in [fields_of(&[("x-filler", "aaaaaaaaaaaaaaaa")]), Vec::new()] {
        let mut frames = stage.frames();
        let head = fields_of(&head_of("GET", "/open/x"));
        frames.send(&Frame::new(HEADERS, END_STREAM, 1, head));
        let continued = Frame::new(CONTINUATION, 0, 1, piece.clone()).bytes();
        assert!(
            is_cut(&mut frames, FLOOD, |_| continued.clone()),
            "{} bytes each",
            piece.len()
        );
    }
    assert_eq!(stage.upstream.count(), 0);
    assert!(serves(&stage));
}

#[test]
fn a_header_list_that_is_large_only_when_unpacked_is_refused() {
    let stage = TlsStage::build();
    let mut frames = stage.frames();
    let mut block = fields_of(&head_of("GET", "/open/x"));
    // One field of 3,000 bytes put into the table, then named again and again by a byte each.
    let value = "a".repeat(3_000);
    let mut kept = fields_of(&[("x-bomb", &value)]);
    kept[0] = 0x40;
    block.extend(kept);
    block.extend([0xbe; 3_000]);
    frames.send(&Frame::new(HEADERS, END_STREAM | END_HEADERS, 1, block));
    let refused = frames.until(PATIENCE, |frame| frame.stream == 1 || frame.kind == GOAWAY);
    assert!(!matches!(refused, Err(Ending::TimedOut)), "{refused:?}");
    assert_eq!(stage.upstream.count(), 0);
    assert!(serves(&stage));
}

#[test]
fn header_lists_beyond_the_limits_are_refused_with_431() {
    let stage = TlsStage::with_limits("header_bytes: 4KiB, headers: 20");
    let mut http2 = stage.http2();
    let mut ask = |fields: usize, length: usize| {
        let mut request = Request::get("https://a.test/open/x");
        for nth in 0..fields {
            request = request.header(format!("x-{nth}"), "a".repeat(length));
        }
        http2
            .send(request.body(Bytes::new()).unwrap())
            .unwrap()
            .status
    };
    assert_eq!(ask(1, 3_000), 200);
    assert_eq!(ask(1, 4_096), 431, "too many bytes");
    assert_eq!(ask(21, 1), 431, "too many fields");
    assert_eq!(ask(1, 12_000), 431, "more than is read at all");
    assert_eq!(ask(1, 10), 200, "the connection goes on");
    assert_eq!(stage.upstream.count(), 2);
}

#[test]
fn frames_that_only_ask_for_answers_do_not_pile_up() {
    let stage = TlsStage::build();
    let resident = || {
        let metrics = stage.gateway.metrics().unwrap();
        metrics.sum("process_resident_memory_bytes", &[])
    };
    let before = resident();
    for frame in [
        Frame::new(PING, 0, 0, [7; 8]),
        Frame::new(SETTINGS, 0, 0, []),
    ] {
        let mut frames = stage.frames();
        // The answers are never read: they fill the socket, and from then on nothing more is taken in.
        let flood = frame.bytes().repeat(1_000);
        for _ in 0..FLOOD / 1_000 {
            if !frames.send_bytes(&flood) {
                break;
            }
        }
        assert!(serves(&stage), "kind {}", frame.kind);
    }
    let after = resident();
    assert!(before > 0.0, "it is measured");
    assert!(after < before + 30e6, "{before} then {after}");
}

#[test]
fn empty_pieces_of_a_body_end_the_connection() {
    let stage = TlsStage::build();
    let mut frames = stage.frames();
    frames.send(&Frame::new(
        HEADERS,
        END_HEADERS,
        1,
        fields_of(&head_of("POST", "/open/x")),
    ));
    let nothing = Frame::new(DATA, 0, 1, []).bytes();
    assert!(is_cut(&mut frames, FLOOD, |_| nothing.clone()));
    assert!(serves(&stage));
}
