//! `POST /oauth/introspect` (RFC 7662): whether a token is good in this moment, for a service that cannot tell by itself.
//!
//! A client is told of tokens for the resources that it has scopes of, and of its own. Everything else is inactive, and
//! inactive is all that is said: not why, and not whose.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_store::Client;
use portcullis_tokens::{Principal, ScopeSet};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::oauth_revoke::NO_TOKEN;
use crate::{
    answer,
    form::Form,
    oauth::{Fault, OAuthRefusal},
    openapi::{
        refusals::{OAuthInvalidClient, OAuthInvalidRequest},
        tags,
    },
    request::Call,
    service::AuthService,
};

/// What of an active token is repeated.
const CLAIMS: [&str; 12] = [
    "iss",
    "sub",
    "aud",
    "resource",
    "client_id",
    "scope",
    "roles",
    "tenant",
    "sid",
    "jti",
    "iat",
    "exp",
];

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(introspect))
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form, which is read by name")]
struct IntrospectionRequest {
    token: String,
    /// Not needed: only access tokens are ever active here.
    token_type_hint: Option<String>,
    /// Where it is not in the Authorization header.
    client_id: Option<String>,
    client_secret: Option<String>,
    /// With `client_assertion`: `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// Instead of a secret: a JWT that the client has signed for this request (RFC 7523).
    client_assertion: Option<String>,
}

/// Ask whether a token is good
///
/// RFC 7662. The client authenticates, and is told of tokens for a resource that it has scopes of. Anything else is
/// `{"active": false}`: expired, revoked, unknown, for another resource, of another issuer, a refresh token.
#[utoipa::path(
    post,
    path = "/oauth/introspect",
    operation_id = "introspect_token",
    tag = tags::OAUTH,
    security(("client_secret" = []), ()),
    request_body(
        content = IntrospectionRequest,
        content_type = "application/x-www-form-urlencoded",
        example = json!({"token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJyZXNvdXJjZSI6ImhvdGVsIn0.c2lnbmF0dXJl"}),
    ),
    responses(
        (status = 200, description = "`active`, and of an active token what it says.", body = Value, example = json!({
            "active": true, "token_type": "Bearer",
            "iss": "https://gateway.example.com", "sub": "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59",
            "aud": "hotel", "resource": "hotel", "client_id": "portcullis", "scope": "hotel:read", "roles": ["guest"],
            "sid": "0197f3c2-5b00-7e52-8d41-0a9b8c7d6e5f", "jti": "4fJ0cVtqYk3m2b1xw9Qz5A",
            "iat": 1_800_000_000, "exp": 1_800_000_300,
        })),
        OAuthInvalidRequest,
        OAuthInvalidClient,
    ),
)]
async fn introspect(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<Response, OAuthRefusal> {
    let headers = request.headers().clone();
    let form = Form::read(request).await.map_err(Fault::from)?;
    let client = service.authenticate_client(&headers, &form, &call).await?;
    let token = form.value("token").ok_or(Fault::Request(NO_TOKEN))?;
    let told = service.told_of(token, &client).await?;
    let body = told.map_or_else(|| json!({ "active": false }), Value::Object);
    Ok(answer::json(StatusCode::OK, body))
}

impl AuthService {
    /// What this client is told of an active token; nothing of another.
    async fn told_of(
        &self,
        token: &str,
        client: &Client,
    ) -> Result<Option<Map<String, Value>>, OAuthRefusal> {
        let Some(holder) = self.holder_of(token).await? else {
            return Ok(None);
        };
        let principal = holder.principal();
        if !self.may_be_told(client, principal) || !self.has_session(principal).await? {
            return Ok(None);
        }
        Ok(claims_of(token).map(active))
    }

    fn may_be_told(&self, client: &Client, principal: &Principal) -> bool {
        if principal.client_id() == Some(&client.id) {
            return true;
        }
        // The administration of the gateway is asked for nowhere but here.
        let resource = self.config.resources.get(principal.resource());
        let granted = ScopeSet::parse(&client.scopes);
        resource
            .zip(granted.ok())
            .is_some_and(|(resource, granted)| {
                let mut scopes = resource.scopes.iter();
                scopes.any(|scope| granted.contains(scope))
            })
    }

    /// A program's token is a session of its own, which nothing is kept of.
    async fn has_session(&self, principal: &Principal) -> Result<bool, OAuthRefusal> {
        if principal.client_id() == Some(principal.subject()) {
            return Ok(true);
        }
        let session = self.sessions.find(principal.session().unwrap_or_default());
        let session = session.await?;
        Ok(session.is_some_and(|session| session.ended_at.is_none()))
    }
}

/// Of a token that was verified.
fn claims_of(token: &str) -> Option<Map<String, Value>> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn active(mut claims: Map<String, Value>) -> Map<String, Value> {
    claims.retain(|name, _| CLAIMS.contains(&name.as_str()));
    claims.insert("active".to_owned(), Value::Bool(true));
    claims.insert("token_type".to_owned(), "Bearer".into());
    claims
}
