//! Users as administrators see them, for tokens of the resource `portcullis`: `GET /v1/admin/users` and one of them, and
//! `disable` and `enable`.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use portcullis_audit::Action;
use portcullis_policy::rejection::Rejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::profile::{self, Profile};
use crate::{
    admin_scope::AdminScope,
    answer::{self, Refusal},
    issue::party_of,
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    page,
    request::{Call, malformed_field},
    service::AuthService,
};

const BAD_PAGE: &str = "The query takes after, the id of a user, and limit, from 1 to 100.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(disable))
        .routes(routes!(enable))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// The `next` of the page before; the first page where absent.
    after: Option<Uuid>,
    /// How many; 50 where absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
struct Users {
    users: Vec<Profile>,
    /// What to send as `after` for the next page; null on the last.
    next: Option<String>,
}

pub(super) type PathId = Result<Path<Uuid>, PathRejection>;

/// List users
///
/// In the order they came. Pages follow a key and not a count, so that none is missed or seen twice.
#[utoipa::path(
    get,
    path = "/v1/admin/users",
    operation_id = "list_users",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:read"])),
    params(Page),
    responses((status = 200, description = "A page of users.", body = Users, example = json!({
        "users": [profile::example()],
        "next": null,
    }))),
)]
async fn list(
    State(service): State<Arc<AuthService>>,
    call: Call,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    service
        .administrator(&headers, AdminScope::UsersRead, &call)
        .await?;
    let Ok(Query(page)) = Query::<Page>::try_from_uri(&uri) else {
        return Err(malformed_field(BAD_PAGE));
    };
    let limit = page::limit(page.limit, BAD_PAGE)?;
    let after = page.after.map(|id| id.to_string());
    let users = service.store.users(after.as_deref(), limit + 1).await?;
    let (users, next) = page::cut(users, limit, |user| user.id.clone());
    Ok(answer::json(
        StatusCode::OK,
        Users {
            users: users.into_iter().map(Profile::from).collect(),
            next,
        },
    ))
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
    State(service): State<Arc<AuthService>>,
    call: Call,
    headers: HeaderMap,
    id: PathId,
) -> Result<Response, Refusal> {
    service
        .administrator(&headers, AdminScope::UsersRead, &call)
        .await?;
    let Ok(Path(id)) = id else {
        return Err(Rejection::RouteNotFound.into());
    };
    let user = service.store.user(&id.to_string()).await?;
    let user = user.ok_or(Rejection::RouteNotFound)?;
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
    State(service): State<Arc<AuthService>>,
    call: Call,
    headers: HeaderMap,
    id: PathId,
) -> Result<Response, Refusal> {
    service.set_disabled(id, true, &headers, &call).await
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
    State(service): State<Arc<AuthService>>,
    call: Call,
    headers: HeaderMap,
    id: PathId,
) -> Result<Response, Refusal> {
    service.set_disabled(id, false, &headers, &call).await
}

impl AuthService {
    async fn set_disabled(
        &self,
        id: PathId,
        disabled: bool,
        headers: &HeaderMap,
        call: &Call,
    ) -> Result<Response, Refusal> {
        let administrator = self
            .administrator(headers, AdminScope::UsersWrite, call)
            .await?;
        let Ok(Path(id)) = id else {
            return Err(Rejection::RouteNotFound.into());
        };
        let id = id.to_string();
        // A slip of the hand more often than a wish; that the last administrator stays is seen to elsewhere.
        if disabled && id == administrator.party.id {
            return Err(Rejection::Conflict.into());
        }
        let action = if disabled {
            Action::UserDisabled
        } else {
            Action::UserEnabled
        };
        let target = self.user_in_reach(&administrator, &id, call).await?;
        let event = self
            .done_by(&administrator, action, call)
            .on(party_of(&target));
        let change = self.rights_change(&event);
        let user = self
            .store
            .set_disabled(&id, disabled, &change)
            .await
            .map_err(answer::of_change)?;
        self.outdate(&user, change.until);
        Ok(answer::json(StatusCode::OK, Profile::from(user)))
    }
}
