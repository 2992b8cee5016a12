//! The keys that sign our tokens: configured (HS256), or kept in the database, where they are made, follow each other and
//! are taken back while the gateway runs.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use portcullis_auth::{KeptKeys, SigningKeys};
use portcullis_config::{
    auth::{Auth, Signing},
    storage::RootKeyBytes,
};
use portcullis_store::Store;
use portcullis_tokens::{SigningAlgorithm, SigningKey, rotation::Rotation};
use secrecy::SecretString;
use tokio::{
    select,
    sync::Notify,
    time::{MissedTickBehavior, interval},
};

use crate::clock;

/// How soon what another replica or the command line has changed is seen here.
const POLL: Duration = Duration::from_secs(1);

/// The keys of this run. Of gateways that start together on one database all end with the same.
pub(crate) async fn signing_keys(
    auth: &Auth,
    store: &Store,
    root: &RootKeyBytes,
) -> anyhow::Result<SigningKeys> {
    let algorithm = match source(auth) {
        Source::Configured(secret) => {
            return Ok(SigningKeys::fixed(SigningKey::from_secret(secret)?.into())?);
        }
        Source::Kept(algorithm) => algorithm,
    };
    let kept = kept(auth, algorithm, store, root);
    let keys = SigningKeys::open(kept, clock::wall()).await;
    keys.context("the signing keys cannot be used")
}

/// Where the keys come from.
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

pub(crate) fn kept(
    auth: &Auth,
    algorithm: SigningAlgorithm,
    store: &Store,
    root: &RootKeyBytes,
) -> KeptKeys {
    let rotation = Rotation {
        every: auth.rotate_every,
        algorithm,
        token_lifetime: auth.access_token_lifetime,
        since: clock::wall(),
    };
    KeptKeys::new(store.clone(), root, rotation)
}

/// Rotates when it is time, and takes over what others have changed, until the runtime ends. A key that was taken back is
/// refused here by now: nothing more should be signed with it.
pub(crate) async fn follow(keys: Arc<SigningKeys>, key_revoked: Arc<Notify>) {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        select! {
            _ = ticks.tick() => {}
            () = key_revoked.notified() => {}
        }
        let failure = keys.refresh(clock::wall()).await.err();
        let failure = failure.map(|error| format!("{:#}", anyhow::Error::from(error)));
        if let Some(error) = failure.as_deref().filter(|_| failure != told) {
            tracing::error!(
                error,
                "the signing keys could not be read; those of before stay in use"
            );
        }
        told = failure;
    }
}

#[cfg(test)]
mod tests {
    use portcullis_config::storage::Database;
    use portcullis_store::OpenMode;
    use portcullis_tokens::rotation::KeyState;
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
            signing_keys(&auth, &store, &root),
            signing_keys(&auth, &store, &root)
        );
        let made = one.unwrap().active_kid();
        assert_eq!(
            made,
            other.unwrap().active_kid(),
            "of two that start at once"
        );
        let later = signing_keys(&auth, &store, &root).await.unwrap();
        assert_eq!(made, later.active_kid());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn another_root_key_opens_nothing_and_makes_nothing_new() {
        let (_folder, store) = store().await;
        let auth = signing_with("ES256");
        signing_keys(&auth, &store, &RootKeyBytes::new(ROOT))
            .await
            .unwrap();
        let refused = signing_keys(&auth, &store, &RootKeyBytes::new([2; 32])).await;
        let refused = format!("{:#}", refused.err().expect("it is wrapped by another key"));
        assert!(refused.contains("storage.key"), "{refused}");
        assert_eq!(store.signing_keys().await.unwrap().len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_changed_algorithm_is_a_rotation() {
        let (_folder, store) = store().await;
        let root = RootKeyBytes::new(ROOT);
        let before = signing_keys(&signing_with("ES256"), &store, &root).await;
        let before = before.unwrap().active_kid();
        wait_for_the_next_millisecond().await;
        let after = signing_keys(&signing_with("EdDSA"), &store, &root).await;
        assert_eq!(
            after.unwrap().active_kid(),
            before,
            "the new one is only published"
        );
        let kept = store.signing_keys().await.unwrap();
        let states: Vec<_> = kept
            .iter()
            .map(|key| (key.record.state, key.record.algorithm.as_str()))
            .collect();
        assert_eq!(
            states,
            [(KeyState::Active, "ES256"), (KeyState::Next, "EdDSA")]
        );
    }

    /// A key of the very instant of a start is not older than it.
    async fn wait_for_the_next_millisecond() {
        let began = clock::wall();
        while clock::wall() <= began {
            tokio::task::yield_now().await;
        }
    }
}
