//! Signing keys. What is kept of the private part is encrypted under the root key, which never comes here.

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;

use crate::{
    engine::{Row, values},
    error::StoreError,
    store::Store,
};

/// More keys than any rotation leaves behind. A key set beyond it would be an accident.
const KEYS: u32 = 100;

const ALL: &str = "SELECT kid, algorithm, wrapped, state, created_ms FROM signing_keys ORDER BY created_ms, kid LIMIT $1";
/// The unique index over the active key decides between two that come at the same time.
const ADD: &str = "INSERT INTO signing_keys (kid, algorithm, wrapped, state, created_ms) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    pub kid: String,
    pub algorithm: String,
    /// The private part, encrypted.
    pub wrapped: Vec<u8>,
    pub created_at: Timestamp,
    pub state: KeyState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Signs. There is at most one.
    Active,
    /// Signs no more and is no longer published.
    Retired,
}

impl KeyState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    fn parse(word: &str) -> Result<Self, StoreError> {
        [Self::Active, Self::Retired]
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| {
                StoreError::Corrupt(format!("a signing key is in the unknown state {word:?}"))
            })
    }
}

impl Store {
    /// Oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let rows = self.engine.rows(ALL, values![KEYS]).await?;
        rows.iter().map(stored_key).collect()
    }

    /// Whether the key was added. `false` if another is active already (of two gateways that start at once one is too late):
    /// nothing is kept then, not even the event, and the caller reads the keys again.
    pub async fn add_signing_key(
        &self,
        key: &StoredKey,
        event: &Event,
    ) -> Result<bool, StoreError> {
        let mut tx = self.engine.begin().await?;
        let values = values![
            key.kid.as_str(),
            key.algorithm.as_str(),
            key.wrapped.as_slice(),
            key.state.as_str(),
            key.created_at
        ];
        if tx.execute(ADD, values).await? == 0 {
            return Ok(false);
        }
        self.commit(tx, std::slice::from_ref(event)).await?;
        Ok(true)
    }
}

fn stored_key(row: &Row) -> Result<StoredKey, StoreError> {
    let state: String = row.read("state")?;
    Ok(StoredKey {
        kid: row.read("kid")?,
        algorithm: row.read("algorithm")?,
        wrapped: row.read("wrapped")?,
        created_at: row.instant("created_ms")?,
        state: KeyState::parse(&state)?,
    })
}
