//! Administration of users, for tokens of the resource `portcullis`: `GET /v1/admin/users`, and `disable` and `enable`
//! of one of them.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use portcullis_audit::{Action, Outcome};
use portcullis_policy::rejection::Rejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::profile::{self, Profile};
use crate::{
    answer::{self, Refusal},
    caller::AdminScope,
    issue::party_of,
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    request::{Call, malformed_field},
    service::AuthService,
};

const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 100;
const BAD_PAGE: &str = "The query takes after, the id of a user, and limit, from 1 to 100.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(list))
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

type PathId = Result<Path<Uuid>, PathRejection>;

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
    let limit = page.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(malformed_field(BAD_PAGE));
    }
    let after = page.after.map(|id| id.to_string());
    // One more than asked for tells whether there is a next page.
    let mut users = service.store.users(after.as_deref(), limit + 1).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = users.len() > wanted;
    users.truncate(wanted);
    let next = users
        .last()
        .filter(|_| has_more)
        .map(|user| user.id.clone());
    Ok(answer::json(
        StatusCode::OK,
        Users {
            users: users.into_iter().map(Profile::from).collect(),
            next,
        },
    ))
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
        let caller = self
            .administrator(headers, AdminScope::UsersWrite, call)
            .await?;
        let Ok(Path(id)) = id else {
            return Err(Rejection::RouteNotFound.into());
        };
        let id = id.to_string();
        // Whoever disables stays, so that an installation never loses its last administrator this way.
        if disabled && id == caller.user.id {
            return Err(Rejection::Conflict.into());
        }
        let action = if disabled {
            Action::UserDisabled
        } else {
            Action::UserEnabled
        };
        let target = self
            .store
            .user(&id)
            .await?
            .ok_or(Rejection::RouteNotFound)?;
        let event = self
            .event(call, action, Outcome::Success, party_of(&caller.user))
            .on(party_of(&target));
        let until = self.last_expiry();
        let user = self
            .store
            .set_disabled(&id, disabled, &self.rights_change(&event))
            .await?;
        self.outdate(&user, until);
        Ok(answer::json(StatusCode::OK, Profile::from(user)))
    }
}
