//! A session is opened with its events, for a user who is still the one that signed in.

use portcullis_audit::Action;

use super::bench::{Bench, LATER, NOW, event, session};
use crate::StoreError;

const SESSIONS: &str = "SELECT COUNT(*) AS n FROM sessions";

pub(super) async fn a_session_and_its_events_are_one_change(bench: &Bench) {
    let user = bench.user("saad").await;
    let events = [event(Action::LoginSuccess), event(Action::TokenIssued)];
    bench
        .store
        .open_session(&session("s1", &user), &events)
        .await
        .unwrap();
    let again = bench
        .store
        .open_session(&session("s1", &user), &events)
        .await;
    assert!(matches!(again, Err(StoreError::Taken)), "{again:?}");
    assert_eq!(bench.count(SESSIONS).await, 1);
    assert_eq!(
        bench.actions().await,
        ["user_created", "login_success", "token_issued"]
    );
}

pub(super) async fn a_sign_in_that_races_with_a_disable_does_not_win(bench: &Bench) {
    let user = bench.user("saad").await;
    bench
        .store
        .set_disabled(&user.id, true, LATER, &event(Action::UserDisabled))
        .await
        .unwrap();
    let disabled = bench
        .store
        .open_session(&session("s1", &user), &[event(Action::LoginSuccess)])
        .await;
    assert!(
        matches!(disabled, Err(StoreError::Conflict)),
        "{disabled:?}"
    );
    bench
        .store
        .set_disabled(&user.id, false, LATER, &event(Action::UserEnabled))
        .await
        .unwrap();
    let outdated = bench
        .store
        .open_session(&session("s1", &user), &[event(Action::LoginSuccess)])
        .await;
    assert!(
        matches!(outdated, Err(StoreError::Conflict)),
        "{outdated:?}"
    );
    assert_eq!(bench.count(SESSIONS).await, 0);
    assert!(!bench.actions().await.contains(&"login_success".to_owned()));
}

pub(super) async fn a_session_of_nobody_is_not_opened(bench: &Bench) {
    let mut user = bench.user("saad").await;
    user.id = "nobody".to_owned();
    let outcome = bench.store.open_session(&session("s1", &user), &[]).await;
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
}

pub(super) async fn a_session_is_swept_at_its_absolute_end(bench: &Bench) {
    let user = bench.user("saad").await;
    bench
        .store
        .open_session(&session("s1", &user), &[])
        .await
        .unwrap();
    assert_eq!(bench.store.sweep_sessions(NOW).await.unwrap(), 0);
    assert_eq!(bench.store.sweep_sessions(LATER).await.unwrap(), 1);
    assert_eq!(bench.count(SESSIONS).await, 0);
}
