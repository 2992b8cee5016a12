//! The admin listener: `/metrics`, `/healthz`, `/readyz`, `/status`. Read-only, on a socket of its own, and still there
//! while the proxy drains.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use crate::readiness::{self, Readiness};

/// At the same time. Scrapers and probes need a handful; whoever opens more waits.
const CONNECTIONS: usize = 64;
/// Until a request's header is there, also between two requests.
const PATIENCE: Duration = Duration::from_secs(30);
/// After an accept that failed, as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// What the admin listener shows.
pub(crate) struct Admin {
    pub(crate) registry: Registry,
    pub(crate) readiness: Arc<Readiness>,
    /// Brings values up to date that only a reader needs, such as ages.
    pub(crate) refresh: Box<dyn Fn() + Send + Sync>,
    pub(crate) status: Box<dyn Fn() -> Value + Send + Sync>,
}

/// Takes the address before anything else is started, so that a taken port ends the start at once.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (server.admin)"))
}

/// Serves until the runtime ends.
pub(crate) fn serve(listener: TcpListener, admin: Admin) {
    tokio::spawn(accept(listener, router(Arc::new(admin))));
}

async fn accept(listener: TcpListener, app: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, app.clone(), place))),
            Err(e) => {
                tracing::warn!(error = %e, "the admin listener could not accept");
                sleep(BREATH).await;
            }
        }
    }
}

/// One connection, whose place is free again afterwards.
async fn converse(stream: TcpStream, app: Router, place: OwnedSemaphorePermit) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await;
    if let Err(e) = served {
        tracing::debug!(error = %e, "a connection to the admin listener ended early");
    }
    drop(place);
}

fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .with_state(admin)
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    (admin.refresh)();
    match TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(e) => {
            tracing::error!(error = %e, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The process lives and answers; whether it should be sent traffic is `/readyz`.
async fn healthz() -> Json<Value> {
    Json(json!({ "status": "healthy" }))
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let state = admin.readiness.state().await;
    let code = match state {
        readiness::State::Ready => StatusCode::OK,
        readiness::State::Starting | readiness::State::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (
        code,
        Json(json!({ "ready": code == StatusCode::OK, "reason": state.as_str() })),
    )
        .into_response()
}

async fn status(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json((admin.status)())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    use super::*;

    fn admin(readiness: &Arc<Readiness>) -> Router {
        router(Arc::new(Admin {
            registry: Registry::new(),
            readiness: Arc::clone(readiness),
            refresh: Box::new(|| {}),
            status: Box::new(|| json!({})),
        }))
    }

    async fn ask(app: &Router, method: &str, path: &str) -> (StatusCode, String) {
        send(app, method, path, Body::empty()).await
    }

    async fn send(app: &Router, method: &str, path: &str, body: Body) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(body)
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 65_536).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_draining_gateway_says_so_and_stays_healthy() {
        let readiness = Arc::new(Readiness::of(Vec::new()));
        let app = admin(&readiness);
        assert_eq!(ask(&app, "GET", "/readyz").await.0, StatusCode::OK);
        readiness.drain();
        let (code, body) = ask(&app, "GET", "/readyz").await;
        assert_eq!(
            (code, body.as_str()),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"ready":false,"reason":"draining"}"#
            )
        );
        assert_eq!(ask(&app, "GET", "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn nothing_can_be_changed_here() {
        let app = admin(&Arc::new(Readiness::of(Vec::new())));
        for path in ["/metrics", "/healthz", "/readyz", "/status"] {
            for method in [
                "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "MADEUP",
            ] {
                for body in ["", "{}", "portcullis_requests_total 0\n"] {
                    let (status, _) = send(&app, method, path, Body::from(body)).await;
                    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                }
            }
            let with_body = send(&app, "GET", path, Body::from("{}")).await;
            assert_eq!(with_body, ask(&app, "GET", path).await, "{path}");
        }
    }
}
