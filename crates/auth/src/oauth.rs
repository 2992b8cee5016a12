//! How OAuth's endpoints say no: `error` and `error_description` in JSON, as RFC 6749 section 5.2 fixes it, instead of a
//! problem. Nothing of the input is in either.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use portcullis_policy::rejection::Rejection;
use serde_json::{Value, json};

use crate::{
    answer::{self, Refusal},
    form::NoForm,
};

/// Below it stands what OAuth answers.
pub(crate) const PREFIX: &str = "/oauth/";

const NO_FORM: &str =
    "Send the parameters as application/x-www-form-urlencoded, in UTF-8, in the body.";
const REPEATED: &str = "Each parameter may stand once.";

/// What a client did wrong, in OAuth's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// With a sentence of ours.
    Request(&'static str),
    /// Unknown, wrong, disabled: not told apart.
    Client,
    /// Not ours, spent, ended, or another client's: not told apart.
    Grant,
    GrantType,
    Scope,
    /// RFC 8707 section 2.
    Target,
}

/// A client's fault, or what keeps us from answering.
pub(crate) enum OAuthRefusal {
    Fault(Fault),
    Other(Refusal),
}

impl From<NoForm> for Fault {
    fn from(no: NoForm) -> Self {
        Self::Request(match no {
            NoForm::Malformed => NO_FORM,
            NoForm::Repeated => REPEATED,
        })
    }
}

impl From<Fault> for OAuthRefusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<T: Into<Refusal>> From<T> for OAuthRefusal {
    fn from(refusal: T) -> Self {
        Self::Other(refusal.into())
    }
}

impl Fault {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Request(_) => "invalid_request",
            Self::Client => "invalid_client",
            Self::Grant => "invalid_grant",
            Self::GrantType => "unsupported_grant_type",
            Self::Scope => "invalid_scope",
            Self::Target => "invalid_target",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Client => StatusCode::UNAUTHORIZED,
            Self::Request(_) | Self::Grant | Self::GrantType | Self::Scope | Self::Target => {
                StatusCode::BAD_REQUEST
            }
        }
    }

    pub(crate) fn body(self) -> Value {
        body(self.code(), self.description())
    }

    fn description(self) -> &'static str {
        match self {
            Self::Request(sentence) => sentence,
            Self::Client => "The client could not be authenticated.",
            Self::Grant => "The refresh token is not good here, or not any more.",
            Self::GrantType => "The metadata names the grants that there are.",
            Self::Scope => "The scope is malformed, or more than was granted.",
            Self::Target => "Name one resource that there are scopes for.",
        }
    }
}

impl IntoResponse for OAuthRefusal {
    fn into_response(self) -> Response {
        match self {
            Self::Fault(fault) => fault.into_response(),
            // Comes back to `refused` once it is logged.
            Self::Other(refusal) => refusal.into_response(),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = answer::json(self.status(), self.body());
        if self == Self::Client {
            let challenge = HeaderValue::from_static(r#"Basic realm="portcullis""#);
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// What is refused on these paths for a reason that OAuth has no word for: a body too large, no database.
pub(crate) fn refused(rejection: &Rejection) -> Response {
    answer::json(rejection.status(), body_of(rejection))
}

pub(crate) fn body_of(rejection: &Rejection) -> Value {
    body(code_of(rejection), &rejection.detail())
}

pub(crate) fn code_of(rejection: &Rejection) -> &'static str {
    let status = rejection.status();
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        "temporarily_unavailable"
    } else if status.is_server_error() {
        "server_error"
    } else {
        "invalid_request"
    }
}

fn body(code: &str, description: &str) -> Value {
    json!({ "error": code, "error_description": description })
}
