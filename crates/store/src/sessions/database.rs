//! Sessions in the database. Each decision about a refresh token is one conditional UPDATE, so that of many who present the same
//! token, or of one who does while another ends the session, exactly one finds the row as the condition says.

use std::time::Duration;

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;
use portcullis_tokens::Revocation;

use super::{NewSession, OthersEnd, Presented, Rotation, Session, SessionEnd};
use crate::{
    engine::{Row, Transaction, values},
    error::StoreError,
    revocations,
    store::Store,
};

/// The most sessions one page may have.
const PAGE: u32 = 100;
/// Rows removed in one transaction, so that sweeping never holds up a sign-in for long.
const SWEEP: u32 = 500;
/// Sessions ended in one transaction, each with a revocation and an audit row.
const ENDED_AT_ONCE: u32 = 50;

/// Nothing is inserted unless the user is still as it was when the password was checked.
const OPEN: &str = "INSERT INTO sessions (sid, user_id, client_id, resource, scopes, mac_kid, \
     rotated_at_ms, created_ms, idle_exp_ms, abs_exp_ms, user_agent, ip, user_version, tenant, gen) \
     SELECT $1, u.id, $3, $4, $5, $6, $7, $7, $8, $9, $10, $11, u.version, $14, $15 FROM users u \
     WHERE u.id = $2 AND u.version = $12 AND u.disabled = $13";

const BY_SID: &str = "SELECT * FROM sessions WHERE sid = $1";

const ROTATE: &str = "UPDATE sessions SET gen = gen + 1, grace_used = 0, rotated_at_ms = $3, \
     idle_exp_ms = CASE WHEN abs_exp_ms < $4 THEN abs_exp_ms ELSE $4 END \
     WHERE sid = $1 AND gen = $2 AND revoked_ms IS NULL AND idle_exp_ms > $3 AND abs_exp_ms > $3 RETURNING *";
/// The grace has two sides: after a clock was set back, what lies in the future is no moment ago.
const REPEAT: &str = "UPDATE sessions SET grace_used = grace_used + 1 \
     WHERE sid = $1 AND gen = $2 + 1 AND rotated_at_ms > $4 AND rotated_at_ms < $5 AND grace_used < $6 \
     AND revoked_ms IS NULL AND idle_exp_ms > $3 AND abs_exp_ms > $3 RETURNING *";
/// What neither of the two took, and is not a repetition in the grace.
const END_REUSED: &str = "UPDATE sessions SET revoked_ms = $3, revoke_reason = $6 \
     WHERE sid = $1 AND gen <> $2 AND (gen <> $2 + 1 OR rotated_at_ms <= $4 OR rotated_at_ms >= $5) \
     AND revoked_ms IS NULL AND idle_exp_ms > $3 AND abs_exp_ms > $3 RETURNING *";

const OF_USER: &str = "SELECT * FROM sessions WHERE user_id = $1 AND sid < $3 \
     AND revoked_ms IS NULL AND idle_exp_ms > $2 AND abs_exp_ms > $2 ORDER BY sid DESC LIMIT $4";
const END: &str = "UPDATE sessions SET revoked_ms = $3, revoke_reason = $4 \
     WHERE sid = $1 AND user_id = $2 AND revoked_ms IS NULL AND idle_exp_ms > $3 AND abs_exp_ms > $3";
const OTHERS: &str = "SELECT sid FROM sessions WHERE user_id = $1 AND sid <> $2 \
     AND revoked_ms IS NULL AND idle_exp_ms > $3 AND abs_exp_ms > $3 AND created_ms <= $3 ORDER BY sid LIMIT $4";

const REMOVE_ENDED: &str = "DELETE FROM sessions \
     WHERE sid IN (SELECT sid FROM sessions WHERE idle_exp_ms <= $1 ORDER BY idle_exp_ms LIMIT $2)";

/// Above every id.
const LAST: &str = "~";

impl Store {
    pub(super) async fn open_session(
        &self,
        session: &NewSession,
        first_generation: u64,
        events: &[Event],
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        let ip = session.ip.map(|ip| ip.to_string());
        let values = values![
            session.sid.as_str(),
            session.user_id.as_str(),
            session.client_id.as_deref(),
            session.resource.as_str(),
            session.scopes.as_str(),
            session.mac_kid.as_deref(),
            session.created_at,
            session.idle_expires_at.min(session.absolute_expires_at),
            session.absolute_expires_at,
            session.user_agent.as_deref(),
            ip.as_deref(),
            session.user_version,
            false,
            session.tenant.as_deref(),
            first_generation,
        ];
        if tx.execute(OPEN, values).await? == 0 {
            return Err(StoreError::Conflict);
        }
        self.commit(tx, events).await
    }

    pub(super) async fn session(&self, sid: &str) -> Result<Option<Session>, StoreError> {
        let rows = self.engine.rows(BY_SID, values![sid]).await?;
        rows.first().map(session).transpose()
    }

    pub(super) async fn rotate_session(
        &self,
        presented: &Presented<'_>,
    ) -> Result<Rotation, StoreError> {
        let mut tx = self.engine.begin().await?;
        let (rotation, event) = decide(&mut tx, presented).await?;
        self.commit(tx, event.map_or(&[], std::slice::from_ref))
            .await?;
        Ok(rotation)
    }

    pub(super) async fn sessions_of(
        &self,
        user_id: &str,
        now: Timestamp,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Session>, StoreError> {
        let values = values![user_id, now, after.unwrap_or(LAST), limit.min(PAGE)];
        let rows = self.engine.rows(OF_USER, values).await?;
        rows.iter().map(session).collect()
    }

    pub(super) async fn end_session(&self, end: &SessionEnd<'_>) -> Result<bool, StoreError> {
        let SessionEnd { sid, event, .. } = *end;
        let mut tx = self.engine.begin().await?;
        let values = values![sid, end.user_id, event.at, reason(event)];
        if tx.execute(END, values).await? == 0 {
            return Ok(false);
        }
        log_end(&mut tx, sid, end.revocation_until, event).await?;
        self.commit(tx, std::slice::from_ref(event)).await?;
        Ok(true)
    }

    pub(super) async fn end_other_sessions(
        &self,
        end: &OthersEnd<'_>,
    ) -> Result<Vec<String>, StoreError> {
        let mut ended = Vec::new();
        loop {
            let values = values![end.user_id, end.kept, end.at, ENDED_AT_ONCE];
            let others = self.engine.rows(OTHERS, values).await?;
            if others.is_empty() {
                return Ok(ended);
            }
            let others = others.iter().map(|other| other.read("sid"));
            let others: Vec<String> = others.collect::<Result<_, _>>()?;
            ended.extend(self.end_these(others, end).await?);
        }
    }

    /// Rows before the log: whoever ends one of them alone takes the locks in this order as well.
    async fn end_these(
        &self,
        sids: Vec<String>,
        end: &OthersEnd<'_>,
    ) -> Result<Vec<String>, StoreError> {
        let mut tx = self.engine.begin().await?;
        let (mut ended, mut events) = (Vec::new(), Vec::new());
        for sid in sids {
            let event = (end.event)(&sid);
            let values = values![sid.as_str(), end.user_id, end.at, reason(&event)];
            if tx.execute(END, values).await? > 0 {
                ended.push(sid);
                events.push(event);
            }
        }
        for (sid, event) in ended.iter().zip(&events) {
            log_end(&mut tx, sid, end.revocation_until, event).await?;
        }
        self.commit(tx, &events).await?;
        Ok(ended)
    }

    pub(super) async fn sweep_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.engine.begin().await?;
        let removed = tx.execute(REMOVE_ENDED, values![now, SWEEP]).await?;
        self.commit(tx, &[]).await?;
        Ok(removed)
    }
}

/// With the event that tells of it.
async fn decide<'a>(
    tx: &mut Transaction,
    presented: &Presented<'a>,
) -> Result<(Rotation, Option<&'a Event>), StoreError> {
    let Presented { sid, at, .. } = *presented;
    let generation = presented.generation;
    let idle_until = at.plus(presented.idle);
    let values = values![sid, generation, at, idle_until];
    if let Some(row) = tx.row(ROTATE, values).await? {
        return Ok((Rotation::Rotated(session(&row)?), Some(presented.rotated)));
    }
    let (from, to) = (before(at, presented.grace), at.plus(presented.grace));
    let values = values![sid, generation, at, from, to, presented.repeats];
    if let Some(row) = tx.row(REPEAT, values).await? {
        return Ok((Rotation::Repeated(session(&row)?), Some(presented.repeated)));
    }
    let reused = presented.reused;
    let values = values![sid, generation, at, from, to, reason(reused)];
    if let Some(row) = tx.row(END_REUSED, values).await? {
        log_end(tx, sid, presented.revocation_until, reused).await?;
        return Ok((Rotation::Reused(session(&row)?), Some(reused)));
    }
    let found = tx.row(BY_SID, values![sid]).await?;
    let found = found.as_ref().map(session).transpose()?;
    // What is live and was taken by none of the three is in its grace, and was asked for too often.
    let is_live = found.is_some_and(|session| session.is_live(at));
    let rotation = if is_live {
        Rotation::TooManyRepeats
    } else {
        Rotation::Ended
    };
    Ok((rotation, None))
}

async fn log_end(
    tx: &mut Transaction,
    sid: &str,
    until: Timestamp,
    event: &Event,
) -> Result<(), StoreError> {
    let revocation = Revocation::Session(sid.to_owned());
    revocations::log(tx, &revocation, until, event).await
}

fn reason(event: &Event) -> &str {
    event
        .reason
        .as_deref()
        .unwrap_or_else(|| event.action.as_str())
}

fn before(at: Timestamp, span: Duration) -> Timestamp {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(at.as_millis().saturating_sub(span))
}

fn session(row: &Row) -> Result<Session, StoreError> {
    let ip: Option<String> = row.read("ip")?;
    Ok(Session {
        sid: row.read("sid")?,
        user_id: row.read("user_id")?,
        user_version: row.number("user_version")?,
        client_id: row.read("client_id")?,
        resource: row.read("resource")?,
        scopes: row.read("scopes")?,
        mac_kid: row.read("mac_kid")?,
        generation: row.number("gen")?,
        created_at: row.instant("created_ms")?,
        rotated_at: row.instant("rotated_at_ms")?,
        idle_expires_at: row.instant("idle_exp_ms")?,
        absolute_expires_at: row.instant("abs_exp_ms")?,
        ended_at: row.maybe_instant("revoked_ms")?,
        user_agent: row.read("user_agent")?,
        ip: ip.and_then(|ip| ip.parse().ok()),
        tenant: row.read("tenant")?,
    })
}
