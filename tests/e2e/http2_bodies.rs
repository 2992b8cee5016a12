//! Bodies over HTTP/2: what is counted, what is waited for, and whose fault it is when one does not come to its end.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use portcullis_harness::{
    frames::{DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, RST_STREAM, fields_of},
    upstream::Reaction,
    wait::{self, PATIENCE, SOON},
    wire::Ending,
};

use rustix::process::Signal;

use crate::tls_stage::TlsStage;

fn post(path: &str) -> Request<()> {
    let request = Request::post(format!("https://a.test{path}"));
    request.body(()).unwrap()
}

fn in_flight(stage: &TlsStage) -> f64 {
    let metrics = stage.gateway.metrics().unwrap();
    metrics.sum("portcullis_upstream_in_flight", &[("upstream", "hotel")])
}

fn wait_for_none_in_flight(stage: &TlsStage) {
    let none = || (in_flight(stage) == 0.0).then_some(());
    // The time of a whole request is half a minute.
    wait::until("the end of all requests", SOON, none).unwrap();
}

#[test]
fn a_body_reaches_the_upstream_as_it_was_sent() {
    let stage = TlsStage::build();
    let body = Bytes::from("0123456789".repeat(30_000));
    let request = Request::post("https://a.test/open/x").body(body.clone());
    assert_eq!(stage.http2().send(request.unwrap()).unwrap().status, 200);
    let seen = stage.upstream.take_received();
    assert_eq!(seen[0].body, body);
}

#[test]
fn a_body_is_counted_while_it_streams() {
    let stage = TlsStage::build();
    let mut http2 = stage.http2();
    let too_much = Bytes::from(vec![b'a'; 2_000]);
    let declared = Request::post("https://a.test/small/x").header("content-length", 2_000);
    let declared = http2.send(declared.body(too_much.clone()).unwrap());
    assert_eq!(declared.unwrap().status, 413, "by its declared length");
    let answer = http2.send(
        Request::post("https://a.test/small/x")
            .body(too_much)
            .unwrap(),
    );
    assert_eq!(answer.unwrap().status, 413, "by what came");
    assert_eq!(stage.upstream.count(), 0, "neither is a whole request");
    assert_eq!(
        http2.get("https://a.test/open/x").unwrap().status,
        200,
        "the connection goes on"
    );
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_is_no_request() {
    let stage = TlsStage::build();
    for length in ["5", "500"] {
        let mut frames = stage.frames();
        let head = fields_of(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "a.test"),
            (":path", "/open/x"),
            ("content-length", length),
        ]);
        frames.send(&Frame::new(HEADERS, END_HEADERS, 1, head));
        frames.send(&Frame::new(DATA, END_STREAM, 1, [b'a'; 50]));
        let ended = frames.until(PATIENCE, |frame| {
            frame.kind == RST_STREAM && frame.stream == 1
        });
        assert!(
            !matches!(ended, Err(Ending::TimedOut)),
            "{length}: {ended:?}"
        );
        wait_for_none_in_flight(&stage);
        assert_eq!(stage.upstream.count(), 0, "{length}");
    }
}

#[test]
fn a_body_that_stops_is_the_clients_fault_and_not_the_upstreams() {
    let stage = TlsStage::build();
    let mut http2 = stage.http2();
    // As many as would open the breaker, were they failures; the route allows 2 s.
    let stopped: Vec<_> = (0..4)
        .map(|_| {
            let mut open = http2.open(post("/brief/x"), false).unwrap();
            // A machine that stalls may send it too late, and then nothing came at all.
            drop(open.body.send_data(Bytes::from("half of it"), false));
            open
        })
        .collect();
    for open in stopped {
        let answer = http2.answer(open).unwrap();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (408, "request-timeout")
        );
    }
    wait_for_none_in_flight(&stage);
    assert_eq!(stage.upstream.count(), 0);
    assert_eq!(
        http2.get("https://a.test/open/x").unwrap().status,
        200,
        "the breaker is closed"
    );
}

#[test]
fn an_answer_that_is_whole_does_not_wait_for_the_rest_of_a_body() {
    // As long as a connection may be without a stream, too: between two of them a slow machine is not to lose it.
    let stage = TlsStage::with_limits("idle_timeout: 5s");
    for answer in [Reaction::answer(200, "early"), Reaction::answer(204, "")] {
        stage.upstream.reacts_with(answer.before_the_body());
        let mut http2 = stage.http2();
        let mut open = http2.open(post("/open/x"), false).unwrap();
        open.body
            .send_data(Bytes::from("half of it"), false)
            .unwrap();
        let body = open.body;
        // The stream is held open while the answer is read, and after.
        let answer = http2.answer_of(open.answer).unwrap();
        assert!(matches!(answer.status, 200 | 204), "{answer:?}");
        wait_for_none_in_flight(&stage);
        drop(body);
    }
    let metrics = stage.gateway.metrics().unwrap();
    let counted = metrics.sum("portcullis_requests_total", &[("route", "open")]);
    assert_eq!(counted, 2.0, "each was counted, once");
}

#[test]
fn a_client_that_reads_nothing_holds_no_more_than_its_window() {
    let stage = TlsStage::with_limits("idle_timeout: 5s");
    stage
        .upstream
        .reacts_with(Reaction::answer(200, &"a".repeat(2 << 20)));
    let mut frames = stage.frames();
    for nth in 0..50 {
        frames.send(&Frame::get(nth * 2 + 1, "/open/x"));
    }
    // Nothing is read, no window is given: the writes time out, before the requests as a whole do.
    wait::until("the requests to arrive", PATIENCE, || {
        (stage.upstream.count() > 0).then_some(())
    })
    .unwrap();
    wait_for_none_in_flight(&stage);
    assert_eq!(
        stage.http2().get("https://a.test/nowhere").unwrap().status,
        404
    );
}

#[test]
fn a_stop_finishes_the_streams_in_flight_and_says_goodbye() {
    let mut stage = TlsStage::build();
    let pause = Duration::from_secs(1);
    stage
        .upstream
        .reacts_with(Reaction::answer(200, "late").delayed(pause));
    let (mut http2, mut other) = (stage.http2(), stage.frames());
    let open = http2.open(post("/open/x"), true).unwrap();
    wait::until("the request at its upstream", PATIENCE, || {
        (stage.upstream.count() == 1).then_some(())
    })
    .unwrap();
    stage.gateway.signal(Signal::TERM).unwrap();
    let answer = http2.answer(open).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
    let goodbye = other.until(PATIENCE, |frame| frame.kind == GOAWAY).unwrap();
    let reason = goodbye.payload.get(4..8);
    assert_eq!(reason, Some(&[0; 4][..]), "nothing was wrong: {goodbye:?}");
    assert!(http2.ended_within(PATIENCE).is_ok());
    let status = stage.gateway.wait_for_end(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn no_more_than_a_hundred_streams_are_open_at_once() {
    let stage = TlsStage::build();
    stage.upstream.reacts_with(Reaction::hang());
    let mut frames = stage.frames();
    for nth in 0..150 {
        frames.send(&Frame::get(nth * 2 + 1, "/open/x"));
    }
    let refused = |frame: &Frame| frame.kind == RST_STREAM && frame.payload == [0, 0, 0, 7];
    let first = frames.until(PATIENCE, refused).unwrap();
    // A stream that has ended by then makes room for one more.
    assert!(first.stream > 200, "a hundred were taken: {first:?}");
    assert!(in_flight(&stage) <= 100.0);
}
