//! What other programs find us by: the key set (RFC 7517) and the metadata (RFC 8414).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{client_authentication, service::AuthService};

/// A new key is published for at least this long before it signs.
const CACHED: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "public, max-age=300")];

/// `GET /.well-known/jwks.json`
pub(crate) async fn jwks(State(service): State<Arc<AuthService>>) -> Response {
    (CACHED, Json(json!({ "keys": service.signer.published() }))).into_response()
}

/// `GET /.well-known/oauth-authorization-server`. Says what exists and nothing else: one grant and no response type. The
/// empty list is there because its absence would have a meaning.
pub(crate) async fn metadata(State(service): State<Arc<AuthService>>) -> Response {
    let issuer = &service.config.issuer;
    let base = issuer.trim_end_matches('/');
    let metadata = json!({
        "issuer": issuer,
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "response_types_supported": [],
        "token_endpoint": format!("{base}/oauth/token"),
        "token_endpoint_auth_methods_supported": client_authentication::METHODS,
        "grant_types_supported": ["client_credentials"],
    });
    (CACHED, Json(metadata)).into_response()
}
