//! Codes that are sent by mail: each proves, once, that somebody reads what is sent to a user's address.
//!
//! The code itself is nowhere, its hash is. Asking again replaces the code from before, and whatever changes the address or
//! the password makes it worth nothing.

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;

use crate::{
    engine::{Transaction, values},
    error::StoreError,
    passwords::{self, PasswordRecord},
    store::Store,
    users::{User, end_sessions, users, users_from},
};

/// Nothing is inserted for a user who may not sign in, or has no address.
const KEEP: &str = "INSERT INTO email_codes (user_id, purpose, code_hash, email_key, expires_ms) \
     SELECT u.id, $2, $3, u.email_key, $4 FROM users u WHERE u.id = $1 AND u.disabled = $5 AND u.email_key IS NOT NULL \
     ON CONFLICT (user_id, purpose) DO UPDATE \
     SET code_hash = excluded.code_hash, email_key = excluded.email_key, expires_ms = excluded.expires_ms";
const HOLDER: &str = users_from!(
    "SELECT h.* FROM users h JOIN email_codes c ON c.user_id = h.id AND c.email_key = h.email_key \
     WHERE c.code_hash = $1 AND c.purpose = $2 AND c.expires_ms > $3 AND h.disabled = $4"
);
const SPEND: &str = "DELETE FROM email_codes WHERE code_hash = $1 AND purpose = $2 AND expires_ms > $3 \
     RETURNING user_id, email_key";
const VERIFIED: &str =
    "UPDATE users SET email_verified = $3, updated_ms = $4 WHERE id = $1 AND email_key = $2";
const REMOVE_ENDED: &str = "DELETE FROM email_codes \
     WHERE code_hash IN (SELECT code_hash FROM email_codes WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2)";

/// As with sessions.
const SWEEP: u32 = 500;

/// What a code is good for, and for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodePurpose {
    VerifyEmail,
    ResetPassword,
}

impl CodePurpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify_email",
            Self::ResetPassword => "reset_password",
        }
    }
}

/// SHA-256 of a code.
pub type CodeHash = [u8; 32];

#[derive(Clone, Copy, Debug)]
pub struct NewCode<'a> {
    pub user_id: &'a str,
    pub purpose: CodePurpose,
    pub hash: &'a CodeHash,
    pub expires_at: Timestamp,
}

/// What a spent code changes. `user` is as it was read.
#[derive(Clone, Copy, Debug)]
pub struct PasswordReset<'a> {
    pub user: &'a User,
    pub hash: &'a CodeHash,
    pub password: &'a PasswordRecord,
    pub revocation_until: Timestamp,
}

impl Store {
    /// In the place of any code for the same purpose. `Conflict` if the user has no address, is disabled or is not there.
    pub async fn keep_email_code(
        &self,
        code: &NewCode<'_>,
        event: &Event,
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        let purpose = code.purpose.as_str();
        let values = values![code.user_id, purpose, code.hash, code.expires_at, false];
        if tx.execute(KEEP, values).await? == 0 {
            return Err(StoreError::Conflict);
        }
        self.commit(tx, std::slice::from_ref(event)).await
    }

    /// Whose code it is, as long as it is good. Looking does not spend it.
    pub async fn holder_of_code(
        &self,
        purpose: CodePurpose,
        hash: &CodeHash,
        now: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        let values = values![hash, purpose.as_str(), now, false];
        Ok(users(&self.engine.rows(HOLDER, values).await?)?.pop())
    }

    /// Spends the code. `Conflict` if it was spent before, has expired, or the address is another one by now.
    pub async fn verify_email(&self, hash: &CodeHash, event: &Event) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        let id = spend(&mut tx, CodePurpose::VerifyEmail, hash, event).await?;
        self.finish(tx, &id, event).await
    }

    /// Spends the code and ends all sessions. `Conflict` as with [`Store::verify_email`], and if the user has changed since it was
    /// read. Whoever has the code reads the user's mail, so the address is verified as well.
    pub async fn reset_password(
        &self,
        reset: &PasswordReset<'_>,
        event: &Event,
    ) -> Result<User, StoreError> {
        let (user, mut tx) = (reset.user, self.engine.begin().await?);
        if spend(&mut tx, CodePurpose::ResetPassword, reset.hash, event).await? != user.id {
            return Err(StoreError::Conflict);
        }
        passwords::set(&mut tx, user, reset.password).await?;
        end_sessions(&mut tx, &user.id, reset.revocation_until, event).await?;
        self.finish(tx, &user.id, event).await
    }

    /// Removes some of the codes that have expired and says how many: 0 means that none is left.
    pub async fn sweep_email_codes(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.engine.begin().await?;
        let removed = tx.execute(REMOVE_ENDED, values![now, SWEEP]).await?;
        self.commit(tx, &[]).await?;
        Ok(removed)
    }
}

/// Of many who present one code, one gets past this.
async fn spend(
    tx: &mut Transaction,
    purpose: CodePurpose,
    hash: &CodeHash,
    event: &Event,
) -> Result<String, StoreError> {
    let row = tx
        .row(SPEND, values![hash, purpose.as_str(), event.at])
        .await?;
    let row = row.ok_or(StoreError::Conflict)?;
    let (id, email_key): (String, String) = (row.read("user_id")?, row.read("email_key")?);
    let values = values![id.as_str(), email_key.as_str(), true, event.at];
    if tx.execute(VERIFIED, values).await? == 0 {
        return Err(StoreError::Conflict);
    }
    Ok(id)
}
