//! A session is opened with its events, for a user who is still the one that signed in; it ends alone, beside others or with all.

use portcullis_audit::{Action, Party, PartyKind};
use portcullis_tokens::Revocation;

use super::bench::{Bench, LATER, NOW, anywhere, change, event, session};
use crate::{NewSession, OthersEnd, SessionEnd, StoreError, User};

const SESSIONS: &str = "SELECT COUNT(*) AS n FROM sessions";

pub(super) async fn a_session_and_its_events_are_one_change(bench: &Bench) {
    let user = bench.user("saad").await;
    let events = [event(Action::LoginSuccess), event(Action::TokenIssued)];
    let sessions = bench.sessions();
    sessions.open(&session("s1", &user), &events).await.unwrap();
    let again = sessions.open(&session("s1", &user), &events).await;
    assert!(matches!(again, Err(StoreError::Taken)), "{again:?}");
    assert_eq!(bench.count(SESSIONS).await, 1);
    assert_eq!(
        bench.actions().await,
        ["user_created", "login_success", "token_issued"]
    );
}

pub(super) async fn a_session_reads_back_as_it_was_opened(bench: &Bench) {
    let user = bench.user("saad").await;
    let opened = NewSession {
        client_id: Some("portcullis".to_owned()),
        mac_kid: Some("m1".to_owned()),
        user_agent: Some("curl/8".to_owned()),
        ..session("s1", &user)
    };
    bench.sessions().open(&opened, &[]).await.unwrap();
    let read = bench.sessions().find("s1").await.unwrap().unwrap();
    assert_eq!(
        (&*read.sid, &read.user_id, read.user_version),
        ("s1", &user.id, user.version)
    );
    assert_eq!(
        (&read.client_id, &read.mac_kid, &read.user_agent),
        (&opened.client_id, &opened.mac_kid, &opened.user_agent)
    );
    assert_eq!((&*read.resource, &*read.scopes), ("hotel", &*opened.scopes));
    assert_eq!(
        (read.generation, read.created_at, read.rotated_at),
        (0, NOW, NOW)
    );
    assert_eq!((read.idle_expires_at, read.ip), (LATER, opened.ip));
    assert_eq!(read.tenant, opened.tenant);
    assert!(read.is_live(NOW) && !read.is_live(LATER) && user.keeps(&read));
    assert_eq!(bench.sessions().find("s2").await.unwrap(), None);
}

pub(super) async fn a_sign_in_that_races_with_a_disable_does_not_win(bench: &Bench) {
    let user = bench.user("saad").await;
    bench
        .store
        .set_disabled(&user.id, true, &change(&event(Action::UserDisabled)))
        .await
        .unwrap();
    let events = [event(Action::LoginSuccess)];
    let disabled = bench.sessions().open(&session("s1", &user), &events).await;
    assert!(
        matches!(disabled, Err(StoreError::Conflict)),
        "{disabled:?}"
    );
    bench
        .store
        .set_disabled(&user.id, false, &change(&event(Action::UserEnabled)))
        .await
        .unwrap();
    let outdated = bench.sessions().open(&session("s1", &user), &events).await;
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
    let outcome = bench.sessions().open(&session("s1", &user), &[]).await;
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
}

pub(super) async fn a_session_is_swept_at_its_end(bench: &Bench) {
    let user = bench.user("saad").await;
    let sessions = bench.sessions();
    sessions.open(&session("s1", &user), &[]).await.unwrap();
    assert_eq!(sessions.sweep(NOW).await.unwrap(), 0);
    assert_eq!(sessions.sweep(LATER).await.unwrap(), 1);
    assert_eq!(bench.count(SESSIONS).await, 0);
}

pub(super) async fn a_session_ends_once_and_for_its_user_only(bench: &Bench) {
    let (user, other) = (bench.user("saad").await, bench.user("eve").await);
    let sessions = bench.sessions();
    sessions.open(&session("s1", &user), &[]).await.unwrap();
    let event = event(Action::SessionEnded);
    let end = |user_id| SessionEnd {
        sid: "s1",
        user_id,
        revocation_until: LATER,
        event: &event,
    };
    assert!(!sessions.end(&end(&other.id)).await.unwrap());
    assert!(sessions.find("s1").await.unwrap().unwrap().is_live(NOW));
    assert!(sessions.end(&end(&user.id)).await.unwrap());
    assert!(!sessions.end(&end(&user.id)).await.unwrap());
    assert!(!sessions.find("s1").await.unwrap().unwrap().is_live(NOW));
    assert_eq!(revoked(bench).await, ["s1"]);
    let ends = bench.actions().await;
    assert_eq!(ends.iter().filter(|end| *end == "session_ended").count(), 1);
}

pub(super) async fn the_others_end_and_the_one_that_is_kept_goes_on(bench: &Bench) {
    let (user, other) = (bench.user("saad").await, bench.user("eve").await);
    let mut expected = open_many(bench, &user, 60).await;
    bench
        .sessions()
        .open(&session("another", &other), &[])
        .await
        .unwrap();
    let kept = expected.remove(7);
    let told = |sid: &str| event(Action::SessionEnded).on(Party::new(PartyKind::Session, sid));
    let end = OthersEnd {
        user_id: &user.id,
        kept: &kept,
        at: NOW,
        revocation_until: LATER,
        event: &told,
    };
    let mut ended = bench.sessions().end_others(&end).await.unwrap();
    ended.sort();
    assert_eq!(ended, expected);
    let mut logged = revoked(bench).await;
    logged.sort();
    assert_eq!(logged, expected);
    assert_eq!(live(bench, &user).await, [kept]);
    assert_eq!(live(bench, &other).await, ["another"]);
    let told = bench.actions().await;
    assert_eq!(
        told.iter().filter(|told| *told == "session_ended").count(),
        59
    );
}

pub(super) async fn sessions_come_in_pages_the_latest_first(bench: &Bench) {
    let user = bench.user("saad").await;
    let mut opened = open_many(bench, &user, 5).await;
    opened.reverse();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().map(String::as_str);
        let page = bench.sessions().of_user(&user.id, NOW, after, 2).await;
        let page = page.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|session| session.sid));
    }
    assert_eq!(seen, opened);
    let late = bench.sessions().of_user(&user.id, LATER, None, 2).await;
    assert_eq!(late.unwrap(), [], "what has expired is not shown");
}

pub(super) async fn an_end_of_all_ends_what_was_opened_and_nothing_later(bench: &Bench) {
    let user = bench.user("saad").await;
    let sessions = bench.sessions();
    sessions.open(&session("s1", &user), &[]).await.unwrap();
    let before = sessions.find("s1").await.unwrap().unwrap();
    let role = event(Action::RoleGranted);
    let promoted = bench
        .store
        .grant_role(&user.id, anywhere("staff"), &change(&role))
        .await;
    let promoted = promoted.unwrap();
    assert!(promoted.keeps(&before), "a role changes the tokens only");
    let all = event(Action::SessionEnded);
    let signed_out = bench.store.end_all_sessions(&user.id, LATER, &all).await;
    let signed_out = signed_out.unwrap();
    assert!(!signed_out.keeps(&before));
    sessions
        .open(&session("s2", &signed_out), &[])
        .await
        .unwrap();
    let after = sessions.find("s2").await.unwrap().unwrap();
    assert!(signed_out.keeps(&after));
    let disabled = event(Action::UserDisabled);
    let disabled = bench
        .store
        .set_disabled(&user.id, true, &change(&disabled))
        .await;
    assert!(!disabled.unwrap().keeps(&after));
    let enabled = event(Action::UserEnabled);
    let enabled = bench
        .store
        .set_disabled(&user.id, false, &change(&enabled))
        .await;
    assert!(
        !enabled.unwrap().keeps(&after),
        "being enabled again signs nobody in"
    );
}

async fn open_many(bench: &Bench, user: &User, count: usize) -> Vec<String> {
    let mut sids = Vec::new();
    for n in 0..count {
        let sid = format!("s{n:03}");
        let opened = bench.sessions().open(&session(&sid, user), &[]).await;
        opened.unwrap();
        sids.push(sid);
    }
    sids
}

async fn live(bench: &Bench, user: &User) -> Vec<String> {
    let page = bench.sessions().of_user(&user.id, NOW, None, 100).await;
    page.unwrap().into_iter().map(|found| found.sid).collect()
}

/// The sessions that the revocation log names.
pub(super) async fn revoked(bench: &Bench) -> Vec<String> {
    let log = bench.store.revocations_after(0, NOW).await.unwrap();
    log.into_iter()
        .filter_map(|(_, revocation, _)| match revocation {
            Revocation::Session(sid) => Some(sid),
            Revocation::UserBefore { .. } | Revocation::Key(_) => None,
        })
        .collect()
}
