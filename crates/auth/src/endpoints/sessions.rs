//! One's own sessions: `GET /v1/auth/sessions`, and `DELETE /v1/auth/sessions/{sid}` for one of them.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::rfc3339;
use portcullis_policy::rejection::Rejection;
use portcullis_store::Session;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    answer::{self, Refusal},
    caller::Caller,
    openapi::{refusals::NotFound, tags},
    page::Limit,
    request::{Call, InPath, InQuery, Queried},
    service::AuthService,
};

/// One less than the store gives at a time, so that one more can be asked for.
const MAX_PAGE: u32 = 99;

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(end))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// The sid of the last session of the page before.
    after: Option<Uuid>,
    /// 50 where absent.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 99)]
    limit: Limit<MAX_PAGE>,
}

impl Queried for Page {
    const TAKES: &'static str =
        "The query takes after, the sid of a session, and limit, from 1 to 99.";
}

#[derive(Serialize, ToSchema)]
struct Sessions {
    sessions: Vec<Shown>,
    /// What to send as `after` for the next page; null on the last.
    next: Option<String>,
}

/// A session as its user may see it.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
struct Shown {
    sid: String,
    /// Whether the token of this request is of this session.
    current: bool,
    /// What its tokens are for, if nothing else is asked for.
    resource: String,
    /// Of the sign-in, in RFC 3339, as all times here.
    created_at: String,
    last_used_at: String,
    /// When it ends without further use.
    expires_at: String,
    /// Of the sign-in.
    ip: Option<String>,
    /// As the client named itself at the sign-in.
    user_agent: Option<String>,
}

impl Shown {
    fn of(session: Session, current: &str) -> Self {
        Self {
            current: session.sid == current,
            sid: session.sid,
            resource: session.resource,
            created_at: rfc3339(session.created_at),
            last_used_at: rfc3339(session.rotated_at),
            expires_at: rfc3339(session.idle_expires_at),
            ip: session.ip.map(|ip| ip.to_string()),
            user_agent: session.user_agent,
        }
    }
}

fn example() -> Value {
    json!({
        "sid": "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59",
        "current": true,
        "resource": "hotel",
        "created_at": "2027-01-15T08:00:00.000Z",
        "last_used_at": "2027-01-15T09:30:00.000Z",
        "expires_at": "2027-01-22T09:30:00.000Z",
        "ip": "192.0.2.7",
        "user_agent": "Mozilla/5.0",
    })
}

/// List one's sessions
///
/// Those that go on, the latest sign-in first.
#[utoipa::path(
    get,
    path = "/v1/auth/sessions",
    operation_id = "list_sessions",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    params(Page),
    responses(
        (status = 200, description = "A page of sessions.", body = Sessions, example = json!({
            "sessions": [example()], "next": null,
        })),
    ),
)]
async fn list(
    State(service): State<Arc<AuthService>>,
    caller: Caller,
    InQuery(page): InQuery<Page>,
) -> Result<Response, Refusal> {
    let page = service.sessions_of(&caller.user, page.after, page.limit);
    let (sessions, next) = page.await?;
    let current = caller.principal().session().unwrap_or_default();
    let sessions = sessions
        .into_iter()
        .map(|session| Shown::of(session, current))
        .collect();
    Ok(answer::json(StatusCode::OK, Sessions { sessions, next }))
}

/// End one of one's sessions
///
/// No access token of it is taken any more from the moment of the answer. Somebody else's is answered like one that does
/// not exist.
#[utoipa::path(
    delete,
    path = "/v1/auth/sessions/{sid}",
    operation_id = "end_session",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    params(("sid" = Uuid, Path, description = "The session.")),
    responses((status = 204, description = "Ended."), NotFound),
)]
async fn end(
    State(service): State<Arc<AuthService>>,
    call: Call,
    caller: Caller,
    InPath(sid): InPath<Uuid>,
) -> Result<Response, Refusal> {
    let (user, sid) = (&caller.user, sid.to_string());
    let session = service.sessions.find(&sid).await?;
    let is_own = session.is_some_and(|session| user.keeps(&session));
    if !is_own || !service.end_session(user, &sid, &call).await? {
        return Err(Rejection::RouteNotFound.into());
    }
    let response = StatusCode::NO_CONTENT.into_response();
    Ok(if caller.principal().session() == Some(&*sid) {
        service.without_cookie(response)
    } else {
        response
    })
}
