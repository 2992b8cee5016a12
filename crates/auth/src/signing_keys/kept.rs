//! The keys in the database, wrapped by the root key: what a schedule, an administrator and the command line do with
//! them. Replicas agree through the database: whoever comes second finds the work done.

use std::sync::Arc;

use portcullis_audit::{Action, Event, Outcome, Party, PartyKind};
use portcullis_config::{storage::RootKeyBytes, units::Timestamp};
use portcullis_store::{Store, StoreError, StoredKey};
use portcullis_tokens::{
    KeySet, SigningKey, WrappingKey,
    rotation::{KeyRecord, KeyState, Rotation, Step, TAKEN_BACK_FOR},
};

use super::{KeysError, open};

const PURPOSE: &str = "signing-key";

/// More than any state of the keys asks for at once. Another replica may do some of it at the same time.
const STEPS: usize = 100;

pub struct KeptKeys {
    store: Store,
    wrapping: WrappingKey,
    rotation: Rotation,
}

/// A key that was taken back.
#[derive(Clone, Debug)]
pub struct RetiredKey {
    pub record: KeyRecord,
    /// The key that signs now.
    pub signing: KeyRecord,
    /// Until when the revocation is told to others.
    pub until: Timestamp,
}

impl KeptKeys {
    pub fn new(store: Store, root: &RootKeyBytes, rotation: Rotation) -> Self {
        Self {
            store,
            wrapping: WrappingKey::derive(root, PURPOSE),
            rotation,
        }
    }

    /// In use first, and oldest first.
    pub async fn records(&self) -> Result<Vec<KeyRecord>, KeysError> {
        let stored = self.store.signing_keys().await?;
        Ok(stored.into_iter().map(|key| key.record).collect())
    }

    /// What verifies, for whoever only reads. None where no gateway has made a key yet.
    pub async fn verifying(&self) -> Result<Option<KeySet>, KeysError> {
        let opened = self.open_published(&self.store.signing_keys().await?)?;
        let is_new = opened.is_empty();
        (!is_new).then(|| open::key_set(&opened)).transpose()
    }

    /// Publishes a new key, which signs once everybody can have it. `asked` says who wants it, and when.
    pub async fn rotate(&self, asked: &Event) -> Result<KeyRecord, KeysError> {
        let key = self.make(KeyState::Next, asked.at).await?;
        let created = about(asked, Action::SigningKeyCreated, &key.record.kid);
        if self.store.add_signing_key(&key, &created).await? {
            return Ok(key.record);
        }
        let next = in_state(self.records().await?, KeyState::Next);
        Err(next.map_or(KeysError::Store(StoreError::Conflict), |next| {
            KeysError::UnderWay(next.kid)
        }))
    }

    /// Takes a key back at once. If it was the one that signs, another signs from now on.
    pub async fn retire(&self, kid: &str, asked: &Event) -> Result<RetiredKey, KeysError> {
        let unknown = || KeysError::Unknown(kid.to_owned());
        let is_known = |records: &[KeyRecord]| records.iter().any(|record| record.kid == kid);
        if !is_known(&self.records().await?) {
            return Err(unknown());
        }
        let replacement = self.make(KeyState::Active, asked.at).await?;
        let retired = about(asked, Action::SigningKeyRetired, kid);
        let until = asked.at.plus(TAKEN_BACK_FOR);
        self.store
            .retire_signing_key(kid, &replacement, until, &retired)
            .await?;
        let records = self.records().await?;
        let record = records.iter().find(|record| record.kid == kid).cloned();
        Ok(RetiredKey {
            record: record.ok_or_else(unknown)?,
            signing: in_state(records, KeyState::Active).ok_or(KeysError::NoKey)?,
            until,
        })
    }

    /// Does what is due and reads the keys as they are then.
    pub(super) async fn advance(&self, now: Timestamp) -> Result<Vec<StoredKey>, KeysError> {
        for _ in 0..STEPS {
            let stored = self.store.signing_keys().await?;
            let records: Vec<KeyRecord> = stored.iter().map(|key| key.record.clone()).collect();
            let Some(step) = self.rotation.step(&records, now) else {
                return Ok(stored);
            };
            if let Step::Activate(next) = step {
                self.check_usable(&stored, next)?;
            }
            self.carry_out(step, now).await?;
        }
        Ok(self.store.signing_keys().await?)
    }

    /// A key that is wrapped by another root key must not become the one that signs.
    fn check_usable(&self, stored: &[StoredKey], next: &KeyRecord) -> Result<(), KeysError> {
        let next = stored.iter().find(|key| key.record.kid == next.kid);
        next.map_or(Ok(()), |next| open::opened(next, &self.wrapping).map(drop))
    }

    /// That another replica was faster is no failure: the keys are read again.
    async fn carry_out(&self, step: Step<'_>, now: Timestamp) -> Result<(), KeysError> {
        let by_schedule = Event::new(
            now,
            Action::SigningKeyCreated,
            Outcome::Success,
            Party::system("gateway"),
        );
        match step {
            Step::Begin => self.add(KeyState::Active, &by_schedule).await,
            Step::Announce => self.add(KeyState::Next, &by_schedule).await,
            Step::Activate(KeyRecord { kid, .. }) => {
                let event = about(&by_schedule, Action::SigningKeyActivated, kid);
                if self.store.activate_signing_key(kid, &event).await? {
                    tracing::info!(kid, "another signing key signs from now on");
                }
                Ok(())
            }
            Step::Forget(KeyRecord { kid, .. }) => {
                let event = about(&by_schedule, Action::SigningKeyRemoved, kid);
                if self.store.forget_signing_key(kid, &event).await? {
                    tracing::info!(kid, "removed a signing key");
                }
                Ok(())
            }
        }
    }

    async fn add(&self, state: KeyState, by_schedule: &Event) -> Result<(), KeysError> {
        let key = self.make(state, by_schedule.at).await?;
        let (kid, algorithm) = (&key.record.kid, &key.record.algorithm);
        let event = about(by_schedule, Action::SigningKeyCreated, kid);
        if self.store.add_signing_key(&key, &event).await? {
            tracing::info!(kid, algorithm, state = state.as_str(), "made a signing key");
        }
        Ok(())
    }

    async fn make(&self, state: KeyState, now: Timestamp) -> Result<StoredKey, KeysError> {
        let key = open::made(self.rotation.algorithm).await?;
        open::stored(&key, state, &self.wrapping, now)
    }

    pub(super) fn open_published(
        &self,
        stored: &[StoredKey],
    ) -> Result<Vec<(KeyState, Arc<SigningKey>)>, KeysError> {
        let published = stored.iter().filter(|key| key.record.state.is_published());
        published
            .map(|key| {
                let opened = open::opened(key, &self.wrapping)?;
                Ok((key.record.state, Arc::new(opened)))
            })
            .collect()
    }
}

fn in_state(records: Vec<KeyRecord>, state: KeyState) -> Option<KeyRecord> {
    records.into_iter().find(|record| record.state == state)
}

fn about(asked: &Event, action: Action, kid: &str) -> Event {
    Event {
        action,
        ..asked.clone().on(Party::new(PartyKind::Key, kid))
    }
}
