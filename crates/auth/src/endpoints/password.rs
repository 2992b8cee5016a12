//! `POST /v1/auth/password`: another password for whoever is signed in and knows the old one.
//!
//! Every session of the user ends with it, this one included, and the answer is a new one for the same resource: a
//! token that somebody had copied is worth nothing afterwards.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::Action;
use portcullis_store::User;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::Refusal,
    caller::Caller,
    issue::{self, Issued},
    openapi::{
        refusals::{InvalidCredentials, WeakPassword},
        tags,
    },
    password::Password,
    refresh::Asked,
    request::{Call, InBody},
    service::AuthService,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(change))
}

// Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange)]
struct Change {
    current_password: Password,
    new_password: Password,
}

/// Change the password
///
/// Every session of the user ends, this one included; the answer is a new one for the same resource.
#[utoipa::path(
    post,
    path = "/v1/auth/password",
    operation_id = "change_password",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    request_body(content = Change, example = json!({
        "current_password": "eleven blue lanterns", "new_password": "a ferry to the far island",
    })),
    responses(
        (status = 200, description = "A token of the new session.", body = Issued, example = json!(issue::example())),
        (status = 204, description = "Changed. Sign in again: the user has no token of this resource any more."),
        InvalidCredentials,
        WeakPassword,
    ),
)]
async fn change(
    State(service): State<Arc<AuthService>>,
    call: Call,
    caller: Caller,
    InBody(change): InBody<Change>,
) -> Result<Response, Refusal> {
    service
        .confirm_password(&caller, change.current_password, &call)
        .await?;
    let user = service
        .change_password(&caller.user, change.new_password, &call)
        .await?;
    Ok(match service.next_session(&caller, &user, &call).await {
        Some(issued) => issued.into_response(StatusCode::OK),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

impl AuthService {
    async fn change_password(
        &self,
        user: &User,
        password: Password,
        call: &Call,
    ) -> Result<User, Refusal> {
        let record = self.hash_new_password(password, user).await?;
        let event = self.own_event(Action::PasswordChanged, user, call);
        let until = self.last_expiry();
        let changed = self
            .store
            .set_password(user, &record, until, &event)
            .await?;
        self.outdate(&changed, until);
        Ok(changed)
    }

    /// What ended the others is done by now, whatever becomes of the token: who gets none signs in.
    pub(super) async fn next_session(
        &self,
        caller: &Caller,
        user: &User,
        call: &Call,
    ) -> Option<Issued> {
        let principal = caller.principal();
        let session = self.sessions.find(principal.session()?).await.ok()??;
        let asked = Asked {
            resource: Some(principal.resource()),
            scopes: None,
        };
        let entitlement = self.entitle_again(&session, user, &asked).ok()?;
        self.issue(user, entitlement, call, Vec::new()).await.ok()
    }
}
