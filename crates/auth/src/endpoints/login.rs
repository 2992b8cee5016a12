//! `POST /v1/auth/login`: a name and a password for a token that opens one resource.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use portcullis_audit::{Action, Outcome};
use portcullis_policy::rejection::Rejection;
use portcullis_store::User;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::Refusal,
    entitlement::{NotEntitled, Wanted, entitle},
    identifiers::MAX_NAME_BYTES,
    issue::{self, Issued, party_of},
    openapi::{
        refusals::{CrossSite, InvalidCredentials, MfaRequired, ResourceNotAllowed},
        tags,
    },
    password::Password,
    request::{self, Call, malformed_field, scopes},
    service::AuthService,
    sign_in::SignedIn,
};

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new().routes(routes!(login))
}

/// Who signs in, and what for. Either `username` or `email`, not both.
// Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
    password: Password,
    /// The default resource where absent.
    #[serde(default)]
    resource: Option<String>,
    /// Separated by spaces; all that the user has there where absent.
    #[serde(default)]
    scope: Option<String>,
    /// Where the user has roles in several; otherwise it goes without saying.
    #[serde(default)]
    tenant: Option<String>,
}

/// Sign in
///
/// A name and a password for a token that opens one resource.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    operation_id = "login",
    tag = tags::SIGN_IN,
    security(()),
    request_body(content = Login, example = json!({
        "username": "saad", "password": "1234", "resource": "hotel",
    })),
    responses(
        (status = 200, description = "The token.", body = Issued, example = json!(issue::example())),
        InvalidCredentials,
        MfaRequired,
        ResourceNotAllowed,
        CrossSite,
    ),
)]
async fn login(
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
    let login: Login = request::json(request).await?;
    let name = login.name()?;
    let scopes = scopes(login.scope.as_deref())?;
    let resource = login
        .resource
        .as_deref()
        .or(service.config.default_resource.as_deref());
    let Some(resource) = resource else {
        return Err(malformed_field("Name the resource that the token is for."));
    };
    let user = service
        .check_credentials(name, login.password.clone(), call)
        .await?;
    let wanted = Wanted {
        resource,
        scopes: scopes.as_ref(),
        tenant: login.tenant.as_deref(),
    };
    let entitlement = entitle(&service.config, &user, &wanted)
        .map_err(|no| service.refuse_entitlement(no, &user, resource, call))?;
    let success = service.event(
        call,
        Action::LoginSuccess,
        Outcome::Success,
        party_of(&user),
    );
    service
        .complete_sign_in(&user, entitlement, call, success)
        .await
}

impl Login {
    /// Which of the two a name is shows in the `@`, so that an address may come as `username` as well.
    fn name(&self) -> Result<&str, Refusal> {
        let name = match (&self.username, &self.email) {
            (Some(name), None) | (None, Some(name)) => name,
            (None, None) | (Some(_), Some(_)) => {
                return Err(malformed_field("Give either username or email."));
            }
        };
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(malformed_field("A name has 1 to 254 bytes."));
        }
        Ok(name)
    }
}

impl AuthService {
    pub(crate) fn refuse_entitlement(
        &self,
        no: NotEntitled,
        user: &User,
        resource: &str,
        call: &Call,
    ) -> Refusal {
        let event = self
            .event(call, Action::LoginFailure, Outcome::Refused, party_of(user))
            .because(no.reason());
        // A resource that does not exist is a stranger's text; only ours go into the log.
        let event = match no {
            NotEntitled::UnknownResource => event,
            NotEntitled::NoScope | NotEntitled::ScopeNotGranted | NotEntitled::ForeignTenant => {
                event.for_resource(resource)
            }
        };
        self.desk.offer(event, self.now());
        Rejection::ResourceNotAllowed.into()
    }
}
