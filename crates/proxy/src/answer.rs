//! What the gateway answers in an upstream's place without refusing.

use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::RequestHeader;
use portcullis_policy::{
    cors::{self, Cors},
    hygiene::CanonicalTarget,
    limits::Standing,
    redirect,
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

impl Answer {
    /// Where a redirect leads.
    pub(crate) fn location(&self) -> Option<&str> {
        let location = self
            .headers
            .iter()
            .find(|(name, _)| name == header::LOCATION);
        location.and_then(|(_, value)| value.to_str().ok())
    }
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

/// Answers for a route that redirects: everything it asks of a request has been asked.
pub(crate) fn answer_redirect(
    route: &Route,
    target: &CanonicalTarget<'_>,
    standing: Option<&Standing>,
) -> Result<(), Stop> {
    let Some(redirect) = &route.redirect else {
        return Ok(());
    };
    let location = redirect::location(redirect, target).ok_or(Rejection::InternalError)?;
    let no_body = (header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Err(Stop::Answered(Answer {
        status: redirect.status,
        headers: vec![(header::LOCATION, location), no_body],
        standing: standing.cloned(),
    }))
}

/// The rule that a preflight asks about; none where the upstream is to answer it.
fn preflighted<'r>(route: &'r Route, request: &RequestHeader) -> Option<&'r Cors> {
    let rule = route.cors.as_ref()?;
    cors::method_asked_for(&request.method, &request.headers).map(|_| rule)
}
