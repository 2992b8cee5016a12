//! What the gateway answers in an upstream's place without refusing.

use http::{HeaderName, HeaderValue, StatusCode};
use pingora::http::RequestHeader;
use portcullis_policy::{
    cors::{self, Cors},
    limits::Standing,
    rejection::Rejection,
};

use crate::snapshot::Route;

/// Why a request ends at the gateway.
pub(crate) enum Stop {
    Refused(Rejection),
    Answered(Answer),
}

/// An answer without a body, but for what every answer carries.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) standing: Option<Standing>,
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

/// Answers a preflight. It goes no further than the client's limits, because a browser sends no token with it.
pub(crate) fn answer_preflight(
    route: &Route,
    request: &RequestHeader,
    standing: Option<&Standing>,
) -> Result<(), Stop> {
    let Some(cors) = preflighted(route, request) else {
        return Ok(());
    };
    Err(Stop::Answered(Answer {
        status: StatusCode::NO_CONTENT,
        headers: cors.permissions(cors::origin(&request.headers)),
        standing: standing.cloned(),
    }))
}

/// The rule that a preflight asks about; none where the upstream is to answer it.
fn preflighted<'r>(route: &'r Route, request: &RequestHeader) -> Option<&'r Cors> {
    let rule = route.cors.as_ref()?;
    cors::method_asked_for(&request.method, &request.headers).map(|_| rule)
}
