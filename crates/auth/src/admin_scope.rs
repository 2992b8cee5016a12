//! What the administration API asks of a token: that it is for the resource `portcullis`, and one scope.
//!
//! A scope is a type here and no value, so that an endpoint says in its signature whom it takes, and what is for one scope
//! alone cannot be called with another.

use axum::http::HeaderValue;
use portcullis_policy::rejection::Rejection;
use portcullis_tokens::{OWN_RESOURCE, Principal};

/// RFC 6750 section 3, for who lacks more than one scope.
pub(crate) const CHALLENGE: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="portcullis", error="insufficient_scope""#);

pub(crate) trait AdminScope {
    /// As in a token.
    const WORD: &'static str;

    /// Names the scope.
    fn challenge() -> HeaderValue;
}

macro_rules! scopes {
    ($($(#[$about:meta])* $name:ident = $scope:literal,)+) => {
        $(
            $(#[$about])*
            pub(crate) enum $name {}

            impl AdminScope for $name {
                const WORD: &'static str = $scope;

                fn challenge() -> HeaderValue {
                    HeaderValue::from_static(concat!(
                        r#"Bearer realm="portcullis", error="insufficient_scope", scope=""#, $scope, "\""
                    ))
                }
            }
        )+
    };
}

scopes! {
    /// To see roles as well, which say what users may do.
    UsersRead = "users:read",
    UsersWrite = "users:write",
    RolesWrite = "roles:write",
    /// To see them as well: there is no use in looking alone. So with the three after it.
    SessionsRevoke = "sessions:revoke",
    ClientsWrite = "clients:write",
    BreakersWrite = "breakers:write",
    KeysRotate = "keys:rotate",
    AuditRead = "audit:read",
    RevocationsRead = "revocations:read",
}

pub(crate) fn check<S: AdminScope>(principal: &Principal) -> Result<(), Rejection> {
    if principal.resource() != OWN_RESOURCE {
        Err(Rejection::WrongResource {
            challenge: CHALLENGE,
        })
    } else if !principal.scopes().contains(S::WORD) {
        Err(Rejection::InsufficientScope {
            challenge: S::challenge(),
        })
    } else {
        Ok(())
    }
}
