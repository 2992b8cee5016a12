//! What must last or be shared: users and their roles, clients, sessions, signing keys, the revocation log, the audit log, and limits
//! that replicas have in common. The only room that names sqlx and redis.
//!
//! Two databases, one set of SQL texts. [`engine`] is the narrow door to both: static text and positional values go in, rows come out.
//! Everything beside it is written once, and one conformance suite holds both databases to it.
//!
//! Invariant: a change and the audit rows that tell of it are one transaction. [`Store::commit`](audit) is the only way to commit a change.

mod connection;
mod engine;
mod error;
mod migration;
mod store;

mod administrators;
mod audit;
mod audit_search;
mod backup;
mod challenges;
mod clients;
mod email_codes;
mod grants;
mod identities;
mod keys;
mod limits;
mod login_names;
mod passwords;
mod redis_sessions;
mod revocation_news;
mod revocations;
mod roles;
mod second_factors;
mod sessions;
mod spent;
mod users;

#[cfg(test)]
mod conformance;

pub use administrators::{FileRoles, RightsChange};
pub use audit::{AuditCursor, AuditFilter, AuditParty, AuditRow};
pub use audit_search::{AuditPage, AuditSearch};
pub use backup::BackupError;
pub use challenges::Challenge;
pub use clients::{Client, ClientChange, ClientProof, NewClient};
pub use email_codes::{CodeHash, CodePurpose, NewCode, PasswordReset};
pub use error::StoreError;
pub use grants::{Grant, MAX_GRANTS, RoleGrant};
pub use identities::Identity;
pub use keys::{Retirement, StoredKey};
pub use limits::RedisLimits;
pub use login_names::LoginName;
pub use passwords::PasswordRecord;
pub use redis_sessions::{Evicts, RedisSessions};
pub use revocation_news::RevocationNews;
pub use roles::Role;
pub use second_factors::{CodeTry, FirstCode, TotpSecret, UsedCode};
pub use sessions::{
    NewSession, OthersEnd, Presented, Rotation, Session, SessionEnd, Sessions, SessionsInRedis,
};
pub use store::{Observer, OpenMode, Store};
pub use users::{NewUser, User, UserChange};
