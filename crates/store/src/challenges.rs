//! Sign-ins that wait for their second proof. In the database, so that whichever replica is asked next knows of them.

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;

use crate::{
    engine::values,
    error::StoreError,
    second_factors::{UsedCode, use_code},
    store::Store,
};

/// As with sessions: nothing is inserted unless the user is still as it was when the first proof was checked.
const OPEN: &str = "INSERT INTO sign_in_challenges (hash, user_id, user_version, resource, scopes, expires_ms, tenant) \
     SELECT $1, u.id, u.version, $4, $5, $6, $8 FROM users u WHERE u.id = $2 AND u.version = $3 AND u.disabled = $7";
const COUNT_TRY: &str = "UPDATE sign_in_challenges SET attempts = attempts + 1 \
     WHERE hash = $1 AND attempts < $2 AND expires_ms > $3 RETURNING user_id, user_version, resource, scopes, tenant";
const REMOVE: &str = "DELETE FROM sign_in_challenges WHERE hash = $1";
const REMOVE_ENDED: &str = "DELETE FROM sign_in_challenges \
     WHERE hash IN (SELECT hash FROM sign_in_challenges WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2)";

/// As with sessions.
const SWEEP: u32 = 500;

/// Who gave a first proof, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub user_id: String,
    /// Which must still be the user's when the second proof comes.
    pub user_version: u64,
    pub resource: String,
    /// Separated by spaces, as in a token.
    pub scopes: String,
    /// The tenant that the session will be for.
    pub tenant: Option<String>,
}

impl Store {
    /// `hash` is that of what the client is given. `Conflict` if the user was disabled or changed since it was read.
    pub async fn open_challenge(
        &self,
        hash: &[u8; 32],
        challenge: &Challenge,
        expires_at: Timestamp,
        event: &Event,
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        let values = values![
            hash,
            challenge.user_id.as_str(),
            challenge.user_version,
            challenge.resource.as_str(),
            challenge.scopes.as_str(),
            expires_at,
            false,
            challenge.tenant.as_deref(),
        ];
        if tx.execute(OPEN, values).await? == 0 {
            return Err(StoreError::Conflict);
        }
        self.commit(tx, std::slice::from_ref(event)).await
    }

    /// Counts a try before the code is looked at. `None` if there is no such challenge, it has expired, or `most_tries` were made.
    pub async fn try_challenge(
        &self,
        hash: &[u8; 32],
        most_tries: u32,
        now: Timestamp,
    ) -> Result<Option<Challenge>, StoreError> {
        let mut tx = self.engine.begin().await?;
        let values = values![hash, most_tries, now];
        let Some(row) = tx.row(COUNT_TRY, values).await? else {
            return Ok(None);
        };
        self.commit(tx, &[]).await?;
        Ok(Some(Challenge {
            user_id: row.read("user_id")?,
            user_version: row.number("user_version")?,
            resource: row.read("resource")?,
            scopes: row.read("scopes")?,
            tenant: row.read("tenant")?,
        }))
    }

    /// The challenge and the code go together, once. `Conflict` if either was used before.
    pub async fn redeem_challenge(
        &self,
        hash: &[u8; 32],
        user_id: &str,
        code: UsedCode<'_>,
        events: &[Event],
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        if tx.execute(REMOVE, values![hash]).await? == 0 {
            return Err(StoreError::Conflict);
        }
        use_code(&mut tx, user_id, code).await?;
        self.commit(tx, events).await
    }

    /// Removes some of the challenges that have expired and says how many: 0 means that none is left.
    pub async fn sweep_challenges(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.engine.begin().await?;
        let removed = tx.execute(REMOVE_ENDED, values![now, SWEEP]).await?;
        self.commit(tx, &[]).await?;
        Ok(removed)
    }
}
