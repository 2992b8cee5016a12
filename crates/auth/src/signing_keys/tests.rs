//! What replicas see of each other's changes, and what becomes of the keys where something is in the way.

use std::{sync::Arc, time::Duration};

use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_config::{
    storage::{Database, RootKeyBytes},
    units::Timestamp,
};
use portcullis_store::{OpenMode, Store};
use portcullis_tokens::{
    SigningAlgorithm, SigningKey,
    rotation::{KeyState, PUBLISHED_AHEAD, Rotation},
};
use secrecy::SecretString;
use tempfile::TempDir;

use super::{KeptKeys, KeysError, SigningKeys};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const TICK: Duration = Duration::from_secs(1);

struct Shop {
    folder: TempDir,
}

impl Shop {
    fn open() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn store(&self) -> Store {
        let database = Database::Sqlite(self.folder.path().join("keys.db"));
        let store = Store::open(&database, OpenMode::Serve, "test").await;
        let store = store.unwrap();
        store.migrate().await.unwrap();
        store
    }

    async fn kept(&self, root: u8) -> (Store, KeptKeys) {
        let store = self.store().await;
        let rotation = Rotation {
            every: Duration::from_secs(86_400),
            algorithm: SigningAlgorithm::EdDsa,
            token_lifetime: Duration::from_secs(300),
            since: NOW,
        };
        let root = RootKeyBytes::new([root; 32]);
        (store.clone(), KeptKeys::new(store, &root, rotation))
    }

    async fn replica(&self) -> (Store, SigningKeys) {
        let (store, kept) = self.kept(1).await;
        (store, SigningKeys::open(kept, NOW).await.unwrap())
    }
}

fn asked() -> Event {
    let operator = Party::operator("test");
    Event::new(NOW, Action::SigningKeyCreated, Outcome::Success, operator)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_does_the_others_take_over() {
    let shop = Shop::open();
    let ((_, one), (_, other)) = (shop.replica().await, shop.replica().await);
    assert_eq!(one.active_kid(), other.active_kid(), "one made it for both");
    let next = one.kept().unwrap().rotate(&asked()).await.unwrap();
    other.refresh(NOW.plus(TICK)).await.unwrap();
    assert_eq!((other.published().len(), other.verifying().count()), (2, 2));
    let then = NOW.plus(PUBLISHED_AHEAD);
    for replica in [&one, &other] {
        replica.refresh(then).await.unwrap();
        assert_eq!(replica.active_kid(), next.kid);
        assert_eq!(replica.verifying().count(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_leaves_the_keys_in_use() {
    let shop = Shop::open();
    let (store, keys) = shop.replica().await;
    let before = keys.active_kid();
    store.close().await;
    let later = NOW.plus(Duration::from_secs(90_000));
    assert!(matches!(
        keys.refresh(later).await,
        Err(KeysError::Store(_))
    ));
    assert_eq!((keys.active_kid(), keys.verifying().count()), (before, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_root_key_is_told_and_not_used() {
    let shop = Shop::open();
    let (_, keys) = shop.replica().await;
    let before = keys.active_kid();
    let (_, strange) = shop.kept(2).await;
    let strange = strange.rotate(&asked()).await.unwrap();
    let refused = keys.refresh(NOW.plus(TICK)).await;
    let named = matches!(&refused, Err(KeysError::Wrapped(kid, _)) if *kid == strange.kid);
    assert!(named, "{refused:?}");
    assert_eq!(
        (keys.active_kid(), keys.verifying().count()),
        (before.clone(), 1)
    );
    keys.refresh(NOW.plus(PUBLISHED_AHEAD)).await.unwrap_err();
    let (_, restarted) = shop.kept(1).await;
    let records = restarted.records().await.unwrap();
    let active = records.iter().find(|key| key.state == KeyState::Active);
    assert_eq!(active.unwrap().kid, before, "nor does it ever sign");
    keys.kept()
        .unwrap()
        .retire(&strange.kid, &asked())
        .await
        .unwrap();
    keys.refresh(NOW.plus(TICK)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_back_leaves_no_private_part_behind() {
    let shop = Shop::open();
    let (store, keys) = shop.replica().await;
    let kid = keys.active_kid();
    let done = keys.kept().unwrap().retire(&kid, &asked()).await.unwrap();
    assert_eq!(
        (done.record.state, done.signing.state),
        (KeyState::Retired, KeyState::Active)
    );
    let kept = store.signing_keys().await.unwrap();
    let retired = kept.iter().find(|key| key.record.kid == kid).unwrap();
    assert!(retired.wrapped.is_empty());
    let again = keys.kept().unwrap().retire(&kid, &asked()).await.unwrap();
    assert_eq!(again.signing, done.signing, "a second time changes nothing");
}

#[test]
fn the_secret_of_hs256_is_nothing_that_rotates() {
    let secret = SecretString::from("a secret of at least thirty-two bytes");
    let key = Arc::new(SigningKey::from_secret(&secret).unwrap());
    let keys = SigningKeys::fixed(key).unwrap();
    assert!(matches!(keys.kept(), Err(KeysError::Configured)));
    assert!(keys.published().is_empty(), "whoever had it could sign");
    assert_eq!(keys.verifying().count(), 1);
}
