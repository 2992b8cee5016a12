//! `DELETE /v1/admin/users/{id}/mfa`: for users who have lost their phone and their recovery codes.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use portcullis_audit::Action;
use portcullis_policy::rejection::Rejection;
use portcullis_store::StoreError;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    admin_scope::AdminScope,
    answer::Refusal,
    issue::party_of,
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    request::Call,
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
    State(service): State<Arc<AuthService>>,
    call: Call,
    headers: HeaderMap,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Response, Refusal> {
    let administrator = service
        .administrator(&headers, AdminScope::UsersWrite, &call)
        .await?;
    let Ok(Path(id)) = id else {
        return Err(Rejection::RouteNotFound.into());
    };
    let id = id.to_string();
    if id == administrator.party.id {
        return Err(Rejection::Conflict.into());
    }
    let user = service.user_in_reach(&administrator, &id, &call).await?;
    let event = service
        .done_by(&administrator, Action::MfaDisabled, &call)
        .on(party_of(&user));
    match service.store.remove_totp(&id, None, &[event]).await {
        Err(StoreError::NotFound) => Err(Rejection::RouteNotFound.into()),
        outcome => {
            outcome?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
    }
}
