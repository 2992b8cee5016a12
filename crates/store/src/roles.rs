//! Roles made at run time, beside those of the configuration.
//!
//! A change of what a role gives reaches each of its holders in the transaction of the change: their versions go up and
//! their tokens are revoked, by statements that take all of them at once. Who has a token of the old kind is refused with
//! it, and gets one of the new kind.

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;
use portcullis_tokens::Revocation;

use crate::{
    administrators::{self, RightsChange, Turn},
    engine::{Row, Transaction, values},
    error::StoreError,
    revocations,
    store::Store,
};

/// The most roles one page may have.
const PAGE: u32 = 1000;
/// The most roles there may be.
const MAX_ROLES: u64 = 1000;

const BY_NAME: &str = "SELECT * FROM roles WHERE name = $1";
const AFTER: &str = "SELECT * FROM roles WHERE name > $1 ORDER BY name LIMIT $2";
const COUNT: &str = "SELECT COUNT(*) AS n FROM roles";
const CREATE: &str =
    "INSERT INTO roles (name, scopes, created_ms, updated_ms) VALUES ($1, $2, $3, $3)";
const SET_SCOPES: &str =
    "UPDATE roles SET scopes = $2, updated_ms = $3 WHERE name = $1 AND scopes <> $2";
const DELETE: &str = "DELETE FROM roles WHERE name = $1";
const SOME_HOLDER: &str = "SELECT user_id FROM user_roles WHERE role = $1 \
     UNION ALL SELECT user_id FROM tenant_roles WHERE role = $1 LIMIT 1";
const RAISE_VERSIONS: &str = "UPDATE users SET version = version + 1, updated_ms = $2 WHERE id IN \
     (SELECT user_id FROM user_roles WHERE role = $1 UNION SELECT user_id FROM tenant_roles WHERE role = $1) \
     RETURNING id, version";

/// A role of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    /// Separated by spaces, as in a token; empty for a role that only marks its holders.
    pub scopes: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Store {
    /// `Taken` if there is one of that name. `Conflict` if there are as many as there may be, or if somebody still has a role
    /// of that name, which the configuration had once: a new one must not be given by accident.
    pub async fn create_role(
        &self,
        name: &str,
        scopes: &str,
        event: &Event,
    ) -> Result<Role, StoreError> {
        let mut tx = self.engine.begin().await?;
        administrators::wait(&mut tx).await?;
        tx.execute(CREATE, values![name, scopes, event.at]).await?;
        let count = tx.row(COUNT, values![]).await?;
        if count.ok_or(StoreError::NotFound)?.number("n")? > MAX_ROLES {
            return Err(StoreError::Conflict);
        }
        check_unheld(&mut tx, name).await?;
        self.finish_role(tx, name, event).await
    }

    pub async fn role(&self, name: &str) -> Result<Option<Role>, StoreError> {
        let rows = self.engine.rows(BY_NAME, values![name]).await?;
        rows.first().map(role).transpose()
    }

    /// A page of at most `limit` (and 1000) roles in the order of their names, after the one named.
    pub async fn roles(&self, after: Option<&str>, limit: u32) -> Result<Vec<Role>, StoreError> {
        let values = values![after.unwrap_or(""), limit.min(PAGE)];
        let rows = self.engine.rows(AFTER, values).await?;
        rows.iter().map(role).collect()
    }

    /// Tokens of everybody who has the role are refused for as long as any may be valid; the revocations come back, for whoever
    /// must know at once. Saying what is so already changes nothing, but is kept in the log. `LastAdministrator` if nobody
    /// would be left who may administer.
    pub async fn set_role_scopes(
        &self,
        name: &str,
        scopes: &str,
        change: &RightsChange<'_>,
    ) -> Result<(Role, Vec<Revocation>), StoreError> {
        let mut tx = self.engine.begin().await?;
        let turn = Turn::take(&mut tx, change).await?;
        let changed = tx
            .execute(SET_SCOPES, values![name, scopes, change.event.at])
            .await?;
        let revoked = match changed {
            0 => Vec::new(),
            _ => outdate_holders(&mut tx, name, change.until, change.event).await?,
        };
        turn.end(&mut tx).await?;
        let role = self.finish_role(tx, name, change.event).await?;
        Ok((role, revoked))
    }

    /// `Conflict` while anybody has it: what everybody would lose is better seen before.
    pub async fn delete_role(&self, name: &str, event: &Event) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        administrators::wait(&mut tx).await?;
        if tx.execute(DELETE, values![name]).await? == 0 {
            return Err(StoreError::NotFound);
        }
        check_unheld(&mut tx, name).await?;
        self.commit(tx, std::slice::from_ref(event)).await
    }

    async fn finish_role(
        &self,
        mut tx: Transaction,
        name: &str,
        event: &Event,
    ) -> Result<Role, StoreError> {
        let row = tx.row(BY_NAME, values![name]).await?;
        let changed = role(&row.ok_or(StoreError::NotFound)?)?;
        self.commit(tx, std::slice::from_ref(event)).await?;
        Ok(changed)
    }
}

async fn check_unheld(tx: &mut Transaction, name: &str) -> Result<(), StoreError> {
    match tx.row(SOME_HOLDER, values![name]).await? {
        Some(_holder) => Err(StoreError::Conflict),
        None => Ok(()),
    }
}

/// Nobody is given the role or loses it meanwhile: that would need the turn, which is ours.
async fn outdate_holders(
    tx: &mut Transaction,
    role: &str,
    until: Timestamp,
    event: &Event,
) -> Result<Vec<Revocation>, StoreError> {
    let rows = tx.rows(RAISE_VERSIONS, values![role, event.at]).await?;
    let revoked: Vec<Revocation> = rows.iter().map(user_before).collect::<Result<_, _>>()?;
    revocations::log_holders(tx, role, until, event).await?;
    Ok(revoked)
}

fn user_before(row: &Row) -> Result<Revocation, StoreError> {
    Ok(Revocation::UserBefore {
        user_id: row.read("id")?,
        version: row.number("version")?,
    })
}

fn role(row: &Row) -> Result<Role, StoreError> {
    Ok(Role {
        name: row.read("name")?,
        scopes: row.read("scopes")?,
        created_at: row.instant("created_ms")?,
        updated_at: row.instant("updated_ms")?,
    })
}
