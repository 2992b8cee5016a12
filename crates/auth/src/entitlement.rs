//! What a user or a client may have a token for: the scopes of the roles, or its own, cut down to those of one resource.
//!
//! Roles come from the configuration and from the database, and count together. The user brings those of the database
//! with it, so that all of this is decided without a look anywhere else.

use std::time::Duration;

use portcullis_config::{
    auth::{Auth, PORTCULLIS_RESOURCE, PORTCULLIS_SCOPES},
    units::Timestamp,
};
use portcullis_store::{Grant, User};
use portcullis_tokens::ScopeSet;

use crate::rights::{RoleGives, gives};

/// A resource with the scopes that a token for it will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entitlement {
    pub(crate) resource: String,
    pub(crate) scopes: ScopeSet,
    pub(crate) lifetime: Duration,
    /// Those that give something on the resource, and those that give nothing anywhere and only mark their holders.
    /// Sorted; which of them a token's scopes come from is not told apart.
    pub(crate) roles: Vec<String>,
    pub(crate) tenant: Option<String>,
    /// Whether it is all that there was to have, because nothing less was asked for.
    pub(crate) is_whole: bool,
}

/// In the place of scopes where none were named: whatever the user may have, at any time. No scope is spelled so.
pub(crate) const ALL_SCOPES: &str = "*";

impl Entitlement {
    /// What is kept of it, for a later decision about the same.
    pub(crate) fn asked_scopes(&self) -> &str {
        if self.is_whole {
            ALL_SCOPES
        } else {
            self.scopes.line()
        }
    }

    /// No access token outlives its session.
    pub(crate) fn ending_by(self, end: Timestamp, now: Timestamp) -> Self {
        Self {
            lifetime: self.lifetime.min(end.saturating_since(now)),
            ..self
        }
    }
}

/// Not told apart in the answer: which resources exist is not everybody's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotEntitled {
    UnknownResource,
    NoScope,
    /// A scope was asked for that the user does not have here. Refused rather than left out, so that nobody holds a
    /// token that lacks what was asked for.
    ScopeNotGranted,
    /// A tenant was named that the user neither belongs to nor has a role in.
    ForeignTenant,
}

impl NotEntitled {
    /// For the audit log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::UnknownResource => "unknown-resource",
            Self::NoScope => "not-entitled",
            Self::ScopeNotGranted => "scope-not-granted",
            Self::ForeignTenant => "foreign-tenant",
        }
    }
}

/// With no resource named, the only one that has all scopes of the client.
pub(crate) fn entitle_client(
    auth: &Auth,
    granted: &ScopeSet,
    resource: Option<&str>,
    requested: Option<&ScopeSet>,
) -> Result<Entitlement, NotEntitled> {
    let resource = match resource {
        Some(resource) => resource,
        None => only_resource(auth, granted).ok_or(NotEntitled::UnknownResource)?,
    };
    cut_down(auth, |scope| granted.contains(scope), resource, requested)
}

fn only_resource<'a>(auth: &'a Auth, granted: &ScopeSet) -> Option<&'a str> {
    let all = auth.resources.keys().map(String::as_str);
    let mut fitting = all.chain([PORTCULLIS_RESOURCE]).filter(|resource| {
        let offered = offered(auth, resource);
        offered.is_some_and(|(scopes, _)| granted.iter().all(|scope| scopes.contains(&scope)))
    });
    fitting.next().filter(|_| fitting.next().is_none())
}

/// What is asked for at a sign-in or a refresh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) resource: &'a str,
    /// `None`: all that the roles give there.
    pub(crate) scopes: Option<&'a ScopeSet>,
    /// `None`: the one that goes without saying, see [`tenant_of`].
    pub(crate) tenant: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn all_of(resource: &'a str) -> Self {
        Self {
            resource,
            scopes: None,
            tenant: None,
        }
    }
}

/// The scopes and roles that count for one resource and within one tenant.
pub(crate) fn entitle(
    auth: &Auth,
    user: &User,
    wanted: &Wanted<'_>,
) -> Result<Entitlement, NotEntitled> {
    let tenant = tenant_of(user, wanted.tenant)?;
    let (offered, _) = offered(auth, wanted.resource).ok_or(NotEntitled::UnknownResource)?;
    let counting: Vec<(&str, RoleGives<'_>)> = user
        .grants
        .iter()
        .filter(|grant| holds(user, grant, tenant, wanted.resource))
        .filter_map(|grant| Some((&*grant.role, gives(auth, grant)?)))
        .filter(|(_, gives)| gives.is_mark() || offered.iter().any(|scope| gives.contains(scope)))
        .collect();
    let is_granted = |scope: &str| counting.iter().any(|(_, gives)| gives.contains(scope));
    let cut = cut_down(auth, is_granted, wanted.resource, wanted.scopes)?;
    let mut roles: Vec<String> = counting
        .iter()
        .map(|(role, _)| (*role).to_owned())
        .collect();
    roles.dedup();
    Ok(Entitlement {
        roles,
        tenant: tenant.map(str::to_owned),
        ..cut
    })
}

/// The tenant that a session is for: one that the user belongs to or has a role in. Where none is named it is the user's
/// own, or else the only one in question; with several, none, and the roles of no tenant alone count.
fn tenant_of<'a>(user: &'a User, named: Option<&'a str>) -> Result<Option<&'a str>, NotEntitled> {
    let mut known = user
        .grants
        .iter()
        .filter_map(|grant| grant.tenant.as_deref());
    if user.tenant.is_some() && (named.is_none() || named == user.tenant.as_deref()) {
        return Ok(user.tenant.as_deref());
    }
    match named {
        Some(named) => match known.find(|tenant| *tenant == named) {
            Some(tenant) => Ok(Some(tenant)),
            None => Err(NotEntitled::ForeignTenant),
        },
        None => {
            let first = known.next();
            Ok(first.filter(|first| known.all(|other| other == *first)))
        }
    }
}

/// A role without a tenant of its own holds in its user's; that of a user without one holds everywhere. What holds within
/// a tenant never opens the administration, which is of the whole installation.
fn holds(user: &User, grant: &Grant, tenant: Option<&str>, resource: &str) -> bool {
    match grant.tenant.as_deref().or(user.tenant.as_deref()) {
        None => true,
        Some(within) => Some(within) == tenant && resource != PORTCULLIS_RESOURCE,
    }
}

fn cut_down(
    auth: &Auth,
    is_granted: impl Fn(&str) -> bool,
    resource: &str,
    requested: Option<&ScopeSet>,
) -> Result<Entitlement, NotEntitled> {
    let (offered, lifetime) = offered(auth, resource).ok_or(NotEntitled::UnknownResource)?;
    let granted: Vec<&str> = offered
        .into_iter()
        .filter(|scope| is_granted(scope))
        .collect();
    // A scope that is no scope cannot pass the loader.
    let granted = ScopeSet::from_words(granted).map_err(|_invalid| NotEntitled::NoScope)?;
    if granted.is_empty() {
        return Err(NotEntitled::NoScope);
    }
    let scopes = match requested {
        Some(requested) if requested.iter().all(|scope| granted.contains(scope)) => {
            requested.clone()
        }
        Some(_) => return Err(NotEntitled::ScopeNotGranted),
        None => granted,
    };
    Ok(Entitlement {
        resource: resource.to_owned(),
        scopes,
        lifetime,
        roles: Vec::new(),
        tenant: None,
        is_whole: requested.is_none(),
    })
}

fn offered<'a>(auth: &'a Auth, resource: &str) -> Option<(Vec<&'a str>, Duration)> {
    if resource == PORTCULLIS_RESOURCE {
        return Some((PORTCULLIS_SCOPES.to_vec(), auth.access_token_lifetime));
    }
    let resource = auth.resources.get(resource)?;
    let longest = resource.max_token_lifetime.unwrap_or(Duration::MAX);
    let scopes = resource.scopes.iter().map(String::as_str).collect();
    Some((scopes, auth.access_token_lifetime.min(longest)))
}

#[cfg(test)]
pub(crate) mod tests;
