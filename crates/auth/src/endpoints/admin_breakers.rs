//! The breakers, for tokens of the resource `portcullis`: `GET /v1/admin/breakers` shows them, `POST` or `PATCH` of one
//! of them holds it `open` or `closed`, or with `null` leaves it to itself again.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, Request, StatusCode},
    response::Response,
};
use portcullis_audit::{Action, Outcome, Party, PartyKind};
use portcullis_policy::{
    breaker::{BreakerView, Forced},
    rejection::Rejection,
};
use serde::{Deserialize, Serialize};

use crate::{
    answer::{self, Refusal},
    caller::AdminScope,
    issue::party_of,
    request::{self, Call},
    service::AuthService,
};

#[derive(Serialize)]
struct Breakers {
    breakers: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    upstream: String,
    /// `closed`, `open` or `half_open`.
    state: &'static str,
    /// As what it is held; null where it goes by what it sees.
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// Must be there: an empty object is more likely a mistake than the wish to let go.
    #[serde(deserialize_with = "Option::deserialize")]
    force: Option<Hold>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
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

pub(crate) async fn list(
    State(service): State<Arc<AuthService>>,
    call: Call,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    service
        .administrator(&headers, AdminScope::BreakersWrite, &call)
        .await?;
    let breakers = service.breakers.breakers();
    let breakers = breakers.into_iter().map(Shown::from).collect();
    Ok(answer::json(StatusCode::OK, Breakers { breakers }))
}

pub(crate) async fn force(
    State(service): State<Arc<AuthService>>,
    call: Call,
    headers: HeaderMap,
    upstream: Result<Path<String>, PathRejection>,
    body: Request<Body>,
) -> Result<Response, Refusal> {
    let caller = service
        .administrator(&headers, AdminScope::BreakersWrite, &call)
        .await?;
    let Ok(Path(upstream)) = upstream else {
        return Err(Rejection::RouteNotFound.into());
    };
    let change: Change = request::json(body).await?;
    let forced = change.force.map(Forced::from);
    let view = service
        .breakers
        .force(&upstream, forced)
        .ok_or(Rejection::RouteNotFound)?;
    let action = match forced {
        Some(_) => Action::BreakerForced,
        None => Action::BreakerReleased,
    };
    let event = service
        .event(&call, action, Outcome::Success, party_of(&caller.user))
        .on(Party::new(PartyKind::Upstream, &*view.upstream))
        .because(view.state.as_str());
    service.desk.offer(event, service.now());
    Ok(answer::json(StatusCode::OK, Shown::from(view)))
}
