//! Every way in which Portcullis answers for itself, in the words of the domain.
//!
//! Start with [`Rejection`]: its status, its stable code, its headers and its text are each one exhaustive match, so
//! that a new variant does not compile until it is told apart everywhere. All texts are public. Nothing of the
//! request, no inner message and no cause is ever in them; what a log needs beside the code travels next to it.

mod malformation;

use std::{borrow::Cow, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{clock::whole_seconds, limits::Refused};

pub use malformation::Malformation;

/// What the client is told to wait where the gateway cannot know how long a dependency stays away.
const DEPENDENCY_RETRY: Duration = Duration::from_secs(1);

/// Why the gateway (or its auth service) answered with a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    Malformed(Malformation),
    RouteNotFound,
    MethodNotAllowed {
        /// The value of `Allow`, made when the route table was.
        allow: HeaderValue,
    },
    RequestTimeout,
    UriTooLong,
    HeadersTooLarge,
    BodyTooLarge,
    AddressNotAllowed,
    AuthenticationRequired,
    InvalidToken {
        /// For metrics, log and audit; the client does not learn it.
        cause: &'static str,
    },
    InsufficientScope {
        /// The whole `WWW-Authenticate` value, made from configuration only.
        challenge: HeaderValue,
    },
    WrongResource {
        challenge: HeaderValue,
    },
    RateLimited(Box<Refused>),
    CircuitOpen {
        retry_after: Duration,
    },
    Overloaded {
        retry_after: Duration,
    },
    UpstreamUnreachable,
    UpstreamFailed,
    UpstreamTimeout,
    KeysUnavailable,
    RevocationsStale,
    StoreUnavailable,
    InvalidCredentials,
    MfaRequired,
    ResourceNotAllowed,
    /// A page of another site made the browser send it, with a cookie of ours.
    CrossSite,
    Conflict,
    UnsupportedMediaType,
    WeakPassword {
        /// A sentence that says which rule was missed.
        reason: &'static str,
    },
    /// What another system made of a password, and this gateway would not run.
    UnusableHash,
    InternalError,
}

impl Rejection {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::AuthenticationRequired
            | Self::InvalidToken { .. }
            | Self::InvalidCredentials
            | Self::MfaRequired => StatusCode::UNAUTHORIZED,
            Self::AddressNotAllowed
            | Self::InsufficientScope { .. }
            | Self::WrongResource { .. }
            | Self::ResourceNotAllowed
            | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::WeakPassword { .. } | Self::UnusableHash => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UpstreamUnreachable | Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::CircuitOpen { .. }
            | Self::Overloaded { .. }
            | Self::KeysUnavailable
            | Self::RevocationsStale
            | Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The stable word for it: the problem type, the log field, the metric label.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed-request",
            Self::RouteNotFound => "route-not-found",
            Self::MethodNotAllowed { .. } => "method-not-allowed",
            Self::RequestTimeout => "request-timeout",
            Self::UriTooLong => "uri-too-long",
            Self::HeadersTooLarge => "headers-too-large",
            Self::BodyTooLarge => "body-too-large",
            Self::AddressNotAllowed => "address-not-allowed",
            Self::AuthenticationRequired => "authentication-required",
            Self::InvalidToken { .. } => "invalid-token",
            Self::InsufficientScope { .. } => "insufficient-scope",
            Self::WrongResource { .. } => "wrong-resource",
            Self::RateLimited(_) => "rate-limited",
            Self::CircuitOpen { .. } => "circuit-open",
            Self::Overloaded { .. } => "overloaded",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamFailed => "upstream-failed",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::KeysUnavailable => "keys-unavailable",
            Self::RevocationsStale => "revocations-stale",
            Self::StoreUnavailable => "store-unavailable",
            Self::InvalidCredentials => "invalid-credentials",
            Self::MfaRequired => "mfa-required",
            Self::ResourceNotAllowed => "resource-not-allowed",
            Self::CrossSite => "cross-site-request",
            Self::Conflict => "conflict",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::WeakPassword { .. } => "weak-password",
            Self::UnusableHash => "unusable-hash",
            Self::InternalError => "internal-error",
        }
    }

    /// A short public name for the kind of refusal, the same for every occurrence (RFC 9457 section 3.1.3).
    pub fn title(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Malformed request",
            Self::RouteNotFound => "No such route",
            Self::MethodNotAllowed { .. } => "Method not allowed",
            Self::RequestTimeout => "Request timed out",
            Self::UriTooLong => "Request target too long",
            Self::HeadersTooLarge => "Request header too large",
            Self::BodyTooLarge => "Request body too large",
            Self::AddressNotAllowed => "Address not allowed",
            Self::AuthenticationRequired => "Authentication required",
            Self::InvalidToken { .. } => "Invalid access token",
            Self::InsufficientScope { .. } => "Insufficient scope",
            Self::WrongResource { .. } => "Token for another resource",
            Self::RateLimited(_) => "Too many requests",
            Self::CircuitOpen { .. } => "Service resting",
            Self::Overloaded { .. } => "Overloaded",
            Self::UpstreamUnreachable => "Service unreachable",
            Self::UpstreamFailed => "Service failed",
            Self::UpstreamTimeout => "Service timed out",
            Self::KeysUnavailable => "Keys unavailable",
            Self::RevocationsStale => "Revocations out of date",
            Self::StoreUnavailable => "Storage unavailable",
            Self::InvalidCredentials => "Sign-in failed",
            Self::MfaRequired => "Second factor required",
            Self::ResourceNotAllowed => "Resource not allowed",
            Self::CrossSite => "Request from another site",
            Self::Conflict => "Conflict",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::WeakPassword { .. } => "Password too weak",
            Self::UnusableHash => "Password hash not usable",
            Self::InternalError => "Internal error",
        }
    }

    /// What happened and what the client can do about it. Plain ASCII without quotation marks or backslashes, so that
    /// it stands in JSON as it is; a test holds every text to that.
    pub fn detail(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Malformed(what) => what.detail(),
            Self::RouteNotFound => "Nothing is served under this host and path.",
            Self::MethodNotAllowed { .. } => {
                "This path does not take that method; the Allow header lists those it takes."
            }
            Self::RequestTimeout => "The request did not arrive in full in the time allowed.",
            Self::UriTooLong => "The path and query together are longer than the gateway accepts.",
            Self::HeadersTooLarge => {
                "The request has more or longer header lines than the gateway accepts."
            }
            Self::BodyTooLarge => "The request body is larger than this route accepts.",
            Self::AddressNotAllowed => "This route does not serve your network address.",
            Self::AuthenticationRequired => {
                "Send an access token in the Authorization header, with the scheme Bearer."
            }
            Self::InvalidToken { .. } => {
                "The access token is expired, revoked or otherwise not valid here. Obtain a new one and try again."
            }
            Self::InsufficientScope { .. } => {
                "The access token is valid but does not permit this request."
            }
            Self::WrongResource { .. } => {
                "The access token is valid but was issued for another resource."
            }
            Self::RateLimited(_) => {
                "You have used up your requests for now. Try again after the time in Retry-After."
            }
            Self::CircuitOpen { .. } => {
                "The service behind this route has been failing and is given a rest. Try again after the time in Retry-After."
            }
            Self::Overloaded { .. } => {
                "Too much is being worked on at the moment. Try again after the time in Retry-After."
            }
            Self::UpstreamUnreachable => "The service behind this route could not be reached.",
            Self::UpstreamFailed => "The service behind this route did not give a usable answer.",
            Self::UpstreamTimeout => "The service behind this route did not answer in time.",
            Self::KeysUnavailable => {
                "The keys to verify this access token cannot be had at the moment. Try again shortly."
            }
            Self::RevocationsStale => {
                "The gateway cannot tell at the moment whether this token was revoked. Try again shortly."
            }
            Self::StoreUnavailable => "Storage cannot be reached at the moment. Try again shortly.",
            Self::InvalidCredentials => "What you sent does not open an account here.",
            Self::MfaRequired => {
                "The first proof was right. Send the challenge with a code to finish signing in."
            }
            Self::ResourceNotAllowed => "Your account is not entitled to tokens for this resource.",
            Self::CrossSite => {
                "A page of another site sent this. Pages of this site, and of origins that are listed for it, may."
            }
            Self::Conflict => "This would collide with something that exists already.",
            Self::UnsupportedMediaType => "Send the body as application/json.",
            Self::WeakPassword { reason } => reason,
            Self::UnusableHash => {
                "The hash is not bcrypt, argon2 or scrypt in its usual form, or dearer than this gateway runs."
            }
            Self::InternalError => {
                "Something went wrong on our side. The request id helps to find out what."
            }
        })
    }

    /// What belongs in the answer beside the problem itself. The rate headers are the caller's: the operator chooses
    /// among them, and [`Rejection::refused_limit`] has their numbers.
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed { allow } => vec![(header::ALLOW, allow.clone())],
            Self::AuthenticationRequired | Self::InvalidCredentials | Self::MfaRequired => {
                vec![(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(r#"Bearer realm="portcullis""#),
                )]
            }
            Self::InvalidToken { .. } => vec![(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(r#"Bearer realm="portcullis", error="invalid_token""#),
            )],
            Self::InsufficientScope { challenge } | Self::WrongResource { challenge } => {
                vec![(header::WWW_AUTHENTICATE, challenge.clone())]
            }
            Self::RateLimited(refused) => vec![retry_after(refused.retry_after)],
            Self::CircuitOpen { retry_after: wait } | Self::Overloaded { retry_after: wait } => {
                vec![retry_after(*wait)]
            }
            Self::KeysUnavailable | Self::RevocationsStale | Self::StoreUnavailable => {
                vec![retry_after(DEPENDENCY_RETRY)]
            }
            Self::Malformed(_)
            | Self::RouteNotFound
            | Self::RequestTimeout
            | Self::UriTooLong
            | Self::HeadersTooLarge
            | Self::BodyTooLarge
            | Self::AddressNotAllowed
            | Self::UpstreamUnreachable
            | Self::UpstreamFailed
            | Self::UpstreamTimeout
            | Self::ResourceNotAllowed
            | Self::CrossSite
            | Self::Conflict
            | Self::UnsupportedMediaType
            | Self::WeakPassword { .. }
            | Self::UnusableHash
            | Self::InternalError => Vec::new(),
        }
    }

    /// Whether the connection must not be used again. It is where the end of the request is in doubt or still to
    /// come; every other refusal keeps the connection, because a new handshake is dearer than the answer.
    pub fn closes_connection(&self) -> bool {
        match self {
            Self::RequestTimeout | Self::BodyTooLarge => true,
            Self::Malformed(what) => what.breaks_framing(),
            Self::RouteNotFound
            | Self::MethodNotAllowed { .. }
            | Self::UriTooLong
            | Self::HeadersTooLarge
            | Self::AddressNotAllowed
            | Self::AuthenticationRequired
            | Self::InvalidToken { .. }
            | Self::InsufficientScope { .. }
            | Self::WrongResource { .. }
            | Self::RateLimited(_)
            | Self::CircuitOpen { .. }
            | Self::Overloaded { .. }
            | Self::UpstreamUnreachable
            | Self::UpstreamFailed
            | Self::UpstreamTimeout
            | Self::KeysUnavailable
            | Self::RevocationsStale
            | Self::StoreUnavailable
            | Self::InvalidCredentials
            | Self::MfaRequired
            | Self::ResourceNotAllowed
            | Self::CrossSite
            | Self::Conflict
            | Self::UnsupportedMediaType
            | Self::WeakPassword { .. }
            | Self::UnusableHash
            | Self::InternalError => false,
        }
    }

    /// The limit that refused, where one did.
    pub fn refused_limit(&self) -> Option<&Refused> {
        if let Self::RateLimited(refused) = self {
            Some(refused)
        } else {
            None
        }
    }
}

fn retry_after(wait: Duration) -> (HeaderName, HeaderValue) {
    (header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)))
}

#[cfg(test)]
mod tests;
