//! A password as the database has it: a hash, and the name of the scheme that reads it. What other systems made is taken
//! in here, once it is known that this gateway would run it.

use argon2::Params;
use portcullis_config::auth::PasswordRules;
use portcullis_store::PasswordRecord;

use super::{
    Password,
    argon::ArgonHash,
    bench::kib,
    legacy::{BcryptHash, ScryptHash},
};

/// Ours: Argon2id over the NFKC form. Kept beside each hash, so that a change of the normalisation could tell old ones
/// apart.
pub(super) const OURS: &str = "argon2id-nfkc";
/// Of other systems, over what was typed.
const ARGON2: &str = "argon2";
const BCRYPT: &str = "bcrypt";
const SCRYPT: &str = "scrypt";

/// Whether a password is the one a hash was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Mismatch,
    /// `outdated`: the hash was made otherwise than new ones are, and should be replaced.
    Match {
        outdated: bool,
    },
}

/// Why a stored hash is never run. The text goes to the log and to whoever imports, never to who signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredHashError {
    #[error("the hash is damaged")]
    Syntax,
    #[error("it is not a hash that this gateway knows: argon2 with its version, bcrypt or scrypt")]
    Algorithm,
    #[error("the parameters of the hash are beyond what this gateway runs")]
    Parameters,
}

/// What a hash may ask for. The memory is the whole budget: an operator who lowers the cost keeps the old hashes.
#[derive(Clone, Copy, Debug)]
pub struct ImportBounds {
    pub(super) max_kib: u32,
}

impl ImportBounds {
    pub fn of(rules: &PasswordRules) -> Self {
        let budget = kib(rules.hashing_memory);
        Self {
            max_kib: budget.max(kib(rules.hash.memory)),
        }
    }
}

/// The hash of another system as it will be kept, if it could be verified.
pub fn import(text: &str, bounds: ImportBounds) -> Result<PasswordRecord, StoredHashError> {
    let scheme = match text.get(1..).and_then(|rest| rest.split('$').next()) {
        Some("2a" | "2b" | "2y") => BCRYPT,
        Some("argon2id" | "argon2i" | "argon2d") => ARGON2,
        Some("scrypt") => SCRYPT,
        Some(_) | None => return Err(StoredHashError::Algorithm),
    };
    let record = PasswordRecord::new(text, scheme);
    StoredHash::parse(&record, bounds)?;
    Ok(record)
}

/// A hash that may be run.
pub(super) enum StoredHash {
    Ours(ArgonHash),
    Argon(ArgonHash),
    Bcrypt(BcryptHash),
    Scrypt(ScryptHash),
}

impl StoredHash {
    pub(super) fn parse(
        record: &PasswordRecord,
        bounds: ImportBounds,
    ) -> Result<Self, StoredHashError> {
        let (text, max_kib) = (record.expose_hash(), bounds.max_kib);
        match record.scheme() {
            OURS => {
                let hash = ArgonHash::parse(text, max_kib)?;
                if hash.is_argon2id() {
                    Ok(Self::Ours(hash))
                } else {
                    Err(StoredHashError::Algorithm)
                }
            }
            ARGON2 => ArgonHash::parse(text, max_kib).map(Self::Argon),
            BCRYPT => BcryptHash::parse(text).map(Self::Bcrypt),
            SCRYPT => ScryptHash::parse(text, max_kib).map(Self::Scrypt),
            _ => Err(StoredHashError::Algorithm),
        }
    }

    /// Whether it is what a new hash of the same password would be.
    pub(super) fn is_current(&self, params: &Params) -> bool {
        match self {
            Self::Ours(hash) => hash.costs(params),
            Self::Argon(_) | Self::Bcrypt(_) | Self::Scrypt(_) => false,
        }
    }

    /// What it was made of: we normalise, others took what was typed.
    pub(super) fn reads<'p>(&self, password: &'p Password) -> &'p [u8] {
        match self {
            Self::Ours(_) => password.normalised().as_bytes(),
            Self::Argon(_) | Self::Bcrypt(_) | Self::Scrypt(_) => password.typed(),
        }
    }
}
