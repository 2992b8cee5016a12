//! The user's own second factor: an authenticator app, set up in two steps so that nobody is asked for codes that no
//! phone shows, and recovery codes for the day it is lost.
//!
//! Each step asks for the password again, and what would weaken the factor for a code of it as well: a stolen token, even
//! with the password, is not enough to get rid of what it cannot pass.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::{Action, Event};
use portcullis_policy::rejection::Rejection;
use portcullis_store::{FirstCode, TotpSecret, User};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::{self, Refusal},
    caller::Caller,
    issue::{self, Issued, party_of},
    openapi::{
        refusals::{Conflict, InvalidCredentials},
        tags,
    },
    password::Password,
    request::{Call, InBody, malformed_field},
    second_factor::{App, Code, Format, data_address, new_recovery_codes, place, refused_by},
    service::AuthService,
};

/// From the picture to the first code.
const SET_UP: Duration = Duration::from_secs(15 * 60);
const BAD_CODE: &str = "A code has six digits; a recovery code has four groups of six characters.";
const NO_CODE: &str = "Send a code of the authenticator app or a recovery code as well.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(begin, remove))
        .routes(routes!(confirm))
        .routes(routes!(replace_recovery_codes))
}

/// As it was typed, if it can be one at all.
pub(super) fn code(text: &str) -> Result<Code, Refusal> {
    Code::parse(text).ok_or_else(|| malformed_field(BAD_CODE))
}

// The bodies of requests are deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TotpBeginning)]
struct Beginning {
    password: Password,
    /// Of the picture.
    #[serde(default)]
    format: Format,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordAndCode)]
struct Confirmation {
    password: Password,
    /// Six digits of the authenticator app; where a factor is in force already, a recovery code will do.
    code: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TotpRemoval)]
struct Removal {
    password: Password,
    /// Of the app, or a recovery code. May be absent while the app is not confirmed.
    #[serde(default)]
    code: Option<String>,
}

/// What the app has to know. It is shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = TotpSetUp)]
struct SetUp {
    /// To be typed, in base 32.
    secret: String,
    /// What the picture says.
    otpauth_uri: String,
    /// The picture, as a `data:` address: the source of an image.
    qr_code: String,
    /// Seconds until a first code must have confirmed it.
    expires_in: u64,
}

/// Each stands in for the app once. They are shown this once.
#[derive(Serialize, ToSchema)]
struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

/// The recovery codes, and the first session that was begun with the factor.
#[derive(Serialize, ToSchema)]
#[schema(as = TotpConfirmed)]
struct Confirmed {
    recovery_codes: Vec<String>,
    /// Absent where the user has no token of this resource any more.
    #[serde(flatten)]
    token: Option<Issued>,
}

/// Begin to set up an authenticator app
///
/// Nothing is asked for at sign-in until a first code has confirmed it. Beginning again makes a new secret.
#[utoipa::path(
    post,
    path = "/v1/auth/mfa/totp",
    operation_id = "begin_totp",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    request_body(content = Beginning, example = json!({ "password": "eleven blue lanterns", "format": "svg" })),
    responses(
        (status = 200, description = "The secret and its picture.", body = SetUp, example = json!({
            "secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "otpauth_uri": "otpauth://totp/localhost:saad?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=localhost",
            "qr_code": "data:image/svg+xml;base64,PD94bWwgdmVyc2lvbj0iMS4wIj8+",
            "expires_in": 900,
        })),
        InvalidCredentials,
        Conflict,
    ),
)]
async fn begin(
    State(service): State<Arc<AuthService>>,
    call: Call,
    caller: Caller,
    InBody(beginning): InBody<Beginning>,
) -> Result<Response, Refusal> {
    service
        .confirm_password(&caller, beginning.password, &call)
        .await?;
    let app = service.begin_totp(&caller.user, &call).await?;
    let uri = app.uri()?;
    let set_up = SetUp {
        secret: app.secret_text().to_string(),
        qr_code: data_address(&uri, beginning.format)?,
        otpauth_uri: uri.to_string(),
        expires_in: SET_UP.as_secs(),
    };
    Ok(answer::json(StatusCode::OK, set_up))
}

/// Confirm the authenticator app
///
/// With a first code that it shows. From now on every sign-in asks for one. Every session of the user ends, this one
/// included; the answer has the recovery codes, and a new session for the same resource.
#[utoipa::path(
    post,
    path = "/v1/auth/mfa/totp/confirm",
    operation_id = "confirm_totp",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    request_body(content = Confirmation, example = json!({ "password": "eleven blue lanterns", "code": "287082" })),
    responses(
        (status = 200, description = "In force.", body = Confirmed, example = json!({
            "recovery_codes": example().recovery_codes,
            "access_token": "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJyZXNvdXJjZSI6ImhvdGVsIn0.c2lnbmF0dXJl",
            "token_type": "bearer",
            "expires_in": 300,
            "resource": "hotel",
            "scope": "hotel:read",
            "refresh_token": issue::EXAMPLE_REFRESH_TOKEN,
        })),
        InvalidCredentials,
        Conflict,
    ),
)]
async fn confirm(
    State(service): State<Arc<AuthService>>,
    call: Call,
    caller: Caller,
    InBody(confirmation): InBody<Confirmation>,
) -> Result<Response, Refusal> {
    let code = service.code_of(confirmation, &caller, &call).await?;
    let (user, recovery_codes) = service.confirm_totp(&caller.user, &code, &call).await?;
    let mut token = service.next_session(&caller, &user, &call).await;
    let cookie = token.as_mut().and_then(Issued::take_cookie);
    let confirmed = Confirmed {
        recovery_codes,
        token,
    };
    let mut response = answer::json(StatusCode::OK, confirmed);
    if let Some(cookie) = cookie {
        cookie.set(&mut response);
    }
    Ok(response)
}

/// Remove the authenticator app
///
/// The recovery codes go with it; a sign-in asks for the password alone.
#[utoipa::path(
    delete,
    path = "/v1/auth/mfa/totp",
    operation_id = "remove_totp",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    request_body(content = Removal, example = json!({ "password": "eleven blue lanterns", "code": "287082" })),
    responses(
        (status = 204, description = "Removed, or there was none."),
        InvalidCredentials,
    ),
)]
async fn remove(
    State(service): State<Arc<AuthService>>,
    call: Call,
    caller: Caller,
    InBody(removal): InBody<Removal>,
) -> Result<Response, Refusal> {
    let code = removal.code.as_deref().map(code).transpose()?;
    service
        .confirm_password(&caller, removal.password, &call)
        .await?;
    service
        .remove_totp(&caller.user, code.as_ref(), &call)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Make new recovery codes
///
/// Those from before end.
#[utoipa::path(
    post,
    path = "/v1/auth/mfa/recovery-codes",
    operation_id = "replace_recovery_codes",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    request_body(content = Confirmation, example = json!({ "password": "eleven blue lanterns", "code": "287082" })),
    responses(
        (status = 200, description = "The new ones.", body = RecoveryCodes, example = json!(example())),
        InvalidCredentials,
    ),
)]
async fn replace_recovery_codes(
    State(service): State<Arc<AuthService>>,
    call: Call,
    caller: Caller,
    InBody(confirmation): InBody<Confirmation>,
) -> Result<Response, Refusal> {
    let code = service.code_of(confirmation, &caller, &call).await?;
    let recovery_codes = service
        .replace_recovery_codes(&caller.user, &code, &call)
        .await?;
    Ok(answer::json(
        StatusCode::OK,
        RecoveryCodes { recovery_codes },
    ))
}

fn example() -> RecoveryCodes {
    RecoveryCodes {
        recovery_codes: vec![
            "4v8q1c-z0k7mh-2e5xwy-g9b3tn".to_owned(),
            "r6d0pj-a1s8vf-h4k9qc-7m2xez".to_owned(),
        ],
    }
}

impl AuthService {
    /// Behind a password that is right.
    async fn code_of(
        &self,
        confirmation: Confirmation,
        caller: &Caller,
        call: &Call,
    ) -> Result<Code, Refusal> {
        let code = code(&confirmation.code)?;
        self.confirm_password(caller, confirmation.password, call)
            .await?;
        Ok(code)
    }

    async fn begin_totp(&self, user: &User, call: &Call) -> Result<App, Refusal> {
        let account = user.username.as_deref().or(user.email.as_deref());
        let app = App::new(place(&self.config.issuer), account.unwrap_or(&user.id))?;
        let wrapped = self
            .second_factor_key
            .wrap_for(&user.id, app.secret())
            .map_err(|error| Refusal::internal(format!("a TOTP secret: {error}")))?;
        let event = self.own_event(Action::MfaBegun, user, call);
        self.store
            .begin_totp(&user.id, &wrapped, &event)
            .await
            .map_err(|error| refused_by(error, Rejection::Conflict))?;
        Ok(app)
    }

    async fn confirm_totp(
        &self,
        user: &User,
        code: &Code,
        call: &Call,
    ) -> Result<(User, Vec<String>), Refusal> {
        let failure = self.mfa_failure(call, party_of(user));
        let secret = self.store.totp_secret(&user.id).await?;
        if secret.as_ref().is_some_and(|secret| secret.confirmed) {
            return Err(Rejection::Conflict.into());
        }
        let secret = secret.filter(|secret| self.now() < secret.created_at.plus(SET_UP));
        let Some(secret) = secret else {
            return Err(self.refuse_code(&failure, "not-begun"));
        };
        let Some(step) = self.first_step(user, &secret, code)? else {
            return Err(self.refuse_code(&failure, "wrong-code"));
        };
        let (shown, kept) = new_recovery_codes()?;
        let first = FirstCode {
            user_id: &user.id,
            wrapped: &secret.wrapped,
            step,
        };
        let event = self.own_event(Action::MfaEnabled, user, call);
        let until = self.last_expiry();
        let confirmed = self
            .store
            .confirm_totp(first, &kept, until, &event)
            .await
            .map_err(|error| refused_by(error, Rejection::Conflict))?;
        self.outdate(&confirmed, until);
        Ok((confirmed, shown))
    }

    /// Nothing counts the tries here: whoever may make them was shown the secret.
    fn first_step(
        &self,
        user: &User,
        secret: &TotpSecret,
        code: &Code,
    ) -> Result<Option<u64>, Refusal> {
        match code {
            Code::App(digits) => Ok(self.app(user, secret)?.step_of(digits, self.now())),
            Code::Recovery(_) => Ok(None),
        }
    }

    async fn remove_totp(
        &self,
        user: &User,
        code: Option<&Code>,
        call: &Call,
    ) -> Result<(), Refusal> {
        let Some(secret) = self.store.totp_secret(&user.id).await? else {
            return Ok(());
        };
        let removed = self.own_event(Action::MfaDisabled, user, call);
        if !secret.confirmed {
            return Ok(self.store.remove_totp(&user.id, None, &[removed]).await?);
        }
        let code = code.ok_or_else(|| malformed_field(NO_CODE))?;
        let failure = self.mfa_failure(call, party_of(user));
        let store = &self.store;
        let remove = |used, mut events: Vec<Event>| async move {
            events.push(removed);
            store.remove_totp(&user.id, Some(used), &events).await
        };
        self.use_code((user, code), &failure, call, remove).await
    }

    async fn replace_recovery_codes(
        &self,
        user: &User,
        code: &Code,
        call: &Call,
    ) -> Result<Vec<String>, Refusal> {
        let failure = self.mfa_failure(call, party_of(user));
        let (shown, kept) = new_recovery_codes()?;
        let (store, kept) = (&self.store, &kept);
        let replaced = self.own_event(Action::RecoveryCodesReplaced, user, call);
        let replace = |used, mut events: Vec<Event>| async move {
            events.push(replaced);
            store
                .replace_recovery_codes(&user.id, used, kept, &events)
                .await
        };
        self.use_code((user, code), &failure, call, replace).await?;
        Ok(shown)
    }
}
