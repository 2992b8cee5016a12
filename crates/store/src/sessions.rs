//! Sessions: one row for each sign-in, with the number that its refresh tokens are counted by.
//!
//! A refresh token carries the session and a number. Nothing of it is kept but the number that is current: whoever presents that
//! one moves it on, whoever presents the one before within the grace gets the same successor, and any other number is a token
//! that was spent long ago, which ends the session. What was decided is committed before the caller hears of it; above all, the
//! end of a session is never undone by the error that it causes.
//!
//! A session ends by itself, or with all others of its user. The latter is a fence in the user's row and touches no session, so
//! that it holds wherever sessions are kept: ask [`User::keeps`](crate::User::keeps) before anything is done for a session.

mod database;
mod redis;

use std::{net::IpAddr, time::Duration};

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;

pub use self::redis::SessionsInRedis;
use crate::{error::StoreError, store::Store};

/// Where sessions are kept. Cheap to clone.
#[derive(Clone)]
pub enum Sessions {
    Database(Store),
    Redis(SessionsInRedis),
}

#[derive(Clone, Debug)]
pub struct NewSession {
    /// Unique for ever: it goes into tokens and into the revocation log. A `UUIDv7` as text.
    pub sid: String,
    pub user_id: String,
    /// Of the user who was signed in; the first tokens carry it.
    pub user_version: u64,
    pub client_id: Option<String>,
    pub resource: String,
    /// What was granted at the sign-in, separated by spaces, as in a token.
    pub scopes: String,
    /// The key that authenticates its refresh tokens; `None` if it gets none.
    pub mac_kid: Option<String>,
    pub created_at: Timestamp,
    pub idle_expires_at: Timestamp,
    pub absolute_expires_at: Timestamp,
    pub user_agent: Option<String>,
    pub ip: Option<IpAddr>,
    /// The tenant that its tokens are for.
    pub tenant: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub sid: String,
    pub user_id: String,
    /// As it was when the session was opened.
    pub user_version: u64,
    pub client_id: Option<String>,
    pub resource: String,
    pub scopes: String,
    pub mac_kid: Option<String>,
    /// The number of the refresh token that is current.
    pub generation: u64,
    pub created_at: Timestamp,
    /// When the current refresh token was made.
    pub rotated_at: Timestamp,
    /// Never after the absolute end.
    pub idle_expires_at: Timestamp,
    pub absolute_expires_at: Timestamp,
    /// It may be kept for a while, and nothing is done for it any more.
    pub ended_at: Option<Timestamp>,
    pub user_agent: Option<String>,
    pub ip: Option<IpAddr>,
    /// The tenant that its tokens are for.
    pub tenant: Option<String>,
}

impl Session {
    /// Neither ended nor expired. Whether its user keeps it is another question.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.idle_expires_at && now < self.absolute_expires_at
    }
}

/// A refresh token is presented. Its MAC was found right before.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    pub sid: &'a str,
    pub generation: u64,
    pub at: Timestamp,
    /// How much longer the session may then stay without use.
    pub idle: Duration,
    /// How long the token before the current one is still answered with its successor.
    pub grace: Duration,
    /// And how many times.
    pub repeats: u32,
    /// Which event is kept tells what was decided.
    pub rotated: &'a Event,
    pub repeated: &'a Event,
    pub reused: &'a Event,
    /// When the last access token of the session has expired.
    pub revocation_until: Timestamp,
}

/// What became of a presented refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It was current. The session is as it is now: its generation is the successor's.
    Rotated(Session),
    /// It was spent a moment ago, and this is the same successor once more.
    Repeated(Session),
    /// As `Repeated`, but too many times. The session goes on.
    TooManyRepeats,
    /// It was spent long ago, or never made by the history that is kept here. The session was ended by this very call, and the
    /// revocation is committed: revoke it in this process as well.
    Reused(Session),
    /// There is no such session, or it has ended or expired.
    Ended,
}

/// A session is to be ended, with all its access tokens.
#[derive(Clone, Copy, Debug)]
pub struct SessionEnd<'a> {
    pub sid: &'a str,
    /// Whose it must be: another's is left alone.
    pub user_id: &'a str,
    /// When the last access token of it has expired.
    pub revocation_until: Timestamp,
    pub event: &'a Event,
}

/// All live sessions of a user but one are to be ended. Those that are opened later are not meant.
#[derive(Clone, Copy)]
pub struct OthersEnd<'a> {
    pub user_id: &'a str,
    pub kept: &'a str,
    pub at: Timestamp,
    pub revocation_until: Timestamp,
    /// Each gets an event of its own, made from its id.
    pub event: &'a (dyn Fn(&str) -> Event + Sync),
}

impl Sessions {
    /// Opens the session and keeps its events, before any token of it leaves. `Conflict` if the user was disabled or changed since
    /// it was read: a sign-in that races with `user disable` must not win.
    pub async fn open(&self, session: &NewSession, events: &[Event]) -> Result<(), StoreError> {
        match self {
            Self::Database(store) => store.open_session(session, 0, events).await,
            Self::Redis(sessions) => sessions.open(session, events).await,
        }
    }

    /// With any that has ended, as long as it is kept.
    pub async fn find(&self, sid: &str) -> Result<Option<Session>, StoreError> {
        match self {
            Self::Database(store) => store.session(sid).await,
            Self::Redis(sessions) => sessions.find(sid).await,
        }
    }

    /// Decides about a refresh token and commits what was decided.
    pub async fn rotate(&self, presented: &Presented<'_>) -> Result<Rotation, StoreError> {
        match self {
            Self::Database(store) => store.rotate_session(presented).await,
            Self::Redis(sessions) => sessions.rotate(presented).await,
        }
    }

    /// Those of a user that are live, but for an end of all: a page of at most `limit` (and 100), the latest sign-in first,
    /// beginning below the one named.
    pub async fn of_user(
        &self,
        user_id: &str,
        now: Timestamp,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        match self {
            Self::Database(store) => store.sessions_of(user_id, now, after, limit).await,
            Self::Redis(sessions) => sessions.of_user(user_id, now, after, limit).await,
        }
    }

    /// Whether it was live until now. If it was not, nothing is changed, and no event is kept.
    pub async fn end(&self, end: &SessionEnd<'_>) -> Result<bool, StoreError> {
        match self {
            Self::Database(store) => store.end_session(end).await,
            Self::Redis(sessions) => sessions.end(end).await,
        }
    }

    /// Returns the ids of those that were ended. Many are ended in several changes; an error leaves those that were not reached.
    pub async fn end_others(&self, end: &OthersEnd<'_>) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Database(store) => store.end_other_sessions(end).await,
            Self::Redis(sessions) => sessions.end_others(end).await,
        }
    }

    /// Removes some of the sessions that are past their end and says how many: 0 means that none is left.
    pub async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        match self {
            Self::Database(store) | Self::Redis(SessionsInRedis { store, .. }) => {
                store.sweep_sessions(now).await
            }
        }
    }
}
