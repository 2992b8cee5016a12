//! Users as administrators see them, for tokens of the resource `portcullis`: `GET /v1/admin/users` and one of them, and
//! `disable` and `enable`.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use portcullis_audit::Action;
use portcullis_store::User;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::profile::{self, Profile};
use crate::{
    admin_scope::{UsersRead, UsersWrite},
    administrator::Administrator,
    answer::{self, Refusal},
    issue::party_of,
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    page::PageById,
    request::{InPath, InQuery},
    service::AuthService,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(disable))
        .routes(routes!(enable))
}

#[derive(Serialize, ToSchema)]
struct Users {
    users: Vec<Profile>,
    /// What to send as `after` for the next page; null on the last.
    next: Option<String>,
}

/// List users
///
/// In the order they came. Pages follow a key and not a count, so that none is missed or seen twice.
#[utoipa::path(
    get,
    path = "/v1/admin/users",
    operation_id = "list_users",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:read"])),
    params(PageById),
    responses((status = 200, description = "A page of users.", body = Users, example = json!({
        "users": [profile::example()],
        "next": null,
    }))),
)]
async fn list(
    administrator: Administrator<UsersRead>,
    InQuery(page): InQuery<PageById>,
) -> Result<Response, Refusal> {
    let (store, rows) = (&administrator.service.store, page.limit.and_one());
    let found = store.users(page.after().as_deref(), rows).await?;
    let (users, next) = page.limit.cut(found, |user| user.id.clone());
    let users = users.into_iter().map(Profile::from).collect();
    Ok(answer::json(StatusCode::OK, Users { users, next }))
}

/// Show a user
#[utoipa::path(
    get,
    path = "/v1/admin/users/{id}",
    operation_id = "show_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:read"])),
    params(("id" = Uuid, Path, description = "The user.")),
    responses(
        (status = 200, description = "The user.", body = Profile, example = json!(profile::example())),
        NotFound,
    ),
)]
async fn show(
    administrator: Administrator<UsersRead>,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Refusal> {
    let user = administrator.service.user_named(id).await?;
    Ok(answer::json(StatusCode::OK, Profile::from(user)))
}

/// Disable a user
///
/// Ends what the user has: the next request with one of its tokens is refused. Administrators cannot disable themselves.
#[utoipa::path(
    post,
    path = "/v1/admin/users/{id}/disable",
    operation_id = "disable_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    params(("id" = Uuid, Path, description = "The user.")),
    responses(
        (status = 200, description = "The user, disabled.", body = Profile, example = json!(profile::example())),
        NotFound,
        Conflict,
    ),
)]
async fn disable(
    administrator: Administrator<UsersWrite>,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Refusal> {
    // That the last administrator stays is seen to elsewhere.
    let user = administrator.other_in_reach(id).await?;
    set_disabled(&administrator, &user, true).await
}

/// Enable a user
///
/// Who was disabled may sign in again. Tokens from before stay refused.
#[utoipa::path(
    post,
    path = "/v1/admin/users/{id}/enable",
    operation_id = "enable_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    params(("id" = Uuid, Path, description = "The user.")),
    responses(
        (status = 200, description = "The user, enabled.", body = Profile, example = json!(profile::example())),
        NotFound,
    ),
)]
async fn enable(
    administrator: Administrator<UsersWrite>,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Refusal> {
    let user = administrator.user_in_reach(id).await?;
    set_disabled(&administrator, &user, false).await
}

async fn set_disabled(
    administrator: &Administrator<UsersWrite>,
    user: &User,
    disabled: bool,
) -> Result<Response, Refusal> {
    let action = if disabled {
        Action::UserDisabled
    } else {
        Action::UserEnabled
    };
    let service = &administrator.service;
    let event = administrator.event(action).on(party_of(user));
    let change = service.rights_change(&event);
    let set = service.store.set_disabled(&user.id, disabled, &change);
    let user = service.outdating(change.until, set).await?;
    Ok(answer::json(StatusCode::OK, Profile::from(user)))
}
