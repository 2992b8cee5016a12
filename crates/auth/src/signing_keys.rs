//! The key that signs, the key set that others verify with, and what verifies our own tokens: one view of the keys, put
//! in place of the one before whenever the kept keys have changed, while the gateway runs.

mod kept;
mod open;

use std::sync::Arc;

use parking_lot::RwLock;
use portcullis_config::units::Timestamp;
use portcullis_store::{StoreError, StoredKey};
use portcullis_tokens::{
    AccessClaims, IssuerKeys, KeyError, KeySet, SignError, SigningKey, WrapError,
    rotation::{KeyRecord, KeyState},
};
use serde_json::Value;

pub use kept::{KeptKeys, RetiredKey};

/// What may keep keys from changing, or from being used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("a rotation is under way: key {0} will sign next")]
    UnderWay(String),
    #[error("there is no key {0:?}")]
    Unknown(String),
    #[error("HS256 signs with the secret of the configuration: change it there, and restart")]
    Configured,
    #[error("signing key {0} cannot be unwrapped: is storage.key the one it was made with?")]
    Wrapped(String, #[source] WrapError),
    #[error("signing key {0} is kept under another key's id")]
    OtherId(String),
    #[error("signing key {kid} is of the unknown algorithm {algorithm:?}")]
    UnknownAlgorithm { kid: String, algorithm: String },
    #[error("no key signs")]
    NoKey,
    #[error("the making of a key was abandoned")]
    Abandoned,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot wrap the signing key")]
    Wrap(#[from] WrapError),
    #[error("the signing keys cannot be read or changed")]
    Store(#[from] StoreError),
}

/// Shared by all that sign, publish or verify.
pub struct SigningKeys {
    view: RwLock<View>,
    verifying: Arc<IssuerKeys>,
    /// None with HS256, whose secret stands in the configuration.
    kept: Option<KeptKeys>,
}

/// The keys at one time.
struct View {
    active: Arc<SigningKey>,
    /// Entries of the key set, public members only.
    published: Arc<[Value]>,
    /// What this was made of.
    records: Vec<KeyRecord>,
}

impl SigningKeys {
    /// A key that nobody changes.
    pub fn fixed(key: Arc<SigningKey>) -> Result<Self, KeysError> {
        let verifying = KeySet::new([key.verification_key()])?;
        Ok(Self {
            view: RwLock::new(View {
                published: key.public_jwk().into_iter().collect(),
                active: key,
                records: Vec::new(),
            }),
            verifying: verifying.into(),
            kept: None,
        })
    }

    /// The keys of a database, which makes the first one where there is none.
    pub async fn open(kept: KeptKeys, now: Timestamp) -> Result<Self, KeysError> {
        let stored = kept.advance(now).await?;
        let opened = kept.open_published(&stored)?;
        Ok(Self {
            view: RwLock::new(View::of(&opened, &stored)?),
            verifying: open::key_set(&opened)?.into(),
            kept: Some(kept),
        })
    }

    /// Does what is due and takes over what has changed, here or elsewhere. What fails leaves the keys as they were.
    pub async fn refresh(&self, now: Timestamp) -> Result<(), KeysError> {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        let stored = kept.advance(now).await?;
        if self.is_as_before(&stored) {
            return Ok(());
        }
        let opened = kept.open_published(&stored)?;
        let view = View::of(&opened, &stored)?;
        // First what verifies: nothing may be signed that is not accepted.
        self.verifying.replace(open::key_set(&opened)?);
        *self.view.write() = view;
        Ok(())
    }

    /// For the verifier; the same over all reloads.
    pub fn verifying(&self) -> Arc<IssuerKeys> {
        Arc::clone(&self.verifying)
    }

    /// Names the key that signs.
    pub fn active_kid(&self) -> String {
        self.view.read().active.kid().to_owned()
    }

    /// What can be changed. HS256 has nothing of the kind.
    pub(crate) fn kept(&self) -> Result<&KeptKeys, KeysError> {
        self.kept.as_ref().ok_or(KeysError::Configured)
    }

    pub(crate) fn sign(&self, claims: &AccessClaims) -> Result<String, SignError> {
        let active = Arc::clone(&self.view.read().active);
        active.sign(claims)
    }

    /// Entries of the JWK set. Empty with HS256.
    pub(crate) fn published(&self) -> Arc<[Value]> {
        Arc::clone(&self.view.read().published)
    }

    fn is_as_before(&self, stored: &[StoredKey]) -> bool {
        let view = self.view.read();
        view.records.iter().eq(stored.iter().map(|key| &key.record))
    }
}

impl View {
    fn of(opened: &[(KeyState, Arc<SigningKey>)], stored: &[StoredKey]) -> Result<Self, KeysError> {
        let active = opened.iter().find(|(state, _)| *state == KeyState::Active);
        let (_, active) = active.ok_or(KeysError::NoKey)?;
        Ok(Self {
            active: Arc::clone(active),
            published: opened
                .iter()
                .filter_map(|(_, key)| key.public_jwk())
                .collect(),
            records: stored.iter().map(|key| key.record.clone()).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
