//! Making tokens: the session and its audit rows are committed first, then they leave.

use axum::{http::StatusCode, response::Response};
use portcullis_audit::{Action, Event, Outcome, Party, PartyKind};
use portcullis_config::units::Timestamp;
use portcullis_policy::rejection::Rejection;
use portcullis_store::{NewSession, StoreError, User};
use portcullis_tokens::{AccessClaims, RefreshToken};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    answer::{self, Refusal},
    cookie::RefreshCookie,
    entitlement::Entitlement,
    random,
    request::Call,
    service::AuthService,
};

/// The `client_id` of tokens that a user got by signing in here, without an OAuth client in between.
pub(crate) const FIRST_PARTY_CLIENT: &str = "portcullis";

/// The token response of RFC 6749 section 5.1, with the resource it is for.
// Never printed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Issued {
    /// A JWT in the profile of RFC 9068.
    access_token: String,
    /// Always `bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    /// What it opens: its only audience.
    resource: String,
    /// Separated by spaces.
    scope: String,
    /// For the next pair, where the file does not keep it to the cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip)]
    cookie: Option<RefreshCookie>,
}

/// A session as far as its refresh token goes.
pub(crate) struct Successor<'a> {
    pub(crate) sid: &'a str,
    pub(crate) generation: u64,
    /// When the session ends without further use.
    pub(crate) expires_at: Timestamp,
}

impl Issued {
    pub(crate) fn new(access_token: String, entitlement: Entitlement) -> Self {
        Self {
            access_token,
            token_type: "bearer",
            expires_in: entitlement.lifetime.as_secs(),
            scope: entitlement.scopes.line().to_owned(),
            resource: entitlement.resource,
            refresh_token: None,
            cookie: None,
        }
    }

    pub(crate) fn into_response(mut self, status: StatusCode) -> Response {
        let cookie = self.take_cookie();
        let mut response = answer::json(status, self);
        if let Some(cookie) = cookie {
            cookie.set(&mut response);
        }
        response
    }

    /// For an answer that has more in it than this.
    pub(crate) fn take_cookie(&mut self) -> Option<RefreshCookie> {
        self.cookie.take()
    }
}

pub(crate) const EXAMPLE_REFRESH_TOKEN: &str =
    "AQECAwQBl_PCWkF9EJ4vbx0sO0pZAGZvciB0aGUgZXhhbXBsZSBhbmQgbm90aGluZyBlbHNlISE";

/// For the description of the endpoints.
pub(crate) fn example() -> Value {
    json!({
        "access_token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJyZXNvdXJjZSI6ImhvdGVsIn0.c2lnbmF0dXJl",
        "token_type": "bearer",
        "expires_in": 300,
        "resource": "hotel",
        "scope": "hotel:read",
        "refresh_token": EXAMPLE_REFRESH_TOKEN,
    })
}

impl AuthService {
    /// `reasons` are the events that led here, such as the sign-in; they are committed with the session.
    pub(crate) async fn issue(
        &self,
        user: &User,
        entitlement: Entitlement,
        call: &Call,
        mut reasons: Vec<Event>,
    ) -> Result<Issued, Refusal> {
        let now = self.now();
        let session = self.new_session(user, &entitlement, call, now)?;
        let successor = Successor {
            sid: &session.sid,
            generation: 0,
            expires_at: session.idle_expires_at,
        };
        let claims = self.claims(user, &entitlement, &session.sid, now)?;
        // Signed first: a session whose token could not be made would be a row about nothing.
        let access_token = self.sign(&claims)?;
        let issued = Issued::new(access_token, entitlement.clone());
        let issued = self.with_refresh_token(issued, &successor, now)?;
        reasons.push(self.issued_event(user, &entitlement, &session.sid, call));
        self.sessions
            .open(&session, &reasons)
            .await
            .map_err(refused_session)?;
        Ok(issued)
    }

    /// In the body, in a cookie or both, as the file says.
    pub(crate) fn with_refresh_token(
        &self,
        issued: Issued,
        successor: &Successor<'_>,
        now: Timestamp,
    ) -> Result<Issued, Refusal> {
        let session = Uuid::parse_str(successor.sid)
            .map_err(|_invalid| Refusal::internal("the id of a session is no UUID"))?;
        let token = self.refresh_key.write(RefreshToken {
            session: session.into_bytes(),
            generation: successor.generation,
        });
        let lifetime = successor.expires_at.saturating_since(now);
        let cookies = self.cookies.as_ref();
        let cookie = cookies.map(|cookies| cookies.keep(&token, lifetime));
        let has_body = self.config.refresh_tokens.transport.has_body();
        Ok(Issued {
            cookie: cookie.transpose()?,
            refresh_token: has_body.then_some(token),
            ..issued
        })
    }

    pub(crate) fn sign(&self, claims: &AccessClaims) -> Result<String, Refusal> {
        let signed = self.signer.sign(claims);
        signed.map_err(|error| Refusal::internal(format!("signing: {error}")))
    }

    pub(crate) fn claims(
        &self,
        user: &User,
        entitlement: &Entitlement,
        sid: &str,
        now: Timestamp,
    ) -> Result<AccessClaims, Refusal> {
        Ok(AccessClaims {
            iss: self.config.issuer.clone(),
            sub: user.id.clone(),
            aud: entitlement.resource.clone(),
            resource: entitlement.resource.clone(),
            iat: now.as_secs(),
            exp: now.as_secs().saturating_add(entitlement.lifetime.as_secs()),
            jti: random::token_id()?,
            client_id: FIRST_PARTY_CLIENT.to_owned(),
            scope: entitlement.scopes.line().to_owned(),
            roles: entitlement.roles.clone(),
            sid: sid.to_owned(),
            ver: user.version,
            tenant: entitlement.tenant.clone(),
        })
    }

    fn issued_event(
        &self,
        user: &User,
        entitlement: &Entitlement,
        sid: &str,
        call: &Call,
    ) -> Event {
        self.event(call, Action::TokenIssued, Outcome::Success, party_of(user))
            .on(Party::new(PartyKind::Session, sid))
            .for_resource(&entitlement.resource)
    }

    fn new_session(
        &self,
        user: &User,
        entitlement: &Entitlement,
        call: &Call,
        now: Timestamp,
    ) -> Result<NewSession, Refusal> {
        let rules = &self.config.refresh_tokens;
        Ok(NewSession {
            sid: random::row_id(now)?,
            user_id: user.id.clone(),
            user_version: user.version,
            client_id: Some(FIRST_PARTY_CLIENT.to_owned()),
            resource: entitlement.resource.clone(),
            scopes: entitlement.asked_scopes().to_owned(),
            mac_kid: Some(self.refresh_key.id()),
            created_at: now,
            idle_expires_at: now.plus(rules.idle),
            absolute_expires_at: now.plus(rules.absolute),
            user_agent: call.user_agent.as_deref().map(str::to_owned),
            ip: call.address,
            tenant: entitlement.tenant.clone(),
        })
    }
}

/// The user was disabled or changed since the password was checked. Whoever signs in again meets the new state.
fn refused_session(error: StoreError) -> Refusal {
    match error {
        StoreError::Conflict => Rejection::InvalidCredentials.into(),
        StoreError::Unavailable(_)
        | StoreError::Taken
        | StoreError::NotFound
        | StoreError::LastAdministrator
        | StoreError::Corrupt(_)
        | StoreError::NotMigrated
        | StoreError::TooNew(_)
        | StoreError::Database(_) => error.into(),
    }
}

/// A user as the audit log names it.
pub(crate) fn user_party(id: &str, name: Option<&str>) -> Party {
    let party = Party::user(id);
    match name {
        Some(name) => party.named(name),
        None => party,
    }
}

pub(crate) fn party_of(user: &User) -> Party {
    user_party(&user.id, user.username.as_deref().or(user.email.as_deref()))
}
