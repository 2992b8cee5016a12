//! What other programs find us by: the key set (RFC 7517) and the metadata (RFC 8414).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{client_authentication, openapi::tags, service::AuthService};

/// A new key is published for at least this long before it signs.
const CACHED: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "public, max-age=300")];

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(jwks))
        .routes(routes!(metadata))
}

/// Show the keys
///
/// What our tokens are verified with (RFC 7517).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "jwks",
    tag = tags::PUBLISHED,
    security(()),
    responses((status = 200, description = "The key set.", body = Value, example = json!({
        "keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        }],
    }))),
)]
async fn jwks(State(service): State<Arc<AuthService>>) -> Response {
    (
        CACHED,
        Json(json!({ "keys": &*service.signer.published() })),
    )
        .into_response()
}

/// Show what the authorization server offers
///
/// RFC 8414. Says what exists and nothing else.
// The empty list of response types is there because its absence would have a meaning.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "authorization_server_metadata",
    tag = tags::PUBLISHED,
    security(()),
    responses((status = 200, description = "The metadata.", body = Value, example = json!({
        "issuer": "https://gateway.example.com",
        "jwks_uri": "https://gateway.example.com/.well-known/jwks.json",
        "token_endpoint": "https://gateway.example.com/oauth/token",
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
    }))),
)]
async fn metadata(State(service): State<Arc<AuthService>>) -> Response {
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
