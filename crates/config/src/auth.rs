//! `auth:` the embedded auth service: what it issues, to whom, and how passwords are kept.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::{
    mail::Mail,
    providers::Provider,
    refresh_tokens::RefreshTokens,
    units::{ByteSize, Rate},
};

#[derive(Clone)]
pub struct Auth {
    /// The `iss` of every token, byte for byte.
    pub issuer: String,
    pub signing: Signing,
    /// How long a key signs before another takes its place. With HS256 nothing goes by it.
    pub rotate_every: Duration,
    pub access_token_lifetime: Duration,
    pub refresh_tokens: RefreshTokens,
    pub registration: Registration,
    /// For sign-ins that name no resource. One of `resources`.
    pub default_resource: Option<String>,
    pub password: PasswordRules,
    pub throttle: Throttle,
    pub sessions: SessionStore,
    /// Absent: no mail is sent, so that no password is reset and no address verified by mail.
    pub mail: Option<Mail>,
    pub resources: BTreeMap<String, Resource>,
    /// Roles written in the file; they cannot be changed at run time.
    pub roles: BTreeMap<String, RoleScopes>,
    /// What a new user gets. One of `roles`.
    pub default_role: Option<String>,
    /// Where people who belong elsewhere sign in.
    pub providers: Vec<Provider>,
}

#[derive(Clone)]
pub enum Signing {
    Es256,
    EdDsa,
    Rs256,
    /// At least 32 bytes; every verifier can sign, so for a single process only.
    Hs256 {
        secret: SecretString,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    Open,
    Admin,
}

/// Where refresh tokens are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStore {
    Database,
    /// Only with `storage.redis`.
    Redis,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordRules {
    pub min_length: usize,
    /// The least zxcvbn score of a new password, 0 to 4.
    pub min_score: u8,
    /// SHA-1 hashes of passwords that were stolen elsewhere, ordered; searched on the disk.
    pub breached: Option<PathBuf>,
    pub hash: HashCost,
    /// All hashing together may hold this much memory at once.
    pub hashing_memory: ByteSize,
}

/// Argon2id parameters of new hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    pub memory: ByteSize,
    pub iterations: u32,
    pub parallelism: u32,
}

/// How many failed sign-ins an address and an account may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    pub address: Rate,
    pub account: Rate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub scopes: Vec<String>,
    /// Shortens the access token of this resource.
    pub max_token_lifetime: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleScopes {
    /// `"*"`: every scope of every resource, `portcullis` included.
    All,
    These(Vec<String>),
}

impl RoleScopes {
    pub fn contains(&self, scope: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(scopes) => scopes.iter().any(|given| given == scope),
        }
    }
}

/// The resource of the gateway's own administration: always there, never declared.
pub const PORTCULLIS_RESOURCE: &str = "portcullis";

pub const PORTCULLIS_SCOPES: [&str; 9] = [
    "users:read",
    "users:write",
    "roles:write",
    "sessions:revoke",
    "clients:write",
    "breakers:write",
    "keys:rotate",
    "audit:read",
    "revocations:read",
];
