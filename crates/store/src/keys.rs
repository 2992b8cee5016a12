//! Signing keys. What is kept of the private part is encrypted under the root key, which never comes here.
//!
//! Any replica may change them, so each change names the state it starts from, and two unique indexes (one key signs, one
//! is next) decide between those that come at the same time.

use portcullis_audit::{Action, Event, Party, PartyKind};
use portcullis_config::units::Timestamp;
use portcullis_tokens::{
    Revocation,
    rotation::{KeyRecord, KeyState},
};

use crate::{
    engine::{Row, Transaction, values},
    error::StoreError,
    revocations,
    store::Store,
};

/// More keys than any rotation leaves behind. A key set beyond it would be an accident.
const KEYS: u32 = 1000;

/// Those that were taken back come last, so that no number of them hides a key in use.
const ALL: &str = "SELECT * FROM signing_keys \
     ORDER BY CASE state WHEN 'retired' THEN 1 ELSE 0 END, created_ms, kid LIMIT $1";
const ADD: &str = "INSERT INTO signing_keys (kid, algorithm, wrapped, state, created_ms, activated_ms) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
const CEASE: &str =
    "UPDATE signing_keys SET state = 'retiring', retired_ms = $1 WHERE state = 'active'";
const ACTIVATE: &str =
    "UPDATE signing_keys SET state = 'active', activated_ms = $2 WHERE kid = $1 AND state = 'next'";
const ACTIVATE_NEXT: &str =
    "UPDATE signing_keys SET state = 'active', activated_ms = $1 WHERE state = 'next'";
/// An update that changes nothing locks the row on both databases; `FOR UPDATE` exists on one only.
const LOCK: &str = "UPDATE signing_keys SET state = state WHERE kid = $1 RETURNING state";
/// A key that must never be used again need not be there.
const RETIRE: &str =
    "UPDATE signing_keys SET state = 'retired', retired_ms = $2, wrapped = $3 WHERE kid = $1";
const FORGET: &str = "DELETE FROM signing_keys WHERE kid = $1 AND state IN ('retiring', 'retired')";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    pub record: KeyRecord,
    /// The private part, encrypted. Empty for a key that was taken back.
    pub wrapped: Vec<u8>,
}

/// What came of taking a key back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retirement {
    /// It was taken back before, and nothing has changed.
    Already,
    /// Another key signs, as before.
    Spare,
    /// It signed, and now the one does that was next.
    NextSigns,
    /// It signed, and now the replacement does.
    ReplacementSigns,
}

impl Store {
    /// In use first, and oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let rows = self.engine.rows(ALL, values![KEYS]).await?;
        rows.iter().map(stored_key).collect()
    }

    /// Whether the key was added. `false` if another is in its state already (of two gateways that start at once one is too late):
    /// nothing is kept then, not even the event, and the caller reads the keys again.
    pub async fn add_signing_key(
        &self,
        key: &StoredKey,
        event: &Event,
    ) -> Result<bool, StoreError> {
        let mut tx = self.engine.begin().await?;
        if !add(&mut tx, key).await? {
            return Ok(false);
        }
        self.commit(tx, std::slice::from_ref(event)).await?;
        Ok(true)
    }

    /// The key that is next begins to sign, and the one that signed is retiring. `false` if it is not next any more.
    pub async fn activate_signing_key(&self, kid: &str, event: &Event) -> Result<bool, StoreError> {
        let mut tx = self.engine.begin().await?;
        tx.execute(CEASE, values![event.at]).await?;
        if tx.execute(ACTIVATE, values![kid, event.at]).await? == 0 {
            return Ok(false);
        }
        self.commit(tx, std::slice::from_ref(event)).await?;
        Ok(true)
    }

    /// Takes a key back: it verifies nothing any more, here and wherever revocations are followed. If it was the one that signs,
    /// the next signs from now on, or else `replacement`. `NotFound` if there is no such key.
    pub async fn retire_signing_key(
        &self,
        kid: &str,
        replacement: &StoredKey,
        until: Timestamp,
        event: &Event,
    ) -> Result<Retirement, StoreError> {
        let mut tx = self.engine.begin().await?;
        let locked = tx.row(LOCK, values![kid]).await?;
        let before = state(&locked.ok_or(StoreError::NotFound)?)?;
        if before == KeyState::Retired {
            return Ok(Retirement::Already);
        }
        tx.execute(RETIRE, values![kid, event.at, &[][..]]).await?;
        revocations::log(&mut tx, &Revocation::Key(kid.to_owned()), until, event).await?;
        let mut events = vec![event.clone()];
        let retirement = match before {
            KeyState::Active => replace(&mut tx, replacement, event, &mut events).await?,
            KeyState::Next | KeyState::Retiring | KeyState::Retired => Retirement::Spare,
        };
        self.commit(tx, &events).await?;
        Ok(retirement)
    }

    /// Removes a key that signs no more. `false` if another replica has done so.
    pub async fn forget_signing_key(&self, kid: &str, event: &Event) -> Result<bool, StoreError> {
        let mut tx = self.engine.begin().await?;
        if tx.execute(FORGET, values![kid]).await? == 0 {
            return Ok(false);
        }
        self.commit(tx, std::slice::from_ref(event)).await?;
        Ok(true)
    }
}

async fn add(tx: &mut Transaction, key: &StoredKey) -> Result<bool, StoreError> {
    let record = &key.record;
    let values = values![
        record.kid.as_str(),
        record.algorithm.as_str(),
        key.wrapped.as_slice(),
        record.state.as_str(),
        record.created_at,
        record.activated_at,
    ];
    Ok(tx.execute(ADD, values).await? != 0)
}

/// After the key that signed was taken back.
async fn replace(
    tx: &mut Transaction,
    replacement: &StoredKey,
    retired: &Event,
    events: &mut Vec<Event>,
) -> Result<Retirement, StoreError> {
    if tx.execute(ACTIVATE_NEXT, values![retired.at]).await? != 0 {
        return Ok(Retirement::NextSigns);
    }
    if !add(tx, replacement).await? {
        return Err(StoreError::Conflict);
    }
    let kid = &replacement.record.kid;
    let mut made = retired.clone().on(Party::new(PartyKind::Key, kid));
    made.action = Action::SigningKeyCreated;
    events.push(made);
    Ok(Retirement::ReplacementSigns)
}

fn stored_key(row: &Row) -> Result<StoredKey, StoreError> {
    Ok(StoredKey {
        record: KeyRecord {
            kid: row.read("kid")?,
            algorithm: row.read("algorithm")?,
            state: state(row)?,
            created_at: row.instant("created_ms")?,
            activated_at: row.maybe_instant("activated_ms")?,
            retired_at: row.maybe_instant("retired_ms")?,
        },
        wrapped: row.read("wrapped")?,
    })
}

fn state(row: &Row) -> Result<KeyState, StoreError> {
    let word: String = row.read("state")?;
    KeyState::named(&word).ok_or_else(|| {
        StoreError::Corrupt(format!("a signing key is in the unknown state {word:?}"))
    })
}
