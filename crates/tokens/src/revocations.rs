//! What was taken back before it expired: sessions, older versions of a user, keys. Somebody else reads the log of
//! revocations and fills this view; a token is compared with it on each request, so that an empty view costs one load.

use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::RwLock;
use portcullis_config::units::Timestamp;

/// Without a confirmation for longer than this, what was revoked meanwhile may be unknown here.
pub const STALE_AFTER: Duration = Duration::from_secs(15);

/// In place of a time: nobody follows a log, and none is missed.
const ASSUMED: u64 = u64::MAX;
const NEVER: u64 = 0;

/// Always by what the token says, never by a hash of it: an ES256 signature (r, s) has a twin (r, n - s) that verifies
/// as well, and the twin would walk past a list of hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    Session(String),
    /// Tokens of this user with a lower `ver`.
    UserBefore {
        user_id: String,
        version: u64,
    },
    Key(String),
}

/// The part of a token that revocations name.
#[derive(Clone, Copy, Debug)]
pub struct Bearer<'a> {
    pub session: Option<&'a str>,
    pub subject: &'a str,
    pub version: u64,
    pub key_id: Option<&'a str>,
}

/// Rows are kept until the time after which every token they mean has expired; [`Revocations::sweep`] bounds the rest.
#[derive(Default)]
pub struct Revocations {
    rows: AtomicUsize,
    /// When the log was last known to hold nothing that is not here, in milliseconds since 1970.
    confirmed: AtomicU64,
    tables: RwLock<Tables>,
}

#[derive(Clone, Default)]
struct Tables {
    sessions: HashMap<Box<str>, Timestamp>,
    users: HashMap<Box<str>, UserFence>,
    keys: HashMap<Box<str>, Timestamp>,
}

#[derive(Clone, Copy)]
struct UserFence {
    version: u64,
    until: Timestamp,
}

impl Revocations {
    pub fn new() -> Self {
        Self::default()
    }

    /// Of a log that nobody writes, as in a rehearsal: always complete.
    pub fn assumed_complete() -> Self {
        Self {
            confirmed: AtomicU64::new(ASSUMED),
            ..Self::default()
        }
    }

    /// With what was known of the same issuer by another reading. It stays taken back, and nothing is confirmed.
    pub fn beginning_with(known: &Self) -> Self {
        let tables = known.tables.read().clone();
        Self {
            rows: AtomicUsize::new(tables.len()),
            tables: RwLock::new(tables),
            ..Self::default()
        }
    }

    /// Everything that was logged before `at` is here.
    pub fn confirm(&self, at: Timestamp) {
        self.confirmed.store(at.as_millis(), Ordering::Release);
    }

    /// Since the last confirmation; `None` before the first. A clock that was set back makes it old as well, for what it
    /// shows then proves nothing.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        match self.confirmed.load(Ordering::Acquire) {
            NEVER => None,
            ASSUMED => Some(Duration::ZERO),
            confirmed => Some(Duration::from_millis(now.as_millis().abs_diff(confirmed))),
        }
    }

    /// Whether something may have been revoked that is not known here.
    pub fn are_stale(&self, now: Timestamp) -> bool {
        self.age(now).is_none_or(|age| age > STALE_AFTER)
    }

    /// From the return of this call on, no verification lets such a token pass. A row is only ever widened.
    pub fn revoke(&self, revocation: Revocation, until: Timestamp) {
        let mut tables = self.tables.write();
        match revocation {
            Revocation::Session(id) => extend(&mut tables.sessions, id, until),
            Revocation::Key(id) => extend(&mut tables.keys, id, until),
            Revocation::UserBefore { user_id, version } => {
                let fence = tables
                    .users
                    .entry(user_id.into())
                    .or_insert(UserFence { version, until });
                fence.version = fence.version.max(version);
                fence.until = fence.until.max(until);
            }
        }
        self.rows.store(tables.len(), Ordering::Release);
    }

    /// Whether this token was taken back. A row whose time has passed no longer refuses.
    pub fn refuses(&self, bearer: &Bearer<'_>, now: Timestamp) -> bool {
        !self.is_empty() && self.tables.read().refuses(bearer, now)
    }

    /// Forgets rows whose time has passed.
    pub fn sweep(&self, now: Timestamp) {
        if self.is_empty() {
            return;
        }
        let mut tables = self.tables.write();
        tables.sessions.retain(|_, until| now < *until);
        tables.keys.retain(|_, until| now < *until);
        tables.users.retain(|_, fence| now < fence.until);
        self.rows.store(tables.len(), Ordering::Release);
    }

    pub fn len(&self) -> usize {
        self.rows.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("rows", &self.rows)
            .field("confirmed", &self.confirmed)
            .finish_non_exhaustive()
    }
}

impl Tables {
    fn len(&self) -> usize {
        self.sessions.len() + self.users.len() + self.keys.len()
    }

    fn refuses(&self, bearer: &Bearer<'_>, now: Timestamp) -> bool {
        let is_listed = |table: &HashMap<Box<str>, Timestamp>, id: Option<&str>| {
            id.and_then(|id| table.get(id))
                .is_some_and(|until| now < *until)
        };
        let is_older = |fence: &UserFence| bearer.version < fence.version && now < fence.until;
        is_listed(&self.sessions, bearer.session)
            || self.users.get(bearer.subject).is_some_and(is_older)
            || is_listed(&self.keys, bearer.key_id)
    }
}

fn extend(table: &mut HashMap<Box<str>, Timestamp>, id: String, until: Timestamp) {
    let known = table.entry(id.into()).or_insert(until);
    *known = until.max(*known);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEARER: Bearer<'static> = Bearer {
        session: Some("s"),
        subject: "u",
        version: 7,
        key_id: Some("k"),
    };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn refuses(revocation: Revocation) -> bool {
        let revocations = Revocations::new();
        revocations.revoke(revocation, at(100));
        revocations.refuses(&BEARER, at(99))
    }

    #[test]
    fn a_session_a_key_and_an_older_version_are_refused_and_nothing_else() {
        let before = |user: &str, version| Revocation::UserBefore {
            user_id: user.to_owned(),
            version,
        };
        assert!(
            refuses(Revocation::Session("s".to_owned()))
                && refuses(Revocation::Key("k".to_owned()))
        );
        assert!(
            refuses(before("u", 8)) && !refuses(before("u", 7)),
            "the fence itself is the first version that passes"
        );
        assert!(
            !refuses(before("s", 8)) && !refuses(Revocation::Session("u".to_owned())),
            "kinds do not mix"
        );
        assert!(!Revocations::new().refuses(&BEARER, at(0)));
    }

    #[test]
    fn what_was_not_confirmed_for_fifteen_seconds_is_stale() {
        let revocations = Revocations::new();
        assert!(revocations.are_stale(at(1)), "nobody has read a log yet");
        revocations.confirm(at(100_000));
        assert!(!revocations.are_stale(at(115_000)) && revocations.are_stale(at(115_001)));
        assert!(
            !revocations.are_stale(at(85_000)) && revocations.are_stale(at(84_999)),
            "a clock that was set back does not make it younger"
        );
        revocations.confirm(at(200_000));
        assert_eq!(revocations.age(at(201_000)), Some(Duration::from_secs(1)));
        assert!(!Revocations::assumed_complete().are_stale(at(u64::MAX / 2)));
    }

    #[test]
    fn what_another_reading_knew_stays_taken_back_and_unconfirmed() {
        let known = Revocations::new();
        known.revoke(Revocation::Session("s".to_owned()), at(100));
        known.confirm(at(50));
        let again = Revocations::beginning_with(&known);
        assert!(again.refuses(&BEARER, at(99)) && again.are_stale(at(50)));
        assert_eq!(again.len(), 1);
    }

    #[test]
    fn a_row_never_shrinks_and_is_gone_after_its_time() {
        let revocations = Revocations::new();
        revocations.revoke(Revocation::Session("s".to_owned()), at(100));
        revocations.revoke(Revocation::Session("s".to_owned()), at(50));
        revocations.revoke(
            Revocation::UserBefore {
                user_id: "u".to_owned(),
                version: 9,
            },
            at(50),
        );
        revocations.revoke(
            Revocation::UserBefore {
                user_id: "u".to_owned(),
                version: 8,
            },
            at(60),
        );
        assert_eq!(revocations.len(), 2);
        revocations.sweep(at(60));
        assert_eq!(
            revocations.len(),
            1,
            "the fence is moot at 60, the session is not"
        );
        assert!(revocations.refuses(&BEARER, at(99)) && !revocations.refuses(&BEARER, at(100)));
        revocations.sweep(at(100));
        assert!(revocations.is_empty());
    }
}
