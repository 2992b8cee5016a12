//! `POST /v1/auth/password/forgot` and `/reset`: another password for whoever reads what is sent to the account's address.
//!
//! Asking is always answered alike. A reset gives no token: whoever has a second factor is asked for it at the sign-in
//! that follows.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::StatusCode,
};
use portcullis_audit::{Action, Outcome, Party};
use portcullis_policy::rejection::Rejection;
use portcullis_store::{CodePurpose, PasswordReset, StoreError};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::Refusal,
    codes::Code,
    courier::{Courier, Errand},
    identifiers::{MAX_NAME_BYTES, login_key},
    issue::party_of,
    openapi::{
        refusals::{InvalidCredentials, NotFound, WeakPassword},
        tags,
    },
    password::Password,
    request::{self, Call, malformed_field},
    service::AuthService,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(forgot))
        .routes(routes!(reset))
}

/// One of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordForgotten)]
struct Forgotten {
    #[serde(default)]
    #[schema(max_length = 254)]
    username: Option<String>,
    #[serde(default)]
    #[schema(max_length = 254)]
    email: Option<String>,
}

// Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordReset)]
struct Reset {
    /// From the mail.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    code: Code,
    new_password: Password,
}

/// Ask for a mail that resets the password
///
/// The answer is the same whether there is such an account or not. The mail holds a code that is good once, for 15
/// minutes; a newer one takes its place. Not found where the gateway sends no mail.
#[utoipa::path(
    post,
    path = "/v1/auth/password/forgot",
    operation_id = "forgot_password",
    tag = tags::SIGN_IN,
    security(()),
    request_body(content = Forgotten, example = json!({"email": "saad@example.com"})),
    responses(
        (status = 202, description = "If there is such an account with an address, a mail is on its way."),
        NotFound,
    ),
)]
async fn forgot(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<StatusCode, Refusal> {
    let courier = service.courier()?;
    let body: Forgotten = request::json(request).await?;
    let name = body.name()?;
    service.allow_mail(&call)?;
    let name = login_key(name).unwrap_or_default();
    if service.mail_throttle.lets_letter_pass(&name, service.now()) {
        courier.leave(Errand::Forgotten { name, call })?;
    }
    Ok(StatusCode::ACCEPTED)
}

/// Reset the password with a code
///
/// All sessions of the user end. Sign in with the new password, and with the second factor where one is set up.
#[utoipa::path(
    post,
    path = "/v1/auth/password/reset",
    operation_id = "reset_password",
    tag = tags::SIGN_IN,
    security(()),
    request_body(content = Reset, example = json!({
        "code": "q7Y0v2mJb1xWcT9sHfKpLA", "new_password": "a ferry to the far island",
    })),
    responses(
        (status = 204, description = "The password is another one."),
        InvalidCredentials,
        NotFound,
        WeakPassword,
    ),
)]
async fn reset(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<StatusCode, Refusal> {
    service.courier()?;
    let body: Reset = request::json(request).await?;
    service.check_guess(&call)?;
    let done = service.reset_password(body, &call).await;
    service.note_guess(&done, Action::PasswordReset, &call);
    done.map(|()| StatusCode::NO_CONTENT)
}

impl Forgotten {
    fn name(&self) -> Result<&str, Refusal> {
        let ((Some(name), None) | (None, Some(name))) = (&self.username, &self.email) else {
            return Err(malformed_field("Give either username or email."));
        };
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(malformed_field("A name has 1 to 254 bytes."));
        }
        Ok(name)
    }
}

impl AuthService {
    async fn reset_password(&self, body: Reset, call: &Call) -> Result<(), Refusal> {
        let (hash, purpose) = (body.code.hash(), CodePurpose::ResetPassword);
        let holder = self
            .store
            .holder_of_code(purpose, &hash, self.now())
            .await?;
        let user = holder.ok_or(Rejection::InvalidCredentials)?;
        // A password that is refused leaves the code good.
        let password = self.hash_new_password(body.new_password, &user).await?;
        let party = party_of(&user);
        let event = self
            .event(call, Action::PasswordReset, Outcome::Success, party.clone())
            .on(party);
        let revocation_until = self.last_expiry();
        let reset = PasswordReset {
            user: &user,
            hash: &hash,
            password: &password,
            revocation_until,
        };
        let user = self.store.reset_password(&reset, &event).await;
        self.outdate(&user.map_err(spent)?, revocation_until);
        Ok(())
    }

    /// Nothing here is to be found where no mail is sent.
    pub(super) fn courier(&self) -> Result<&Courier, Refusal> {
        let courier = self.courier.as_ref();
        courier.ok_or_else(|| Rejection::RouteNotFound.into())
    }

    pub(super) fn allow_mail(&self, call: &Call) -> Result<(), Refusal> {
        let allowed = self.mail_throttle.request(call.address, self.now());
        allowed.map_err(|throttled| self.throttled(throttled, call))
    }

    pub(super) fn check_guess(&self, call: &Call) -> Result<(), Refusal> {
        let allowed = self.mail_throttle.check_guess(call.address, self.now());
        allowed.map_err(|throttled| self.throttled(throttled, call))
    }

    /// A code that is none counts, and is told in the log.
    pub(super) fn note_guess<T>(&self, done: &Result<T, Refusal>, action: Action, call: &Call) {
        let is_wrong = |refusal: &Refusal| refusal.rejection == Rejection::InvalidCredentials;
        if !done.as_ref().is_err_and(is_wrong) {
            return;
        }
        let now = self.now();
        self.mail_throttle.guessed_wrong(call.address, now);
        let event = self.event(call, action, Outcome::Refused, Party::anonymous());
        self.desk.offer(event.because("no-such-code"), now);
    }
}

/// Spent, expired or outdated while the new password was hashed.
pub(super) fn spent(error: StoreError) -> Refusal {
    match error {
        StoreError::Conflict => Rejection::InvalidCredentials.into(),
        StoreError::Unavailable(_)
        | StoreError::Taken
        | StoreError::NotFound
        | StoreError::Corrupt(_)
        | StoreError::NotMigrated
        | StoreError::TooNew(_)
        | StoreError::LastAdministrator
        | StoreError::Database(_) => error.into(),
    }
}
