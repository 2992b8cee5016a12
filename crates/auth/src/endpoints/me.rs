//! The user's own profile: `GET /v1/auth/me`, `GET /v1/users/me`, `GET /v1/users/profile`, `PATCH /v1/users/me`.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use portcullis_audit::Action;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::profile::{self, Profile};
use crate::{
    answer::{self, Refusal},
    caller::Caller,
    identifiers::is_display_name,
    openapi::{also, tags},
    request::{Call, InBody, malformed_field},
    service::AuthService,
};

pub(super) const BAD_DISPLAY_NAME: &str = "A display name has 1 to 100 characters, no control characters and no blanks around it; null removes it.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(show, change))
        .routes(also(routes!(show), "/v1/auth/me", "show_me"))
        .routes(also(
            routes!(show),
            "/v1/users/profile",
            "show_user_profile",
        ))
}

/// What a user may change.
// A role or a version in here is an unknown field, and refused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProfileChange)]
struct Change {
    /// 1 to 100 characters, no control characters and no blanks around it; null removes it.
    // Must be there: `Option` alone would take an empty object for a removal.
    #[serde(deserialize_with = "present")]
    #[schema(required, min_length = 1, max_length = 100)]
    display_name: Option<String>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

/// Show the user's own profile
#[utoipa::path(
    get,
    path = "/v1/users/me",
    operation_id = "show_profile",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    responses((status = 200, description = "The profile.", body = Profile, example = json!(profile::example()))),
)]
async fn show(caller: Caller) -> Result<Response, Refusal> {
    Ok(answer::json(StatusCode::OK, Profile::from(caller.user)))
}

/// Change the user's own profile
#[utoipa::path(
    patch,
    path = "/v1/users/me",
    operation_id = "change_profile",
    tag = tags::PROFILE,
    security(("bearer" = [])),
    request_body(content = Change, example = json!({"display_name": "Saad"})),
    responses((status = 200, description = "The profile.", body = Profile, example = json!(profile::example()))),
)]
async fn change(
    State(service): State<Arc<AuthService>>,
    call: Call,
    caller: Caller,
    InBody(change): InBody<Change>,
) -> Result<Response, Refusal> {
    let display_name = change.display_name.as_deref();
    if display_name.is_some_and(|name| !is_display_name(name)) {
        return Err(malformed_field(BAD_DISPLAY_NAME));
    }
    let event = service.own_event(Action::ProfileChanged, &caller.user, &call);
    let user = service
        .store
        .set_profile(&caller.user.id, display_name, &event)
        .await?;
    Ok(answer::json(StatusCode::OK, Profile::from(user)))
}
