//! What a span says of a request, before it goes over the wire; the wire itself is proven end to end.

use portcullis_config::units::Timestamp;
use portcullis_policy::traces::TraceContext;

use super::*;

fn ended(status: u16, call: Option<UpstreamCall>) -> Vec<SpanData> {
    let ended = RequestSpan {
        context: TraceContext {
            trace: 7,
            parent: Some(1),
            is_recorded: true,
        },
        span: 2,
        began: Timestamp::from_millis(1_000),
        took: Duration::from_micros(1_500),
        request_id: String::from("r"),
        method: String::from("GET"),
        path: String::from("/hotel-db"),
        status,
        route: Some(String::from("hotel")),
        code: None,
        call,
    };
    spans(ended, &InstrumentationScope::builder("portcullis").build()).collect()
}

fn call() -> UpstreamCall {
    UpstreamCall {
        span: 3,
        upstream: String::from("hotel"),
        after: Duration::from_micros(500),
        took: Duration::from_millis(1),
        attempts: 2,
    }
}

#[test]
fn the_upstreams_share_hangs_below_the_gateways_span_and_that_below_the_clients() {
    let spans = ended(200, Some(call()));
    let ids: Vec<_> = spans
        .iter()
        .map(|span| (span.parent_span_id, span.span_context.span_id()))
        .collect();
    assert_eq!(
        ids,
        [
            (SpanId::from(1), SpanId::from(2)),
            (SpanId::from(2), SpanId::from(3))
        ]
    );
    assert!(
        spans
            .iter()
            .all(|span| span.span_context.trace_id() == TraceId::from(7))
    );
}

#[test]
fn times_are_as_fine_as_they_were_measured() {
    let spans = ended(200, Some(call()));
    let times: Vec<_> = spans
        .iter()
        .map(|span| {
            let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_micros();
            (since(span.start_time), since(span.end_time))
        })
        .collect();
    assert_eq!(times, [(1_000_000, 1_001_500), (1_000_500, 1_001_500)]);
}

#[test]
fn a_refused_request_has_one_span_and_is_no_error_of_ours() {
    let spans = ended(403, None);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].status, Status::Unset);
    assert!(matches!(ended(502, None)[0].status, Status::Error { .. }));
}
