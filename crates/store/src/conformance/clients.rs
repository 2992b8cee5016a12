//! Programs with a secret of their own.

use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_config::units::Timestamp;
use portcullis_tokens::Revocation;

use super::bench::{Bench, LATER, NOW, event};
use crate::{Client, ClientChange, ClientProof, NewClient, StoreError};

const HASH: [u8; 32] = [7; 32];

fn new_client(id: &str, name: &str) -> NewClient {
    NewClient {
        id: id.to_owned(),
        name: name.to_owned(),
        proof: ClientProof::Secret(HASH),
        scopes: "revocations:read".to_owned(),
        created_at: NOW,
    }
}

async fn add(bench: &Bench, id: &str, name: &str) -> Result<Client, StoreError> {
    bench
        .store
        .create_client(&new_client(id, name), &event(Action::ClientCreated))
        .await
}

pub(super) async fn a_created_client_reads_back_by_id_by_name_and_in_pages(bench: &Bench) {
    let made = add(bench, "c1", "sidecar").await.unwrap();
    let store = &bench.store;
    assert_eq!(
        (made.scopes.as_str(), made.version, made.disabled),
        ("revocations:read", 1, false)
    );
    assert_eq!(store.client("c1").await.unwrap(), Some(made.clone()));
    assert_eq!(
        store.client_by_name("sidecar").await.unwrap(),
        Some(made.clone())
    );
    let with_proof = store.client_with_proof("c1").await.unwrap();
    let secret = ClientProof::Secret(HASH);
    assert_eq!(with_proof, Some((made.clone(), secret)));
    assert_eq!(store.client("sidecar").await.unwrap(), None);
    add(bench, "c2", "other").await.unwrap();
    assert_eq!(store.clients(None, 1).await.unwrap(), [made]);
    let rest = store.clients(Some("c1"), 10).await.unwrap();
    assert_eq!((rest.len(), rest[0].name.as_str()), (1, "other"));
}

pub(super) async fn a_name_is_one_clients_only(bench: &Bench) {
    add(bench, "c1", "sidecar").await.unwrap();
    let again = add(bench, "c2", "sidecar").await;
    assert!(matches!(again, Err(StoreError::Taken)), "{again:?}");
    assert_eq!(bench.actions().await, ["client_created"]);
}

pub(super) async fn a_client_has_a_secret_or_keys_and_changes_them(bench: &Bench) {
    add(bench, "c1", "sidecar").await.unwrap();
    let keys = ClientProof::Keys("{\"keys\":[]}".to_owned());
    let with_keys = NewClient {
        proof: keys.clone(),
        ..new_client("c2", "robot")
    };
    let created = event(Action::ClientCreated);
    let made = bench.store.create_client(&with_keys, &created).await;
    assert!(made.unwrap().has_keys);
    let changes = [
        ("c1", ClientProof::Secret([8; 32]), 2),
        ("c1", keys.clone(), 3),
        ("c2", ClientProof::Secret(HASH), 2),
    ];
    for (id, proof, version) in changes {
        let changed = event(Action::ClientProofChanged);
        let set = bench.store.set_client_proof(id, &proof, LATER, &changed);
        let client = set.await.unwrap();
        assert_eq!((client.has_keys, client.version), (proof == keys, version));
        let read = bench.store.client_with_proof(id).await.unwrap();
        assert_eq!(read, Some((client, proof)));
    }
    let revoked = bench.store.revocations_after(0, NOW).await.unwrap();
    assert_eq!(revoked.len(), 3, "its tokens go with what it had before");
    let changed = event(Action::ClientProofChanged);
    let nobody = bench.store.set_client_proof("c9", &keys, LATER, &changed);
    let nobody = nobody.await;
    assert!(matches!(nobody, Err(StoreError::NotFound)), "{nobody:?}");
}

pub(super) async fn disabling_a_client_outdates_its_tokens_once(bench: &Bench) {
    add(bench, "c1", "sidecar").await.unwrap();
    for _ in 0..2 {
        let disabled = bench
            .store
            .set_client_disabled("c1", true, LATER, &event(Action::ClientDisabled))
            .await
            .unwrap();
        assert_eq!((disabled.disabled, disabled.version), (true, 2));
    }
    let expected = Revocation::UserBefore {
        user_id: "c1".to_owned(),
        version: 2,
    };
    assert_eq!(
        bench.store.revocations_after(0, NOW).await.unwrap(),
        [(1, expected, LATER)]
    );
    let nobody = bench
        .store
        .set_client_disabled("c9", true, LATER, &event(Action::ClientDisabled))
        .await;
    assert!(matches!(nobody, Err(StoreError::NotFound)), "{nobody:?}");
}

pub(super) async fn each_change_of_a_client_outdates_its_tokens(bench: &Bench) {
    add(bench, "c1", "sidecar").await.unwrap();
    let other_scopes = ClientChange {
        scopes: Some("hotel:read"),
        disabled: None,
    };
    let disabled = ClientChange {
        scopes: None,
        disabled: Some(true),
    };
    for (wanted, is_disabled, version) in [(&other_scopes, false, 2), (&disabled, true, 3)] {
        let changed = change(bench, "c1", wanted).await.unwrap();
        assert_eq!(changed.scopes, "hotel:read");
        assert_eq!((changed.disabled, changed.version), (is_disabled, version));
    }
    assert_eq!(revoked(bench).await, [2, 3]);
    let nobody = change(bench, "c9", &disabled).await;
    assert!(matches!(nobody, Err(StoreError::NotFound)), "{nobody:?}");
}

pub(super) async fn a_deleted_client_is_gone_with_its_tokens(bench: &Bench) {
    add(bench, "c1", "sidecar").await.unwrap();
    let gone = delete(bench, "c1").await.unwrap();
    assert_eq!((&*gone.name, gone.version), ("sidecar", 2));
    assert_eq!(bench.store.client("c1").await.unwrap(), None);
    assert_eq!(bench.store.client_with_proof("c1").await.unwrap(), None);
    assert_eq!(revoked(bench).await, [2]);
    assert_eq!(bench.actions().await, ["client_created", "client_deleted"]);
    let again = delete(bench, "c1").await;
    assert!(matches!(again, Err(StoreError::NotFound)), "{again:?}");
    add(bench, "c2", "sidecar").await.unwrap();
}

async fn change(bench: &Bench, id: &str, wanted: &ClientChange<'_>) -> Result<Client, StoreError> {
    let event = event(Action::ClientChanged);
    bench.store.change_client(id, wanted, LATER, &event).await
}

async fn delete(bench: &Bench, id: &str) -> Result<Client, StoreError> {
    let event = event(Action::ClientDeleted);
    bench.store.delete_client(id, LATER, &event).await
}

/// Below which versions tokens of `c1` were taken back.
async fn revoked(bench: &Bench) -> Vec<u64> {
    let log = bench.store.revocations_after(0, NOW).await.unwrap();
    let version = |(_, revocation, _)| {
        let Revocation::UserBefore { user_id, version } = revocation else {
            panic!("{revocation:?}");
        };
        assert_eq!(user_id, "c1");
        version
    };
    log.into_iter().map(version).collect()
}

pub(super) async fn a_token_that_races_with_a_disable_does_not_win(bench: &Bench) {
    let read = add(bench, "c1", "sidecar").await.unwrap();
    bench
        .store
        .set_client_disabled("c1", true, LATER, &event(Action::ClientDisabled))
        .await
        .unwrap();
    let late = bench
        .store
        .use_client(&read, &event(Action::TokenIssued))
        .await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    bench
        .store
        .set_client_disabled("c1", false, LATER, &event(Action::ClientEnabled))
        .await
        .unwrap();
    let outdated = bench
        .store
        .use_client(&read, &event(Action::TokenIssued))
        .await;
    assert!(
        matches!(outdated, Err(StoreError::Conflict)),
        "{outdated:?}"
    );
    assert!(!bench.actions().await.contains(&"token_issued".to_owned()));
}

pub(super) async fn the_last_use_is_kept_to_the_minute(bench: &Bench) {
    let client = add(bench, "c1", "sidecar").await.unwrap();
    for (after, kept) in [(0, 0), (59_000, 0), (60_000, 60_000)] {
        let at = |millis| Timestamp::from_millis(NOW.as_millis() + millis);
        let used = Event::new(
            at(after),
            Action::TokenIssued,
            Outcome::Success,
            Party::operator("root"),
        );
        bench.store.use_client(&client, &used).await.unwrap();
        let read = bench.store.client("c1").await.unwrap().unwrap();
        assert_eq!(read.last_used_at, Some(at(kept)), "after {after} ms");
    }
}

pub(super) async fn the_head_of_the_log_is_the_last_number_given_out(bench: &Bench) {
    assert_eq!(bench.store.revocation_head().await.unwrap(), 0);
    add(bench, "c1", "sidecar").await.unwrap();
    bench
        .store
        .set_client_disabled("c1", true, NOW, &event(Action::ClientDisabled))
        .await
        .unwrap();
    bench.store.sweep_revocations(LATER).await.unwrap();
    assert_eq!(
        bench.store.revocation_head().await.unwrap(),
        1,
        "what was swept stays counted"
    );
}
