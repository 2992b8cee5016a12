//! The three services behind the demo: they say what they received, and can be told to fail or to be slow.
//!
//! `POST /fail?for=30s` and `POST /slow?by=2s&for=30s` go to a backend's own port; the shipped routes let neither through.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::clock;

/// One service and the port it has in the shipped file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backend {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
}

/// Nobody wants to wait longer in a demo.
const LONGEST_MOOD: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Service {
    name: &'static str,
    mood: Mutex<Mood>,
}

/// What it was told to do, and until when.
#[derive(Clone, Copy, Debug, Default)]
struct Mood {
    failing_until: Option<Instant>,
    slow: Option<(Duration, Instant)>,
}

/// Serves one backend until the runtime ends.
pub(super) fn serve(backend: Backend, listener: TcpListener) {
    let service = Arc::new(Service {
        name: backend.name,
        mood: Mutex::default(),
    });
    let app = router(service);
    tokio::spawn(async move {
        if let Err(e) = axum::serve(listener, app).await {
            tracing::error!(backend = backend.name, error = %e, "the sample backend ended");
        }
    });
}

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/fail", post(fail))
        .route("/slow", post(slow))
        .fallback(answer)
        .with_state(service)
}

type Words = Query<BTreeMap<String, String>>;

async fn fail(State(service): State<Arc<Service>>, Query(words): Words) -> Response {
    let Some(duration) = duration(&words, "for") else {
        return usage("/fail?for=30s");
    };
    service.mood.lock().failing_until = Some(clock::monotonic() + duration);
    Json(json!({ "backend": service.name, "failing_for_seconds": duration.as_secs_f64() }))
        .into_response()
}

async fn slow(State(service): State<Arc<Service>>, Query(words): Words) -> Response {
    let (Some(by), Some(duration)) = (duration(&words, "by"), duration(&words, "for")) else {
        return usage("/slow?by=2s&for=30s");
    };
    service.mood.lock().slow = Some((by, clock::monotonic() + duration));
    Json(json!({ "backend": service.name, "slow_for_seconds": duration.as_secs_f64() }))
        .into_response()
}

fn usage(example: &str) -> Response {
    (
        StatusCode::BAD_REQUEST,
        Json(json!({ "try": format!("POST {example}") })),
    )
        .into_response()
}

async fn answer(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (mood, now) = (*service.mood.lock(), clock::monotonic());
    if let Some((by, _)) = mood.slow.filter(|(_, until)| now < *until) {
        tokio::time::sleep(by).await;
    }
    if mood.failing_until.is_some_and(|until| now < until) {
        let told =
            json!({ "message": format!("The {} backend fails, as it was told to.", service.name) });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(told)).into_response();
    }
    let received = json!({
        "method": request.method().as_str(),
        "path": request.uri().to_string(),
        "headers": headers(request.headers()),
    });
    Json(json!({ "message": format!("You accessed {} data!", service.name), "received": received }))
        .into_response()
}

/// A header that came twice is shown as a list, so that a reader sees it.
fn headers(headers: &HeaderMap) -> BTreeMap<&str, Value> {
    headers
        .keys()
        .map(|name| (name.as_str(), shown(headers, name)))
        .collect()
}

fn shown(headers: &HeaderMap, name: &HeaderName) -> Value {
    let values = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    match values.collect::<Vec<_>>().as_slice() {
        [single] => json!(single),
        several => json!(several),
    }
}

fn duration(words: &BTreeMap<String, String>, name: &str) -> Option<Duration> {
    parse(words.get(name)?).filter(|duration| *duration <= LONGEST_MOOD)
}

/// `500ms`, `30s`, `2m`
fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;

    use super::*;

    fn hotel() -> Router {
        router(Arc::new(Service {
            name: "hotel",
            mood: Mutex::default(),
        }))
    }

    async fn ask(app: &Router, method: &str, uri: &str) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("x-user-id", "u1");
        let response = app
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 65_536).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_backend_tells_what_it_received() {
        let (status, body) = ask(&hotel(), "GET", "/hotel-db?x=1").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["message"], "You accessed hotel data!");
        assert_eq!(body["received"]["path"], "/hotel-db?x=1");
        assert_eq!(body["received"]["headers"]["x-user-id"], "u1");
    }

    #[tokio::test]
    async fn a_backend_fails_when_told_and_only_so_long() {
        let app = hotel();
        assert_eq!(ask(&app, "POST", "/fail?for=30s").await.0, StatusCode::OK);
        assert_eq!(
            ask(&app, "GET", "/hotel-db").await.0,
            StatusCode::INTERNAL_SERVER_ERROR
        );
        assert_eq!(ask(&app, "POST", "/fail?for=0s").await.0, StatusCode::OK);
        assert_eq!(ask(&app, "GET", "/hotel-db").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_wish_that_is_not_understood_changes_nothing() {
        let app = hotel();
        for uri in [
            "/fail",
            "/fail?for=ever",
            "/fail?for=11m",
            "/slow?for=1s",
            "/fail?for=99999999999999999999s",
        ] {
            assert_eq!(
                ask(&app, "POST", uri).await.0,
                StatusCode::BAD_REQUEST,
                "{uri}"
            );
        }
        assert_eq!(ask(&app, "GET", "/hotel-db").await.0, StatusCode::OK);
    }
}
