//! What leaves the gateway about each request: spans to an OTLP collector, and the access log as a file.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use portcullis_harness::{
    client::Request,
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};
use prost::Message;

use crate::stage;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

struct Watched {
    gateway: Gateway,
    upstream: Upstream,
    collector: Upstream,
}

fn watched() -> Watched {
    let (upstream, collector) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    collector.reacts_with(Reaction::answer(200, ""));
    let (behind, told) = (upstream.address(), collector.address());
    let gateway = stage::start(|places| {
        let server = stage::server(places, &format!("tracing: {{ otlp: 'http://{told}' }}"));
        format!(
            "{server}
upstreams: {{ calm: {{ endpoints: [{behind}] }} }}
routes:
  - {{ name: calm, match: {{ path: /calm/** }}, upstream: calm, auth: public }}
"
        )
    });
    Watched {
        gateway,
        upstream,
        collector,
    }
}

impl Watched {
    /// Every span told so far, once there are so many.
    fn spans(&self, count: usize) -> Vec<Span> {
        self.spans_until(|told| told.len() >= count)
    }

    fn spans_until(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut told = Vec::new();
        wait::until("the collector is told", PATIENCE, || {
            for received in self.collector.take_received() {
                assert_eq!(received.target(), "/v1/traces");
                let request = ExportTraceServiceRequest::decode(&*received.body).unwrap();
                let scopes = request
                    .resource_spans
                    .into_iter()
                    .flat_map(|of| of.scope_spans);
                told.extend(scopes.flat_map(|scope| scope.spans));
            }
            enough(&told).then_some(())
        })
        .unwrap();
        told
    }
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == name)?;
    let value = found.value.clone()?.value?;
    if let Value::IntValue(number) = value {
        return Some(number.to_string());
    }
    let Value::StringValue(text) = value else {
        panic!("{name} is neither text nor a number: {value:?}");
    };
    Some(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_clients_trace_is_joined_and_the_upstream_is_called_from_our_span() {
    let watched = watched();
    let sent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = Request::get("/calm/room?token=secret").with("traceparent", sent);
    assert_eq!(watched.gateway.client().send(&request).unwrap().status, 200);
    let spans = watched.spans(2);
    let of = |kind: SpanKind| {
        spans
            .iter()
            .find(|span| span.kind == i32::from(kind))
            .unwrap()
    };
    let (ours, call) = (of(SpanKind::Server), of(SpanKind::Client));
    assert_eq!(hex(&ours.trace_id), TRACE);
    assert_eq!(hex(&ours.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(call.parent_span_id, ours.span_id);
    let told = watched.upstream.take_received();
    let expected = format!("00-{TRACE}-{}-01", hex(&call.span_id));
    assert_eq!(told[0].field("traceparent"), Some(&*expected));
    assert_eq!(ours.name, "GET calm");
    assert_eq!(
        attribute(ours, "http.response.status_code").as_deref(),
        Some("200")
    );
    assert_eq!(attribute(ours, "url.path").as_deref(), Some("/calm/room"));
    assert!(
        !format!("{spans:?}").contains("secret"),
        "a query is where tokens travel"
    );
    assert!(
        ours.start_time_unix_nano <= call.start_time_unix_nano
            && call.end_time_unix_nano <= ours.end_time_unix_nano,
        "the upstream's share lies within ours"
    );
}

#[test]
fn a_refusal_is_told_with_its_code_and_an_unrecorded_trace_is_not() {
    let watched = watched();
    let mut client = watched.gateway.client();
    let unrecorded = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let request = Request::get("/calm/x").with("traceparent", unrecorded);
    assert_eq!(client.send(&request).unwrap().status, 200);
    assert_eq!(client.get("/nowhere").unwrap().status, 404);
    let spans = watched.spans(1);
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!(
        attribute(&spans[0], "error.type").as_deref(),
        Some("route-not-found")
    );
}

#[test]
fn a_collector_that_is_away_costs_spans_and_never_a_request() {
    let watched = watched();
    watched.collector.reacts_with(Reaction::reset());
    let mut client = watched.gateway.client();
    for _ in 0..50 {
        assert_eq!(client.get("/calm/x").unwrap().status, 200);
    }
    wait::until("the loss is counted", PATIENCE, || {
        let lost = watched
            .gateway
            .metrics()
            .ok()?
            .sum("portcullis_trace_spans_lost_total", &[]);
        (lost > 0.0).then_some(())
    })
    .unwrap();
    let complaint = "trace collector does not take spans";
    wait::until(complaint, PATIENCE, || {
        let log = watched.gateway.stderr();
        (log.matches(complaint).count() == 1).then_some(())
    })
    .unwrap();
    watched.collector.reacts_with(Reaction::answer(200, ""));
    watched.collector.take_received();
    assert_eq!(client.get("/calm/back").unwrap().status, 200);
    // Those of the requests before it that were not lost may come first.
    let is_of_it = |span: &Span| attribute(span, "url.path").as_deref() == Some("/calm/back");
    watched.spans_until(|told| told.iter().any(is_of_it));
}

#[test]
fn what_is_queued_is_told_before_the_gateway_ends() {
    let watched = watched();
    assert_eq!(
        watched.gateway.client().get("/calm/last").unwrap().status,
        200
    );
    let Watched {
        gateway,
        upstream,
        collector,
    } = watched;
    let house = gateway.stop_and_keep().unwrap();
    let told: usize = collector.take_received().len();
    assert!(told >= 1, "the last batch was sent at the stop");
    drop((house, upstream));
}

#[test]
fn the_access_log_is_a_file_that_may_be_moved_away() {
    let upstream = Upstream::start().unwrap();
    let behind = upstream.address();
    let gateway = stage::start(|places| {
        let (listener, admin) = (places.listener, places.admin);
        format!(
            "version: 1
server:
  listeners: [{{ address: {listener} }}]
  admin: {admin}
  access_log: {{ to: 'file:access.log' }}
upstreams: {{ calm: {{ endpoints: [{behind}] }} }}
routes: [{{ name: calm, match: {{ path: /calm/** }}, upstream: calm, auth: public }}]
"
        )
    });
    let mut client = gateway.client();
    let (log, moved) = (
        gateway.house().path("access.log"),
        gateway.house().path("access.log.1"),
    );
    let mut ask = |target: &str| {
        let request = Request::get(target)
            .with("authorization", "Bearer never-in-a-log")
            .with("cookie", "session=never-in-a-log");
        assert_eq!(client.send(&request).unwrap().status, 200);
        wait::until(target, PATIENCE, || {
            std::fs::read_to_string(&log)
                .ok()
                .filter(|text| text.contains(target) && text.ends_with('\n'))
        })
        .unwrap()
    };
    let first = ask("/calm/one");
    std::fs::rename(&log, &moved).unwrap();
    let second = ask("/calm/two");
    assert!(!second.contains("/calm/one"), "{second}");
    for text in [&first, &second] {
        assert!(!text.contains("never-in-a-log"), "{text}");
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["route"], "calm");
        assert!(
            line["seconds"].as_f64() >= line["upstream_seconds"].as_f64(),
            "{line}"
        );
    }
}
