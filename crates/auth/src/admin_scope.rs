//! What the administration API asks of a token: that it is for the resource `portcullis`, and one scope.

use axum::http::HeaderValue;
use portcullis_policy::rejection::Rejection;
use portcullis_tokens::{OWN_RESOURCE, Principal};

/// RFC 6750 section 3, for who lacks more than one scope.
pub(crate) const CHALLENGE: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="portcullis", error="insufficient_scope""#);

/// Each scope with the challenge that names it.
macro_rules! scopes {
    ($($(#[$about:meta])* $name:ident = $scope:literal,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum AdminScope { $($(#[$about])* $name,)+ }

        impl AdminScope {
            fn as_str(self) -> &'static str {
                match self { $(Self::$name => $scope,)+ }
            }

            fn challenge(self) -> HeaderValue {
                HeaderValue::from_static(match self {
                    $(Self::$name => concat!(
                        r#"Bearer realm="portcullis", error="insufficient_scope", scope=""#, $scope, "\""
                    ),)+
                })
            }
        }
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

impl AdminScope {
    pub(crate) fn check(self, principal: &Principal) -> Result<(), Rejection> {
        if principal.resource() != OWN_RESOURCE {
            Err(Rejection::WrongResource {
                challenge: CHALLENGE,
            })
        } else if !principal.scopes().contains(self.as_str()) {
            Err(Rejection::InsufficientScope {
                challenge: self.challenge(),
            })
        } else {
            Ok(())
        }
    }
}
