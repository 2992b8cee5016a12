//! `POST /v1/auth/login/mfa`: the second half of a sign-in, a challenge and a code for the tokens.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::second_factor::code;
use crate::{
    answer::Refusal,
    issue::{self, Issued},
    openapi::{
        refusals::{CrossSite, InvalidCredentials, ResourceNotAllowed},
        tags,
    },
    request::{self, Call},
    service::AuthService,
    sign_in::SignedIn,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(answer))
}

// Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecondProof {
    /// From the refusal `mfa-required`.
    challenge: String,
    /// Six digits of the authenticator app, or a recovery code.
    code: String,
}

/// Give the second proof
///
/// The tokens that the first proof was for. A challenge is good for five minutes, five tries and one success. After
/// five wrong codes in a row the account has to wait before the next, but for a recovery code.
#[utoipa::path(
    post,
    path = "/v1/auth/login/mfa",
    operation_id = "login_mfa",
    tag = tags::SIGN_IN,
    security(()),
    request_body(content = SecondProof, example = json!({
        "challenge": "6yXc1mDk0rWZ9e1mQm3oUuRr0vJvH2n4m0tLZ8q5a3E", "code": "287082",
    })),
    responses(
        (status = 200, description = "The token.", body = Issued, example = json!(issue::example())),
        CrossSite,
        InvalidCredentials,
        ResourceNotAllowed,
    ),
)]
async fn answer(
    State(service): State<Arc<AuthService>>,
    call: Call,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let result = sign_in(&service, &call, request).await;
    service.metrics.count_login(&result);
    result.map(SignedIn::into_response)
}

async fn sign_in(
    service: &AuthService,
    call: &Call,
    request: Request<Body>,
) -> Result<SignedIn, Refusal> {
    service.check_origin(request.headers())?;
    let proof: SecondProof = request::json(request).await?;
    let code = code(&proof.code)?;
    service
        .answer_challenge(&proof.challenge, &code, call)
        .await
}
