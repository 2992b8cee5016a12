//! What a person may do, all resources together: asked where somebody is about to give rights to another.
//!
//! Nobody gives what is not their own. Who may write users, roles or clients could otherwise make themselves anything:
//! by a role of theirs, by a new role, by a program, or by the password of somebody who has more.

use std::collections::BTreeSet;

use portcullis_config::auth::{Auth, RoleScopes};
use portcullis_store::{Grant, User};

/// What one role gives.
#[derive(Clone, Copy)]
pub(crate) enum RoleGives<'a> {
    OfFile(&'a RoleScopes),
    /// Of a role of the database, separated by spaces.
    Kept(&'a str),
}

/// A role of the configuration goes before one of the same name in the database. `None` for one that is in neither, and
/// gives nothing.
pub(crate) fn gives<'a>(auth: &'a Auth, grant: &'a Grant) -> Option<RoleGives<'a>> {
    let of_file = auth.roles.get(&grant.role).map(RoleGives::OfFile);
    of_file.or(grant.kept_scopes.as_deref().map(RoleGives::Kept))
}

impl RoleGives<'_> {
    pub(crate) fn contains(self, scope: &str) -> bool {
        match self {
            Self::OfFile(scopes) => scopes.contains(scope),
            Self::Kept(scopes) => scopes.split(' ').any(|given| given == scope),
        }
    }

    /// Whether it gives nothing anywhere, and says no more of its holders than its name.
    pub(crate) fn is_mark(self) -> bool {
        match self {
            Self::OfFile(RoleScopes::All) => false,
            Self::OfFile(RoleScopes::These(scopes)) => scopes.is_empty(),
            Self::Kept(scopes) => scopes.is_empty(),
        }
    }
}

/// A set of scopes, of whichever resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    All,
    These(BTreeSet<String>),
}

impl Rights {
    pub(crate) fn none() -> Self {
        Self::These(BTreeSet::new())
    }

    /// `line` as in a token.
    pub(crate) fn of_scopes(line: &str) -> Self {
        let words = line.split(' ').filter(|word| !word.is_empty());
        Self::These(words.map(str::to_owned).collect())
    }

    /// As an administrator lists them.
    pub(crate) fn of_words(words: &[String]) -> Self {
        Self::of_scopes(&words.join(" "))
    }

    /// All that the user could do in any tenant: what somebody must have who changes this user.
    pub(crate) fn held_by(auth: &Auth, user: &User) -> Self {
        Self::of_grants(auth, user.grants.iter())
    }

    /// What the user can give to others: what holds everywhere, and not within a tenant alone.
    pub(crate) fn to_give(auth: &Auth, user: &User) -> Self {
        if user.tenant.is_some() {
            return Self::none();
        }
        let everywhere = user.grants.iter().filter(|grant| grant.tenant.is_none());
        Self::of_grants(auth, everywhere)
    }

    fn of_grants<'a>(auth: &'a Auth, grants: impl Iterator<Item = &'a Grant>) -> Self {
        grants
            .filter_map(|grant| gives(auth, grant))
            .map(Self::from)
            .fold(Self::none(), Self::and)
    }

    fn and(self, more: Self) -> Self {
        match (self, more) {
            (Self::These(mut these), Self::These(more)) => {
                these.extend(more);
                Self::These(these)
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }

    pub(crate) fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::These(_), Self::All) => false,
            (Self::These(these), Self::These(other)) => other.is_subset(these),
        }
    }
}

impl From<RoleGives<'_>> for Rights {
    fn from(gives: RoleGives<'_>) -> Self {
        match gives {
            RoleGives::OfFile(RoleScopes::All) => Self::All,
            RoleGives::OfFile(RoleScopes::These(scopes)) => {
                Self::These(scopes.iter().cloned().collect())
            }
            RoleGives::Kept(scopes) => Self::of_scopes(scopes),
        }
    }
}

#[cfg(test)]
mod tests;
