//! Passwords as they are kept, and their changes. What reads a hash is not known here.

use std::fmt;

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    engine::{Row, Transaction, values},
    error::StoreError,
    store::Store,
    users::{BY_ID, User, end_sessions},
};

const REPLACE: &str = "UPDATE users SET password_hash = $3, password_scheme = $4, updated_ms = $5 \
     WHERE id = $1 AND password_hash = $2";
/// Nothing is changed unless the user is still the one whose password was checked.
const SET: &str = "UPDATE users SET password_hash = $3, password_scheme = $4 WHERE id = $1 AND version = $2 AND disabled = $5";
const FORGET_RESET: &str =
    "DELETE FROM email_codes WHERE user_id = $1 AND purpose = 'reset_password'";

/// A password as it is kept: a PHC string, and the name of the scheme that reads it.
#[derive(Clone)]
pub struct PasswordRecord {
    hash: SecretString,
    scheme: String,
}

impl PasswordRecord {
    pub fn new(hash: impl Into<String>, scheme: impl Into<String>) -> Self {
        Self {
            hash: hash.into().into(),
            scheme: scheme.into(),
        }
    }

    pub fn expose_hash(&self) -> &str {
        self.hash.expose_secret()
    }

    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    pub(crate) fn of(row: &Row) -> Result<Option<Self>, StoreError> {
        let (hash, scheme): (Option<String>, Option<String>) =
            (row.read("password_hash")?, row.read("password_scheme")?);
        Ok(hash
            .zip(scheme)
            .map(|(hash, scheme)| Self::new(hash, scheme)))
    }
}

impl fmt::Debug for PasswordRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordRecord")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// `None` for a user who signs in elsewhere, and for nobody.
    pub async fn password_of(&self, id: &str) -> Result<Option<PasswordRecord>, StoreError> {
        let rows = self.engine.rows(BY_ID, values![id]).await?;
        Ok(rows.first().map(PasswordRecord::of).transpose()?.flatten())
    }

    /// Another password, after which no token and no session from before is good. `Conflict` if the user has changed since it
    /// was read: of two changes that race one wins, and none of them undoes a disable.
    pub async fn set_password(
        &self,
        user: &User,
        password: &PasswordRecord,
        revocation_until: Timestamp,
        event: &Event,
    ) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        set(&mut tx, user, password).await?;
        end_sessions(&mut tx, &user.id, revocation_until, event).await?;
        self.finish(tx, &user.id, event).await
    }

    /// Keeps the same password under better parameters. `Conflict` if the hash is no longer `old`: then somebody has changed the
    /// password meanwhile, and the old one must not come back. Nobody's rights change, so there is no event.
    pub async fn replace_password_hash(
        &self,
        id: &str,
        old: &PasswordRecord,
        new: &PasswordRecord,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        let values = values![id, old.expose_hash(), new.expose_hash(), new.scheme(), now];
        if tx.execute(REPLACE, values).await? == 0 {
            return Err(StoreError::Conflict);
        }
        self.commit(tx, &[]).await
    }
}

/// With it goes any code that was sent to reset the one before.
pub(crate) async fn set(
    tx: &mut Transaction,
    user: &User,
    password: &PasswordRecord,
) -> Result<(), StoreError> {
    let id = user.id.as_str();
    let values = values![
        id,
        user.version,
        password.expose_hash(),
        password.scheme(),
        false
    ];
    if tx.execute(SET, values).await? == 0 {
        return Err(StoreError::Conflict);
    }
    tx.execute(FORGET_RESET, values![id]).await?;
    Ok(())
}
