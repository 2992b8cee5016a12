//! What becomes of refresh tokens: one successor each, a short grace, and the end of the session for whoever comes too late.

use std::{sync::LazyLock, time::Duration};

use portcullis_audit::{Action, Event};
use portcullis_config::units::Timestamp;
use tokio::task::JoinSet;

use super::{
    bench::{Bench, LATER, NOW, event, session},
    sessions::revoked,
};
use crate::{Presented, Rotation, Session, SessionEnd, Sessions};

const IDLE: Duration = Duration::from_secs(600);
const GRACE: Duration = Duration::from_secs(10);
const REPEATS: u32 = 20;

static ROTATED: LazyLock<Event> = LazyLock::new(|| event(Action::TokenRefreshed));
static REPEATED: LazyLock<Event> =
    LazyLock::new(|| event(Action::TokenRefreshed).because("repeated"));
static REUSED: LazyLock<Event> = LazyLock::new(|| event(Action::TokenReused));
static ENDED: LazyLock<Event> = LazyLock::new(|| event(Action::SessionEnded));

fn after(millis: u64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + millis)
}

fn presented(generation: u64, at: Timestamp) -> Presented<'static> {
    Presented {
        sid: "s1",
        generation,
        at,
        idle: IDLE,
        grace: GRACE,
        repeats: REPEATS,
        rotated: &ROTATED,
        repeated: &REPEATED,
        reused: &REUSED,
        revocation_until: LATER,
    }
}

async fn opened(bench: &Bench) -> Sessions {
    let user = bench.user("saad").await;
    let sessions = bench.sessions();
    sessions.open(&session("s1", &user), &[]).await.unwrap();
    sessions
}

async fn rotate(sessions: &Sessions, generation: u64, at: Timestamp) -> Rotation {
    sessions.rotate(&presented(generation, at)).await.unwrap()
}

async fn spend(sessions: &Sessions, generation: u64, at: Timestamp) -> Session {
    let rotation = rotate(sessions, generation, at).await;
    let Rotation::Rotated(session) = rotation else {
        panic!("{generation} is current: {rotation:?}");
    };
    session
}

/// Told of since the user was created.
async fn told(bench: &Bench) -> Vec<(String, Option<String>)> {
    let rows = bench.rows().await;
    let told = rows.into_iter().skip(1);
    told.map(|row| (row.action, row.reason)).collect()
}

pub(super) async fn a_current_token_moves_the_session_on(bench: &Bench) {
    let sessions = opened(bench).await;
    let first = spend(&sessions, 0, after(1000)).await;
    assert_eq!((first.generation, first.rotated_at), (1, after(1000)));
    assert_eq!(first.idle_expires_at, after(601_000));
    let second = spend(&sessions, 1, after(400_000)).await;
    assert_eq!(
        (second.generation, second.idle_expires_at),
        (2, LATER),
        "the absolute end does not move"
    );
    assert_eq!(sessions.find("s1").await.unwrap(), Some(second));
    let refreshed = ("token_refreshed".to_owned(), None);
    assert_eq!(told(bench).await, [refreshed.clone(), refreshed]);
}

pub(super) async fn a_spent_token_in_the_grace_gets_the_same_successor(bench: &Bench) {
    let sessions = opened(bench).await;
    let successor = spend(&sessions, 0, NOW).await;
    for at in [NOW, after(2000), after(9999)] {
        let again = rotate(&sessions, 0, at).await;
        assert_eq!(again, Rotation::Repeated(successor.clone()), "{at:?}");
    }
    let repeated = ("token_refreshed".to_owned(), Some("repeated".to_owned()));
    assert_eq!(
        told(bench).await[1..],
        [repeated.clone(), repeated.clone(), repeated]
    );
    // Each successor has a grace of its own.
    let next = spend(&sessions, 1, after(9999)).await;
    let again = rotate(&sessions, 1, after(19_998)).await;
    assert_eq!(again, Rotation::Repeated(next));
}

pub(super) async fn a_spent_token_outside_the_grace_ends_its_session(bench: &Bench) {
    let user = bench.user("saad").await;
    let (sessions, mut expected) = (bench.sessions(), Vec::new());
    let late: [(&str, &[u64], u64); 4] = [
        ("at the end of the grace", &[0], 10_000),
        ("long after", &[0], 500_000),
        ("two rotations later", &[0, 0], 0),
        ("after the clock was set back", &[60_000], 50_000),
    ];
    for (sid, spent, at) in late {
        sessions.open(&session(sid, &user), &[]).await.unwrap();
        let of = |generation, at| Presented {
            sid,
            ..presented(generation, after(at))
        };
        for (generation, at) in (0..).zip(spent) {
            let spent = sessions.rotate(&of(generation, *at)).await.unwrap();
            assert!(matches!(spent, Rotation::Rotated(_)), "{sid}: {spent:?}");
        }
        let reused = sessions.rotate(&of(0, at)).await.unwrap();
        let Rotation::Reused(ended) = &reused else {
            panic!("{sid}: {reused:?}");
        };
        assert!(!ended.is_live(after(at)), "{sid}");
        for generation in [0, ended.generation] {
            let late = sessions.rotate(&of(generation, at)).await.unwrap();
            assert_eq!(late, Rotation::Ended, "{sid}: {generation} died with it");
        }
        expected.push(sid);
        assert_eq!(revoked(bench).await, expected);
    }
    let told = told(bench).await;
    let reuses = told.iter().filter(|told| told.0 == "token_reused");
    assert_eq!(reuses.count(), expected.len());
}

/// A database that was set back to yesterday's copy has rows that are behind the tokens that are out.
pub(super) async fn a_token_that_no_history_made_ends_its_session(bench: &Bench) {
    let sessions = opened(bench).await;
    let rotation = rotate(&sessions, 3, NOW).await;
    assert!(matches!(rotation, Rotation::Reused(_)), "{rotation:?}");
    assert_eq!(rotate(&sessions, 0, NOW).await, Rotation::Ended);
    assert_eq!(revoked(bench).await, ["s1"]);
}

pub(super) async fn repeats_are_bounded_and_leave_the_session_alive(bench: &Bench) {
    let sessions = opened(bench).await;
    spend(&sessions, 0, NOW).await;
    for _ in 0..REPEATS {
        let again = rotate(&sessions, 0, after(1)).await;
        assert!(matches!(again, Rotation::Repeated(_)), "{again:?}");
    }
    for _ in 0..2 {
        let again = rotate(&sessions, 0, after(2)).await;
        assert_eq!(again, Rotation::TooManyRepeats);
    }
    spend(&sessions, 1, after(3)).await;
    let fresh = rotate(&sessions, 1, after(4)).await;
    assert!(
        matches!(fresh, Rotation::Repeated(_)),
        "the next token has repeats of its own: {fresh:?}"
    );
}

pub(super) async fn what_has_ended_or_expired_is_not_rotated(bench: &Bench) {
    let sessions = opened(bench).await;
    let nobody = Presented {
        sid: "s2",
        ..presented(0, NOW)
    };
    assert_eq!(sessions.rotate(&nobody).await.unwrap(), Rotation::Ended);
    let idle_end = spend(&sessions, 0, NOW).await.idle_expires_at;
    assert_eq!(rotate(&sessions, 1, idle_end).await, Rotation::Ended);
    let at = Timestamp::from_millis(idle_end.as_millis() - 1);
    spend(&sessions, 1, at).await;
    assert_eq!(rotate(&sessions, 2, LATER).await, Rotation::Ended);
    let at = Timestamp::from_millis(LATER.as_millis() - 1);
    let last = spend(&sessions, 2, at).await;
    end(&sessions, &last).await;
    for generation in [1, 2, 3, 9] {
        let late = rotate(&sessions, generation, at).await;
        assert_eq!(late, Rotation::Ended, "{generation}");
    }
}

async fn end(sessions: &Sessions, session: &Session) -> bool {
    let end = SessionEnd {
        sid: &session.sid,
        user_id: &session.user_id,
        revocation_until: LATER,
        event: &ENDED,
    };
    sessions.end(&end).await.unwrap()
}

pub(super) async fn many_who_present_one_token_make_one_successor(bench: &Bench) {
    const CALLERS: usize = 30;
    let sessions = opened(bench).await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let sessions = sessions.clone();
        callers.spawn(async move { rotate(&sessions, 0, NOW).await });
    }
    let (mut rotated, mut repeated, mut refused) = (0, 0, 0);
    while let Some(rotation) = callers.join_next().await {
        match rotation.unwrap() {
            Rotation::Rotated(session) => {
                assert_eq!(session.generation, 1);
                rotated += 1;
            }
            Rotation::Repeated(session) => {
                assert_eq!(session.generation, 1);
                repeated += 1;
            }
            Rotation::TooManyRepeats => refused += 1,
            other @ (Rotation::Reused(_) | Rotation::Ended) => panic!("{other:?}"),
        }
    }
    assert_eq!((rotated, repeated, refused), (1, 20, 9));
    let now = sessions.find("s1").await.unwrap().unwrap();
    assert_eq!(now.generation, 1);
}

pub(super) async fn of_a_rotation_and_an_end_no_session_survives(bench: &Bench) {
    let user = bench.user("saad").await;
    for round in 0..50 {
        let sid = format!("s{round}");
        let sessions = bench.sessions();
        sessions.open(&session(&sid, &user), &[]).await.unwrap();
        let opened = sessions.find(&sid).await.unwrap().unwrap();
        let presented = Presented {
            sid: &sid,
            ..presented(0, NOW)
        };
        let (rotation, ended) = tokio::join!(sessions.rotate(&presented), end(&sessions, &opened));
        let rotation = rotation.unwrap();
        assert!(ended, "{round}");
        assert!(
            matches!(rotation, Rotation::Rotated(_) | Rotation::Ended),
            "{round}: {rotation:?}"
        );
        for generation in 0..3 {
            let next = Presented {
                generation,
                ..presented
            };
            let late = sessions.rotate(&next).await.unwrap();
            assert_eq!(late, Rotation::Ended, "{round}");
        }
    }
    assert_eq!(revoked(bench).await.len(), 50);
}
