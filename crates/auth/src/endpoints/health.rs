//! `GET /health`: that the auth service answers. Whether it can do its work is the admin listener's `/readyz`.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use crate::service::AuthService;

#[derive(Serialize)]
pub(crate) struct Health {
    status: &'static str,
    service: &'static str,
    timestamp: String,
}

pub(crate) async fn health(State(service): State<Arc<AuthService>>) -> Json<Health> {
    let timestamp = portcullis_audit::rfc3339(service.now());
    Json(Health {
        status: "healthy",
        service: "portcullis",
        timestamp,
    })
}
