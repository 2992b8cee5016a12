//! Roles, for tokens of the resource `portcullis`: `/v1/admin/roles` lists those of the configuration and those of the
//! database together; only the latter can be made, changed and deleted here.

use std::sync::Arc;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::Action;
use portcullis_config::auth::RoleScopes;
use portcullis_policy::rejection::Rejection;
use portcullis_store::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admin_scope::{RolesWrite, UsersRead},
    administrator::Administrator,
    answer::{self, Refusal},
    openapi::{
        refusals::{Conflict, NotFound},
        tags,
    },
    page::PageByName,
    request::{InBody, InPath, InQuery, malformed_field},
    rights::Rights,
    roles::{RoleError, change_role, create_role, delete_role},
    service::AuthService,
};

const BAD_NAME: &str = "A role is named by 1 to 64 letters, digits, dots, underscores and hyphens.";
const BAD_SCOPE: &str =
    "Each scope must be one that the configuration declares, and named in full.";

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, delete))
}

#[derive(Serialize, ToSchema)]
struct Roles {
    roles: Vec<Shown>,
    /// What to send as `after` for the next page; null on the last.
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Role)]
struct Shown {
    name: String,
    /// Sorted. `*` alone stands for every scope; only the configuration has such roles.
    scopes: Vec<String>,
    /// `file` or `database`. A role of the file is changed there.
    #[schema(pattern = "^(file|database)$")]
    source: &'static str,
    /// RFC 3339, in UTC; null for a role of the file.
    created_at: Option<String>,
    updated_at: Option<String>,
}

impl Shown {
    fn of_file(name: &str, scopes: &RoleScopes) -> Self {
        let mut scopes = match scopes {
            RoleScopes::All => vec!["*".to_owned()],
            RoleScopes::These(scopes) => scopes.clone(),
        };
        scopes.sort_unstable();
        Self {
            name: name.to_owned(),
            scopes,
            source: "file",
            created_at: None,
            updated_at: None,
        }
    }
}

impl From<Role> for Shown {
    fn from(role: Role) -> Self {
        Self {
            scopes: role.scopes.split_whitespace().map(str::to_owned).collect(),
            name: role.name,
            source: "database",
            created_at: Some(portcullis_audit::rfc3339(role.created_at)),
            updated_at: Some(portcullis_audit::rfc3339(role.updated_at)),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRole)]
struct New {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// May be empty: such a role marks its holders and gives nothing.
    scopes: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoleChange)]
struct Change {
    /// All that the role will hold.
    scopes: Vec<String>,
}

fn example() -> Value {
    json!({
        "name": "night-porter",
        "scopes": ["hotel:read"],
        "source": "database",
        "created_at": "2027-01-15T08:00:00.000Z",
        "updated_at": "2027-01-15T08:00:00.000Z",
    })
}

/// List roles
///
/// In the order of their names, those of the configuration and those of the database together.
#[utoipa::path(
    get,
    path = "/v1/admin/roles",
    operation_id = "list_roles",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:read"])),
    params(PageByName),
    responses((status = 200, description = "A page of roles.", body = Roles, example = json!({
        "roles": [example()],
        "next": null,
    }))),
)]
async fn list(
    administrator: Administrator<UsersRead>,
    InQuery(page): InQuery<PageByName>,
) -> Result<Response, Refusal> {
    let after = page.after.as_deref();
    let rows = administrator
        .service
        .roles_after(after, page.limit.and_one());
    let (roles, next) = page.limit.cut(rows.await?, |role| role.name.clone());
    Ok(answer::json(StatusCode::OK, Roles { roles, next }))
}

/// Make a role
///
/// With scopes that whoever asks has as well. The name must be neither a scope's nor another role's, nor one that
/// somebody still has from a role that is gone.
#[utoipa::path(
    post,
    path = "/v1/admin/roles",
    operation_id = "create_role",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["roles:write"])),
    request_body(content = New, example = json!({"name": "night-porter", "scopes": ["hotel:read"]})),
    responses(
        (status = 201, description = "The new role.", body = Shown, example = json!(example())),
        Conflict,
    ),
)]
async fn create(
    administrator: Administrator<RolesWrite>,
    InBody(new): InBody<New>,
) -> Result<Response, Refusal> {
    administrator.check_covers(&Rights::of_words(&new.scopes))?;
    let event = administrator.event(Action::RoleCreated);
    let AuthService { config, store, .. } = &*administrator.service;
    let role = create_role(store, config, &new.name, &new.scopes, event)
        .await
        .map_err(refused)?;
    Ok(answer::json(StatusCode::CREATED, Shown::from(role)))
}

/// Show a role
#[utoipa::path(
    get,
    path = "/v1/admin/roles/{name}",
    operation_id = "show_role",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:read"])),
    params(("name" = String, Path, description = "The name of the role.", example = "night-porter")),
    responses(
        (status = 200, description = "The role.", body = Shown, example = json!(example())),
        NotFound,
    ),
)]
async fn show(
    administrator: Administrator<UsersRead>,
    InPath(name): InPath<String>,
) -> Result<Response, Refusal> {
    let service = &administrator.service;
    let shown = match service.config.roles.get(&name) {
        Some(scopes) => Shown::of_file(&name, scopes),
        None => service.kept_role(&name).await?.into(),
    };
    Ok(answer::json(StatusCode::OK, shown))
}

/// Change a role
///
/// Whoever has the role is refused with the tokens of before in the next request, and has the new rights with the next
/// refresh. What it held and what it will hold must be the administrator's own.
#[utoipa::path(
    patch,
    path = "/v1/admin/roles/{name}",
    operation_id = "change_role",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["roles:write"])),
    params(("name" = String, Path, description = "The name of the role.", example = "night-porter")),
    request_body(content = Change, example = json!({"scopes": ["hotel:read", "hotel:write"]})),
    responses(
        (status = 200, description = "The role as it is now.", body = Shown, example = json!(example())),
        NotFound,
        Conflict,
    ),
)]
async fn change(
    administrator: Administrator<RolesWrite>,
    InPath(name): InPath<String>,
    InBody(wanted): InBody<Change>,
) -> Result<Response, Refusal> {
    check_role_in_reach(&administrator, &name).await?;
    administrator.check_covers(&Rights::of_words(&wanted.scopes))?;
    let event = administrator.event(Action::RoleChanged);
    let service = &administrator.service;
    let (store, config) = (&service.store, &service.config);
    let change = service.rights_change(&event);
    let (role, revoked) = change_role(store, config, &name, &wanted.scopes, &change)
        .await
        .map_err(refused)?;
    for revocation in revoked {
        service.revocations.revoke(revocation, change.until);
    }
    Ok(answer::json(StatusCode::OK, Shown::from(role)))
}

/// Delete a role
///
/// Only one that nobody has. To take it from all at once, let it hold no scopes.
#[utoipa::path(
    delete,
    path = "/v1/admin/roles/{name}",
    operation_id = "delete_role",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["roles:write"])),
    params(("name" = String, Path, description = "The name of the role.", example = "night-porter")),
    responses(
        (status = 204, description = "It is gone."),
        NotFound,
        Conflict,
    ),
)]
async fn delete(
    administrator: Administrator<RolesWrite>,
    InPath(name): InPath<String>,
) -> Result<Response, Refusal> {
    check_role_in_reach(&administrator, &name).await?;
    let event = administrator.event(Action::RoleDeleted);
    let AuthService { config, store, .. } = &*administrator.service;
    delete_role(store, config, &name, event)
        .await
        .map_err(refused)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Of the database, and with nothing that the administrator does not have.
async fn check_role_in_reach(
    administrator: &Administrator<RolesWrite>,
    name: &str,
) -> Result<(), Refusal> {
    let service = &administrator.service;
    if service.config.roles.contains_key(name) {
        return Err(Rejection::Conflict.into());
    }
    let kept = service.kept_role(name).await?;
    administrator.check_covers(&Rights::of_scopes(&kept.scopes))
}

impl AuthService {
    async fn roles_after(&self, after: Option<&str>, limit: u32) -> Result<Vec<Shown>, Refusal> {
        let kept = self.store.roles(after, limit).await?;
        let kept = kept
            .into_iter()
            .filter(|role| !self.config.roles.contains_key(&role.name))
            .map(Shown::from);
        let of_file = self
            .config
            .roles
            .iter()
            .filter(|(name, _)| after.is_none_or(|after| name.as_str() > after))
            .map(|(name, scopes)| Shown::of_file(name, scopes));
        let mut roles: Vec<Shown> = kept.chain(of_file).collect();
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(roles)
    }

    async fn kept_role(&self, name: &str) -> Result<Role, Refusal> {
        let role = self.store.role(name).await?;
        role.ok_or_else(|| Rejection::RouteNotFound.into())
    }
}

fn refused(error: RoleError) -> Refusal {
    match error {
        RoleError::Name(_) => malformed_field(BAD_NAME),
        RoleError::Scope(_) => malformed_field(BAD_SCOPE),
        RoleError::OfFile | RoleError::NamedLikeScope => Rejection::Conflict.into(),
        RoleError::Store(error) => answer::of_change(error),
    }
}
