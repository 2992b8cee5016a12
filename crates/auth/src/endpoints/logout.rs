//! `POST /v1/auth/logout`: the end of this session, of the others, or of all.
//!
//! Whoever holds a token of a session may end that session, even if the token has expired or was spent: a lost token can only
//! do good here. To end others it takes one that is good now. What has ended already is no mistake.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use portcullis_config::units::Timestamp;
use portcullis_policy::rejection::Rejection;
use portcullis_store::{Session, User};
use portcullis_tokens::Revocation;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    answer::Refusal,
    openapi::{
        refusals::{CrossSite, InvalidCredentials},
        tags,
    },
    request::{self, Call},
    service::AuthService,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(logout))
}

// Deliberately without `Debug`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Logout {
    #[serde(default)]
    scope: Reach,
    /// Where there is neither an access token nor the cookie.
    #[serde(default, deserialize_with = "request::secret")]
    #[schema(value_type = Option<String>)]
    refresh_token: Option<Zeroizing<String>>,
}

/// Which sessions of the user end.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LogoutScope)]
enum Reach {
    /// The one that the token is of.
    #[default]
    This,
    Others,
    All,
}

/// Sign out
///
/// With the access token, or the refresh token in the body or the cookie. No access token of an ended session is taken any
/// more from the moment of the answer. The body may be left out, but not beside the cookie.
#[utoipa::path(
    post,
    path = "/v1/auth/logout",
    operation_id = "logout",
    tag = tags::SIGN_IN,
    security(("bearer" = []), ("refresh_cookie" = []), ()),
    request_body(content = Option<Logout>, example = json!({ "scope": "this" })),
    responses(
        (status = 204, description = "Ended, now or before."),
        InvalidCredentials,
        CrossSite,
    ),
)]
async fn logout(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let body = Logout::read(request).await?;
    let held = service.held_session(body.refresh_token, &headers).await?;
    // What is not kept any more has ended.
    if let Some(held) = held {
        service.log_out(&held, body.scope, &call).await?;
    }
    let response = StatusCode::NO_CONTENT.into_response();
    Ok(match body.scope {
        Reach::This | Reach::All => service.without_cookie(response),
        Reach::Others => response,
    })
}

impl Logout {
    /// No body at all says the same as an empty object. A page of another site can send that as well, but no access token.
    async fn read(request: Request<Body>) -> Result<Self, Refusal> {
        let headers = request.headers();
        let says_nothing = !headers.contains_key(header::CONTENT_TYPE)
            && request::is_empty(request.body())
            && headers.contains_key(header::AUTHORIZATION);
        if says_nothing {
            Ok(Self::default())
        } else {
            request::json(request).await
        }
    }
}

/// Whose session somebody holds a token of.
struct Held {
    sid: String,
    user: User,
    /// That of the user when the token or its session was made.
    version: u64,
    /// Whether the token is good at this moment.
    is_current: bool,
}

impl AuthService {
    async fn held_session(
        &self,
        in_body: Option<Zeroizing<String>>,
        headers: &HeaderMap,
    ) -> Result<Option<Held>, Refusal> {
        if headers.contains_key(header::AUTHORIZATION) {
            return self.by_access_token(headers).await;
        }
        self.check_origin(headers)?;
        match self.refresh_token(in_body, headers)? {
            Some(token) => self.by_refresh_token(&token).await,
            None => Err(Rejection::AuthenticationRequired.into()),
        }
    }

    async fn by_access_token(&self, headers: &HeaderMap) -> Result<Option<Held>, Refusal> {
        let principal = self.recognize(headers)?;
        let (Some(sid), Some(user)) = (
            principal.session(),
            self.store.user(principal.subject()).await?,
        ) else {
            return Err(Rejection::InvalidToken { cause: "revoked" }.into());
        };
        let version = principal.version();
        let is_current = self.is_good(headers) && !user.disabled && user.version == version;
        Ok(Some(Held {
            sid: sid.to_owned(),
            user,
            version,
            is_current,
        }))
    }

    async fn by_refresh_token(&self, token: &str) -> Result<Option<Held>, Refusal> {
        let Ok(token) = self.refresh_key.read(token) else {
            return Err(Rejection::InvalidCredentials.into());
        };
        let sid = Uuid::from_bytes(token.session).to_string();
        let Some(session) = self.sessions.find(&sid).await? else {
            return Ok(None);
        };
        let Some(user) = self.store.user(&session.user_id).await? else {
            return Ok(None);
        };
        let is_current = user.keeps(&session) && is_current(&session, token.generation, self.now());
        Ok(Some(Held {
            sid,
            version: session.user_version,
            user,
            is_current,
        }))
    }

    /// A good access token whose session is not kept any more, as in a Redis that has forgotten, is taken back by itself.
    async fn end_held(&self, held: &Held, call: &Call) -> Result<(), Refusal> {
        let was_live = self.end_session(&held.user, &held.sid, call).await?;
        if was_live || !held.is_current {
            return Ok(());
        }
        let event = self.end_event(&held.user, &held.sid, call);
        let revocation = Revocation::Session(held.sid.clone());
        let until = self.last_expiry();
        Ok(self.store.revoke(&revocation, until, &event).await?)
    }

    async fn log_out(&self, held: &Held, reach: Reach, call: &Call) -> Result<(), Refusal> {
        match reach {
            Reach::This => self.end_held(held, call).await,
            Reach::Others if held.is_current => {
                self.end_other_sessions(&held.user, &held.sid, call).await
            }
            Reach::All if held.is_current => self.end_all_sessions(&held.user, call).await,
            // All that there was when the token was made has ended since: somebody asks again.
            Reach::All if held.version < held.user.session_fence => Ok(()),
            Reach::Others | Reach::All => Err(Rejection::InvalidCredentials.into()),
        }
    }
}

/// A spent token may be in a thief's hands.
fn is_current(session: &Session, generation: u64, now: Timestamp) -> bool {
    session.is_live(now) && session.generation == generation
}
