//! Sessions whose refresh tokens are counted in Redis.
//!
//! The row in the database says who signed in and whether the session has ended; Redis says which refresh token is
//! current. Every decision is first looked at in Redis, then committed in the database with its event, then carried out in
//! Redis. Between the look and the act others may come first, so the act decides again, and a row may tell of a refresh that
//! came to nothing; a refresh that no row tells of there cannot be. An end is in the database alone, and Redis is only tidied
//! up after it: whoever refreshes asks the row before Redis and the fence of the user before both.

use std::{slice, sync::Arc};

use portcullis_audit::{Action, Event, Outcome};
use portcullis_config::units::Timestamp;

use super::{NewSession, OthersEnd, Presented, Rotation, Session, SessionEnd};
use crate::{
    engine::values,
    error::StoreError,
    redis_sessions::{Kept, RedisSessions, Turn, Verdict},
    store::Store,
};

/// The number in the row of a session that is counted elsewhere. No token carries it or one beside it, so that where
/// sessions are kept in the database again, this one ends with its next token, whichever that is.
const ELSEWHERE: u64 = 1 << 62;

/// Says when the session was last used, for as long as it is live.
const TOUCH: &str = "UPDATE sessions SET rotated_at_ms = $2 \
     WHERE sid = $1 AND revoked_ms IS NULL AND idle_exp_ms > $2 AND abs_exp_ms > $2";

/// A database and a Redis that belong together.
#[derive(Clone)]
pub struct SessionsInRedis {
    pub store: Store,
    pub redis: Arc<RedisSessions>,
}

impl SessionsInRedis {
    pub(super) async fn open(
        &self,
        session: &NewSession,
        events: &[Event],
    ) -> Result<(), StoreError> {
        // So that as a rule nothing is committed that then comes to nothing.
        self.redis.check_present()?;
        let counted_elsewhere = NewSession {
            idle_expires_at: session.absolute_expires_at,
            ..session.clone()
        };
        self.store
            .open_session(&counted_elsewhere, ELSEWHERE, events)
            .await?;
        #[cfg(test)]
        self.redis.set_clock(session.created_at).await;
        let left = |end: Timestamp| end.saturating_since(session.created_at);
        let (idle, absolute) = (session.idle_expires_at, session.absolute_expires_at);
        self.redis
            .begin(&session.sid, left(idle), left(absolute))
            .await
    }

    /// Where Redis is away, or does not have it, the row has to do. It knows everything but the current token, and whoever
    /// presents one is told by [`rotate`](Self::rotate) what it is worth.
    pub(super) async fn find(&self, sid: &str) -> Result<Option<Session>, StoreError> {
        let Some(row) = self.store.session(sid).await? else {
            return Ok(None);
        };
        let kept = self.redis.see(&[sid]).await.unwrap_or_default();
        Ok(Some(match kept.as_slice() {
            [Some(kept)] => counted(row, kept),
            _ => row,
        }))
    }

    pub(super) async fn rotate(&self, presented: &Presented<'_>) -> Result<Rotation, StoreError> {
        let row = self.store.session(presented.sid).await?;
        let Some(row) = row.filter(|row| row.is_live(presented.at)) else {
            return Ok(Rotation::Ended);
        };
        #[cfg(test)]
        self.redis.set_clock(presented.at).await;
        let turn = turn(presented);
        let event = match self.redis.look(&turn).await? {
            Verdict::Rotated(_) => presented.rotated,
            Verdict::Repeated(_) => presented.repeated,
            refused @ (Verdict::TooManyRepeats | Verdict::Reused | Verdict::Lost) => {
                return self.conclude(refused, row, presented).await;
            }
        };
        if !self.touch(presented, event).await? {
            return Ok(Rotation::Ended);
        }
        let verdict = self.redis.turn(&turn).await?;
        self.conclude(verdict, row, presented).await
    }

    /// Keeps the event of a refresh that is about to be, unless the session has ended.
    async fn touch(&self, presented: &Presented<'_>, event: &Event) -> Result<bool, StoreError> {
        let mut tx = self.store.engine.begin().await?;
        let is_live = tx
            .execute(TOUCH, values![presented.sid, presented.at])
            .await?
            > 0;
        if is_live {
            self.store.commit(tx, slice::from_ref(event)).await?;
        }
        Ok(is_live)
    }

    async fn conclude(
        &self,
        verdict: Verdict,
        row: Session,
        presented: &Presented<'_>,
    ) -> Result<Rotation, StoreError> {
        match verdict {
            Verdict::Rotated(kept) => Ok(Rotation::Rotated(counted(row, &kept))),
            Verdict::Repeated(kept) => Ok(Rotation::Repeated(counted(row, &kept))),
            Verdict::TooManyRepeats => Ok(Rotation::TooManyRepeats),
            Verdict::Reused => {
                let ended = self.end(&end(&row, presented, presented.reused)).await?;
                let session = Session {
                    ended_at: Some(presented.at),
                    ..row
                };
                Ok(if ended {
                    Rotation::Reused(session)
                } else {
                    Rotation::Ended
                })
            }
            Verdict::Lost => {
                self.end_lost(&row, presented).await?;
                Ok(Rotation::Ended)
            }
        }
    }

    /// What this Redis does not know, another that was taken for it may: it must not come back from there. Redis also
    /// drops what was not used for too long, and that is no news.
    async fn end_lost(&self, row: &Session, presented: &Presented<'_>) -> Result<(), StoreError> {
        if presented.at >= row.rotated_at.plus(presented.idle) {
            return Ok(());
        }
        let event = Event {
            action: Action::SessionEnded,
            outcome: Outcome::Success,
            ..presented.reused.clone()
        }
        .because("store-lost-it");
        self.end(&end(row, presented, &event)).await?;
        Ok(())
    }

    /// Where Redis cannot be asked nobody knows which of them are left.
    pub(super) async fn of_user(
        &self,
        user_id: &str,
        now: Timestamp,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        #[cfg(test)]
        self.redis.set_clock(now).await;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut last = after.map(str::to_owned);
        let mut page: Vec<Session> = Vec::new();
        loop {
            let found = self.store.sessions_of(user_id, now, last.as_deref(), limit);
            let rows = found.await?;
            let Some(lowest) = rows.last() else {
                return Ok(page);
            };
            last = Some(lowest.sid.clone());
            page.extend(self.kept(rows).await?);
            if page.len() >= most {
                page.truncate(most);
                return Ok(page);
            }
        }
    }

    async fn kept(&self, rows: Vec<Session>) -> Result<Vec<Session>, StoreError> {
        let sids: Vec<&str> = rows.iter().map(|row| row.sid.as_str()).collect();
        let kept = self.redis.see(&sids).await?;
        let both = rows.into_iter().zip(kept);
        Ok(both
            .filter_map(|(row, kept)| Some(counted(row, &kept?)))
            .collect())
    }

    pub(super) async fn end(&self, end: &SessionEnd<'_>) -> Result<bool, StoreError> {
        let ended = self.store.end_session(end).await?;
        if ended {
            self.redis.forget(&[end.sid]).await;
        }
        Ok(ended)
    }

    pub(super) async fn end_others(&self, end: &OthersEnd<'_>) -> Result<Vec<String>, StoreError> {
        let ended = self.store.end_other_sessions(end).await?;
        let sids: Vec<&str> = ended.iter().map(String::as_str).collect();
        self.redis.forget(&sids).await;
        Ok(ended)
    }
}

fn turn<'a>(presented: &Presented<'a>) -> Turn<'a> {
    Turn {
        sid: presented.sid,
        generation: presented.generation,
        grace: presented.grace,
        most_repeats: presented.repeats,
        idle: presented.idle,
    }
}

fn end<'a>(row: &'a Session, presented: &Presented<'_>, event: &'a Event) -> SessionEnd<'a> {
    SessionEnd {
        sid: &row.sid,
        user_id: &row.user_id,
        revocation_until: presented.revocation_until,
        event,
    }
}

/// The row, with what Redis keeps of it.
fn counted(row: Session, kept: &Kept) -> Session {
    Session {
        generation: kept.generation,
        rotated_at: kept.rotated_at,
        idle_expires_at: kept.idle_expires_at.min(row.absolute_expires_at),
        ..row
    }
}
