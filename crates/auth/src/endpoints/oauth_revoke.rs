//! `POST /oauth/revoke` (RFC 7009): whoever holds a token gives it back, and with it what hangs on it: a user's session,
//! or the one token of a program.
//!
//! A program authenticates and gives back what it was issued itself. Tokens that a user got by signing in here belong to
//! no program that could authenticate, so there the token is proof enough. What is unknown, expired, revoked or
//! somebody else's gets the same answer as what was revoked, and lives on.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
};
use portcullis_audit::{Action, Outcome, Party, PartyKind};
use portcullis_store::{Client, SessionEnd};
use portcullis_tokens::{Principal, RefreshToken, Revocation};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    form::Form,
    issue::FIRST_PARTY_CLIENT,
    oauth::{Fault, OAuthRefusal},
    openapi::{
        refusals::{OAuthInvalidClient, OAuthInvalidRequest},
        tags,
    },
    request::Call,
    service::AuthService,
};

pub(super) const NO_TOKEN: &str = "Name the token.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(revoke))
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form, which is read by name")]
struct RevocationRequest {
    token: String,
    /// Not needed: a token tells by itself what it is.
    token_type_hint: Option<String>,
    /// Where it is not in the Authorization header; for tokens of a user's own sign-in it may be left out.
    client_id: Option<String>,
    client_secret: Option<String>,
    /// With `client_assertion`: `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// Instead of a secret: a JWT that the client has signed for this request (RFC 7523).
    client_assertion: Option<String>,
}

/// Give a token back
///
/// RFC 7009. An access token ends, and with a user's token, access or refresh, the session that it belongs to. The answer is the same for a
/// token that is unknown, has expired or belongs to somebody else, and that one lives on. A client authenticates as it
/// did when it got the token; without authentication only tokens of a user's own sign-in are taken.
#[utoipa::path(
    post,
    path = "/oauth/revoke",
    operation_id = "revoke_token",
    tag = tags::OAUTH,
    security(("client_secret" = []), ()),
    request_body(
        content = RevocationRequest,
        content_type = "application/x-www-form-urlencoded",
        example = json!({"token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJyZXNvdXJjZSI6ImhvdGVsIn0.c2lnbmF0dXJl"}),
    ),
    responses(
        (status = 200, description = "Whatever it was, it is not good any more for whoever gave it back."),
        OAuthInvalidRequest,
        OAuthInvalidClient,
    ),
)]
async fn revoke(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<StatusCode, OAuthRefusal> {
    let headers = request.headers().clone();
    let form = Form::read(request).await.map_err(Fault::from)?;
    let revoker = service.revoker(&headers, &form, &call).await?;
    let token = form.value("token").ok_or(Fault::Request(NO_TOKEN))?;
    match service.refresh_key.read(token) {
        Ok(token) => service.revoke_refresh_token(token, &revoker, &call).await?,
        Err(_not_one) => service.revoke_access_token(token, &revoker, &call).await?,
    }
    Ok(StatusCode::OK)
}

/// Who gives a token back.
enum Revoker {
    Program(Client),
    /// Nobody but whoever holds the token of a sign-in here.
    Holder,
}

impl Revoker {
    fn client_id(&self) -> &str {
        match self {
            Self::Program(client) => &client.id,
            Self::Holder => FIRST_PARTY_CLIENT,
        }
    }
}

impl AuthService {
    async fn revoker(
        &self,
        headers: &HeaderMap,
        form: &Form,
        call: &Call,
    ) -> Result<Revoker, OAuthRefusal> {
        if proves_nothing(headers, form) {
            return Ok(Revoker::Holder);
        }
        let client = self.authenticate_client(headers, form, call).await?;
        Ok(Revoker::Program(client))
    }

    /// Its whole session, even by a token that was spent: whoever gives back can do no harm.
    async fn revoke_refresh_token(
        &self,
        token: RefreshToken,
        revoker: &Revoker,
        call: &Call,
    ) -> Result<(), OAuthRefusal> {
        let Some((session, user)) = self.session_of(token, self.now()).await? else {
            return Ok(());
        };
        if session.client_id.as_deref() == Some(revoker.client_id()) {
            self.end_session(&user, &session.sid, call).await?;
        }
        Ok(())
    }

    async fn revoke_access_token(
        &self,
        token: &str,
        revoker: &Revoker,
        call: &Call,
    ) -> Result<(), OAuthRefusal> {
        let Some(holder) = self.holder_of(token).await? else {
            return Ok(());
        };
        let principal = holder.principal();
        match principal.session() {
            Some(sid) if principal.client_id() == Some(revoker.client_id()) => {
                self.end_tokens_of(principal, sid, holder.party(), call)
                    .await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Of the session, or of the one token of a program, which is its own session.
    async fn end_tokens_of(
        &self,
        principal: &Principal,
        sid: &str,
        holder: Party,
        call: &Call,
    ) -> Result<(), OAuthRefusal> {
        let event = self
            .event(call, Action::TokenRevoked, Outcome::Success, holder)
            .on(Party::new(PartyKind::Session, sid))
            .for_resource(principal.resource());
        let revocation_until = self.last_expiry();
        let end = SessionEnd {
            sid,
            user_id: principal.subject(),
            revocation_until,
            event: &event,
        };
        let revocation = Revocation::Session(sid.to_owned());
        // What has no session that could end must not be good any longer either.
        if !self.sessions.end(&end).await? {
            self.store
                .revoke(&revocation, revocation_until, &event)
                .await?;
        }
        self.revocations.revoke(revocation, revocation_until);
        Ok(())
    }
}

pub(super) fn proves_nothing(headers: &HeaderMap, form: &Form) -> bool {
    let is_first_party = form
        .value("client_id")
        .is_none_or(|id| id == FIRST_PARTY_CLIENT);
    let proofs = ["client_secret", "client_assertion", "client_assertion_type"];
    is_first_party
        && !headers.contains_key(header::AUTHORIZATION)
        && proofs.iter().all(|proof| form.value(proof).is_none())
}
