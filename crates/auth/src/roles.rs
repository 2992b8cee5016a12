//! Making, changing and deleting roles of the database. The administration endpoints and the command line come through
//! here, so that no role is ever made under other rules.
//!
//! A role holds scopes that the configuration declares, and no other roles. Its name is no scope's and no role's of the
//! configuration, which cannot be changed from here.

use std::collections::BTreeSet;

use portcullis_audit::{Event, Party, PartyKind};
use portcullis_config::auth::{Auth, PORTCULLIS_SCOPES};
use portcullis_store::{RightsChange, Role, Store, StoreError};
use portcullis_tokens::Revocation;

use crate::plain_name::{self, BadName};

#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error("the name of a role: {0}")]
    Name(#[from] BadName),
    #[error("a role of the configuration cannot be changed here: edit the file")]
    OfFile,
    #[error("a scope has this name: choose another, so that nobody takes one for the other")]
    NamedLikeScope,
    #[error(transparent)]
    Scope(#[from] UnknownScope),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no scope of the configuration")]
pub struct UnknownScope(pub(crate) String);

/// `created` is the audit event; its time becomes the role's, and its target the new role.
pub async fn create_role(
    store: &Store,
    auth: &Auth,
    name: &str,
    scopes: &[String],
    created: Event,
) -> Result<Role, RoleError> {
    check_name(auth, name)?;
    let created = created.on(role_party(name)).because(reason(scopes));
    let line = line_of(auth, scopes)?;
    Ok(store.create_role(name, &line, &created).await?)
}

/// Whoever has the role is refused with the tokens of before; the revocations are for this process, which must not wait
/// for the log.
pub async fn change_role(
    store: &Store,
    auth: &Auth,
    name: &str,
    scopes: &[String],
    change: &RightsChange<'_>,
) -> Result<(Role, Vec<Revocation>), RoleError> {
    check_kept(auth, name)?;
    let line = line_of(auth, scopes)?;
    let event = change.event.clone().on(role_party(name));
    let change = RightsChange {
        event: &event.because(reason(scopes)),
        ..*change
    };
    Ok(store.set_role_scopes(name, &line, &change).await?)
}

/// A role that somebody has is not deleted; `Conflict` then.
pub async fn delete_role(
    store: &Store,
    auth: &Auth,
    name: &str,
    deleted: Event,
) -> Result<(), RoleError> {
    check_kept(auth, name)?;
    let deleted = deleted.on(role_party(name));
    Ok(store.delete_role(name, &deleted).await?)
}

/// A role as the audit log names it.
pub(crate) fn role_party(name: &str) -> Party {
    Party::new(PartyKind::Role, name)
}

/// What is granted to whom, as the audit log tells of it.
pub fn grant_reason(role: &str, tenant: Option<&str>) -> String {
    match tenant {
        Some(tenant) => format!("role:{role} tenant:{tenant}"),
        None => format!("role:{role}"),
    }
}

/// The audit log keeps what a role came to hold.
fn reason(scopes: &[String]) -> String {
    const LONGEST: usize = 1024;
    let mut reason = format!("scopes:{}", scopes.join(" "));
    reason.truncate(reason.floor_char_boundary(LONGEST));
    reason
}

fn check_name(auth: &Auth, name: &str) -> Result<(), RoleError> {
    plain_name::check(name)?;
    check_kept(auth, name)?;
    if is_scope(auth, name) {
        return Err(RoleError::NamedLikeScope);
    }
    Ok(())
}

fn check_kept(auth: &Auth, name: &str) -> Result<(), RoleError> {
    match auth.roles.get(name) {
        Some(_of_file) => Err(RoleError::OfFile),
        None => Ok(()),
    }
}

fn line_of(auth: &Auth, scopes: &[String]) -> Result<String, UnknownScope> {
    check_scopes(auth, scopes)?;
    let each_once: BTreeSet<&str> = scopes.iter().map(String::as_str).collect();
    Ok(each_once.into_iter().collect::<Vec<_>>().join(" "))
}

/// A scope that nothing asks for would be a misspelling, and `*` is the configuration's alone to write.
pub(crate) fn check_scopes(auth: &Auth, scopes: &[String]) -> Result<(), UnknownScope> {
    match scopes.iter().find(|scope| !is_scope(auth, scope)) {
        Some(unknown) => Err(UnknownScope(unknown.clone())),
        None => Ok(()),
    }
}

fn is_scope(auth: &Auth, name: &str) -> bool {
    let mut declared = auth
        .resources
        .values()
        .flat_map(|resource| &resource.scopes);
    PORTCULLIS_SCOPES.contains(&name) || declared.any(|scope| scope == name)
}
