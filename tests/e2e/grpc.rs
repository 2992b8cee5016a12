//! Calls over gRPC: HTTP/2 on both sides, trailers that arrive, and refusals that a client of gRPC can read.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use portcullis_harness::{
    certificates::Authority,
    gateway::Gateway,
    http2::{Answer, Http2},
    secured_upstream::{Reply, SecuredUpstream},
    wait::{self, PATIENCE},
};

use crate::{stage, tls_stage};

/// A message of five bytes behind its prefix.
const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";

struct Stage {
    upstream: SecuredUpstream,
    gateway: Gateway,
    client: Http2,
}

impl Stage {
    fn build() -> Self {
        Self::with_timeout("1h")
    }

    /// Of a call as a whole.
    fn with_timeout(request: &str) -> Self {
        let (upstream, authority) = (
            SecuredUpstream::http2().unwrap(),
            Authority::new("test").unwrap(),
        );
        let tls = tls_stage::pair(&authority.server(&["a.test"]).unwrap());
        let gateway = stage::start(|places| {
            let server = tls_stage::configuration(places, &tls, "header_timeout: 10s");
            let (corp, address) = (stage::CORP, upstream.address());
            format!(
                "{server}{corp}
upstreams:
  calls:
    endpoints: [{address}]
    protocol: h2c
    timeouts: {{ request: {request} }}
    circuit_breaker: {{ consecutive_failures: 3, open_for: 600s }}
rate_limits:
  once: {{ key: ip, limit: 1/1h }}
routes:
  - {{ name: calls, match: {{ path: /rooms.Rooms/** }}, upstream: calls, auth: public }}
  - {{ name: guarded, match: {{ path: /guarded.Rooms/** }}, upstream: calls, auth: {{ resource: hotel, scopes: {{ all: [hotel:write] }} }} }}
  - {{ name: once, match: {{ path: /once.Rooms/** }}, upstream: calls, auth: public, rate_limits: [once] }}
"
            )
        });
        let config = authority.tls_client(&["h2"], None).unwrap();
        let client = Http2::connect(gateway.address(), "a.test", config).unwrap();
        Self {
            upstream,
            gateway,
            client,
        }
    }

    fn call(&mut self, path: &str, token: Option<&str>) -> Answer {
        let mut request = Request::post(format!("https://a.test{path}"))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Bytes::from_static(MESSAGE)).unwrap();
        self.client.send(request).unwrap()
    }
}

fn status(code: u16) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from(code),
    )])
}

/// An answer with a message, and this status behind it.
fn ends_with(code: u16) -> Reply {
    let kind = (
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc+proto"),
    );
    Reply {
        headers: HeaderMap::from_iter([kind]),
        body: Bytes::from_static(MESSAGE),
        trailers: Some(status(code)),
        ..Reply::ok()
    }
}

/// An answer that is a head alone.
fn trailers_only(code: u16) -> Reply {
    let mut headers = ends_with(code).headers;
    headers.extend(status(code));
    Reply {
        headers,
        body: Bytes::new(),
        ..Reply::ok()
    }
}

/// What a client of gRPC makes of a refusal: it looks for the status in a head that ends the answer.
#[track_caller]
fn refused(answer: &Answer, code: &str, problem: &str) {
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.field("content-type"), Some("application/grpc"));
    assert_eq!(answer.field("grpc-status"), Some(code));
    let message = answer.field("grpc-message").unwrap_or_default();
    assert!(message.starts_with(problem), "{message}");
    assert!(answer.body.is_empty() && answer.trailers.is_none());
    assert!(answer.field("x-request-id").is_some());
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
}

#[test]
fn a_call_goes_through_with_its_trailers() {
    let mut stage = Stage::build();
    stage.upstream.decides(|_| ends_with(0));
    let answer = stage.call("/rooms.Rooms/List", None);
    assert_eq!((answer.status, &*answer.body), (200, MESSAGE));
    let trailers = answer.trailers.unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    let asked = stage.upstream.take_asked().remove(0);
    assert_eq!(asked.headers["content-type"], "application/grpc+proto");
    assert_eq!(asked.headers["te"], "trailers");
    assert_eq!(&*asked.body, MESSAGE);
}

#[test]
fn a_call_that_is_refused_is_told_so_in_grpc() {
    let mut stage = Stage::build();
    stage.upstream.decides(|_| ends_with(0));
    let answer = stage.call("/guarded.Rooms/List", None);
    refused(&answer, "16", "authentication-required");
    assert!(answer.field("www-authenticate").is_some());
    let reader = stage::corp_token(&stage::corp_claims("saad"));
    let answer = stage.call("/guarded.Rooms/List", Some(&reader));
    refused(&answer, "7", "insufficient-scope");
    refused(
        &stage.call("/nowhere.Rooms/List", None),
        "12",
        "route-not-found",
    );
    assert_eq!(
        stage.call("/once.Rooms/List", None).field("grpc-status"),
        None
    );
    let answer = stage.call("/once.Rooms/List", None);
    refused(&answer, "8", "rate-limited");
    assert!(answer.field("retry-after").is_some() && answer.field("ratelimit").is_some());
    assert_eq!(stage.upstream.count(), 1, "only one call was let through");
}

#[test]
fn a_call_that_is_not_answered_in_time_exceeds_its_deadline() {
    let mut stage = Stage::with_timeout("1s");
    stage.upstream.decides(|_| Reply {
        held: true,
        ..Reply::ok()
    });
    refused(
        &stage.call("/rooms.Rooms/List", None),
        "4",
        "upstream-timeout",
    );
}

#[test]
fn the_breaker_goes_by_the_status_of_a_call() {
    for sick in [ends_with, trailers_only] {
        let mut stage = Stage::build();
        // Not found, refused, used up: the upstream is well.
        for code in [5, 7, 8, 5, 7, 8] {
            stage.upstream.decides(move |_| sick(code));
            stage.call("/rooms.Rooms/List", None);
        }
        stage.upstream.take_asked();
        for code in [14, 13, 2] {
            stage.upstream.decides(move |_| sick(code));
            let answer = stage.call("/rooms.Rooms/List", None);
            let told = answer.trailers.as_ref().unwrap_or(&answer.headers);
            assert_eq!(told["grpc-status"], code.to_string().as_str());
        }
        refused(&stage.call("/rooms.Rooms/List", None), "14", "circuit-open");
        assert_eq!(stage.upstream.count(), 3);
    }
}

#[test]
fn what_is_no_call_is_refused_in_http() {
    let mut stage = Stage::build();
    let answer = stage
        .client
        .get("https://a.test/guarded.Rooms/List")
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "authentication-required")
    );
    let counted = || {
        let metrics = stage.gateway.metrics().unwrap();
        let code = [("code", "authentication-required")];
        (metrics.sum("portcullis_rejections_total", &code) == 1.0).then_some(())
    };
    wait::until("it to be counted", PATIENCE, counted).unwrap();
}
