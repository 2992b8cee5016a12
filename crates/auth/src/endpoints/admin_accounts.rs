//! Making, changing and deleting users, for tokens of the resource `portcullis`: `POST /v1/admin/users`, and `PATCH` and
//! `DELETE` of one of them.

use std::sync::Arc;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use portcullis_audit::Action;
use portcullis_store::{RoleGrant, UserChange};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{
    me::BAD_DISPLAY_NAME,
    profile::{self, Profile},
    register::{parse_email, parse_username, refused_account},
};
use crate::{
    accounts::{NewAccount, Strength, create_user},
    admin_scope::UsersWrite,
    administrator::Administrator,
    answer::{self, Refusal},
    identifiers::{Email, Username, is_display_name},
    issue::party_of,
    openapi::{
        refusals::{Conflict, NotFound, WeakPassword},
        tags,
    },
    password::Password,
    plain_name::check_tenant,
    request::{InBody, InPath, malformed_field},
    service::AuthService,
};

const BAD_TENANT: &str =
    "A tenant is named by 1 to 64 letters, digits, dots, underscores and hyphens.";
const NO_SUCH_ROLE: &str = "Each role must be one that there is.";
const TOO_MANY_ROLES: &str = "A new user has 16 roles at the most.";
const MAX_ROLES: usize = 16;

pub(super) fn routes() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(change, delete))
}

/// Deliberately without `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
struct New {
    /// One of the two, or both.
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    email: Option<String>,
    password: Password,
    /// The default role where absent.
    #[serde(default)]
    roles: Option<Vec<String>>,
    /// The tenant that the user belongs to.
    #[serde(default)]
    tenant: Option<String>,
}

/// What is absent stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange)]
struct Change {
    /// Null removes it.
    #[serde(default, deserialize_with = "present")]
    display_name: Option<Option<String>>,
    /// Null removes it. One of the two stays, or there would be nothing to sign in with.
    #[serde(default, deserialize_with = "present")]
    username: Option<Option<String>>,
    /// Null removes it. Another address has to be verified again.
    #[serde(default, deserialize_with = "present")]
    email: Option<Option<String>>,
    /// Null takes the user out of the tenant.
    #[serde(default, deserialize_with = "present")]
    tenant: Option<Option<String>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Make a user
///
/// With roles that give nothing beyond what whoever asks has as well. Unlike a registration it answers without tokens.
/// Where the gateway sends mail, the user gets one to verify the address.
#[utoipa::path(
    post,
    path = "/v1/admin/users",
    operation_id = "create_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    request_body(content = New, example = json!({
        "username": "saad", "password": "a horse of no particular colour", "roles": ["guest"],
    })),
    responses(
        (status = 201, description = "The new user.", body = Profile, example = json!(profile::example())),
        Conflict,
        WeakPassword,
    ),
)]
async fn create(
    administrator: Administrator<UsersWrite>,
    InBody(new): InBody<New>,
) -> Result<Response, Refusal> {
    let roles = first_roles(&administrator, new.roles.as_deref()).await?;
    check_tenant_name(new.tenant.as_deref())?;
    let account = NewAccount {
        username: parse_username(new.username.as_deref())?,
        email: parse_email(new.email.as_deref())?,
        password: new.password,
        roles: &roles.iter().map(String::as_str).collect::<Vec<_>>(),
        tenant: new.tenant.as_deref(),
        strength: Strength::Judged,
    };
    let event = administrator.event(Action::UserCreated);
    let (store, hasher) = (&administrator.service.store, &administrator.service.hasher);
    let user = create_user(store, hasher, account, event)
        .await
        .map_err(refused_account)?;
    let Administrator { service, call, .. } = &administrator;
    service.verify_new_address(&user, call);
    Ok(answer::json(StatusCode::CREATED, Profile::from(user)))
}

/// Change a user
///
/// A change of tenant ends the user's tokens; with another name the user stays signed in. Another address is not verified,
/// and administrators cannot give themselves one, or a stolen token of theirs would lead to their password. Only who has all
/// rights of the user may change it.
#[utoipa::path(
    patch,
    path = "/v1/admin/users/{id}",
    operation_id = "change_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    params(("id" = Uuid, Path, description = "The user.")),
    request_body(content = Change, example = json!({"tenant": "acme"})),
    responses(
        (status = 200, description = "The user as it is now.", body = Profile, example = json!(profile::example())),
        NotFound,
        Conflict,
    ),
)]
async fn change(
    administrator: Administrator<UsersWrite>,
    InPath(id): InPath<Uuid>,
    InBody(wanted): InBody<Change>,
) -> Result<Response, Refusal> {
    let names = wanted.names()?;
    let changes = wanted.checked(&names)?;
    let user = match &wanted.email {
        Some(_another) => administrator.other_in_reach(id).await?,
        None => administrator.user_in_reach(id).await?,
    };
    let event = administrator
        .event(Action::UserChanged)
        .on(party_of(&user))
        .because(wanted.fields());
    let service = &administrator.service;
    let change = service.rights_change(&event);
    let changed = service.store.change_user(&user.id, &changes, &change);
    let user = service.outdating(change.until, changed).await?;
    if wanted.email.is_some() {
        service.verify_new_address(&user, &administrator.call);
    }
    Ok(answer::json(StatusCode::OK, Profile::from(user)))
}

/// Delete a user
///
/// With its sessions and everything else that is kept of it, but for the audit log. The last administrator stays.
#[utoipa::path(
    delete,
    path = "/v1/admin/users/{id}",
    operation_id = "delete_user",
    tag = tags::ADMINISTRATION,
    security(("bearer" = ["users:write"])),
    params(("id" = Uuid, Path, description = "The user.")),
    responses(
        (status = 204, description = "The user is gone."),
        NotFound,
        Conflict,
    ),
)]
async fn delete(
    administrator: Administrator<UsersWrite>,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Refusal> {
    let user = administrator.user_in_reach(id).await?;
    let event = administrator.event(Action::UserDeleted).on(party_of(&user));
    let service = &administrator.service;
    let change = service.rights_change(&event);
    let deleted = service.store.delete_user(&user.id, &change);
    service.outdating(change.until, deleted).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// As they will be kept.
struct Names {
    username: Option<Option<Username>>,
    email: Option<Option<Email>>,
}

impl Change {
    fn names(&self) -> Result<Names, Refusal> {
        let username = self.username.as_ref().map(Option::as_deref);
        let email = self.email.as_ref().map(Option::as_deref);
        Ok(Names {
            username: username.map(parse_username).transpose()?,
            email: email.map(parse_email).transpose()?,
        })
    }

    fn checked<'a>(&'a self, names: &'a Names) -> Result<UserChange<'a>, Refusal> {
        let display_name = self.display_name.as_ref().map(Option::as_deref);
        if display_name
            .flatten()
            .is_some_and(|name| !is_display_name(name))
        {
            return Err(malformed_field(BAD_DISPLAY_NAME));
        }
        let tenant = self.tenant.as_ref().map(Option::as_deref);
        check_tenant_name(tenant.flatten())?;
        let username = names.username.as_ref().map(Option::as_ref);
        let email = names.email.as_ref().map(Option::as_ref);
        Ok(UserChange {
            display_name,
            username: username.map(|name| name.map(Username::login_name)),
            email: email.map(|address| address.map(Email::login_name)),
            tenant,
        })
    }

    /// The log is told which, and not what: it is not the place for addresses that are gone.
    fn fields(&self) -> String {
        let fields = [
            ("display_name", &self.display_name),
            ("username", &self.username),
            ("email", &self.email),
            ("tenant", &self.tenant),
        ];
        let named = fields.iter().filter(|(_, wanted)| wanted.is_some());
        named.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    }
}

pub(super) fn check_tenant_name(tenant: Option<&str>) -> Result<(), Refusal> {
    match tenant.map(check_tenant) {
        Some(Err(_told_in_our_words)) => Err(malformed_field(BAD_TENANT)),
        Some(Ok(())) | None => Ok(()),
    }
}

/// Those named, which the administrator must be able to give, or the default role, which anybody gets.
async fn first_roles(
    administrator: &Administrator<UsersWrite>,
    named: Option<&[String]>,
) -> Result<Vec<String>, Refusal> {
    let Some(roles) = named else {
        let default_role = &administrator.service.config.default_role;
        return Ok(default_role.iter().cloned().collect());
    };
    if roles.len() > MAX_ROLES {
        return Err(malformed_field(TOO_MANY_ROLES));
    }
    for role in roles {
        let grant = RoleGrant { role, tenant: None };
        let found = administrator.check_may_give(grant).await?;
        found.ok_or_else(|| malformed_field(NO_SUCH_ROLE))?;
    }
    Ok(roles.to_vec())
}
