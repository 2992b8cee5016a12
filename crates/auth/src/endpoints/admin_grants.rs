//! The roles of a user, for tokens of the resource `portcullis`: `POST /v1/admin/users/{id}/roles` gives one,
//! `DELETE /v1/admin/users/{id}/roles/{role}` takes it.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use portcullis_audit::{Action, Event};
use portcullis_policy::rejection::Rejection;
use portcullis_store::{RoleGrant, User};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    admin_accounts::check_tenant_name,
    profile::{self, Profile},
};
use crate::{
    admin_scope::UsersWrite,
    administrator::Administrator,
    answer::{self, Refusal},
    issue::party_of,
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    request::{InBody, InPath, InQuery, Queried},
    roles::grant_reason,
    service::AuthService,
};

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

impl Queried for Within {
    const TAKES: &'static str = "The query takes tenant, the name of one.";
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
    administrator: Administrator<UsersWrite>,
    InPath(id): InPath<Uuid>,
    InBody(new): InBody<New>,
) -> Result<Response, Refusal> {
    let grant = grant_of(&new.role, new.tenant.as_deref())?;
    let found = administrator.check_may_give(grant).await?;
    found.ok_or(Rejection::RouteNotFound)?;
    let user = administrator.user_in_reach(id).await?;
    let event = event(&administrator, Action::RoleGranted, &user, grant);
    let service = &administrator.service;
    let change = service.rights_change(&event);
    let granted = service.store.grant_role(&user.id, grant, &change);
    let user = service.outdating(change.until, granted).await?;
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
    administrator: Administrator<UsersWrite>,
    InPath((id, role)): InPath<(Uuid, String)>,
    InQuery(within): InQuery<Within>,
) -> Result<Response, Refusal> {
    let grant = grant_of(&role, within.tenant.as_deref())?;
    let user = administrator.user_in_reach(id).await?;
    if !has(&user, grant) {
        return Err(Rejection::RouteNotFound.into());
    }
    let event = event(&administrator, Action::RoleRevoked, &user, grant);
    let service = &administrator.service;
    let change = service.rights_change(&event);
    let revoked = service.store.revoke_role(&user.id, grant, &change);
    let user = service.outdating(change.until, revoked).await?;
    Ok(answer::json(StatusCode::OK, Profile::from(user)))
}

fn grant_of<'a>(role: &'a str, tenant: Option<&'a str>) -> Result<RoleGrant<'a>, Refusal> {
    check_tenant_name(tenant)?;
    Ok(RoleGrant { role, tenant })
}

fn has(user: &User, grant: RoleGrant<'_>) -> bool {
    let mut grants = user.grants.iter();
    grants.any(|held| held.role == grant.role && held.tenant.as_deref() == grant.tenant)
}

fn event(
    administrator: &Administrator<UsersWrite>,
    action: Action,
    user: &User,
    grant: RoleGrant<'_>,
) -> Event {
    let reason = grant_reason(grant.role, grant.tenant);
    administrator
        .event(action)
        .on(party_of(user))
        .because(reason)
}
