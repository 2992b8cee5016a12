//! From a first proof, a password or what another provider says, to what the person gets for it: tokens, or the
//! question for a second proof.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::{Action, Event, Outcome};
use portcullis_store::User;
use secrecy::SecretString;

use crate::{
    answer::Refusal,
    entitlement::Entitlement,
    issue::{Issued, party_of},
    request::Call,
    service::AuthService,
};

/// How a sign-in that was not refused goes on. Becomes the answer, and nothing else.
pub(crate) enum SignedIn {
    Tokens(Issued),
    /// Nobody is in yet: the challenge is to be sent with a code.
    SecondFactor(SecretString),
}

impl SignedIn {
    /// As the metrics name it.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Tokens(_) => "success",
            Self::SecondFactor(_) => "mfa-required",
        }
    }

    pub(crate) fn into_response(self) -> Response {
        match self {
            Self::Tokens(issued) => issued.into_response(StatusCode::OK),
            Self::SecondFactor(challenge) => Refusal::mfa_required(challenge).into_response(),
        }
    }
}

impl AuthService {
    /// After any first proof. `success` says how the person signed in, and is committed with what comes of it.
    pub(crate) async fn complete_sign_in(
        &self,
        user: &User,
        entitlement: Entitlement,
        call: &Call,
        success: Event,
    ) -> Result<SignedIn, Refusal> {
        let success = success.for_resource(&entitlement.resource);
        if self.has_second_factor(user).await? {
            let challenge = self.challenge(user, &entitlement, success).await?;
            return Ok(SignedIn::SecondFactor(challenge));
        }
        self.let_in(user, entitlement, call, success).await
    }

    /// After all proofs that are asked for.
    pub(crate) async fn let_in(
        &self,
        user: &User,
        entitlement: Entitlement,
        call: &Call,
        success: Event,
    ) -> Result<SignedIn, Refusal> {
        let success = success.for_resource(&entitlement.resource);
        let issued = self.issue(user, entitlement, call, vec![success]).await;
        if let Err(refusal) = &issued {
            // The success was not committed: what happened instead is that this user was not let in.
            let failure = self
                .event(call, Action::LoginFailure, Outcome::Failure, party_of(user))
                .because(refusal.rejection.code());
            self.desk.offer(failure, self.now());
        }
        issued.map(SignedIn::Tokens)
    }
}
