//! Second factors: the secret that a user shares with an authenticator app, encrypted by whoever keeps it here, and the hashes of
//! the recovery codes.
//!
//! A code works once. Using one is a statement that touches a row or does not, so that of two at the same time one wins, and it is
//! part of the change that the code allows. Trying one is counted before it is looked at, and committed whatever comes of it.

use std::time::Duration;

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;

use crate::{
    engine::{Row, Transaction, values},
    error::StoreError,
    store::Store,
    users::{self, User},
};

const FIND: &str =
    "SELECT wrapped, confirmed_ms, last_step, created_ms FROM totp_secrets WHERE user_id = $1";
/// Takes the place of one that was never confirmed.
const BEGIN: &str = "INSERT INTO totp_secrets (user_id, wrapped, created_ms) VALUES ($1, $2, $3) \
     ON CONFLICT (user_id) DO UPDATE SET wrapped = excluded.wrapped, created_ms = excluded.created_ms \
     WHERE totp_secrets.confirmed_ms IS NULL";
const CONFIRM: &str = "UPDATE totp_secrets SET confirmed_ms = $3, last_step = $4 \
     WHERE user_id = $1 AND wrapped = $2 AND confirmed_ms IS NULL";
const COUNT_TRY: &str = "UPDATE totp_secrets SET failures = failures + 1 \
     WHERE user_id = $1 AND confirmed_ms IS NOT NULL AND wait_until_ms <= $2 \
     RETURNING wrapped, confirmed_ms, last_step, created_ms, failures";
const HOLD_UP: &str = "UPDATE totp_secrets SET wait_until_ms = $2 WHERE user_id = $1";
const WAITING: &str =
    "SELECT wait_until_ms FROM totp_secrets WHERE user_id = $1 AND confirmed_ms IS NOT NULL";
const TAKE_STEP: &str = "UPDATE totp_secrets SET last_step = $2 \
     WHERE user_id = $1 AND confirmed_ms IS NOT NULL AND last_step < $2";
const TAKE_RECOVERY_CODE: &str = "DELETE FROM recovery_codes WHERE user_id = $1 AND hash = $2";
const FORGIVE: &str =
    "UPDATE totp_secrets SET failures = 0, wait_until_ms = 0 WHERE user_id = $1 AND failures > 0";
const REMOVE: &str = "DELETE FROM totp_secrets WHERE user_id = $1";
const REMOVE_RECOVERY_CODES: &str = "DELETE FROM recovery_codes WHERE user_id = $1";
const ADD_RECOVERY_CODE: &str = "INSERT INTO recovery_codes (user_id, hash) VALUES ($1, $2)";
const REMOVE_ABANDONED: &str = "DELETE FROM totp_secrets WHERE user_id IN (SELECT user_id FROM totp_secrets \
     WHERE confirmed_ms IS NULL AND created_ms <= $1 LIMIT $2)";

/// Whoever began to set up an app then has forgotten about it.
const ABANDONED_MILLIS: u64 = 24 * 60 * 60 * 1000;
/// As with sessions.
const SWEEP: u32 = 500;

/// A secret as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpSecret {
    /// Encrypted.
    pub wrapped: Vec<u8>,
    /// Whether it is asked for at sign-in.
    pub confirmed: bool,
    /// No code of this time step or an earlier one is taken any more.
    pub last_step: u64,
    pub created_at: Timestamp,
}

/// A code that was found right. It still has to be unused.
#[derive(Clone, Copy)]
pub enum UsedCode<'a> {
    /// Of the app, by the time step it was made for.
    Step(u64),
    /// A recovery code, by its hash.
    Recovery(&'a [u8; 32]),
}

/// The code that shows that an app has the secret.
#[derive(Clone, Copy)]
pub struct FirstCode<'a> {
    pub user_id: &'a str,
    /// The secret it was checked with.
    pub wrapped: &'a [u8],
    pub step: u64,
}

/// Whether a code of the app may be looked at.
pub enum CodeTry {
    /// It was counted as a failure, which using the code takes back.
    Counted(TotpSecret),
    /// Too many were wrong. The next may be tried at this instant.
    HeldUp(Timestamp),
    /// There is no confirmed secret that a code could be of.
    NoSecret,
}

impl Store {
    pub async fn totp_secret(&self, user_id: &str) -> Result<Option<TotpSecret>, StoreError> {
        let rows = self.engine.rows(FIND, values![user_id]).await?;
        rows.first().map(secret).transpose()
    }

    /// Keeps a secret that waits for its first code. `Conflict` if the user has one that is confirmed.
    pub async fn begin_totp(
        &self,
        user_id: &str,
        wrapped: &[u8],
        event: &Event,
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        let values = values![user_id, wrapped, event.at];
        changed(tx.execute(BEGIN, values).await?)?;
        self.commit(tx, std::slice::from_ref(event)).await
    }

    /// From now on the secret is asked for at sign-in, and these recovery codes stand in for it. Every session of the user ends, as
    /// none was begun with it. `Conflict` if the secret is no longer the one that `code` is of, or confirmed already.
    pub async fn confirm_totp(
        &self,
        code: FirstCode<'_>,
        recovery_codes: &[[u8; 32]],
        revocation_until: Timestamp,
        event: &Event,
    ) -> Result<User, StoreError> {
        let (id, mut tx) = (code.user_id, self.engine.begin().await?);
        users::end_sessions(&mut tx, id, revocation_until, event).await?;
        let values = values![id, code.wrapped, event.at, code.step];
        changed(tx.execute(CONFIRM, values).await?)?;
        keep_recovery_codes(&mut tx, id, recovery_codes).await?;
        self.finish(tx, id, event).await
    }

    /// Counts a try before the code is looked at, so that many at a time are no more than one after the other. `wait_after` says how
    /// long to wait after so many failures in a row.
    pub async fn try_code(
        &self,
        user_id: &str,
        now: Timestamp,
        wait_after: fn(u64) -> Duration,
    ) -> Result<CodeTry, StoreError> {
        let mut tx = self.engine.begin().await?;
        let Some(row) = tx.row(COUNT_TRY, values![user_id, now]).await? else {
            let waiting = tx.row(WAITING, values![user_id]).await?;
            let until = waiting
                .map(|row| row.instant("wait_until_ms"))
                .transpose()?;
            return Ok(until.map_or(CodeTry::NoSecret, CodeTry::HeldUp));
        };
        let wait = wait_after(row.number("failures")?);
        if !wait.is_zero() {
            tx.execute(HOLD_UP, values![user_id, now.plus(wait)])
                .await?;
        }
        self.commit(tx, &[]).await?;
        secret(&row).map(CodeTry::Counted)
    }

    /// All recovery codes that were there end. `Conflict` if `code` was used before.
    pub async fn replace_recovery_codes(
        &self,
        user_id: &str,
        code: UsedCode<'_>,
        recovery_codes: &[[u8; 32]],
        events: &[Event],
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        use_code(&mut tx, user_id, code).await?;
        keep_recovery_codes(&mut tx, user_id, recovery_codes).await?;
        self.commit(tx, events).await
    }

    /// The secret, confirmed or not, goes with the recovery codes. `code` is what the user proved it with; an administrator has none.
    /// `Conflict` if it was used before, `NotFound` if there is no secret.
    pub async fn remove_totp(
        &self,
        user_id: &str,
        code: Option<UsedCode<'_>>,
        events: &[Event],
    ) -> Result<(), StoreError> {
        let mut tx = self.engine.begin().await?;
        if let Some(code) = code {
            use_code(&mut tx, user_id, code).await?;
        }
        if tx.execute(REMOVE, values![user_id]).await? == 0 {
            return Err(StoreError::NotFound);
        }
        tx.execute(REMOVE_RECOVERY_CODES, values![user_id]).await?;
        self.commit(tx, events).await
    }

    /// Removes some of the secrets that nobody confirmed within a day, and says how many.
    pub async fn sweep_abandoned_totp(&self, now: Timestamp) -> Result<u64, StoreError> {
        let begun_before = now.as_millis().saturating_sub(ABANDONED_MILLIS);
        let mut tx = self.engine.begin().await?;
        let values = values![begun_before, SWEEP];
        let removed = tx.execute(REMOVE_ABANDONED, values).await?;
        self.commit(tx, &[]).await?;
        Ok(removed)
    }
}

/// The failures before it are forgiven.
pub(crate) async fn use_code(
    tx: &mut Transaction,
    user_id: &str,
    code: UsedCode<'_>,
) -> Result<(), StoreError> {
    let used = match code {
        UsedCode::Step(step) => tx.execute(TAKE_STEP, values![user_id, step]).await?,
        UsedCode::Recovery(hash) => {
            let values = values![user_id, hash];
            tx.execute(TAKE_RECOVERY_CODE, values).await?
        }
    };
    changed(used)?;
    tx.execute(FORGIVE, values![user_id]).await?;
    Ok(())
}

async fn keep_recovery_codes(
    tx: &mut Transaction,
    user_id: &str,
    hashes: &[[u8; 32]],
) -> Result<(), StoreError> {
    tx.execute(REMOVE_RECOVERY_CODES, values![user_id]).await?;
    for hash in hashes {
        tx.execute(ADD_RECOVERY_CODE, values![user_id, hash])
            .await?;
    }
    Ok(())
}

fn changed(rows: u64) -> Result<(), StoreError> {
    if rows == 0 {
        Err(StoreError::Conflict)
    } else {
        Ok(())
    }
}

fn secret(row: &Row) -> Result<TotpSecret, StoreError> {
    Ok(TotpSecret {
        wrapped: row.read("wrapped")?,
        confirmed: row.maybe_instant("confirmed_ms")?.is_some(),
        last_step: row.number("last_step")?,
        created_at: row.instant("created_ms")?,
    })
}
