//! What roles give.

use portcullis_config::auth::{Auth, RoleScopes};
use portcullis_store::Grant;

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
