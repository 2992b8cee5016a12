//! Who asks, where an endpoint needs to know: the access token, and the user behind it as the database has it now.
//!
//! The gateway leaves `Authorization` untouched on public routes, so the token is verified here. What was changed since
//! it was issued counts at once, without waiting for the revocation to come around.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use portcullis_audit::{Action, Outcome, Party};
use portcullis_policy::rejection::{Malformation, Rejection};
use portcullis_store::{Client, User};
use portcullis_tokens::{IssuerName, Principal, TokenError};

use crate::{
    admin_scope::CHALLENGE, answer::Refusal, clients::client_party, issue::party_of, request::Call,
    service::AuthService,
};

/// A user with a valid token.
pub(crate) struct Caller {
    principal: Arc<Principal>,
    pub(crate) user: User,
}

/// Whoever a token of ours is made out to.
pub(crate) enum Holder {
    User(Box<Caller>),
    Client(Arc<Principal>, Client),
}

impl Holder {
    pub(crate) fn principal(&self) -> &Principal {
        match self {
            Self::User(caller) => &caller.principal,
            Self::Client(principal, _) => principal,
        }
    }

    pub(crate) fn party(&self) -> Party {
        match self {
            Self::User(caller) => party_of(&caller.user),
            Self::Client(_, client) => client_party(&client.id, &client.name),
        }
    }
}

impl Caller {
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }
}

/// An endpoint that names the caller among its arguments is for whoever is signed in.
impl FromRequestParts<Arc<AuthService>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<AuthService>,
    ) -> Result<Self, Refusal> {
        let call = Call::of(&parts.headers);
        service.caller(&parts.headers, &call).await
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

    /// Whose token it is, even if it has expired or was revoked: for those who give something back.
    pub(crate) fn recognize(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Refusal> {
        let principal = self.verifier.recognize(bearer(headers)?);
        one_of_ours(principal.map_err(refused_token)?)
    }

    /// Whether the token of this request would open something now.
    pub(crate) fn is_good(&self, headers: &HeaderMap) -> bool {
        self.principal(headers).is_ok()
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        match self.holder(headers).await? {
            Holder::User(caller) => Ok(*caller),
            Holder::Client(..) => Err(Rejection::InvalidToken { cause: "client" }.into()),
        }
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
        one_of_ours(principal)
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
    pub(crate) async fn holder_of(&self, token: &str) -> Result<Option<Holder>, Refusal> {
        let holder = async { self.holder_now(self.principal_of(token)?).await };
        match holder.await {
            Ok(holder) => Ok(Some(holder)),
            Err(refusal) if refusal.rejection.status().is_server_error() => Err(refusal),
            Err(_not_good) => Ok(None),
        }
    }

    /// Whose token it is, user or client, as the database has them now.
    pub(crate) async fn holder(&self, headers: &HeaderMap) -> Result<Holder, Refusal> {
        self.holder_now(self.principal(headers)?).await
    }

    async fn holder_now(&self, principal: Arc<Principal>) -> Result<Holder, Refusal> {
        // A user's token was got through a client of another name.
        if principal.client_id() != Some(principal.subject()) {
            return Ok(Holder::User(Box::new(self.user_of(principal).await?)));
        }
        match self.store.client(principal.subject()).await? {
            Some(client) if !client.disabled && client.version == principal.version() => {
                Ok(Holder::Client(principal, client))
            }
            Some(_) | None => Err(Rejection::InvalidToken { cause: "revoked" }.into()),
        }
    }

    /// Only what was decided about the caller; a malformed request or an absent database says nothing about it.
    pub(crate) fn note_denial(&self, rejection: &Rejection, actor: Party, call: &Call) {
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

fn one_of_ours(principal: Arc<Principal>) -> Result<Arc<Principal>, Refusal> {
    match principal.issuer() {
        IssuerName::Local => Ok(principal),
        // Known to us, but nobody here: there is no profile to show.
        IssuerName::Foreign(_) => {
            let challenge = CHALLENGE;
            Err(Rejection::WrongResource { challenge }.into())
        }
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
