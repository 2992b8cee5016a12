//! What other programs find us by: the key set (RFC 7517), and the metadata of the authorization server (RFC 8414) and of
//! what it protects (RFC 9728). None names a resource or a scope: which there are is not everybody's to know.
//!
//! Where the issuer has a path, clients look for the metadata with that path behind the name of the document: both RFCs
//! put the name between host and path (section 3.1). Without the path it is there as well, for a proxy that cuts it off.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use portcullis_policy::rejection::Rejection;
use portcullis_tokens::ClientAssertions;
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{answer::Refusal, client_authentication, openapi::tags, service::AuthService};

const SERVER: &str = "/.well-known/oauth-authorization-server";
const RESOURCE: &str = "/.well-known/oauth-protected-resource";
/// A new key is published for at least this long before it signs.
const CACHED: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "public, max-age=300")];

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(jwks))
        .routes(routes!(metadata))
        .routes(routes!(protected_resource))
}

/// The metadata again, under the path of an issuer that has one. Not in the description of the API, where it would stand
/// as a path that answers for one value.
pub(super) fn below_an_issuers_path() -> Router<Arc<AuthService>> {
    let server = async |State(service): State<Arc<AuthService>>, uri: Uri| {
        only_for_the_issuer(&service, &uri, SERVER)?;
        Ok::<_, Refusal>(metadata(State(service)).await)
    };
    let resource = async |State(service): State<Arc<AuthService>>, uri: Uri| {
        only_for_the_issuer(&service, &uri, RESOURCE)?;
        Ok::<_, Refusal>(protected_resource(State(service)).await)
    };
    Router::new()
        .route(&format!("{SERVER}/{{*path}}"), get(server))
        .route(&format!("{RESOURCE}/{{*path}}"), get(resource))
}

/// Another's path is another issuer, or another resource, and its metadata is not here.
fn only_for_the_issuer(service: &AuthService, uri: &Uri, document: &str) -> Result<(), Refusal> {
    let asked = uri.path().strip_prefix(document);
    let issuer: Uri = service.config.issuer.parse().unwrap_or_default();
    if asked == Some(issuer.path().trim_end_matches('/')) {
        return Ok(());
    }
    Err(Rejection::RouteNotFound.into())
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
/// RFC 8414. Says what exists and nothing else. `none` stands for whoever holds a token of a user's own sign-in. Where the
/// issuer has a path, also found with that path behind this one.
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
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "EdDSA", "RS256", "PS256"],
        "grant_types_supported": ["client_credentials", "refresh_token"],
        "response_types_supported": [],
        "revocation_endpoint": "https://gateway.example.com/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
        "revocation_endpoint_auth_signing_alg_values_supported": ["ES256", "EdDSA", "RS256", "PS256"],
        "introspection_endpoint": "https://gateway.example.com/oauth/introspect",
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": ["ES256", "EdDSA", "RS256", "PS256"],
        "service_documentation": "https://gateway.example.com/docs",
    }))),
)]
async fn metadata(State(service): State<Arc<AuthService>>) -> Response {
    let issuer = &service.config.issuer;
    let base = issuer.trim_end_matches('/');
    let methods = client_authentication::METHODS;
    let or_none: Vec<&str> = ["none"].into_iter().chain(methods).collect();
    let signed_with = ClientAssertions::algorithms();
    let (mut for_tokens, mut grants) = (methods.to_vec(), vec!["client_credentials"]);
    if service.config.refresh_tokens.transport.has_body() {
        // The sessions of people belong to a client without a secret.
        for_tokens.push("none");
        grants.push("refresh_token");
    }
    let metadata = json!({
        "issuer": issuer,
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "response_types_supported": [],
        "token_endpoint": format!("{base}/oauth/token"),
        "token_endpoint_auth_methods_supported": for_tokens,
        "token_endpoint_auth_signing_alg_values_supported": signed_with,
        "grant_types_supported": grants,
        "revocation_endpoint": format!("{base}/oauth/revoke"),
        "revocation_endpoint_auth_methods_supported": or_none,
        "revocation_endpoint_auth_signing_alg_values_supported": signed_with,
        "introspection_endpoint": format!("{base}/oauth/introspect"),
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": signed_with,
        "service_documentation": format!("{base}/docs"),
    });
    (CACHED, Json(metadata)).into_response()
}

/// Show what protects the resources behind this gateway
///
/// RFC 9728, for clients that begin at the resource: whose tokens open it, and how they are sent. Where the issuer has a
/// path, also found with that path behind this one.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-protected-resource",
    operation_id = "protected_resource_metadata",
    tag = tags::PUBLISHED,
    security(()),
    responses((status = 200, description = "The metadata.", body = Value, example = json!({
        "resource": "https://gateway.example.com",
        "authorization_servers": ["https://gateway.example.com"],
        "bearer_methods_supported": ["header"],
        "resource_documentation": "https://gateway.example.com/docs",
    }))),
)]
async fn protected_resource(State(service): State<Arc<AuthService>>) -> Response {
    let issuer = &service.config.issuer;
    let base = issuer.trim_end_matches('/');
    let metadata = json!({
        "resource": base,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "resource_documentation": format!("{base}/docs"),
    });
    (CACHED, Json(metadata)).into_response()
}
