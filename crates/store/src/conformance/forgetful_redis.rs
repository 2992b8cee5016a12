//! What becomes of sessions when the Redis that counts their refresh tokens is away, or has forgotten them.

use std::{sync::Arc, time::Duration};

use portcullis_audit::{Action, Event};
use portcullis_config::{storage::Redis as Address, units::Timestamp};
use portcullis_harness::{redis::Redis, wait::PATIENCE};
use tokio::time::{Instant, sleep};

use super::{
    bench::{Bench, LATER, NOW, event, session},
    sessions::revoked,
};
use crate::{
    Presented, RedisSessions, Rotation, SessionEnd, Sessions, SessionsInRedis, StoreError, User,
};

/// Told of together, so that a test can lend them.
struct Told {
    rotated: Event,
    reused: Event,
    ended: Event,
}

/// Sessions with a Redis of their own.
struct Kept {
    bench: Bench,
    redis: Redis,
    sessions: Sessions,
    user: User,
    told: Told,
}

impl Kept {
    async fn begin() -> Self {
        let (bench, redis) = (Bench::sqlite().await, Redis::start().unwrap());
        let sessions = Sessions::Redis(SessionsInRedis {
            store: bench.store.clone(),
            redis: found(&redis).await,
        });
        let user = bench.user("saad").await;
        let kept = Self {
            bench,
            redis,
            sessions,
            user,
            told: Told {
                rotated: event(Action::TokenRefreshed),
                reused: event(Action::TokenReused),
                ended: event(Action::SessionEnded),
            },
        };
        kept.open("s1").await.unwrap();
        kept
    }

    async fn open(&self, sid: &str) -> Result<(), StoreError> {
        let events = [event(Action::LoginSuccess)];
        self.sessions.open(&session(sid, &self.user), &events).await
    }

    fn presented(&self, generation: u64) -> Presented<'_> {
        Presented {
            sid: "s1",
            generation,
            at: NOW,
            idle: Duration::from_secs(600),
            grace: Duration::from_secs(10),
            repeats: 20,
            rotated: &self.told.rotated,
            repeated: &self.told.rotated,
            reused: &self.told.reused,
            revocation_until: LATER,
        }
    }

    async fn rotate(&self, generation: u64) -> Result<Rotation, StoreError> {
        self.sessions.rotate(&self.presented(generation)).await
    }

    /// Asks until Redis answers.
    async fn rotate_when_it_is_back(&self, generation: u64) -> Rotation {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.rotate(generation).await {
                Ok(rotation) => return rotation,
                Err(StoreError::Unavailable(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
            assert!(Instant::now() < deadline, "Redis is not found");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(&self) -> bool {
        let end = SessionEnd {
            sid: "s1",
            user_id: &self.user.id,
            revocation_until: LATER,
            event: &self.told.ended,
        };
        self.sessions.end(&end).await.unwrap()
    }

    /// Since the session was opened.
    async fn told(&self) -> Vec<(String, Option<String>)> {
        let rows = self.bench.rows().await;
        let told = rows.into_iter().skip(2);
        told.map(|row| (row.action, row.reason)).collect()
    }
}

async fn found(redis: &Redis) -> Arc<RedisSessions> {
    let address = Address::Single(redis.url().into());
    RedisSessions::found(&address).await
}

fn is_unavailable<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Unavailable(_)))
}

#[tokio::test]
async fn a_session_that_redis_forgot_ends_with_its_access_tokens_and_is_told_of() {
    let kept = Kept::begin().await;
    assert!(matches!(kept.rotate(0).await, Ok(Rotation::Rotated(_))));
    kept.redis.ask(&["FLUSHALL"]).unwrap();
    let found = kept.sessions.find("s1").await.unwrap().unwrap();
    assert!(found.generation > 1, "no token is current: {found:?}");
    for generation in [0, 1] {
        assert_eq!(kept.rotate(generation).await.unwrap(), Rotation::Ended);
    }
    assert_eq!(revoked(&kept.bench).await, ["s1"]);
    let lost = Some("store-lost-it".to_owned());
    assert_eq!(
        kept.told().await,
        [
            ("token_refreshed".to_owned(), None),
            ("session_ended".to_owned(), lost)
        ],
        "and once only"
    );
}

#[tokio::test]
async fn a_session_that_was_not_used_for_too_long_is_no_news() {
    let kept = Kept::begin().await;
    kept.redis.ask(&["FLUSHALL"]).unwrap();
    let late = Presented {
        at: Timestamp::from_millis(NOW.as_millis() + 600_000),
        ..kept.presented(0)
    };
    assert_eq!(kept.sessions.rotate(&late).await.unwrap(), Rotation::Ended);
    assert_eq!(kept.told().await, []);
}

#[tokio::test]
async fn lost_sessions_are_not_listed_and_do_not_end_a_page_early() {
    let kept = Kept::begin().await;
    for n in 2..=7 {
        kept.open(&format!("s{n}")).await.unwrap();
    }
    for sid in ["s7", "s6", "s5", "s2"] {
        let key = format!("portcullis:session:{{{sid}}}");
        kept.redis.ask(&["DEL", &key]).unwrap();
    }
    let page = async |after| {
        let page = kept.sessions.of_user(&kept.user.id, NOW, after, 2).await;
        let sids = page.unwrap().into_iter().map(|session| session.sid);
        sids.collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, ["s4", "s3"]);
    assert_eq!(page(Some("s3")).await, ["s1"]);
    assert!(page(Some("s1")).await.is_empty());
}

#[tokio::test]
async fn with_redis_away_nothing_is_opened_or_refreshed_and_whatever_ends_stays_ended() {
    let kept = Kept::begin().await;
    kept.redis.pause().unwrap();
    assert!(is_unavailable(&kept.rotate(0).await), "it was not known");
    assert!(is_unavailable(&kept.rotate(0).await));
    assert!(is_unavailable(&kept.open("s2").await));
    let list = kept.sessions.of_user(&kept.user.id, NOW, None, 10).await;
    assert!(is_unavailable(&list));
    let found = kept.sessions.find("s1").await.unwrap();
    assert!(found.is_some_and(|found| found.is_live(NOW)));
    assert_eq!(kept.told().await, [], "of nothing that came to nothing");
    assert!(kept.end().await);
    kept.redis.resume().unwrap();
    assert_eq!(kept.rotate_when_it_is_back(0).await, Rotation::Ended);
    let key = kept.redis.ask(&["EXISTS", "portcullis:session:{s1}"]);
    assert!(key.unwrap().contains('1'), "Redis was never told");
    assert_eq!(revoked(&kept.bench).await, ["s1"]);
}

#[tokio::test]
async fn an_end_is_tidied_up_in_redis() {
    let kept = Kept::begin().await;
    assert!(kept.end().await);
    let keys = kept.redis.ask(&["KEYS", "portcullis:session:*"]).unwrap();
    assert_eq!(keys.trim(), "*0");
}

#[tokio::test]
async fn a_session_does_not_outlive_a_change_of_its_store() {
    let kept = Kept::begin().await;
    let (in_redis, in_database) = (
        kept.sessions.clone(),
        Sessions::Database(kept.bench.store.clone()),
    );
    let opened = in_database.open(&session("s2", &kept.user), &[]).await;
    opened.unwrap();
    assert!(matches!(kept.rotate(0).await, Ok(Rotation::Rotated(_))));
    // The database has never heard of the rotation, and must not take a spent token.
    for generation in [0, 1] {
        let presented = kept.presented(generation);
        let rotation = in_database.rotate(&presented).await.unwrap();
        let refused = matches!(rotation, Rotation::Reused(_) | Rotation::Ended);
        assert!(refused, "{generation}: {rotation:?}");
    }
    let other = Presented {
        sid: "s2",
        ..kept.presented(0)
    };
    assert_eq!(in_redis.rotate(&other).await.unwrap(), Rotation::Ended);
    assert_eq!(in_database.rotate(&other).await.unwrap(), Rotation::Ended);
}
