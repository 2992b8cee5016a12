//! Sessions: one row for each sign-in, and the place where refresh tokens will be counted.

use std::net::IpAddr;

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;

use crate::{engine::values, error::StoreError, store::Store};

/// Nothing is inserted unless the user is still as it was when the password was checked: see [`NewSession::user_version`].
const OPEN: &str = "INSERT INTO sessions (sid, user_id, client_id, resource, scopes, mac_kid, \
     rotated_at_ms, created_ms, idle_exp_ms, abs_exp_ms, user_agent_hash, ip) \
     SELECT $1, u.id, $3, $4, $5, $6, $7, $7, $8, $9, $10, $11 FROM users u \
     WHERE u.id = $2 AND u.version = $12 AND u.disabled = $13";

const REMOVE_ENDED: &str = "DELETE FROM sessions \
     WHERE sid IN (SELECT sid FROM sessions WHERE abs_exp_ms <= $1 ORDER BY abs_exp_ms LIMIT $2)";

/// Rows removed in one transaction, so that sweeping never holds up a sign-in for long.
const SWEEP: u32 = 500;

#[derive(Clone, Debug)]
pub struct NewSession {
    /// Unique for ever: it goes into tokens and into the revocation log.
    pub sid: String,
    pub user_id: String,
    /// The version that the tokens of this session will carry.
    pub user_version: u64,
    pub client_id: Option<String>,
    pub resource: String,
    /// Separated by spaces, as in a token.
    pub scopes: String,
    /// The key that authenticates its refresh tokens; `None` if it gets none.
    pub mac_kid: Option<String>,
    pub created_at: Timestamp,
    pub idle_expires_at: Timestamp,
    pub absolute_expires_at: Timestamp,
    pub user_agent_hash: Option<String>,
    pub ip: Option<IpAddr>,
}

impl Store {
    /// Opens the session and keeps its events, before any token of it leaves. `Conflict` if the user was disabled or changed since
    /// it was read: a sign-in that races with `user disable` must not win.
    pub async fn open_session(
        &self,
        session: &NewSession,
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
            session.idle_expires_at,
            session.absolute_expires_at,
            session.user_agent_hash.as_deref(),
            ip.as_deref(),
            session.user_version,
            false,
        ];
        if tx.execute(OPEN, values).await? == 0 {
            return Err(StoreError::Conflict);
        }
        self.commit(tx, events).await
    }

    /// Removes some of the sessions that are past their absolute end and says how many: 0 means that none is left.
    pub async fn sweep_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.engine.begin().await?;
        let removed = tx.execute(REMOVE_ENDED, values![now, SWEEP]).await?;
        self.commit(tx, &[]).await?;
        Ok(removed)
    }
}
