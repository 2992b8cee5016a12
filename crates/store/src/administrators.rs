//! Whose turn it is to change who may do what, and that somebody is left to administer.
//!
//! A change of rights takes its turn before it reads anything, and keeps it to its commit. So two administrators who
//! demote each other come one after the other, and the second finds that it would be the last to go.

use std::collections::BTreeMap;

use portcullis_audit::Event;
use portcullis_config::{auth::RoleScopes, units::Timestamp};

use crate::{
    engine::{Transaction, values},
    error::StoreError,
};

/// The roles that the configuration declares, which the database knows nothing of.
pub type FileRoles = BTreeMap<String, RoleScopes>;

/// Without a holder of these nobody could be let in again, but from the command line.
const ESSENTIAL: [&str; 2] = ["users:write", "roles:write"];

const TAKE_TURN: &str = "UPDATE rights_turn SET taken = taken + 1 WHERE id = 1";
/// Within a tenant nobody administers: neither through a role of a tenant nor as a user who belongs to one.
const HOLDER: &str = "SELECT r.user_id FROM user_roles r JOIN users u ON u.id = r.user_id \
     WHERE r.role = $1 AND u.disabled = $2 AND u.tenant IS NULL LIMIT 1";
const KEPT_ROLES: &str = "SELECT name, scopes FROM roles";

/// What a change of somebody's rights comes with.
#[derive(Clone, Copy, Debug)]
pub struct RightsChange<'a> {
    pub event: &'a Event,
    pub file: &'a FileRoles,
    /// Tokens issued before are refused until then, when the last of them has expired.
    pub until: Timestamp,
}

/// A turn, and which of the essential scopes had a holder when it began.
pub(crate) struct Turn<'a> {
    file: &'a FileRoles,
    held: [bool; ESSENTIAL.len()],
}

impl<'a> Turn<'a> {
    pub(crate) async fn take(
        tx: &mut Transaction,
        change: &RightsChange<'a>,
    ) -> Result<Self, StoreError> {
        let file = change.file;
        wait(tx).await?;
        let held = held(tx, file).await?;
        Ok(Self { file, held })
    }

    /// `LastAdministrator` if the change would take an essential scope from its last holder.
    pub(crate) async fn end(self, tx: &mut Transaction) -> Result<(), StoreError> {
        let still_held = held(tx, self.file).await?;
        let mut pairs = self.held.iter().zip(still_held);
        if pairs.any(|(before, after)| *before && !after) {
            return Err(StoreError::LastAdministrator);
        }
        Ok(())
    }
}

/// Waits for the turn alone, for a change that can only give.
pub(crate) async fn wait(tx: &mut Transaction) -> Result<(), StoreError> {
    tx.execute(TAKE_TURN, values![]).await.map(|_rows| ())
}

async fn held(
    tx: &mut Transaction,
    file: &FileRoles,
) -> Result<[bool; ESSENTIAL.len()], StoreError> {
    let kept = kept_roles(tx).await?;
    let mut held = [false; ESSENTIAL.len()];
    for (held, scope) in held.iter_mut().zip(ESSENTIAL) {
        let of_file = file.iter().filter(|(_, gives)| gives.contains(scope));
        // A name that the file has is the file's to explain.
        let of_database = kept
            .iter()
            .filter(|(name, scopes)| !file.contains_key(name) && contains(scopes, scope));
        let roles = of_file
            .map(|(name, _)| name)
            .chain(of_database.map(|(name, _)| name));
        for role in roles {
            if !*held {
                *held = tx
                    .row(HOLDER, values![role.as_str(), false])
                    .await?
                    .is_some();
            }
        }
    }
    Ok(held)
}

async fn kept_roles(tx: &mut Transaction) -> Result<Vec<(String, String)>, StoreError> {
    let rows = tx.rows(KEPT_ROLES, values![]).await?;
    rows.iter()
        .map(|row| Ok((row.read("name")?, row.read("scopes")?)))
        .collect()
}

fn contains(scopes: &str, scope: &str) -> bool {
    scopes.split(' ').any(|held| held == scope)
}
