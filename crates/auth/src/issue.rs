//! Making an access token: the session and its audit rows are committed first, then the token leaves.

use portcullis_audit::{Action, Event, Outcome, Party, PartyKind};
use portcullis_config::units::Timestamp;
use portcullis_policy::rejection::Rejection;
use portcullis_store::{NewSession, StoreError, User};
use portcullis_tokens::AccessClaims;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    answer::Refusal, entitlement::Entitlement, random, request::Call, service::AuthService,
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
}

impl Issued {
    pub(crate) fn new(access_token: String, entitlement: Entitlement) -> Self {
        Self {
            access_token,
            token_type: "bearer",
            expires_in: entitlement.lifetime.as_secs(),
            scope: entitlement.scopes.line().to_owned(),
            resource: entitlement.resource,
        }
    }
}

/// For the description of the endpoints.
pub(crate) fn example() -> Value {
    json!({
        "access_token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJyZXNvdXJjZSI6ImhvdGVsIn0.c2lnbmF0dXJl",
        "token_type": "bearer",
        "expires_in": 300,
        "resource": "hotel",
        "scope": "hotel:read",
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
        let session = new_session(user, &entitlement, call, now)?;
        let claims = self.claims(user, &entitlement, &session.sid, now)?;
        // Signed first: a session whose token could not be made would be a row about nothing.
        let access_token = self.sign(&claims)?;
        reasons.push(self.issued_event(user, &entitlement, &session.sid, call));
        self.sessions
            .open(&session, &reasons)
            .await
            .map_err(refused_session)?;
        Ok(Issued::new(access_token, entitlement))
    }

    pub(crate) fn sign(&self, claims: &AccessClaims) -> Result<String, Refusal> {
        let signed = self.signer.sign(claims);
        signed.map_err(|error| Refusal::internal(format!("signing: {error}")))
    }

    fn claims(
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
}

fn new_session(
    user: &User,
    entitlement: &Entitlement,
    call: &Call,
    now: Timestamp,
) -> Result<NewSession, Refusal> {
    // Without a refresh token the session ends with its only access token.
    let expires_at = now.plus(entitlement.lifetime);
    Ok(NewSession {
        sid: random::row_id(now)?,
        user_id: user.id.clone(),
        user_version: user.version,
        client_id: Some(FIRST_PARTY_CLIENT.to_owned()),
        resource: entitlement.resource.clone(),
        scopes: entitlement.scopes.line().to_owned(),
        mac_kid: None,
        created_at: now,
        idle_expires_at: expires_at,
        absolute_expires_at: expires_at,
        user_agent: None,
        ip: call.address,
        tenant: entitlement.tenant.clone(),
    })
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
