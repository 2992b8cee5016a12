//! The key that signs our tokens: configured (HS256), or made at first start and kept in the database, wrapped by the
//! root key.

use anyhow::{Context, bail};
use portcullis_audit::{Action, Event, Outcome, Party, PartyKind};
use portcullis_config::{
    auth::{Auth, Signing},
    storage::RootKeyBytes,
};
use portcullis_store::{KeyState, Store, StoredKey};
use portcullis_tokens::{SigningAlgorithm, SigningKey, WrappingKey};

use crate::clock;

const PURPOSE: &str = "signing-key";

/// The active signing key. Of gateways that start together on one database all end with the same.
pub(crate) async fn signing_key(
    auth: &Auth,
    store: &Store,
    root: &RootKeyBytes,
) -> anyhow::Result<SigningKey> {
    let algorithm = match &auth.signing {
        Signing::Hs256 { secret } => return Ok(SigningKey::from_secret(secret)?),
        Signing::Es256 => SigningAlgorithm::Es256,
        Signing::EdDsa => SigningAlgorithm::EdDsa,
        Signing::Rs256 => SigningAlgorithm::Rs256,
    };
    let wrapping = WrappingKey::derive(root, PURPOSE);
    if let Some(kept) = active(store).await? {
        return open(&kept, algorithm, &wrapping);
    }
    let made = SigningKey::generate(algorithm).context("cannot make a signing key")?;
    if keep(&made, store, &wrapping).await? {
        tracing::info!(
            kid = made.kid(),
            algorithm = algorithm.name(),
            "made a signing key"
        );
        return Ok(made);
    }
    // Another gateway was first.
    let kept = active(store)
        .await?
        .context("the database took no signing key and has none")?;
    open(&kept, algorithm, &wrapping)
}

async fn active(store: &Store) -> anyhow::Result<Option<StoredKey>> {
    let keys = store
        .signing_keys()
        .await
        .context("cannot read the signing keys")?;
    Ok(keys.into_iter().find(|key| key.state == KeyState::Active))
}

fn open(
    kept: &StoredKey,
    algorithm: SigningAlgorithm,
    wrapping: &WrappingKey,
) -> anyhow::Result<SigningKey> {
    if kept.algorithm != algorithm.name() {
        bail!(
            "auth.signing.algorithm: the database signs with {}, the configuration asks for {}; set it to {}",
            kept.algorithm,
            algorithm.name(),
            kept.algorithm
        );
    }
    let pkcs8 = wrapping.unwrap(&kept.wrapped).with_context(|| {
        format!(
            "signing key {} cannot be unwrapped: is storage.key the one it was made with?",
            kept.kid
        )
    })?;
    let key =
        SigningKey::from_pkcs8(algorithm, &pkcs8).context("the kept signing key is not usable")?;
    if key.kid() != kept.kid {
        bail!("signing key {} is kept under another key's id", kept.kid);
    }
    Ok(key)
}

async fn keep(key: &SigningKey, store: &Store, wrapping: &WrappingKey) -> anyhow::Result<bool> {
    let now = clock::wall();
    let stored = StoredKey {
        kid: key.kid().to_owned(),
        algorithm: key.algorithm().name().to_owned(),
        wrapped: wrapping
            .wrap(&key.to_pkcs8())
            .context("cannot wrap the signing key")?,
        created_at: now,
        state: KeyState::Active,
    };
    let event = Event::new(
        now,
        Action::SigningKeyCreated,
        Outcome::Success,
        Party::system("gateway"),
    )
    .on(Party::new(PartyKind::Key, key.kid()));
    store
        .add_signing_key(&stored, &event)
        .await
        .context("cannot keep the signing key")
}
