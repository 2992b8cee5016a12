//! One active signing key, however many gateways start at once.

use portcullis_audit::Action;
use tokio::task::JoinSet;

use super::bench::{Bench, NOW, event};
use crate::{KeyState, StoredKey};

fn key(kid: &str, state: KeyState) -> StoredKey {
    StoredKey {
        kid: kid.to_owned(),
        algorithm: "ES256".to_owned(),
        wrapped: vec![0, 1, 255],
        created_at: NOW,
        state,
    }
}

pub(super) async fn a_key_reads_back_as_it_was_kept(bench: &Bench) {
    let (old, active) = (key("a", KeyState::Retired), key("b", KeyState::Active));
    for key in [&old, &active] {
        assert!(
            bench
                .store
                .add_signing_key(key, &event(Action::SigningKeyCreated))
                .await
                .unwrap()
        );
    }
    assert_eq!(bench.store.signing_keys().await.unwrap(), [old, active]);
}

pub(super) async fn two_starts_make_one_signing_key(bench: &Bench) {
    let mut starts = JoinSet::new();
    for (store, kid) in [
        (bench.store.clone(), "a"),
        (bench.another("other").await, "b"),
    ] {
        starts.spawn(async move {
            let new = key(kid, KeyState::Active);
            store
                .add_signing_key(&new, &event(Action::SigningKeyCreated))
                .await
                .unwrap()
        });
    }
    let mut outcomes = starts.join_all().await;
    outcomes.sort_unstable();
    assert_eq!(outcomes, [false, true]);
    assert_eq!(bench.store.signing_keys().await.unwrap().len(), 1);
    assert_eq!(
        bench.actions().await,
        ["signing_key_created"],
        "the key that was not kept is not told of"
    );
}
