//! `GET /health`: that the auth service answers. Whether it can do its work is the admin listener's `/readyz`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{openapi::tags, service::AuthService};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(health))
}

#[derive(Serialize, ToSchema)]
struct Health {
    status: &'static str,
    service: &'static str,
    /// RFC 3339, in UTC.
    timestamp: String,
}

/// Tell that the service answers
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = tags::PUBLISHED,
    security(()),
    responses((status = 200, description = "It answers.", body = Health, example = json!({
        "status": "healthy", "service": "portcullis", "timestamp": "2027-01-15T08:00:00.000Z",
    }))),
)]
async fn health(State(service): State<Arc<AuthService>>) -> Json<Health> {
    let timestamp = portcullis_audit::rfc3339(service.now());
    Json(Health {
        status: "healthy",
        service: "portcullis",
        timestamp,
    })
}
