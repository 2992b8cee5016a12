//! The revocation log: what signed tokens cannot say of themselves, in an order that can be followed by polling.
//!
//! A poller asks for all rows after the last number it has seen, so a smaller number must never appear after a larger one. A
//! PostgreSQL sequence breaks that: numbers are given out when a row is written and become visible when its transaction commits,
//! and a slow transaction would slip its row in behind the poller's back. Here the number comes from one row of
//! `revocation_counter`, whose lock is held until the commit. Whoever sees number n sees all below it.

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;
use portcullis_tokens::Revocation;

use crate::{
    engine::{Row, Transaction, values},
    error::StoreError,
    store::Store,
};

/// The most rows one poll brings; the next poll brings the rest.
const PAGE: u32 = 1000;
/// Rows removed in one transaction, so that sweeping never holds up a change for long.
const SWEEP: u32 = 500;

const NEXT: &str = "UPDATE revocation_counter SET seq = seq + 1 WHERE id = 1 RETURNING seq";
const LOG: &str = "INSERT INTO revocations (seq, kind, key, value, until_ms, created_ms, cause) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";
/// Everybody who has a role, with the versions that they have by now.
const LOG_HOLDERS: &str = "INSERT INTO revocations (seq, kind, key, value, until_ms, created_ms, cause) \
     SELECT $1 + ROW_NUMBER() OVER (ORDER BY id), $2, id, version, $3, $4, $5 FROM users WHERE id IN \
     (SELECT user_id FROM user_roles WHERE role = $6 UNION SELECT user_id FROM tenant_roles WHERE role = $6)";
const LAST: &str = "UPDATE revocation_counter SET seq = seq WHERE id = 1 RETURNING seq";
const ADVANCE: &str = "UPDATE revocation_counter SET seq = seq + $1 WHERE id = 1";
const AFTER: &str = "SELECT seq, kind, key, value, until_ms FROM revocations \
     WHERE seq > $1 AND until_ms > $2 ORDER BY seq LIMIT $3";
const HEAD: &str = "SELECT seq FROM revocation_counter WHERE id = 1";
const REMOVE_MOOT: &str = "DELETE FROM revocations \
     WHERE seq IN (SELECT seq FROM revocations WHERE until_ms <= $1 ORDER BY until_ms LIMIT $2)";

const SESSION: &str = "session";
const USER_BEFORE: &str = "user_before";
const KEY: &str = "key";

impl Store {
    /// The revocations logged after number `seq` that still matter, each with the time after which it is moot, in the order of
    /// their numbers. At most 1000: ask again from the last one until nothing comes.
    pub async fn revocations_after(
        &self,
        seq: u64,
        now: Timestamp,
    ) -> Result<Vec<(u64, Revocation, Timestamp)>, StoreError> {
        let rows = self.engine.rows(AFTER, values![seq, now, PAGE]).await?;
        rows.iter()
            .map(|row| {
                Ok((
                    row.number("seq")?,
                    revocation(row)?,
                    row.instant("until_ms")?,
                ))
            })
            .collect()
    }

    /// The last number given out. All up to it can be read, as far as they are not moot.
    pub async fn revocation_head(&self) -> Result<u64, StoreError> {
        let rows = self.engine.rows(HEAD, values![]).await?;
        rows.first().ok_or_else(no_counter)?.number("seq")
    }

    /// Takes back what no other change ends, such as the token of a program.
    pub async fn revoke(
        &self,
        revocation: &Revocation,
        until: Timestamp,
        event: &Event,
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        log(&mut tx, revocation, until, event).await?;
        self.commit(tx, std::slice::from_ref(event)).await
    }

    /// Removes some of what is moot and says how much: 0 means that nothing is left.
    pub async fn sweep_revocations(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.engine.begin().await?;
        let removed = tx.execute(REMOVE_MOOT, values![now, SWEEP]).await?;
        self.commit(tx, &[]).await?;
        Ok(removed)
    }
}

/// Logs a revocation as part of a change. `event` tells of the change: its action is the cause.
pub(crate) async fn log(
    tx: &mut Transaction,
    revocation: &Revocation,
    until: Timestamp,
    event: &Event,
) -> Result<(), StoreError> {
    let (kind, key, value) = match revocation {
        Revocation::Session(sid) => (SESSION, sid, None),
        Revocation::UserBefore { user_id, version } => (USER_BEFORE, user_id, Some(*version)),
        Revocation::Key(kid) => (KEY, kid, None),
    };
    let next = tx.row(NEXT, values![]).await?;
    let next = next.ok_or_else(no_counter)?;
    let values = values![
        next.number("seq")?,
        kind,
        key.as_str(),
        value,
        until,
        event.at,
        event.action.as_str()
    ];
    tx.execute(LOG, values).await?;
    Ok(())
}

/// As [`log`], for all holders of a role at once.
pub(crate) async fn log_holders(
    tx: &mut Transaction,
    role: &str,
    until: Timestamp,
    event: &Event,
) -> Result<(), StoreError> {
    let last = tx.row(LAST, values![]).await?;
    let last = last.ok_or_else(no_counter)?.number("seq")?;
    let cause = event.action.as_str();
    let values = values![last, USER_BEFORE, until, event.at, cause, role];
    let logged = tx.execute(LOG_HOLDERS, values).await?;
    tx.execute(ADVANCE, values![logged]).await?;
    Ok(())
}

fn no_counter() -> StoreError {
    StoreError::Corrupt("revocation_counter is empty".to_owned())
}

fn revocation(row: &Row) -> Result<Revocation, StoreError> {
    let (kind, key): (String, String) = (row.read("kind")?, row.read("key")?);
    match (kind.as_str(), row.maybe_number("value")?) {
        (SESSION, _) => Ok(Revocation::Session(key)),
        (USER_BEFORE, Some(version)) => Ok(Revocation::UserBefore {
            user_id: key,
            version,
        }),
        (KEY, _) => Ok(Revocation::Key(key)),
        (other, _) => Err(StoreError::Corrupt(format!(
            "a revocation of the kind {other:?} cannot be read"
        ))),
    }
}
