//! Users and their roles.
//!
//! The moment of a change is its event's `at`, so that a row and the log never tell two times. Whatever takes rights away or gives
//! them raises the user's `version` and logs a revocation of all tokens with a lower one, in the same transaction.

use portcullis_audit::Event;
use portcullis_config::units::Timestamp;
use portcullis_tokens::Revocation;

use crate::{
    administrators::{RightsChange, Turn},
    engine::{Row, Transaction, values},
    error::StoreError,
    grants::{self, Grant},
    identities::{self, Identity},
    login_names::{self, LoginName},
    passwords::PasswordRecord,
    revocations,
    sessions::Session,
    store::Store,
};

/// The most users one page may have.
const PAGE: u32 = 1000;

/// Users with their roles in one statement: a row for each role, and one for a user without any. A join with both tables of
/// roles at once would have SQLite go through all of them.
macro_rules! users_from {
    ($selection:literal) => {
        concat!(
            "SELECT u.*, r.role, NULL AS grant_tenant, d.scopes AS kept_scopes FROM (",
            $selection,
            ") u LEFT JOIN user_roles r ON r.user_id = u.id LEFT JOIN roles d ON d.name = r.role \
             UNION ALL SELECT u.*, r.role, r.tenant AS grant_tenant, d.scopes AS kept_scopes FROM (",
            $selection,
            ") u JOIN tenant_roles r ON r.user_id = u.id LEFT JOIN roles d ON d.name = r.role ORDER BY id"
        )
    };
}

pub(crate) use users_from;

pub(crate) const BY_ID: &str = users_from!("SELECT * FROM users WHERE id = $1");
const BY_LOGIN: &str = users_from!("SELECT * FROM users WHERE username_key = $1 OR email_key = $1");
const AFTER: &str = users_from!("SELECT * FROM users WHERE id > $1 ORDER BY id LIMIT $2");

const CREATE: &str = "INSERT INTO users (id, username, username_key, email, email_key, display_name, \
     password_hash, password_scheme, disabled, email_verified, version, created_ms, updated_ms, tenant) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $11, $12)";
const SET_DISABLED: &str = "UPDATE users SET disabled = $2 WHERE id = $1 AND disabled <> $2";
const SET_TENANT: &str =
    "UPDATE users SET tenant = $2 WHERE id = $1 AND COALESCE(tenant, '') <> COALESCE($2, '')";
const DELETE: &str = "DELETE FROM users WHERE id = $1";
const SET_PROFILE: &str = "UPDATE users SET display_name = $2, updated_ms = $3 WHERE id = $1";
/// Both sides see the version as it was: sessions opened with it or a lower one are below the fence.
const RAISE_FENCE: &str = "UPDATE users SET version = version + 1, session_fence = version + 1, updated_ms = $2 \
     WHERE id = $1 RETURNING version";
const RAISE_VERSION: &str =
    "UPDATE users SET version = version + 1, updated_ms = $2 WHERE id = $1 RETURNING version";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: String,
    pub username: Option<String>,
    pub email: Option<String>,
    /// Somebody has read what was sent there.
    pub email_verified: bool,
    pub display_name: Option<String>,
    pub disabled: bool,
    /// Goes up whenever tokens issued before must not be good any more; tokens carry it as `ver`.
    pub version: u64,
    /// Sessions that were opened with a lower version have ended.
    pub session_fence: u64,
    /// The tenant that the user belongs to; `None` for one of the whole installation.
    pub tenant: Option<String>,
    /// Sorted by role, and for one role by tenant.
    pub grants: Vec<Grant>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl User {
    /// The names of the user's roles, whichever tenant they are of, each once and sorted.
    pub fn roles(&self) -> Vec<&str> {
        let mut roles: Vec<&str> = self.grants.iter().map(|grant| &*grant.role).collect();
        roles.dedup();
        roles
    }

    /// Whether a session of this user goes on: not where the user is disabled, and not after an end of all.
    pub fn keeps(&self, session: &Session) -> bool {
        !self.disabled && session.user_id == self.id && session.user_version >= self.session_fence
    }
}

/// What is to become of a user. `None` leaves as it is, `Some(None)` removes.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserChange<'a> {
    pub display_name: Option<Option<&'a str>>,
    pub username: Option<Option<LoginName<'a>>>,
    pub email: Option<Option<LoginName<'a>>>,
    pub tenant: Option<Option<&'a str>>,
}

/// What a user begins with. The `_key` fields are the mapped forms that names are compared in; a username's must not contain `@`
/// and an e-mail address's must, so that neither can be taken for the other (`Conflict` otherwise, and where both are absent).
#[derive(Clone, Debug, Default)]
pub struct NewUser {
    /// A `UUIDv7` as text, so that users are listed in the order they came.
    pub id: String,
    pub username: Option<String>,
    pub username_key: Option<String>,
    pub email: Option<String>,
    pub email_key: Option<String>,
    pub display_name: Option<String>,
    pub password: Option<PasswordRecord>,
    /// Where the user signs in, if that is elsewhere.
    pub identity: Option<Identity>,
    pub disabled: bool,
    /// Only where another system has found out.
    pub email_verified: bool,
    pub tenant: Option<String>,
    pub created_at: Timestamp,
}

impl Store {
    /// `Taken` if id, username, e-mail address or identity belong to somebody. That there are such roles is for the caller to know;
    /// one that is deleted meanwhile gives nothing, and its name is not given to another while somebody has it.
    pub async fn create_user(
        &self,
        user: &NewUser,
        roles: &[&str],
        event: &Event,
    ) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        let password = user.password.as_ref();
        let values = values![
            user.id.as_str(),
            user.username.as_deref(),
            user.username_key.as_deref(),
            user.email.as_deref(),
            user.email_key.as_deref(),
            user.display_name.as_deref(),
            password.map(PasswordRecord::expose_hash),
            password.map(PasswordRecord::scheme),
            user.disabled,
            user.email_verified,
            user.created_at,
            user.tenant.as_deref(),
        ];
        tx.execute(CREATE, values).await?;
        for role in roles {
            grants::give(&mut tx, &user.id, role, user.created_at).await?;
        }
        if let Some(identity) = &user.identity {
            identities::link(&mut tx, &user.id, identity, user.created_at).await?;
        }
        self.finish(tx, &user.id, event).await
    }

    pub async fn user(&self, id: &str) -> Result<Option<User>, StoreError> {
        Ok(users(&self.engine.rows(BY_ID, values![id]).await?)?.pop())
    }

    /// By the mapped form of a username or an e-mail address. A user who signs in elsewhere has no password.
    pub async fn user_by_login(
        &self,
        key: &str,
    ) -> Result<Option<(User, Option<PasswordRecord>)>, StoreError> {
        let rows = self.engine.rows(BY_LOGIN, values![key]).await?;
        let Some(user) = users(&rows)?.pop() else {
            return Ok(None);
        };
        let password = rows.first().map(PasswordRecord::of).transpose()?.flatten();
        Ok(Some((user, password)))
    }

    /// A page of at most `limit` (and 1000) users in the order of their ids, after the one named.
    pub async fn users(&self, after: Option<&str>, limit: u32) -> Result<Vec<User>, StoreError> {
        let rows = self
            .engine
            .rows(AFTER, values![after.unwrap_or(""), limit.min(PAGE)])
            .await?;
        users(&rows)
    }

    /// Tokens issued before are refused; a disabled user's sessions end. Saying what is so already changes nothing, but is kept
    /// in the log. `LastAdministrator` if nobody would be left who may administer.
    pub async fn set_disabled(
        &self,
        id: &str,
        disabled: bool,
        change: &RightsChange<'_>,
    ) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        let turn = Turn::take(&mut tx, change).await?;
        if tx.execute(SET_DISABLED, values![id, disabled]).await? > 0 {
            let raise = if disabled { RAISE_FENCE } else { RAISE_VERSION };
            outdate(&mut tx, raise, id, change.until, change.event).await?;
        }
        turn.end(&mut tx).await?;
        self.finish(tx, id, change.event).await
    }

    /// Ends all sessions of the user, wherever they are kept, with all tokens issued before.
    pub async fn end_all_sessions(
        &self,
        id: &str,
        revocation_until: Timestamp,
        event: &Event,
    ) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        end_sessions(&mut tx, id, revocation_until, event).await?;
        self.finish(tx, id, event).await
    }

    /// As [`Store::set_disabled`] where the tenant changes, but sessions go on. `Taken` if a name is somebody else's, `Conflict`
    /// if none would be left to sign in with.
    pub async fn change_user(
        &self,
        id: &str,
        wanted: &UserChange<'_>,
        change: &RightsChange<'_>,
    ) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        let turn = Turn::take(&mut tx, change).await?;
        if let Some(display_name) = wanted.display_name {
            tx.execute(SET_PROFILE, values![id, display_name, change.event.at])
                .await?;
        }
        if let Some(name) = wanted.username {
            login_names::set_username(&mut tx, id, name, change.event.at).await?;
        }
        if let Some(address) = wanted.email {
            login_names::set_email(&mut tx, id, address, change.event.at).await?;
        }
        if let Some(tenant) = wanted.tenant
            && tx.execute(SET_TENANT, values![id, tenant]).await? > 0
        {
            outdate_tokens(&mut tx, id, change.until, change.event).await?;
        }
        turn.end(&mut tx).await?;
        self.finish(tx, id, change.event).await
    }

    /// With all that hangs on the user. Answers with the user as it was, but for the version, which went up once more.
    pub async fn delete_user(
        &self,
        id: &str,
        change: &RightsChange<'_>,
    ) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        let turn = Turn::take(&mut tx, change).await?;
        end_sessions(&mut tx, id, change.until, change.event).await?;
        let user = changed(&mut tx, id).await?;
        tx.execute(DELETE, values![id]).await?;
        turn.end(&mut tx).await?;
        self.commit(tx, std::slice::from_ref(change.event)).await?;
        Ok(user)
    }

    pub async fn set_profile(
        &self,
        id: &str,
        display_name: Option<&str>,
        event: &Event,
    ) -> Result<User, StoreError> {
        let mut tx = self.engine.begin().await?;
        tx.execute(SET_PROFILE, values![id, display_name, event.at])
            .await?;
        self.finish(tx, id, event).await
    }

    /// Commits a change of the user with its event, and answers with the user as it then is; `NotFound` if there is none.
    pub(crate) async fn finish(
        &self,
        mut tx: Transaction,
        id: &str,
        event: &Event,
    ) -> Result<User, StoreError> {
        let user = changed(&mut tx, id).await?;
        self.commit(tx, std::slice::from_ref(event)).await?;
        Ok(user)
    }
}

/// The user as the change leaves it so far.
pub(crate) async fn changed(tx: &mut Transaction, id: &str) -> Result<User, StoreError> {
    let rows = tx.rows(BY_ID, values![id]).await?;
    users(&rows)?.pop().ok_or(StoreError::NotFound)
}

pub(crate) async fn outdate_tokens(
    tx: &mut Transaction,
    id: &str,
    until: Timestamp,
    event: &Event,
) -> Result<(), StoreError> {
    outdate(tx, RAISE_VERSION, id, until, event).await
}

/// For changes after which nobody who was signed in may stay so. The sessions themselves are not touched: see [`User::keeps`].
pub(crate) async fn end_sessions(
    tx: &mut Transaction,
    id: &str,
    until: Timestamp,
    event: &Event,
) -> Result<(), StoreError> {
    outdate(tx, RAISE_FENCE, id, until, event).await
}

async fn outdate(
    tx: &mut Transaction,
    raise: &'static str,
    id: &str,
    until: Timestamp,
    event: &Event,
) -> Result<(), StoreError> {
    let row = tx
        .row(raise, values![id, event.at])
        .await?
        .ok_or(StoreError::NotFound)?;
    let revocation = Revocation::UserBefore {
        user_id: id.to_owned(),
        version: row.number("version")?,
    };
    revocations::log(tx, &revocation, until, event).await
}

/// Folds the rows of [`users_from`] into users.
pub(crate) fn users(rows: &[Row]) -> Result<Vec<User>, StoreError> {
    let mut users: Vec<User> = Vec::new();
    for row in rows {
        let id: String = row.read("id")?;
        if users.last().is_none_or(|user| user.id != id) {
            users.push(user(id, row)?);
        }
        if let (Some(user), Some(grant)) = (users.last_mut(), Grant::of(row)?) {
            user.grants.push(grant);
        }
    }
    for user in &mut users {
        user.grants.sort();
    }
    Ok(users)
}

fn user(id: String, row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id,
        username: row.read("username")?,
        email: row.read("email")?,
        email_verified: row.read("email_verified")?,
        display_name: row.read("display_name")?,
        disabled: row.read("disabled")?,
        version: row.number("version")?,
        session_fence: row.number("session_fence")?,
        tenant: row.read("tenant")?,
        grants: Vec::new(),
        created_at: row.instant("created_ms")?,
        updated_at: row.instant("updated_ms")?,
    })
}
