//! One type for each way in which an endpoint says no, to stand among the responses of an annotation.
//!
//! A document has one response for each status, while an endpoint may refuse in several ways with the same one. So each
//! type stands under the code of its refusal first, and [`complete`](super::responses::complete) puts those of one
//! status together. Examples are the very bodies that are sent.

use std::{collections::BTreeMap, time::Duration};

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use portcullis_policy::{
    problem::{self, Problem},
    rejection::{Malformation, Rejection},
};
use serde_json::Value;
use utoipa::{
    IntoResponses,
    openapi::{RefOr, Response},
};

use crate::oauth::{self, Fault};

/// A refusal as the document describes it.
pub(super) enum Refused {
    Problem(Rejection),
    /// Where OAuth has a word for it.
    Fault(Fault),
    /// Under OAuth's paths, where it has none.
    OAuth(Rejection),
}

macro_rules! refusals {
    ($($(#[$about:meta])* $name:ident => $refused:expr;)+) => {
        $(
            $(#[$about])*
            pub(crate) enum $name {}

            impl $name {
                fn refused() -> Refused {
                    $refused
                }
            }

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    let word = Self::refused().word().to_owned();
                    BTreeMap::from([(word, RefOr::T(Response::new("")))])
                }
            }
        )+

        /// The refusal that an annotation names.
        pub(super) fn find(word: &str) -> Option<Refused> {
            [$($name::refused()),+].into_iter().find(|refused| refused.word() == word)
        }
    };
}

refusals! {
    /// There is no such thing as the path names.
    NotFound => Refused::Problem(Rejection::RouteNotFound);
    /// Unknown, wrong, disabled, locked: one answer.
    InvalidCredentials => Refused::Problem(Rejection::InvalidCredentials);
    /// Comes with a challenge.
    MfaRequired => Refused::Problem(Rejection::MfaRequired);
    ResourceNotAllowed => Refused::Problem(Rejection::ResourceNotAllowed);
    /// Where refresh tokens travel as cookies.
    CrossSite => Refused::Problem(Rejection::CrossSite);
    Conflict => Refused::Problem(Rejection::Conflict);
    /// An identity provider could not be asked.
    ProviderUnreachable => Refused::Problem(Rejection::UpstreamUnreachable);
    /// An identity provider answered with what is no answer.
    ProviderFailed => Refused::Problem(Rejection::UpstreamFailed);
    WeakPassword => Refused::Problem(Rejection::WeakPassword {
        reason: "The password is too short; length is what makes it strong.",
    });
    UnusableHash => Refused::Problem(Rejection::UnusableHash);
    OAuthInvalidRequest => Refused::Fault(Fault::Request("Each parameter may stand once."));
    OAuthInvalidClient => Refused::Fault(Fault::Client);
    OAuthInvalidGrant => Refused::Fault(Fault::Grant);
    OAuthUnsupportedGrantType => Refused::Fault(Fault::GrantType);
    OAuthInvalidScope => Refused::Fault(Fault::Scope);
    OAuthInvalidTarget => Refused::Fault(Fault::Target);
}

/// What a client would be given to send with a code.
const CHALLENGE: &str = "6yXc1mDk0rWZ9e1mQm3oUuRr0vJvH2n4m0tLZ8q5a3E";
/// What a client is to wait, in the examples.
const RETRY: Duration = Duration::from_secs(2);

pub(super) fn malformed() -> Rejection {
    Rejection::Malformed(Malformation::Body)
}

pub(super) fn overloaded() -> Rejection {
    Rejection::Overloaded { retry_after: RETRY }
}

pub(super) fn insufficient_scope(scope: &str) -> Rejection {
    let text = format!(r#"Bearer realm="portcullis", error="insufficient_scope", scope="{scope}""#);
    let challenge = HeaderValue::from_str(&text);
    Rejection::InsufficientScope {
        challenge: challenge.unwrap_or_else(|_never| HeaderValue::from_static("Bearer")),
    }
}

pub(super) fn wrong_resource() -> Rejection {
    Rejection::WrongResource {
        challenge: HeaderValue::from_static(
            r#"Bearer realm="portcullis", error="insufficient_scope""#,
        ),
    }
}

impl Refused {
    /// The stable word for it, unique among all.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Problem(rejection) => rejection.code(),
            Self::Fault(fault) => fault.code(),
            Self::OAuth(rejection) => oauth::code_of(rejection),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Problem(rejection) | Self::OAuth(rejection) => rejection.status(),
            Self::Fault(fault) => fault.status(),
        }
    }

    pub(super) fn title(&self) -> &'static str {
        match self {
            Self::Problem(rejection) | Self::OAuth(rejection) => rejection.title(),
            Self::Fault(fault) => fault.code(),
        }
    }

    pub(super) fn media_type(&self) -> &'static str {
        match self {
            Self::Problem(_) => problem::CONTENT_TYPE,
            Self::Fault(_) | Self::OAuth(_) => "application/json",
        }
    }

    pub(super) fn body(&self) -> Value {
        match self {
            Self::Problem(rejection) => {
                let problem = Problem::of(rejection, "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59");
                let problem = if *rejection == Rejection::MfaRequired {
                    problem.with_challenge(CHALLENGE)
                } else {
                    problem
                };
                serde_json::from_slice(&problem.to_json()).unwrap_or_default()
            }
            Self::Fault(fault) => fault.body(),
            Self::OAuth(rejection) => oauth::body_of(rejection),
        }
    }

    /// The headers that come with it and what they are for.
    pub(super) fn headers(&self) -> Vec<(HeaderName, &'static str)> {
        let names: Vec<HeaderName> = match self {
            Self::Problem(rejection) | Self::OAuth(rejection) => {
                let headers = rejection.headers().into_iter();
                headers.map(|(name, _)| name).collect()
            }
            Self::Fault(fault) if fault.status() == StatusCode::UNAUTHORIZED => {
                vec![header::WWW_AUTHENTICATE]
            }
            Self::Fault(_) => Vec::new(),
        };
        let told = |name: HeaderName| purpose(&name).map(|purpose| (name, purpose));
        names.into_iter().filter_map(told).collect()
    }
}

fn purpose(name: &HeaderName) -> Option<&'static str> {
    if name == header::WWW_AUTHENTICATE {
        Some("How to authenticate, and what was wrong (RFC 6750 section 3).")
    } else if name == header::RETRY_AFTER {
        Some("Seconds to wait before the next attempt.")
    } else {
        None
    }
}
