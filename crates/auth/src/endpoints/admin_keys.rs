//! The signing keys, for tokens of the resource `portcullis`: `GET /v1/admin/keys` lists them, `POST …/rotate` has a new
//! one published, `POST …/{kid}/retire` takes one back at once. No private part is ever in an answer.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use portcullis_audit::{Action, Event, rfc3339};
use portcullis_policy::rejection::Rejection;
use portcullis_tokens::{
    Revocation,
    rotation::{KeyRecord, KeyState, signs_from},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin_scope::KeysRotate,
    administrator::Administrator,
    answer::{self, Refusal},
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    request::InPath,
    service::AuthService,
    signing_keys::KeysError,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(rotate))
        .routes(routes!(retire))
}

#[derive(Serialize, ToSchema)]
#[schema(as = SigningKeys)]
struct Keys {
    keys: Vec<Shown>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SigningKey)]
struct Shown {
    /// As in the header of a token: the thumbprint of RFC 7638.
    kid: String,
    algorithm: String,
    /// `next` is published and will sign; `retiring` signs no more and still verifies; `retired` was taken back.
    #[schema(pattern = "^(next|active|retiring|retired)$")]
    state: &'static str,
    created_at: String,
    /// Of the one that is next: when it will sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    signs_from: Option<String>,
    /// When it began to sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    activated_at: Option<String>,
    /// When it ceased to.
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_at: Option<String>,
}

/// A key that was taken back, and the one that signs now.
#[derive(Serialize, ToSchema)]
#[schema(as = RetiredSigningKey)]
struct Retired {
    retired: Shown,
    signing: Shown,
}

impl From<KeyRecord> for Shown {
    fn from(record: KeyRecord) -> Self {
        Self {
            signs_from: (record.state == KeyState::Next).then(|| rfc3339(signs_from(&record))),
            state: record.state.as_str(),
            created_at: rfc3339(record.created_at),
            activated_at: record.activated_at.map(rfc3339),
            retired_at: record.retired_at.map(rfc3339),
            kid: record.kid,
            algorithm: record.algorithm,
        }
    }
}

/// List the signing keys
///
/// Those that were taken back come last.
#[utoipa::path(
    get,
    path = "/v1/admin/keys",
    operation_id = "list_signing_keys",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["keys:rotate"])),
    responses(
        (status = 200, description = "The keys.", body = Keys, example = json!({"keys": [{
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "algorithm": "ES256", "state": "active",
            "created_at": "2027-01-15T08:00:00.000Z", "activated_at": "2027-01-15T08:06:00.000Z",
        }]})),
        Conflict,
    ),
)]
async fn list(administrator: Administrator<KeysRotate>) -> Result<Response, Refusal> {
    let records = administrator.service.signer.kept()?.records().await?;
    let keys = records.into_iter().map(Shown::from).collect();
    Ok(answer::json(StatusCode::OK, Keys { keys }))
}

/// Rotate the signing key
///
/// A new key is published now, and signs six minutes later, when everybody can have it; tokens of the old one stay good.
/// While a key waits for that, no other can be made.
#[utoipa::path(
    post,
    path = "/v1/admin/keys/rotate",
    operation_id = "rotate_signing_key",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["keys:rotate"])),
    responses(
        (status = 201, description = "The next key.", body = Shown, example = json!({
            "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "algorithm": "ES256", "state": "next",
            "created_at": "2027-02-14T08:00:00.000Z", "signs_from": "2027-02-14T08:06:00.000Z",
        })),
        Conflict,
    ),
)]
async fn rotate(administrator: Administrator<KeysRotate>) -> Result<Response, Refusal> {
    let service = &administrator.service;
    let asked = asked(&administrator);
    let next = service.signer.kept()?.rotate(&asked).await?;
    service.take_over_keys().await;
    Ok(answer::json(StatusCode::CREATED, Shown::from(next)))
}

/// Take a signing key back
///
/// At once, for a key that was stolen: every token that it signed is refused, here and on every replica, the one of this
/// request included. If it was the one that signs, another takes over.
#[utoipa::path(
    post,
    path = "/v1/admin/keys/{kid}/retire",
    operation_id = "retire_signing_key",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["keys:rotate"])),
    params(("kid" = String, Path, description = "The id of the key.", example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")),
    responses(
        (status = 200, description = "The key that was taken back, and the one that signs.", body = Retired, example = json!({
            "retired": {
                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "algorithm": "ES256", "state": "retired",
                "created_at": "2027-01-15T08:00:00.000Z", "activated_at": "2027-01-15T08:06:00.000Z",
                "retired_at": "2027-02-14T08:00:00.000Z",
            },
            "signing": {
                "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "algorithm": "ES256", "state": "active",
                "created_at": "2027-02-14T08:00:00.000Z", "activated_at": "2027-02-14T08:00:00.000Z",
            },
        })),
        NotFound,
        Conflict,
    ),
)]
async fn retire(
    administrator: Administrator<KeysRotate>,
    InPath(kid): InPath<String>,
) -> Result<Response, Refusal> {
    let service = &administrator.service;
    let asked = asked(&administrator);
    let done = service.signer.kept()?.retire(&kid, &asked).await?;
    service.revocations.revoke(Revocation::Key(kid), done.until);
    service.take_over_keys().await;
    let body = Retired {
        retired: done.record.into(),
        signing: done.signing.into(),
    };
    Ok(answer::json(StatusCode::OK, body))
}

/// Who asks for a change of the keys; the action is for whoever carries it out.
fn asked(administrator: &Administrator<KeysRotate>) -> Event {
    administrator.event(Action::SigningKeyCreated)
}

impl AuthService {
    /// The change is committed, and will be taken over a second later if it fails now.
    async fn take_over_keys(&self) {
        if let Err(error) = self.signer.refresh(self.now()).await {
            tracing::warn!(%error, "the changed keys could not be taken over at once");
        }
    }
}

impl From<KeysError> for Refusal {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::UnderWay(_) | KeysError::Configured => Rejection::Conflict.into(),
            KeysError::Unknown(_) => Rejection::RouteNotFound.into(),
            KeysError::Store(error) => error.into(),
            KeysError::Wrapped(..)
            | KeysError::OtherId(_)
            | KeysError::UnknownAlgorithm { .. }
            | KeysError::NoKey
            | KeysError::Abandoned
            | KeysError::Key(_)
            | KeysError::Wrap(_) => Self::internal(error.to_string()),
        }
    }
}
