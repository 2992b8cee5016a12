//! The log that pollers follow.

use portcullis_audit::Action;
use portcullis_config::units::Timestamp;
use tokio::task::JoinSet;

use super::bench::{Bench, LATER, NOW, anywhere, change, event};
use crate::RightsChange;
use crate::Store;

const WRITERS: usize = 4;
const EACH: usize = 10;

pub(super) async fn a_poller_never_misses_a_revocation(bench: &Bench) {
    let other = bench.another("other").await;
    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        let user = bench.user(&format!("user{n}")).await.id;
        let store = if n % 2 == 0 {
            bench.store.clone()
        } else {
            other.clone()
        };
        writers.spawn(async move { toggle(&store, &user).await });
    }
    let mut seen = Vec::new();
    while seen.len() < WRITERS * EACH {
        let finished = writers.is_empty()
            || writers
                .try_join_next()
                .is_some_and(|outcome| outcome.is_err());
        let page = bench
            .store
            .revocations_after(seen.last().copied().unwrap_or(0), NOW)
            .await
            .unwrap();
        let stuck = finished && page.is_empty();
        assert!(
            !stuck,
            "a revocation came behind the poller's back: {} seen",
            seen.len()
        );
        seen.extend(page.into_iter().map(|(seq, _, _)| seq));
    }
    let all: Vec<u64> = (1..).take(WRITERS * EACH).collect();
    assert_eq!(seen, all);
}

async fn toggle(store: &Store, user: &str) {
    for n in 0..EACH {
        store
            .set_disabled(user, n % 2 == 0, &change(&event(Action::UserDisabled)))
            .await
            .unwrap();
    }
}

pub(super) async fn a_moot_revocation_is_neither_told_nor_kept(bench: &Bench) {
    let user = bench.user("saad").await.id;
    let soon = Timestamp::from_millis(NOW.as_millis() + 1);
    let granted = event(Action::RoleGranted);
    let moot_soon = RightsChange {
        until: soon,
        ..change(&granted)
    };
    bench
        .store
        .grant_role(&user, anywhere("a"), &moot_soon)
        .await
        .unwrap();
    bench
        .store
        .grant_role(&user, anywhere("b"), &change(&event(Action::RoleGranted)))
        .await
        .unwrap();
    let told: Vec<u64> = bench
        .store
        .revocations_after(0, soon)
        .await
        .unwrap()
        .iter()
        .map(|told| told.0)
        .collect();
    assert_eq!(told, [2], "the first is moot from the instant it names");
    assert_eq!(bench.store.sweep_revocations(soon).await.unwrap(), 1);
    assert_eq!(bench.store.sweep_revocations(soon).await.unwrap(), 0);
    bench.store.sweep_revocations(LATER).await.unwrap();
    bench
        .store
        .grant_role(&user, anywhere("c"), &change(&event(Action::RoleGranted)))
        .await
        .unwrap();
    let next = bench.store.revocations_after(2, NOW).await.unwrap();
    assert_eq!(next[0].0, 3, "a swept log must not give out a number twice");
}
