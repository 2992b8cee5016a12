//! The names that users sign in with, and what becomes of them after the first.

use portcullis_config::units::Timestamp;

use crate::{
    engine::{Transaction, values},
    error::StoreError,
};

const SET_USERNAME: &str =
    "UPDATE users SET username = $2, username_key = $3, updated_ms = $4 WHERE id = $1";
/// Written another way it is the same address still, and as verified as before.
const SET_EMAIL: &str = "UPDATE users SET email = $2, email_key = $3, updated_ms = $4, \
     email_verified = CASE WHEN email_key = $3 THEN email_verified ELSE $5 END WHERE id = $1";
const FORGET_CODES: &str =
    "DELETE FROM email_codes WHERE user_id = $1 AND email_key <> COALESCE($2, '')";

/// A user name or an e-mail address, as it is shown and in the mapped form that names are compared in.
#[derive(Clone, Copy, Debug)]
pub struct LoginName<'a> {
    pub shown: &'a str,
    pub key: &'a str,
}

/// Without it where there is none. `Taken` if it is somebody else's; `Conflict` if nothing would be left to sign in with.
pub(crate) async fn set_username(
    tx: &mut Transaction,
    id: &str,
    name: Option<LoginName<'_>>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (shown, key) = (name.map(|name| name.shown), name.map(|name| name.key));
    tx.execute(SET_USERNAME, values![id, shown, key, at])
        .await?;
    Ok(())
}

/// As [`set_username`]. Another address is nobody's until it is verified, and what was sent to the one before is worth
/// nothing.
pub(crate) async fn set_email(
    tx: &mut Transaction,
    id: &str,
    address: Option<LoginName<'_>>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let shown = address.map(|address| address.shown);
    let key = address.map(|address| address.key);
    tx.execute(SET_EMAIL, values![id, shown, key, at, false])
        .await?;
    tx.execute(FORGET_CODES, values![id, key]).await?;
    Ok(())
}
