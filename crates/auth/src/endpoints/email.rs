//! `POST /v1/auth/email/verify` and `/resend`: whether the account's address is its owner's.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::StatusCode,
};
use portcullis_audit::{Action, Outcome, Party};
use portcullis_policy::rejection::Rejection;
use portcullis_store::{CodePurpose, User};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::password_reset::spent;
use crate::{
    answer::Refusal,
    caller::Caller,
    codes::Code,
    courier::Errand,
    issue::party_of,
    openapi::{
        refusals::{InvalidCredentials, NotFound},
        tags,
    },
    request::{self, Call},
    service::AuthService,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(verify))
        .routes(routes!(resend))
}

// Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EmailVerification)]
struct Verification {
    /// From the mail.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    code: Code,
}

/// Verify an address with a code
///
/// The code is good once, for 15 minutes, and as long as the account has the address it was sent to.
#[utoipa::path(
    post,
    path = "/v1/auth/email/verify",
    operation_id = "verify_email",
    tag = tags::PROFILE,
    security(()),
    request_body(content = Verification, example = json!({"code": "q7Y0v2mJb1xWcT9sHfKpLA"})),
    responses(
        (status = 204, description = "The address is verified."),
        InvalidCredentials,
        NotFound,
    ),
)]
async fn verify(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<StatusCode, Refusal> {
    service.courier()?;
    let body: Verification = request::json(request).await?;
    service.check_guess(&call)?;
    let done = service.verify_email(&body.code, &call).await;
    service.note_guess(&done, Action::EmailVerified, &call);
    done.map(|()| StatusCode::NO_CONTENT)
}

/// Ask for another mail that verifies the address
///
/// The code in it takes the place of the one before.
#[utoipa::path(
    post,
    path = "/v1/auth/email/resend",
    operation_id = "resend_email_verification",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "If the account has an address that is not verified, a mail is on its way."),
        NotFound,
    ),
)]
async fn resend(
    State(service): State<Arc<AuthService>>,
    call: Call,
    caller: Caller,
) -> Result<StatusCode, Refusal> {
    service.courier()?;
    service.allow_mail(&call)?;
    service.ask_to_verify(caller.user.id, call)?;
    Ok(StatusCode::ACCEPTED)
}

impl AuthService {
    async fn verify_email(&self, code: &Code, call: &Call) -> Result<(), Refusal> {
        let (hash, purpose) = (code.hash(), CodePurpose::VerifyEmail);
        let holder = self
            .store
            .holder_of_code(purpose, &hash, self.now())
            .await?;
        let user = holder.ok_or(Rejection::InvalidCredentials)?;
        let (action, actor) = (Action::EmailVerified, Party::anonymous());
        let event = self.event(call, action, Outcome::Success, actor);
        let event = event.on(party_of(&user));
        let verified = self.store.verify_email(&hash, &event).await;
        verified.map(drop).map_err(spent)
    }

    /// For whoever gave the user the address. It is kept by now, and the mail can be asked for again.
    pub(super) fn verify_new_address(&self, user: &User, call: &Call) {
        if user.email.is_none() || user.email_verified || self.courier.is_none() {
            return;
        }
        if let Err(refusal) = self.ask_to_verify(user.id.clone(), call.clone()) {
            let code = refusal.rejection.code();
            tracing::warn!(code, "a user was not asked to verify a new address");
        }
    }

    fn ask_to_verify(&self, user_id: String, call: Call) -> Result<(), Refusal> {
        if self.mail_throttle.lets_letter_pass(&user_id, self.now()) {
            self.courier()?
                .leave(Errand::Unverified { user_id, call })?;
        }
        Ok(())
    }
}
