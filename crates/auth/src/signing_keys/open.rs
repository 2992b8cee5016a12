//! From kept bytes to keys that sign and verify, and back.

use std::sync::Arc;

use portcullis_config::units::Timestamp;
use portcullis_store::StoredKey;
use portcullis_tokens::{
    KeySet, SigningAlgorithm, SigningKey, WrappingKey,
    rotation::{KeyRecord, KeyState},
};
use tokio::task::spawn_blocking;

use super::KeysError;

/// A key that is neither kept nor published yet. An RSA key takes a good part of a second.
pub(super) async fn made(algorithm: SigningAlgorithm) -> Result<SigningKey, KeysError> {
    let made = spawn_blocking(move || SigningKey::generate(algorithm)).await;
    Ok(made.map_err(|_ended| KeysError::Abandoned)??)
}

pub(super) fn stored(
    key: &SigningKey,
    state: KeyState,
    wrapping: &WrappingKey,
    now: Timestamp,
) -> Result<StoredKey, KeysError> {
    Ok(StoredKey {
        record: KeyRecord {
            kid: key.kid().to_owned(),
            algorithm: key.algorithm().name().to_owned(),
            state,
            created_at: now,
            activated_at: (state == KeyState::Active).then_some(now),
            retired_at: None,
        },
        wrapped: wrapping.wrap(&key.to_pkcs8())?,
    })
}

pub(super) fn opened(kept: &StoredKey, wrapping: &WrappingKey) -> Result<SigningKey, KeysError> {
    let record = &kept.record;
    let algorithm = SigningAlgorithm::named(&record.algorithm);
    let algorithm = algorithm.ok_or_else(|| KeysError::UnknownAlgorithm {
        kid: record.kid.clone(),
        algorithm: record.algorithm.clone(),
    })?;
    let pkcs8 = wrapping
        .unwrap(&kept.wrapped)
        .map_err(|error| KeysError::Wrapped(record.kid.clone(), error))?;
    let key = SigningKey::from_pkcs8(algorithm, &pkcs8)?;
    if key.kid() == record.kid {
        Ok(key)
    } else {
        Err(KeysError::OtherId(record.kid.clone()))
    }
}

pub(super) fn key_set(opened: &[(KeyState, Arc<SigningKey>)]) -> Result<KeySet, KeysError> {
    let verifying = opened.iter().map(|(_, key)| key.verification_key());
    Ok(KeySet::new(verifying)?)
}
