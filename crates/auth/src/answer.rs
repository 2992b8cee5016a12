//! What goes out: JSON for a yes, and the one place where a no becomes a problem.
//!
//! Endpoints return a [`Refusal`]; it travels as an extension of an empty response to [`finish`], which knows the
//! request id, logs the cause and writes the body. No cause and nothing of the input is ever in an answer.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Json,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use portcullis_policy::{
    problem::{self, Problem},
    rejection::Rejection,
};
use portcullis_store::StoreError;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::{
    oauth,
    password::{HashingError, NewPasswordError, Weakness},
    random::NoRandomness,
    request::{Call, gathered},
};

/// What the client is told, and what the log is told.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) rejection: Rejection,
    cause: Option<Cow<'static, str>>,
    /// What finishes a sign-in together with a code.
    challenge: Option<SecretString>,
}

impl Refusal {
    /// Our own failure. The cause goes to the log only.
    pub(crate) fn internal(cause: impl Into<Cow<'static, str>>) -> Self {
        Self {
            rejection: Rejection::InternalError,
            cause: Some(cause.into()),
            challenge: None,
        }
    }

    /// With what the log is told beside it.
    pub(crate) fn caused(rejection: Rejection, cause: String) -> Self {
        Self {
            cause: Some(cause.into()),
            ..rejection.into()
        }
    }

    /// The first proof was right; this and a code make the second.
    pub(crate) fn mfa_required(challenge: SecretString) -> Self {
        Self {
            challenge: Some(challenge),
            ..Rejection::MfaRequired.into()
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection,
            cause: None,
            challenge: None,
        }
    }
}

/// `Taken` and `NotFound` are for the endpoint to tell apart; one that lets them through did not expect them.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let cause = Some(with_sources(&error).into());
        let rejection = match error {
            StoreError::Unavailable(_) | StoreError::NotMigrated => Rejection::StoreUnavailable,
            StoreError::Taken | StoreError::Conflict | StoreError::LastAdministrator => {
                Rejection::Conflict
            }
            StoreError::NotFound
            | StoreError::Corrupt(_)
            | StoreError::TooNew(_)
            | StoreError::Database(_) => Rejection::InternalError,
        };
        Self {
            rejection,
            cause,
            challenge: None,
        }
    }
}

/// Of a change of what the path names, which may be gone by now.
pub(crate) fn of_change(error: StoreError) -> Refusal {
    if matches!(error, StoreError::NotFound) {
        Rejection::RouteNotFound.into()
    } else {
        error.into()
    }
}

impl From<HashingError> for Refusal {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Overloaded { retry_after } => {
                Rejection::Overloaded { retry_after }.into()
            }
            HashingError::Stored(_)
            | HashingError::Breached(_)
            | HashingError::Search(_)
            | HashingError::Argon(_)
            | HashingError::Randomness(_)
            | HashingError::Threads(_)
            | HashingError::Metric(_)
            | HashingError::Abandoned => Self::internal(with_sources(&error)),
        }
    }
}

impl From<NewPasswordError> for Refusal {
    fn from(error: NewPasswordError) -> Self {
        match error {
            NewPasswordError::Weak(weakness) => weakness.into(),
            NewPasswordError::Hashing(error) => error.into(),
        }
    }
}

impl From<Weakness> for Refusal {
    fn from(weakness: Weakness) -> Self {
        let reason = match weakness {
            Weakness::Short => "The password is too short; length is what makes it strong.",
            Weakness::IsTheName => "The password must not be the name it protects.",
            Weakness::Repeats => "The password must not be one character repeated.",
            Weakness::Common => "The password is made of words that many people choose.",
            Weakness::Guessable => {
                "The password is easy to guess; some words that have nothing to do with each other are better."
            }
            Weakness::Breached => "The password is known from a breach of another service.",
        };
        Rejection::WeakPassword { reason }.into()
    }
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Self {
        Self::internal(error.to_string())
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.rejection.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// A JSON answer with a status.
pub(crate) fn json(status: StatusCode, body: impl Serialize) -> Response {
    (status, Json(body)).into_response()
}

/// Around every endpoint: turns refusals into problems, and keeps what is not declared cacheable out of caches.
pub(crate) async fn finish(request: Request, next: Next) -> Response {
    let call = Call::of(request.headers());
    let is_oauth = request.uri().path().starts_with(oauth::PREFIX);
    let mut response = match gathered(request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    if let Some(refusal) = refusal_of(&mut response) {
        log(&refusal, &call);
        let cookie = response.headers_mut().remove(header::SET_COOKIE);
        response = refused(&refusal, &call, is_oauth);
        // A refusal may take the cookie away.
        response
            .headers_mut()
            .extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The router answers a method that a path does not take by itself, with nothing but the list of those it takes.
fn refusal_of(response: &mut Response) -> Option<Arc<Refusal>> {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = response.headers().get(header::ALLOW)?.clone();
        return Some(Arc::new(Rejection::MethodNotAllowed { allow }.into()));
    }
    response.extensions_mut().remove()
}

/// A problem, except where OAuth fixes the form.
fn refused(refusal: &Refusal, call: &Call, is_oauth: bool) -> Response {
    let rejection = &refusal.rejection;
    let mut response = if is_oauth {
        oauth::refused(rejection)
    } else {
        problem(refusal, call)
    };
    response.headers_mut().extend(rejection.headers());
    if rejection.closes_connection() {
        // The rest of the body is not read, so the next request could not be found on this connection.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn problem(refusal: &Refusal, call: &Call) -> Response {
    let rejection = &refusal.rejection;
    let problem = Problem::of(rejection, &call.request_id);
    let body = match &refusal.challenge {
        Some(challenge) => problem.with_challenge(challenge.expose_secret()).to_json(),
        None => problem.to_json(),
    };
    let media_type = [(header::CONTENT_TYPE, problem::CONTENT_TYPE)];
    (rejection.status(), media_type, body).into_response()
}

fn log(refusal: &Refusal, call: &Call) {
    let (code, request_id) = (refusal.rejection.code(), &*call.request_id);
    match (&refusal.cause, refusal.rejection.status().is_server_error()) {
        (Some(cause), true) => tracing::error!(code, request_id, %cause, "the auth service failed"),
        (Some(cause), false) => tracing::debug!(code, request_id, %cause, "refused"),
        (None, _) => tracing::debug!(code, request_id, "refused"),
    }
}
