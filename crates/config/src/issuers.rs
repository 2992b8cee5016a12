//! `issuers:` whose tokens are accepted beside our own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;

#[derive(Clone)]
pub struct Issuer {
    /// Our name for it: the prefix of its users in headers, limits and audit.
    pub name: String,
    pub issuer: String,
    pub audiences: Vec<String>,
    pub keys: KeySource,
    pub algorithms: Vec<Algorithm>,
    pub types: Vec<TokenType>,
    pub clock_skew: Duration,
    pub max_token_lifetime: Duration,
    /// Their role to ours; a role without an entry is dropped.
    pub roles: BTreeMap<String, String>,
    pub claims: ClaimNames,
    /// Verified tokens remembered at the most.
    pub token_cache: usize,
}

#[derive(Clone)]
pub enum KeySource {
    /// A PEM file with one public key.
    PublicKeyFile(PathBuf),
    Secret(SecretString),
}

impl Issuer {
    pub(crate) fn key_file(&self) -> Option<&Path> {
        match &self.keys {
            KeySource::PublicKeyFile(path) => Some(path),
            KeySource::Secret(_) => None,
        }
    }
}

/// Where a foreign token keeps what we need. The first of several names that is present counts.
#[derive(Clone, Debug)]
pub struct ClaimNames {
    pub resource: String,
    pub scopes: Vec<String>,
    pub roles: String,
    pub user: String,
    pub tenant: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// A `typ` that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenType {
    Named(String),
    /// The field is absent.
    Absent,
}

/// What a route calls our own auth service in its list of issuers; no entry of `issuers` may bear the name.
pub const LOCAL: &str = "local";
