//! `DELETE /v1/admin/users/{id}/mfa`: for users who have lost their phone and their recovery codes.

use std::sync::Arc;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::Action;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    admin_scope::UsersWrite,
    administrator::Administrator,
    answer::{self, Refusal},
    issue::party_of,
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    request::InPath,
    service::AuthService,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(remove))
}

/// Take away a user's second factor
///
/// The recovery codes go with it: the password alone is enough from now on. Administrators cannot do this to
/// themselves, or a stolen token of theirs would.
#[utoipa::path(
    delete,
    path = "/v1/admin/users/{id}/mfa",
    operation_id = "reset_mfa",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    params(("id" = Uuid, Path, description = "The user.")),
    responses(
        (status = 204, description = "The user has no second factor any more."),
        NotFound,
        Conflict,
    ),
)]
async fn remove(
    administrator: Administrator<UsersWrite>,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Refusal> {
    let user = administrator.other_in_reach(id).await?;
    let event = administrator.event(Action::MfaDisabled).on(party_of(&user));
    let store = &administrator.service.store;
    let removed = store.remove_totp(&user.id, None, &[event]).await;
    removed.map_err(answer::of_change)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
