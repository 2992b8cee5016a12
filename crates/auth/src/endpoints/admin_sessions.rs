//! The sessions of users, for tokens of the resource `portcullis`: `GET /v1/admin/sessions?user=ID` lists those of one
//! user, `DELETE` ends one of them or all.
//!
//! Sessions of whoever has more rights than the administrator can be ended as well: that takes nothing but a sign-in.

use std::sync::Arc;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::{Action, Party, PartyKind};
use portcullis_policy::rejection::Rejection;
use portcullis_store::{Session, SessionEnd};
use portcullis_tokens::Revocation;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    admin_scope::SessionsRevoke,
    administrator::Administrator,
    answer::{self, Refusal},
    issue::party_of,
    openapi::{refusals::NotFound, tags},
    page::Limit,
    request::{InPath, InQuery, Queried},
    service::AuthService,
};

/// One below what the store reads at once, so that it shows whether there are more.
const MAX_PAGE: u32 = 99;

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(list, end_all))
        .routes(routes!(end))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Whose sessions.
    user: Uuid,
    /// The `next` of the page before; the first page where absent.
    after: Option<Uuid>,
    /// How many; 50 where absent.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 99)]
    limit: Limit<MAX_PAGE>,
}

impl Queried for Page {
    const TAKES: &'static str =
        "The query takes user, the id of one, after, the id of a session, and limit, from 1 to 99.";
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Whose {
    /// Whose sessions.
    user: Uuid,
}

impl Queried for Whose {
    const TAKES: &'static str = "The query takes user, the id of one.";
}

#[derive(Serialize, ToSchema)]
#[schema(as = UsersSessions)]
struct Sessions {
    /// The latest sign-in first.
    sessions: Vec<Shown>,
    /// What to send as `after` for the next page; null on the last.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = UsersSession)]
struct Shown {
    id: String,
    /// What the sign-in was for.
    resource: String,
    tenant: Option<String>,
    /// RFC 3339, in UTC, as the other instants.
    created_at: String,
    /// The last refresh, or the sign-in.
    refreshed_at: String,
    /// Unless it is refreshed before.
    expires_at: String,
    address: Option<String>,
    user_agent: Option<String>,
}

impl From<Session> for Shown {
    fn from(session: Session) -> Self {
        Self {
            id: session.sid,
            resource: session.resource,
            tenant: session.tenant,
            created_at: portcullis_audit::rfc3339(session.created_at),
            refreshed_at: portcullis_audit::rfc3339(session.rotated_at),
            expires_at: portcullis_audit::rfc3339(session.idle_expires_at),
            address: session.ip.map(|ip| ip.to_string()),
            user_agent: session.user_agent,
        }
    }
}

/// List the sessions of a user
#[utoipa::path(
    get,
    path = "/v1/admin/sessions",
    operation_id = "list_sessions_of_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["sessions:revoke"])),
    params(Page),
    responses(
        (status = 200, description = "A page of sessions.", body = Sessions, example = json!({
            "sessions": [{
                "id": "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a60", "resource": "hotel", "tenant": null,
                "created_at": "2027-01-15T08:00:00.000Z", "refreshed_at": "2027-01-15T08:05:00.000Z",
                "expires_at": "2027-01-22T08:05:00.000Z", "address": "192.0.2.7", "user_agent": "curl/8.5.0",
            }],
            "next": null,
        })),
        NotFound,
    ),
)]
async fn list(
    administrator: Administrator<SessionsRevoke>,
    InQuery(page): InQuery<Page>,
) -> Result<Response, Refusal> {
    let service = &administrator.service;
    let user = service.user_named(page.user).await?;
    let (sessions, next) = service.sessions_of(&user, page.after, page.limit).await?;
    let sessions = sessions.into_iter().map(Shown::from).collect();
    Ok(answer::json(StatusCode::OK, Sessions { sessions, next }))
}

/// End a session
///
/// Its tokens are refused from the next request on.
#[utoipa::path(
    delete,
    path = "/v1/admin/sessions/{id}",
    operation_id = "end_session_of_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["sessions:revoke"])),
    params(("id" = Uuid, Path, description = "The session.")),
    responses(
        (status = 204, description = "It has ended."),
        NotFound,
    ),
)]
async fn end(
    administrator: Administrator<SessionsRevoke>,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Refusal> {
    let service = &administrator.service;
    let found = service.sessions.find(&id.to_string()).await?;
    let session = found.ok_or(Rejection::RouteNotFound)?;
    let event = administrator
        .event(Action::SessionEnded)
        .on(Party::new(PartyKind::Session, &*session.sid))
        .because(format!("user:{}", session.user_id));
    let until = service.last_expiry();
    let end = SessionEnd {
        sid: &session.sid,
        user_id: &session.user_id,
        revocation_until: until,
        event: &event,
    };
    if !service.sessions.end(&end).await? {
        return Err(Rejection::RouteNotFound.into());
    }
    let revocation = Revocation::Session(session.sid);
    service.revocations.revoke(revocation, until);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// End all sessions of a user
///
/// With all tokens of the user, from the next request on. The user may sign in again.
#[utoipa::path(
    delete,
    path = "/v1/admin/sessions",
    operation_id = "end_sessions_of_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["sessions:revoke"])),
    params(Whose),
    responses(
        (status = 204, description = "They have ended."),
        NotFound,
    ),
)]
async fn end_all(
    administrator: Administrator<SessionsRevoke>,
    InQuery(whose): InQuery<Whose>,
) -> Result<Response, Refusal> {
    let service = &administrator.service;
    let user = service.user_named(whose.user).await?;
    let event = administrator
        .event(Action::SessionEnded)
        .on(party_of(&user))
        .because("all");
    let until = service.last_expiry();
    let ended = service.store.end_all_sessions(&user.id, until, &event);
    service.outdating(until, ended).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
