//! The breakers, for tokens of the resource `portcullis`: `GET /v1/admin/breakers` shows them, `POST` or `PATCH` of one
//! of them holds it `open` or `closed`, or with `null` leaves it to itself again.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use portcullis_audit::{Action, Party, PartyKind};
use portcullis_policy::{
    breaker::{BreakerView, Forced},
    rejection::Rejection,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin_scope::BreakersWrite,
    administrator::Administrator,
    answer::{self, Refusal},
    openapi::{refusals::NotFound, tags},
    request::{InBody, InPath},
    service::AuthService,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(force))
}

#[derive(Serialize, ToSchema)]
struct Breakers {
    breakers: Vec<Shown>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Breaker)]
struct Shown {
    upstream: String,
    /// `closed`, `open` or `half_open`.
    #[schema(pattern = "^(closed|open|half_open)$")]
    state: &'static str,
    /// As what it is held, `open` or `closed`; null where it goes by what it sees.
    forced: Option<&'static str>,
}

impl From<BreakerView> for Shown {
    fn from(view: BreakerView) -> Self {
        Self {
            upstream: view.upstream,
            state: view.state.as_str(),
            forced: view.forced.map(Forced::as_str),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BreakerChange)]
struct Change {
    /// `open` or `closed` to hold it, null to leave it to itself. Must be there: an empty object is more likely a
    /// mistake than the wish to let go.
    #[serde(deserialize_with = "Option::deserialize")]
    force: Option<Hold>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BreakerHold)]
enum Hold {
    Open,
    Closed,
}

impl From<Hold> for Forced {
    fn from(hold: Hold) -> Self {
        match hold {
            Hold::Open => Self::Open,
            Hold::Closed => Self::Closed,
        }
    }
}

/// List the breakers
///
/// One for each upstream that has one, as this gateway sees it.
#[utoipa::path(
    get,
    path = "/v1/admin/breakers",
    operation_id = "list_breakers",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["breakers:write"])),
    responses((status = 200, description = "The breakers.", body = Breakers, example = json!({
        "breakers": [{"upstream": "hotel", "state": "closed", "forced": null}],
    }))),
)]
async fn list(administrator: Administrator<BreakersWrite>) -> Result<Response, Refusal> {
    let breakers = administrator.service.breakers.breakers();
    let breakers = breakers.into_iter().map(Shown::from).collect();
    Ok(answer::json(StatusCode::OK, Breakers { breakers }))
}

/// Hold a breaker, or let it go
///
/// Held `open` it lets nothing through, held `closed` everything. It stays so until it is let go or the gateway stops.
#[utoipa::path(
    method(post, patch),
    path = "/v1/admin/breakers/{upstream}",
    operation_id = "hold_breaker",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["breakers:write"])),
    params(("upstream" = String, Path, description = "The name of the upstream.", example = "hotel")),
    request_body(content = Change, example = json!({"force": "open"})),
    responses(
        (status = 200, description = "The breaker as it is now.", body = Shown, example = json!({
            "upstream": "hotel", "state": "open", "forced": "open",
        })),
        NotFound,
    ),
)]
async fn force(
    administrator: Administrator<BreakersWrite>,
    InPath(upstream): InPath<String>,
    InBody(change): InBody<Change>,
) -> Result<Response, Refusal> {
    let service = &administrator.service;
    let forced = change.force.map(Forced::from);
    let view = service
        .breakers
        .force(&upstream, forced)
        .ok_or(Rejection::RouteNotFound)?;
    let action = match forced {
        Some(_) => Action::BreakerForced,
        None => Action::BreakerReleased,
    };
    let event = administrator
        .event(action)
        .on(Party::new(PartyKind::Upstream, &*view.upstream))
        .because(view.state.as_str());
    service.desk.offer(event, service.now());
    Ok(answer::json(StatusCode::OK, Shown::from(view)))
}
