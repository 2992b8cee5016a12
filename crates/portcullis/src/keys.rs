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
use secrecy::SecretString;

use crate::clock;

const PURPOSE: &str = "signing-key";

/// The active signing key. Of gateways that start together on one database all end with the same.
pub(crate) async fn signing_key(
    auth: &Auth,
    store: &Store,
    root: &RootKeyBytes,
) -> anyhow::Result<SigningKey> {
    let algorithm = match source(auth) {
        Source::Configured(secret) => return Ok(SigningKey::from_secret(secret)?),
        Source::Kept(algorithm) => algorithm,
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

/// Where the key comes from.
pub(crate) enum Source<'a> {
    Configured(&'a SecretString),
    /// In the database.
    Kept(SigningAlgorithm),
}

pub(crate) fn source(auth: &Auth) -> Source<'_> {
    match &auth.signing {
        Signing::Hs256 { secret } => Source::Configured(secret),
        Signing::Es256 => Source::Kept(SigningAlgorithm::Es256),
        Signing::EdDsa => Source::Kept(SigningAlgorithm::EdDsa),
        Signing::Rs256 => Source::Kept(SigningAlgorithm::Rs256),
    }
}

/// The key that a gateway made before, for whoever only reads.
pub(crate) async fn kept(
    algorithm: SigningAlgorithm,
    store: &Store,
    root: &RootKeyBytes,
) -> anyhow::Result<Option<SigningKey>> {
    let wrapping = WrappingKey::derive(root, PURPOSE);
    let kept = active(store).await?;
    kept.map(|kept| open(&kept, algorithm, &wrapping))
        .transpose()
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

#[cfg(test)]
mod tests {
    use portcullis_config::storage::Database;
    use portcullis_store::OpenMode;
    use tempfile::TempDir;

    use super::*;
    use crate::configuration::secret;

    /// The `auth` section of the shipped file, signing otherwise.
    fn signing_with(algorithm: &str) -> Auth {
        let shipped = include_str!("../../../gateway.yaml");
        let text = shipped.replace("algorithm: ES256", &format!("algorithm: {algorithm}"));
        let config = portcullis_config::parse(&text, "test", &secret);
        let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        config.auth.expect("the shipped file signs in")
    }

    async fn store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::Sqlite(folder.path().join("portcullis.db"));
        let store = Store::open(&database, OpenMode::Serve, "gateway")
            .await
            .unwrap();
        store.migrate().await.unwrap();
        (folder, store)
    }

    const ROOT: [u8; 32] = [1; 32];

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_second_start_signs_with_the_key_of_the_first() {
        let (_folder, store) = store().await;
        let (auth, root) = (signing_with("EdDSA"), RootKeyBytes::new(ROOT));
        let (one, other) = tokio::join!(
            signing_key(&auth, &store, &root),
            signing_key(&auth, &store, &root)
        );
        let made = one.unwrap();
        assert_eq!(
            made.kid(),
            other.unwrap().kid(),
            "of two that start at once"
        );
        assert_eq!(
            made.kid(),
            signing_key(&auth, &store, &root).await.unwrap().kid()
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn another_root_key_opens_nothing_and_makes_nothing_new() {
        let (_folder, store) = store().await;
        let auth = signing_with("ES256");
        signing_key(&auth, &store, &RootKeyBytes::new(ROOT))
            .await
            .unwrap();
        let refused = signing_key(&auth, &store, &RootKeyBytes::new([2; 32])).await;
        let refused = format!("{:#}", refused.err().expect("it is wrapped by another key"));
        assert!(refused.contains("storage.key"), "{refused}");
        assert_eq!(store.signing_keys().await.unwrap().len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_changed_algorithm_is_told_with_its_remedy() {
        let (_folder, store) = store().await;
        let root = RootKeyBytes::new(ROOT);
        signing_key(&signing_with("ES256"), &store, &root)
            .await
            .unwrap();
        let refused = signing_key(&signing_with("EdDSA"), &store, &root).await;
        let refused = format!(
            "{:#}",
            refused.err().expect("the kept key is of another algorithm")
        );
        assert!(refused.contains("set it to ES256"), "{refused}");
    }
}
