//! `POST /v1/admin/users/import`: one user of another system, with the hash that it kept of the password. A whole file is
//! what `portcullis user import` is for.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use portcullis_audit::Action;
use portcullis_policy::rejection::Rejection;
use portcullis_store::StoreError;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::profile::{self, Profile};
use crate::{
    admin_scope::UsersWrite,
    administrator::Administrator,
    answer::{self, Refusal},
    imports::{ImportError, ImportedUser, NotImported, import_user},
    openapi::{
        refusals::{Conflict, UnusableHash},
        tags,
    },
    password::ImportBounds,
    request::{InBody, malformed_field},
    service::AuthService,
};

const BAD_USER: &str = "Give a username, an email or both, as they would be registered, and a display_name without control characters.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(import))
}

// Roles are not in here: whoever may make users may not make administrators. Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Importing {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
    /// The other system has found out whose address it is.
    #[serde(default)]
    email_verified: bool,
    #[serde(default)]
    display_name: Option<String>,
    /// bcrypt (`$2a$`, `$2b$`, `$2y$`), argon2 or scrypt, as the other system has it.
    password_hash: String,
}

/// Import a user
///
/// The user signs in with the password of the other system, and the hash is replaced then. Roles: the default one. Where
/// the gateway sends mail, the user gets one to verify the address, unless `email_verified` says that it is.
#[utoipa::path(
    post,
    path = "/v1/admin/users/import",
    operation_id = "import_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    request_body(content = Importing, example = json!({
        "username": "saad",
        "password_hash": "$2b$12$qX2CK2M3QNGcyDzDbF5Wk.lizexnIKGSp1.vcgTlvUZc5KKrnRHva",
    })),
    responses(
        (status = 201, description = "The user.", body = Profile, example = json!(profile::example())),
        Conflict,
        UnusableHash,
    ),
)]
async fn import(
    administrator: Administrator<UsersWrite>,
    InBody(body): InBody<Importing>,
) -> Result<Response, Refusal> {
    let said = ImportedUser {
        username: body.username,
        email: body.email,
        email_verified: body.email_verified,
        display_name: body.display_name,
        password_hash: Some(body.password_hash),
        ..ImportedUser::default()
    };
    let AuthService { config, store, .. } = &*administrator.service;
    let bounds = ImportBounds::of(&config.password);
    let arrival = said.check(bounds).map_err(refused_user)?;
    let roles: Vec<&str> = config.default_role.as_deref().into_iter().collect();
    let created = administrator.event(Action::UserCreated);
    let user = import_user(store, &arrival, &roles, created)
        .await
        .map_err(not_imported)?;
    let Administrator { service, call, .. } = &administrator;
    service.verify_new_address(&user, call);
    Ok(answer::json(StatusCode::CREATED, Profile::from(user)))
}

fn refused_user(error: ImportError) -> Refusal {
    match error {
        ImportError::Hash(_) => Rejection::UnusableHash.into(),
        ImportError::Name(_)
        | ImportError::Nameless
        | ImportError::NothingVerified
        | ImportError::DisplayName => malformed_field(BAD_USER),
    }
}

fn not_imported(error: NotImported) -> Refusal {
    match error {
        NotImported::Store(StoreError::Taken) => Rejection::Conflict.into(),
        NotImported::Store(error) => error.into(),
        NotImported::Randomness(error) => error.into(),
    }
}
