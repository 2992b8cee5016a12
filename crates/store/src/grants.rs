//! The roles of users: which, and within which tenant.
//!
//! A role may be one of the configuration or one of the database. That it is either is looked at in the transaction that
//! grants it, so that nobody is left with the name of a role that somebody else has just deleted.

use portcullis_config::units::Timestamp;

use crate::{
    administrators::{self, RightsChange, Turn},
    engine::{Row, Transaction, values},
    error::StoreError,
    store::Store,
    users::{User, changed, outdate_tokens},
};

/// The most roles of one user, in all tenants together. They travel in each of the user's tokens.
pub const MAX_GRANTS: usize = 64;

const GRANT: &str = "INSERT INTO user_roles (user_id, role, granted_ms) VALUES ($1, $2, $3) ON CONFLICT (user_id, role) DO NOTHING";
const GRANT_WITHIN: &str = "INSERT INTO tenant_roles (user_id, role, tenant, granted_ms) VALUES ($1, $2, $4, $3) \
     ON CONFLICT (user_id, role, tenant) DO NOTHING";
const REVOKE: &str = "DELETE FROM user_roles WHERE user_id = $1 AND role = $2";
const REVOKE_WITHIN: &str =
    "DELETE FROM tenant_roles WHERE user_id = $1 AND role = $2 AND tenant = $3";
const IS_KEPT: &str = "SELECT name FROM roles WHERE name = $1";

/// One role of a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub role: String,
    /// Where it holds; `None`: wherever its user is at home.
    pub tenant: Option<String>,
    /// What the role of this name in the database gives, separated by spaces; `None` if there is none there. Where the
    /// configuration has a role of the name, that one counts.
    pub kept_scopes: Option<String>,
}

impl Grant {
    /// From a row of a user's roles; `None` for a user without any.
    pub(crate) fn of(row: &Row) -> Result<Option<Self>, StoreError> {
        let Some(role) = row.read("role")? else {
            return Ok(None);
        };
        Ok(Some(Self {
            role,
            tenant: row.read("grant_tenant")?,
            kept_scopes: row.read("kept_scopes")?,
        }))
    }
}

/// A role, to be given or taken.
#[derive(Clone, Copy, Debug)]
pub struct RoleGrant<'a> {
    pub role: &'a str,
    pub tenant: Option<&'a str>,
}

impl Store {
    /// Tokens issued before are refused. Granting what is granted changes nothing, but is kept in
    /// the log. `NotFound` if there is no such user or role, `Conflict` if the user has as many as one may have.
    pub async fn grant_role(
        &self,
        id: &str,
        grant: RoleGrant<'_>,
        change: &RightsChange<'_>,
    ) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        administrators::wait(&mut tx).await?;
        if insert(&mut tx, id, grant, change).await? {
            outdate_tokens(&mut tx, id, change.until, change.event).await?;
        }
        let user = changed(&mut tx, id).await?;
        if user.grants.len() > MAX_GRANTS {
            return Err(StoreError::Conflict);
        }
        self.commit(tx, std::slice::from_ref(change.event)).await?;
        Ok(user)
    }

    /// As [`Store::grant_role`] with regard to tokens and repetition. `LastAdministrator` if nobody would be left who may
    /// administer.
    pub async fn revoke_role(
        &self,
        id: &str,
        grant: RoleGrant<'_>,
        change: &RightsChange<'_>,
    ) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        let turn = Turn::take(&mut tx, change).await?;
        let removed = match grant.tenant {
            None => tx.execute(REVOKE, values![id, grant.role]).await?,
            Some(tenant) => {
                tx.execute(REVOKE_WITHIN, values![id, grant.role, tenant])
                    .await?
            }
        };
        if removed > 0 {
            outdate_tokens(&mut tx, id, change.until, change.event).await?;
        }
        turn.end(&mut tx).await?;
        self.finish(tx, id, change.event).await
    }
}

/// To a user who is made in the same transaction.
pub(crate) async fn give(
    tx: &mut Transaction,
    id: &str,
    role: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(GRANT, values![id, role, at])
        .await
        .map(|_rows| ())
}

/// Whether the user did not have it yet.
async fn insert(
    tx: &mut Transaction,
    id: &str,
    grant: RoleGrant<'_>,
    change: &RightsChange<'_>,
) -> Result<bool, StoreError> {
    let at = change.event.at;
    let is_known = change.file.contains_key(grant.role)
        || tx.row(IS_KEPT, values![grant.role]).await?.is_some();
    if !is_known {
        return Err(StoreError::NotFound);
    }
    let added = match grant.tenant {
        None => tx.execute(GRANT, values![id, grant.role, at]).await?,
        Some(tenant) => {
            tx.execute(GRANT_WITHIN, values![id, grant.role, at, tenant])
                .await?
        }
    };
    Ok(added > 0)
}
