//! What a client proves itself by, for tokens of the resource `portcullis`: another secret, or other keys of its own. It has
//! one or the other.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use portcullis_audit::Action;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::admin_clients::{Shown, WithSecret, example_with_keys, example_with_secret, refused};
use crate::{
    admin_scope::ClientsWrite,
    administrator::Administrator,
    answer::{self, Refusal},
    clients::{client_party, replace_keys, rotate_secret},
    openapi::{refusals::NotFound, tags},
    request::{InBody, InPath},
    service::AuthService,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(rotate))
        .routes(routes!(replace))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientKeys)]
struct Keys {
    /// A key set, one key of it, or a PEM block, as text. All that the client has from now on.
    public_keys: String,
}

/// Give a client another secret
///
/// The one it had, or its keys, prove nothing from now on, and its tokens are refused.
#[utoipa::path(
    post,
    path = "/v1/admin/clients/{id}/secret",
    operation_id = "rotate_client_secret",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["clients:write"])),
    params(("id" = Uuid, Path, description = "The client.")),
    responses(
        (status = 200, description = "The client with its secret.", body = WithSecret, example = json!(example_with_secret())),
        NotFound,
    ),
)]
async fn rotate(
    administrator: Administrator<ClientsWrite>,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Refusal> {
    let client = administrator.client_in_reach(id).await?;
    let event = administrator
        .event(Action::ClientProofChanged)
        .on(client_party(&client.id, &client.name));
    let service = &administrator.service;
    let until = service.last_expiry();
    let rotated = rotate_secret(&service.store, &client.id, until, &event).await;
    let (client, secret) = rotated.map_err(refused)?;
    service.outdate(&client, until);
    let shown = WithSecret::new(client, Some(&secret));
    Ok(answer::json(StatusCode::OK, shown))
}

/// Give a client other keys
///
/// In place of its own or of its secret, which prove nothing from now on, and its tokens are refused. To change a key
/// without a gap give a key set with both, and later one with the new key alone.
#[utoipa::path(
    put,
    path = "/v1/admin/clients/{id}/keys",
    operation_id = "replace_client_keys",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["clients:write"])),
    params(("id" = Uuid, Path, description = "The client.")),
    request_body(content = Keys, example = json!({
        "public_keys": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    })),
    responses(
        (status = 200, description = "The client, which signs for itself.", body = Shown, example = json!(example_with_keys())),
        NotFound,
    ),
)]
async fn replace(
    administrator: Administrator<ClientsWrite>,
    InPath(id): InPath<Uuid>,
    InBody(keys): InBody<Keys>,
) -> Result<Response, Refusal> {
    let client = administrator.client_in_reach(id).await?;
    let event = administrator
        .event(Action::ClientProofChanged)
        .on(client_party(&client.id, &client.name));
    let (store, until) = (
        &administrator.service.store,
        administrator.service.last_expiry(),
    );
    let replaced = replace_keys(store, &client.id, &keys.public_keys, until, &event).await;
    let client = replaced.map_err(refused)?;
    administrator.service.outdate(&client, until);
    Ok(answer::json(StatusCode::OK, Shown::from(client)))
}
