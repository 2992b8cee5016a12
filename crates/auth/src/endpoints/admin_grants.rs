//! The roles of a user, for tokens of the resource `portcullis`: `POST /v1/admin/users/{id}/roles` gives one,
//! `DELETE /v1/admin/users/{id}/roles/{role}` takes it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Query, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use portcullis_audit::Action;
use portcullis_policy::rejection::Rejection;
use portcullis_store::RoleGrant;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    admin_accounts::BAD_TENANT,
    admin_users::PathId,
    profile::{self, Profile},
};
use crate::{
    admin_scope::AdminScope,
    answer::{self, Refusal},
    issue::party_of,
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    plain_name::check_tenant,
    request::{self, Call, malformed_field},
    roles::grant_reason,
    service::AuthService,
};

const BAD_QUERY: &str = "The query takes tenant, the name of one.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(grant))
        .routes(routes!(revoke))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGrant)]
struct New {
    role: String,
    /// The tenant within which alone the role holds.
    #[serde(default)]
    tenant: Option<String>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Within {
    /// The tenant that the role was granted in; without one where absent.
    tenant: Option<String>,
}

/// Give a user a role
///
/// Its present tokens are refused from the next request on; the next refresh brings what the role gives. What it gives,
/// and what the user has already, must be the administrator's own.
#[utoipa::path(
    post,
    path = "/v1/admin/users/{id}/roles",
    operation_id = "grant_role",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    params(("id" = Uuid, Path, description = "The user.")),
    request_body(content = New, example = json!({"role": "night-porter"})),
    responses(
        (status = 200, description = "The user with its roles.", body = Profile, example = json!(profile::example())),
        NotFound,
        Conflict,
    ),
)]
async fn grant(
    State(service): State<Arc<AuthService>>,
    call: Call,
    id: PathId,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let administrator = service
        .administrator(request.headers(), AdminScope::UsersWrite, &call)
        .await?;
    let Ok(Path(id)) = id else {
        return Err(Rejection::RouteNotFound.into());
    };
    let new: New = request::json(request).await?;
    let grant = grant_of(&new.role, new.tenant.as_deref())?;
    let rights = service.rights_of_grant(grant).await?;
    let rights = rights.ok_or(Rejection::RouteNotFound)?;
    service.check_covers(&administrator, &rights, &call)?;
    let target = service
        .user_in_reach(&administrator, &id.to_string(), &call)
        .await?;
    let event = service
        .done_by(&administrator, Action::RoleGranted, &call)
        .on(party_of(&target))
        .because(grant_reason(grant.role, grant.tenant));
    let change = service.rights_change(&event);
    let user = service
        .store
        .grant_role(&target.id, grant, &change)
        .await
        .map_err(answer::of_change)?;
    service.outdate(&user, change.until);
    Ok(answer::json(StatusCode::OK, Profile::from(user)))
}

/// Take a role from a user
///
/// Its present tokens are refused from the next request on. A role that the user does not have, or not in this tenant,
/// is not found. The last administrator keeps what makes one.
#[utoipa::path(
    delete,
    path = "/v1/admin/users/{id}/roles/{role}",
    operation_id = "revoke_role",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    params(
        ("id" = Uuid, Path, description = "The user."),
        ("role" = String, Path, description = "The name of the role.", example = "night-porter"),
        Within,
    ),
    responses(
        (status = 200, description = "The user with its roles.", body = Profile, example = json!(profile::example())),
        NotFound,
        Conflict,
    ),
)]
async fn revoke(
    State(service): State<Arc<AuthService>>,
    call: Call,
    headers: HeaderMap,
    path: Result<Path<(Uuid, String)>, PathRejection>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let administrator = service
        .administrator(&headers, AdminScope::UsersWrite, &call)
        .await?;
    let Ok(Path((id, role))) = path else {
        return Err(Rejection::RouteNotFound.into());
    };
    let Ok(Query(within)) = Query::<Within>::try_from_uri(&uri) else {
        return Err(malformed_field(BAD_QUERY));
    };
    let grant = grant_of(&role, within.tenant.as_deref())?;
    let target = service
        .user_in_reach(&administrator, &id.to_string(), &call)
        .await?;
    let has_it = |held: &portcullis_store::Grant| {
        held.role == grant.role && held.tenant.as_deref() == grant.tenant
    };
    if !target.grants.iter().any(has_it) {
        return Err(Rejection::RouteNotFound.into());
    }
    let event = service
        .done_by(&administrator, Action::RoleRevoked, &call)
        .on(party_of(&target))
        .because(grant_reason(grant.role, grant.tenant));
    let change = service.rights_change(&event);
    let user = service
        .store
        .revoke_role(&target.id, grant, &change)
        .await
        .map_err(answer::of_change)?;
    service.outdate(&user, change.until);
    Ok(answer::json(StatusCode::OK, Profile::from(user)))
}

fn grant_of<'a>(role: &'a str, tenant: Option<&'a str>) -> Result<RoleGrant<'a>, Refusal> {
    if tenant.is_some_and(|tenant| check_tenant(tenant).is_err()) {
        return Err(malformed_field(BAD_TENANT));
    }
    Ok(RoleGrant { role, tenant })
}
