//! One key that signs and at most one that is next, however many replicas change them at once.

use portcullis_audit::Action;
use portcullis_tokens::{
    Revocation,
    rotation::{KeyRecord, KeyState},
};
use tokio::task::JoinSet;

use super::bench::{Bench, LATER, NOW, event};
use crate::{Retirement, Store, StoreError, StoredKey};

fn key(kid: &str, state: KeyState) -> StoredKey {
    StoredKey {
        record: KeyRecord {
            kid: kid.to_owned(),
            algorithm: "ES256".to_owned(),
            state,
            created_at: NOW,
            activated_at: (state == KeyState::Active).then_some(NOW),
            retired_at: None,
        },
        wrapped: vec![0, 1, 255],
    }
}

async fn add(store: &Store, kid: &str, state: KeyState) -> bool {
    let created = event(Action::SigningKeyCreated);
    store
        .add_signing_key(&key(kid, state), &created)
        .await
        .unwrap()
}

/// `kid` and state of every key, in the order they are listed.
async fn states(bench: &Bench) -> Vec<(String, KeyState)> {
    let keys = bench.store.signing_keys().await.unwrap();
    keys.into_iter()
        .map(|key| (key.record.kid, key.record.state))
        .collect()
}

fn expected(keys: &[(&str, KeyState)]) -> Vec<(String, KeyState)> {
    keys.iter()
        .map(|(kid, state)| ((*kid).to_owned(), *state))
        .collect()
}

async fn retire(store: &Store, kid: &str, replacement: &str) -> Result<Retirement, StoreError> {
    let replacement = key(replacement, KeyState::Active);
    let retired = event(Action::SigningKeyRetired);
    store
        .retire_signing_key(kid, &replacement, LATER, &retired)
        .await
}

pub(super) async fn a_key_reads_back_as_it_was_kept(bench: &Bench) {
    for (kid, state) in [("a", KeyState::Active), ("b", KeyState::Next)] {
        assert!(add(&bench.store, kid, state).await);
    }
    let kept = [key("a", KeyState::Active), key("b", KeyState::Next)];
    assert_eq!(bench.store.signing_keys().await.unwrap(), kept);
}

pub(super) async fn two_starts_make_one_signing_key(bench: &Bench) {
    let mut starts = JoinSet::new();
    for (store, kid) in [
        (bench.store.clone(), "a"),
        (bench.another("other").await, "b"),
    ] {
        starts.spawn(async move { add(&store, kid, KeyState::Active).await });
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

pub(super) async fn of_many_that_announce_one_makes_the_next_key(bench: &Bench) {
    add(&bench.store, "a", KeyState::Active).await;
    let mut replicas = JoinSet::new();
    for n in 0..8 {
        let store = bench.another(&format!("replica{n}")).await;
        replicas.spawn(async move { add(&store, &n.to_string(), KeyState::Next).await });
    }
    let made = replicas.join_all().await.into_iter().filter(|made| *made);
    assert_eq!(made.count(), 1);
    assert_eq!(bench.store.signing_keys().await.unwrap().len(), 2);
}

pub(super) async fn a_key_that_is_next_takes_over_once(bench: &Bench) {
    add(&bench.store, "a", KeyState::Active).await;
    add(&bench.store, "b", KeyState::Next).await;
    let mut replicas = JoinSet::new();
    for n in 0..8 {
        let store = bench.another(&format!("replica{n}")).await;
        let activated = event(Action::SigningKeyActivated);
        replicas.spawn(async move { store.activate_signing_key("b", &activated).await.unwrap() });
    }
    let taken_over = replicas.join_all().await.into_iter().filter(|done| *done);
    assert_eq!(taken_over.count(), 1);
    assert_eq!(
        states(bench).await,
        expected(&[("a", KeyState::Retiring), ("b", KeyState::Active)])
    );
    let keys = bench.store.signing_keys().await.unwrap();
    assert_eq!(
        (keys[0].record.retired_at, keys[1].record.activated_at),
        (Some(NOW), Some(NOW))
    );
    let nobody = event(Action::SigningKeyActivated);
    assert!(
        !bench
            .store
            .activate_signing_key("c", &nobody)
            .await
            .unwrap()
    );
    assert_eq!(
        states(bench).await[1].1,
        KeyState::Active,
        "one must go on signing"
    );
}

pub(super) async fn a_retired_key_is_replaced_revoked_and_audited_in_one_change(bench: &Bench) {
    add(&bench.store, "a", KeyState::Active).await;
    let retirement = retire(&bench.store, "a", "b").await.unwrap();
    assert_eq!(retirement, Retirement::ReplacementSigns);
    assert_eq!(
        states(bench).await,
        expected(&[("b", KeyState::Active), ("a", KeyState::Retired)])
    );
    let keys = bench.store.signing_keys().await.unwrap();
    assert!(
        keys[1].wrapped.is_empty(),
        "what was taken back is not kept"
    );
    let log = bench.store.revocations_after(0, NOW).await.unwrap();
    assert_eq!(log, [(1, Revocation::Key("a".to_owned()), LATER)]);
    assert_eq!(
        bench.actions().await,
        [
            "signing_key_created",
            "signing_key_retired",
            "signing_key_created"
        ]
    );
    let again = retire(&bench.store, "a", "c").await.unwrap();
    assert_eq!(again, Retirement::Already);
    assert!(matches!(
        retire(&bench.store, "x", "c").await,
        Err(StoreError::NotFound)
    ));
    assert_eq!(bench.actions().await.len(), 3, "nothing has changed");
}

pub(super) async fn a_retired_key_that_did_not_sign_replaces_nothing(bench: &Bench) {
    add(&bench.store, "a", KeyState::Active).await;
    add(&bench.store, "b", KeyState::Next).await;
    assert_eq!(
        retire(&bench.store, "b", "x").await.unwrap(),
        Retirement::Spare
    );
    add(&bench.store, "c", KeyState::Next).await;
    assert_eq!(
        retire(&bench.store, "a", "x").await.unwrap(),
        Retirement::NextSigns
    );
    assert_eq!(
        states(bench).await,
        expected(&[
            ("c", KeyState::Active),
            ("a", KeyState::Retired),
            ("b", KeyState::Retired),
        ])
    );
}

pub(super) async fn many_who_retire_one_key_make_one_replacement(bench: &Bench) {
    add(&bench.store, "a", KeyState::Active).await;
    let mut replicas = JoinSet::new();
    for n in 0..8 {
        let store = bench.another(&format!("replica{n}")).await;
        replicas.spawn(async move { retire(&store, "a", &n.to_string()).await.unwrap() });
    }
    let outcomes = replicas.join_all().await;
    let count = |wanted| {
        outcomes
            .iter()
            .filter(|outcome| **outcome == wanted)
            .count()
    };
    assert_eq!(
        (
            count(Retirement::ReplacementSigns),
            count(Retirement::Already)
        ),
        (1, 7)
    );
    assert_eq!(bench.store.signing_keys().await.unwrap().len(), 2);
}

pub(super) async fn only_a_key_that_signs_no_more_is_forgotten(bench: &Bench) {
    add(&bench.store, "a", KeyState::Active).await;
    add(&bench.store, "b", KeyState::Next).await;
    let removed = event(Action::SigningKeyRemoved);
    for kid in ["a", "b", "x"] {
        assert!(
            !bench.store.forget_signing_key(kid, &removed).await.unwrap(),
            "{kid}"
        );
    }
    bench
        .store
        .activate_signing_key("b", &event(Action::SigningKeyActivated))
        .await
        .unwrap();
    assert!(bench.store.forget_signing_key("a", &removed).await.unwrap());
    assert!(!bench.store.forget_signing_key("a", &removed).await.unwrap());
    assert_eq!(states(bench).await, expected(&[("b", KeyState::Active)]));
}
