//! Clients, for tokens of the resource `portcullis`: `/v1/admin/clients` lists and makes them, and one of them is changed and
//! deleted. A secret is shown in the answer that makes it and nowhere else.

use std::sync::Arc;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::Action;
use portcullis_store::{Client, ClientChange};
use portcullis_tokens::{ClientKeysError, ScopeSet};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    admin_scope::ClientsWrite,
    administrator::Administrator,
    answer::{self, Refusal},
    clients::{ClientError, client_party, create_client, create_signing_client, known_scopes},
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    page::PageById,
    request::{InBody, InPath, InQuery, malformed_field},
    rights::Rights,
    service::AuthService,
};

const BAD_NAME: &str =
    "A client is named by 1 to 64 letters, digits, dots, underscores and hyphens.";
const BAD_SCOPES: &str =
    "A client has at least one scope, each one that the configuration declares.";
const BAD_KEYS: &str = "The public_keys are a key set, one key of it, or a PEM block.";
const PRIVATE_KEY: &str =
    "There is a private key among the public_keys, which must stay where it was made.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, delete))
}

#[derive(Serialize, ToSchema)]
struct Clients {
    clients: Vec<Shown>,
    /// What to send as `after` for the next page; null on the last.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Client)]
pub(super) struct Shown {
    id: String,
    name: String,
    scopes: Vec<String>,
    /// `secret` or `keys`: what it proves itself by.
    #[schema(pattern = "^(secret|keys)$")]
    proof: &'static str,
    disabled: bool,
    /// RFC 3339, in UTC.
    created_at: String,
    /// When it last got a token, to the minute.
    last_used_at: Option<String>,
}

impl From<Client> for Shown {
    fn from(client: Client) -> Self {
        Self {
            scopes: client.scopes.split(' ').map(str::to_owned).collect(),
            id: client.id,
            name: client.name,
            proof: if client.has_keys { "keys" } else { "secret" },
            disabled: client.disabled,
            created_at: portcullis_audit::rfc3339(client.created_at),
            last_used_at: client.last_used_at.map(portcullis_audit::rfc3339),
        }
    }
}

/// Never printed.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientWithSecret)]
pub(super) struct WithSecret {
    #[serde(flatten)]
    client: Shown,
    /// Not shown again. Absent where the client signs with a key of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl WithSecret {
    pub(super) fn new(client: Client, secret: Option<&SecretString>) -> Self {
        Self {
            client: client.into(),
            secret: secret.map(|secret| secret.expose_secret().to_owned()),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewClient)]
struct New {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    scopes: Vec<String>,
    /// A key set, one key of it, or a PEM block, as text. With it the client signs for itself and gets no secret.
    #[serde(default)]
    public_keys: Option<String>,
}

/// What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientChange)]
struct Change {
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    disabled: Option<bool>,
}

pub(super) fn example() -> Value {
    json!({
        "id": "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a61",
        "name": "sidecar",
        "scopes": ["revocations:read"],
        "proof": "secret",
        "disabled": false,
        "created_at": "2027-01-15T08:00:00.000Z",
        "last_used_at": null,
    })
}

pub(super) fn example_with_secret() -> Value {
    let secret = "k0hZ6mVt4rQ2yL8wXb1nS5cPd9aJf3gE7uTiKoRzHvM";
    example_with("secret", secret)
}

pub(super) fn example_with_keys() -> Value {
    example_with("proof", "keys")
}

fn example_with(member: &str, value: &str) -> Value {
    let mut example = example();
    if let Some(members) = example.as_object_mut() {
        members.insert(member.to_owned(), value.into());
    }
    example
}

/// List clients
///
/// In the order they came.
#[utoipa::path(
    get,
    path = "/v1/admin/clients",
    operation_id = "list_clients",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["clients:write"])),
    params(PageById),
    responses((status = 200, description = "A page of clients.", body = Clients, example = json!({
        "clients": [example()],
        "next": null,
    }))),
)]
async fn list(
    administrator: Administrator<ClientsWrite>,
    InQuery(page): InQuery<PageById>,
) -> Result<Response, Refusal> {
    let (store, rows) = (&administrator.service.store, page.limit.and_one());
    let found = store.clients(page.after().as_deref(), rows).await?;
    let (clients, next) = page.limit.cut(found, |client| client.id.clone());
    let clients = clients.into_iter().map(Shown::from).collect();
    Ok(answer::json(StatusCode::OK, Clients { clients, next }))
}

/// Make a client
///
/// With scopes that whoever asks has as well.
#[utoipa::path(
    post,
    path = "/v1/admin/clients",
    operation_id = "create_client",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["clients:write"])),
    request_body(content = New, example = json!({"name": "sidecar", "scopes": ["revocations:read"]})),
    responses(
        (status = 201, description = "The new client.", body = WithSecret, example = json!(example_with_secret())),
        Conflict,
    ),
)]
async fn create(
    administrator: Administrator<ClientsWrite>,
    InBody(new): InBody<New>,
) -> Result<Response, Refusal> {
    administrator.check_covers(&Rights::of_words(&new.scopes))?;
    let event = administrator.event(Action::ClientCreated);
    let AuthService { config, store, .. } = &*administrator.service;
    let made = match &new.public_keys {
        None => {
            let made = create_client(store, config, &new.name, &new.scopes, event).await;
            let (client, secret) = made.map_err(refused)?;
            WithSecret::new(client, Some(&secret))
        }
        Some(keys) => {
            let named = (&*new.name, &*new.scopes);
            let made = create_signing_client(store, config, named, keys, event).await;
            WithSecret::new(made.map_err(refused)?, None)
        }
    };
    Ok(answer::json(StatusCode::CREATED, made))
}

/// Show a client
#[utoipa::path(
    get,
    path = "/v1/admin/clients/{id}",
    operation_id = "show_client",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["clients:write"])),
    params(("id" = Uuid, Path, description = "The client.")),
    responses(
        (status = 200, description = "The client.", body = Shown, example = json!(example())),
        NotFound,
    ),
)]
async fn show(
    administrator: Administrator<ClientsWrite>,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Refusal> {
    let client = administrator.service.client_named(id).await?;
    Ok(answer::json(StatusCode::OK, Shown::from(client)))
}

/// Change a client
///
/// Its tokens are refused from the next request on. What it has and what it will have must be the administrator's own.
#[utoipa::path(
    patch,
    path = "/v1/admin/clients/{id}",
    operation_id = "change_client",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["clients:write"])),
    params(("id" = Uuid, Path, description = "The client.")),
    request_body(content = Change, example = json!({"disabled": true})),
    responses(
        (status = 200, description = "The client as it is now.", body = Shown, example = json!(example())),
        NotFound,
    ),
)]
async fn change(
    administrator: Administrator<ClientsWrite>,
    InPath(id): InPath<Uuid>,
    InBody(wanted): InBody<Change>,
) -> Result<Response, Refusal> {
    let client = administrator.client_in_reach(id).await?;
    let service = &administrator.service;
    let scopes = wanted.scopes.as_deref();
    let scopes = scopes.map(|scopes| known_scopes(&service.config, scopes));
    let scopes = scopes.transpose().map_err(refused)?;
    if let Some(scopes) = &scopes {
        administrator.check_covers(&Rights::of_scopes(scopes.line()))?;
    }
    let changes = ClientChange {
        scopes: scopes.as_ref().map(ScopeSet::line),
        disabled: wanted.disabled,
    };
    let event = administrator
        .event(Action::ClientChanged)
        .on(client_party(&client.id, &client.name));
    let until = service.last_expiry();
    let changed = service
        .store
        .change_client(&client.id, &changes, until, &event);
    let client = service.outdating(until, changed).await?;
    Ok(answer::json(StatusCode::OK, Shown::from(client)))
}

/// Delete a client
#[utoipa::path(
    delete,
    path = "/v1/admin/clients/{id}",
    operation_id = "delete_client",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["clients:write"])),
    params(("id" = Uuid, Path, description = "The client.")),
    responses(
        (status = 204, description = "The client is gone."),
        NotFound,
    ),
)]
async fn delete(
    administrator: Administrator<ClientsWrite>,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Refusal> {
    let client = administrator.client_in_reach(id).await?;
    let event = administrator
        .event(Action::ClientDeleted)
        .on(client_party(&client.id, &client.name));
    let service = &administrator.service;
    let until = service.last_expiry();
    let deleted = service.store.delete_client(&client.id, until, &event);
    service.outdating(until, deleted).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) fn refused(error: ClientError) -> Refusal {
    match error {
        ClientError::Name(_) => malformed_field(BAD_NAME),
        ClientError::NoScope | ClientError::Scope(_) => malformed_field(BAD_SCOPES),
        ClientError::Keys(ClientKeysError::Private) => malformed_field(PRIVATE_KEY),
        ClientError::Keys(
            ClientKeysError::TooLarge | ClientKeysError::KeySet(_) | ClientKeysError::Pem,
        ) => malformed_field(BAD_KEYS),
        ClientError::Randomness(error) => error.into(),
        ClientError::Store(error) => answer::of_change(error),
    }
}
