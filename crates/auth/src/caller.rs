//! Who asks, where an endpoint needs to know: the access token, and the user behind it as the database has it now.
//!
//! The gateway leaves `Authorization` untouched on public routes, so the token is verified here. What was changed since
//! it was issued counts at once, without waiting for the revocation to come around.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use portcullis_audit::{Action, Outcome, Party};
use portcullis_policy::rejection::{Malformation, Rejection};
use portcullis_store::User;
use portcullis_tokens::{IssuerName, OWN_RESOURCE, Principal, TokenError};

use crate::{
    answer::Refusal, clients::client_party, issue::party_of, request::Call, service::AuthService,
};

const WRONG_RESOURCE: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="portcullis", error="insufficient_scope""#);

/// A user with a valid token.
pub(crate) struct Caller {
    principal: Arc<Principal>,
    pub(crate) user: User,
}

/// What the administration API asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminScope {
    UsersRead,
    UsersWrite,
    /// To see them as well: there is no use in looking alone.
    BreakersWrite,
    /// To see them as well.
    KeysRotate,
    RevocationsRead,
}

impl AdminScope {
    fn as_str(self) -> &'static str {
        match self {
            Self::UsersRead => "users:read",
            Self::UsersWrite => "users:write",
            Self::BreakersWrite => "breakers:write",
            Self::KeysRotate => "keys:rotate",
            Self::RevocationsRead => "revocations:read",
        }
    }

    fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::UsersRead => {
                r#"Bearer realm="portcullis", error="insufficient_scope", scope="users:read""#
            }
            Self::UsersWrite => {
                r#"Bearer realm="portcullis", error="insufficient_scope", scope="users:write""#
            }
            Self::BreakersWrite => {
                r#"Bearer realm="portcullis", error="insufficient_scope", scope="breakers:write""#
            }
            Self::KeysRotate => {
                r#"Bearer realm="portcullis", error="insufficient_scope", scope="keys:rotate""#
            }
            Self::RevocationsRead => {
                r#"Bearer realm="portcullis", error="insufficient_scope", scope="revocations:read""#
            }
        })
    }

    fn check(self, principal: &Principal) -> Result<(), Rejection> {
        if principal.resource() != OWN_RESOURCE {
            Err(Rejection::WrongResource {
                challenge: WRONG_RESOURCE,
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

impl Caller {
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl AuthService {
    /// The user, by a token of any resource of ours.
    pub(crate) async fn caller(&self, headers: &HeaderMap, call: &Call) -> Result<Caller, Refusal> {
        let caller = self.authenticate(headers).await;
        if let Err(refusal) = &caller {
            self.note_denial(&refusal.rejection, Party::anonymous(), call);
        }
        caller
    }

    /// The user, by a token for the administration API.
    pub(crate) async fn administrator(
        &self,
        headers: &HeaderMap,
        scope: AdminScope,
        call: &Call,
    ) -> Result<Caller, Refusal> {
        let caller = self.caller(headers, call).await?;
        if let Err(rejection) = scope.check(&caller.principal) {
            self.note_denial(&rejection, party_of(&caller.user), call);
            return Err(rejection.into());
        }
        Ok(caller)
    }

    /// A user or a client that may read revocations.
    pub(crate) async fn revocation_reader(
        &self,
        headers: &HeaderMap,
        call: &Call,
    ) -> Result<(), Refusal> {
        let (principal, actor) = match self.holder(headers).await {
            Ok(holder) => holder,
            Err(refusal) => {
                self.note_denial(&refusal.rejection, Party::anonymous(), call);
                return Err(refusal);
            }
        };
        if let Err(rejection) = AdminScope::RevocationsRead.check(&principal) {
            self.note_denial(&rejection, actor, call);
            return Err(rejection.into());
        }
        Ok(())
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let principal = self.principal(headers)?;
        self.user_of(principal).await
    }

    /// Of a token of our own.
    fn principal(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Refusal> {
        self.principal_of(bearer(headers)?)
    }

    fn principal_of(&self, token: &str) -> Result<Arc<Principal>, Refusal> {
        let principal = self
            .verifier
            .verify(token, self.now())
            .map_err(refused_token)?;
        match principal.issuer() {
            IssuerName::Local => Ok(principal),
            // Known to us, but nobody here: there is no profile to show.
            IssuerName::Foreign(_) => {
                let challenge = WRONG_RESOURCE;
                Err(Rejection::WrongResource { challenge }.into())
            }
        }
    }

    async fn user_of(&self, principal: Arc<Principal>) -> Result<Caller, Refusal> {
        match self.store.user(principal.subject()).await? {
            Some(user) if !user.disabled && user.version == principal.version() => {
                Ok(Caller { principal, user })
            }
            Some(_) | None => Err(Rejection::InvalidToken { cause: "revoked" }.into()),
        }
    }

    /// Of a token that stands in a body. `None` if it is not good, for whatever reason.
    pub(crate) async fn holder_of(
        &self,
        token: &str,
    ) -> Result<Option<(Arc<Principal>, Party)>, Refusal> {
        let holder = async { self.holder_now(self.principal_of(token)?).await };
        match holder.await {
            Ok(holder) => Ok(Some(holder)),
            Err(refusal) if refusal.rejection.status().is_server_error() => Err(refusal),
            Err(_not_good) => Ok(None),
        }
    }

    /// Whose token it is, user or client, as the database has them now.
    async fn holder(&self, headers: &HeaderMap) -> Result<(Arc<Principal>, Party), Refusal> {
        self.holder_now(self.principal(headers)?).await
    }

    async fn holder_now(
        &self,
        principal: Arc<Principal>,
    ) -> Result<(Arc<Principal>, Party), Refusal> {
        // A user's token was got through a client of another name.
        if principal.client_id() != Some(principal.subject()) {
            let caller = self.user_of(principal).await?;
            return Ok((caller.principal, party_of(&caller.user)));
        }
        match self.store.client(principal.subject()).await? {
            Some(client) if !client.disabled && client.version == principal.version() => {
                Ok((principal, client_party(&client.id, &client.name)))
            }
            Some(_) | None => Err(Rejection::InvalidToken { cause: "revoked" }.into()),
        }
    }

    /// Only what was decided about the caller; a malformed request or an absent database says nothing about it.
    fn note_denial(&self, rejection: &Rejection, actor: Party, call: &Call) {
        if !matches!(
            rejection.status(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return;
        }
        let event = self
            .event(call, Action::AccessDenied, Outcome::Refused, actor)
            .because(rejection.code());
        self.desk.denial(event, self.now());
    }
}

/// RFC 6750 section 2.1. The scheme is case-insensitive (RFC 9110 section 11.1); no other place is looked at.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Rejection::AuthenticationRequired.into());
    };
    if values.next().is_some() {
        return Err(Rejection::Malformed(Malformation::DuplicateAuthorization).into());
    }
    let credentials = value.to_str().ok().and_then(|text| text.split_once(' '));
    match credentials {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(token.trim_start_matches(' '))
        }
        Some(_) => Err(Rejection::AuthenticationRequired.into()),
        None => Err(Rejection::InvalidToken { cause: "malformed" }.into()),
    }
}

fn refused_token(error: TokenError) -> Refusal {
    if error == TokenError::KeysUnavailable {
        return Rejection::KeysUnavailable.into();
    }
    Rejection::InvalidToken {
        cause: error.outcome(),
    }
    .into()
}
