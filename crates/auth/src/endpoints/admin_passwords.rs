//! `PUT /v1/admin/users/{id}/password`: another password for a user who cannot be sent a mail.

use std::sync::Arc;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::Action;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    admin_scope::UsersWrite,
    administrator::Administrator,
    answer::Refusal,
    issue::party_of,
    openapi::{
        refusals::{Conflict, NotFound, WeakPassword},
        tags,
    },
    password::Password,
    request::{InBody, InPath},
    service::AuthService,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(set))
}

// Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordOfUser)]
struct New {
    password: Password,
}

/// Set a user's password
///
/// Every session of the user ends, and what was sent to reset the password before is worth nothing. A second factor stays in
/// force. Only who has all rights of the user may do this. Administrators cannot do it to themselves, or a stolen token of
/// theirs would, without the password of before; nor to somebody who is disabled.
#[utoipa::path(
    put,
    path = "/v1/admin/users/{id}/password",
    operation_id = "set_user_password",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    params(("id" = Uuid, Path, description = "The user.")),
    request_body(content = New, example = json!({"password": "a ferry to the far island"})),
    responses(
        (status = 204, description = "Set. The user signs in with it."),
        NotFound,
        Conflict,
        WeakPassword,
    ),
)]
async fn set(
    administrator: Administrator<UsersWrite>,
    InPath(id): InPath<Uuid>,
    InBody(new): InBody<New>,
) -> Result<Response, Refusal> {
    let user = administrator.other_in_reach(id).await?;
    let service = &administrator.service;
    let record = service.hash_new_password(new.password, &user).await?;
    let event = administrator
        .event(Action::PasswordChanged)
        .on(party_of(&user));
    let until = service.last_expiry();
    // Nothing is set if the user has other rights by now than those that were looked at.
    let set = service.store.set_password(&user, &record, until, &event);
    service.outdating(until, set).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
