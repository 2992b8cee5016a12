//! `POST /v1/auth/register`, also `signup`: a new user, made by an administrator or, where the operator says so, by
//! anybody. Roles are never in the body; a new user has the default role.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_config::auth::Registration;
use portcullis_policy::rejection::Rejection;
use portcullis_store::{StoreError, User};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::profile::{self, Profile};
use crate::{
    accounts::{AccountError, NewAccount, Strength, create_user},
    admin_scope::UsersWrite,
    administrator::Administrator,
    answer::{self, Refusal},
    entitlement::{Wanted, entitle},
    identifiers::{Email, Username},
    issue::{self, Issued},
    openapi::{
        also,
        refusals::{Conflict, CrossSite, WeakPassword},
        tags,
    },
    password::Password,
    request::{self, Call, malformed_field},
    service::AuthService,
};

const BAD_USERNAME: &str =
    "A user name has 1 to 254 bytes of letters and digits of one script, with . _ and -.";
const BAD_EMAIL: &str = "The email is not an address that mail can be sent to.";
const NAMELESS: &str = "Give a username, an email or both.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(register)).routes(also(
        routes!(register),
        "/v1/auth/signup",
        "signup",
    ))
}

/// A new user: `username`, `email` or both.
// Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Registration)]
struct Registering {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
    password: Password,
}

#[derive(Serialize, ToSchema)]
struct Registered {
    user: Profile,
    // Absent where the default role has no scope of the default resource.
    #[serde(flatten)]
    token: Option<Issued>,
}

/// Register a user
///
/// By an administrator with `users:write`, or by anybody where the operator says so. The new user has the default role,
/// and a token for the default resource where that role has a scope of it.
#[utoipa::path(
    post,
    path = "/v1/auth/register",
    operation_id = "register",
    tag = tags::SIGN_IN,
    security((), ("bearer" = ["users:write"])),
    request_body(content = Registering, example = json!({
        "username": "saad", "email": "saad@example.com", "password": "eleven blue lanterns",
    })),
    responses(
        (status = 201, description = "The new user.", body = Registered, example = json!({
            "user": profile::example(),
            "access_token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJyZXNvdXJjZSI6ImhvdGVsIn0.c2lnbmF0dXJl",
            "token_type": "bearer",
            "expires_in": 300,
            "resource": "hotel",
            "scope": "hotel:read",
            "refresh_token": issue::EXAMPLE_REFRESH_TOKEN,
        })),
        CrossSite,
        Conflict,
        WeakPassword,
    ),
)]
async fn register(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    service.check_origin(request.headers())?;
    // Before the body: a stranger's is not read.
    let actor = service.registrar(request.headers()).await?;
    let body: Registering = request::json(request).await?;
    let event = service.event(&call, Action::UserCreated, Outcome::Success, actor);
    let user = service.register(body, event).await?;
    let mut token = service.first_token(&user, &call).await;
    service.verify_new_address(&user, &call);
    let cookie = token.as_mut().and_then(Issued::take_cookie);
    let user = user.into();
    let mut response = answer::json(StatusCode::CREATED, Registered { user, token });
    // An administrator's browser stays the administrator's.
    if let (Registration::Open, Some(cookie)) = (service.config.registration, cookie) {
        cookie.set(&mut response);
    }
    Ok(response)
}

impl AuthService {
    async fn registrar(self: &Arc<Self>, headers: &HeaderMap) -> Result<Party, Refusal> {
        match self.config.registration {
            Registration::Open => Ok(Party::anonymous()),
            Registration::Admin => {
                let asks = Administrator::<UsersWrite>::of(Arc::clone(self), headers);
                Ok(asks.await?.party)
            }
        }
    }

    async fn register(&self, body: Registering, event: Event) -> Result<User, Refusal> {
        let roles: Vec<&str> = self.config.default_role.as_deref().into_iter().collect();
        let account = NewAccount {
            username: parse_username(body.username.as_deref())?,
            email: parse_email(body.email.as_deref())?,
            password: body.password,
            roles: &roles,
            tenant: None,
            strength: Strength::Judged,
        };
        create_user(&self.store, &self.hasher, account, event)
            .await
            .map_err(refused_account)
    }

    /// The user exists by now, whatever becomes of the token: who gets none signs in.
    async fn first_token(&self, user: &User, call: &Call) -> Option<Issued> {
        let resource = self.config.default_resource.as_deref()?;
        let entitlement = entitle(&self.config, user, &Wanted::all_of(resource)).ok()?;
        match self.issue(user, entitlement, call, Vec::new()).await {
            Ok(issued) => Some(issued),
            Err(refusal) => {
                tracing::warn!(
                    code = refusal.rejection.code(),
                    "a new user was left without a token"
                );
                None
            }
        }
    }
}

pub(super) fn parse_username(name: Option<&str>) -> Result<Option<Username>, Refusal> {
    let parsed = name.map(Username::parse).transpose();
    parsed.map_err(|_why| malformed_field(BAD_USERNAME))
}

pub(super) fn parse_email(address: Option<&str>) -> Result<Option<Email>, Refusal> {
    let parsed = address.map(Email::parse).transpose();
    parsed.map_err(|_why| malformed_field(BAD_EMAIL))
}

pub(super) fn refused_account(error: AccountError) -> Refusal {
    match error {
        AccountError::Name(_) => malformed_field(BAD_USERNAME),
        AccountError::Nameless => malformed_field(NAMELESS),
        AccountError::Password(error) => error.into(),
        AccountError::Store(StoreError::Taken) => Rejection::Conflict.into(),
        AccountError::Store(error) => error.into(),
        AccountError::Hashing(error) => error.into(),
        AccountError::Randomness(error) => error.into(),
    }
}
