//! What a client says of itself under a key of its own, instead of telling us a secret (RFC 7523 section 2.2,
//! `private_key_jwt`).
//!
//! That an assertion is used once is for the caller to see to: a signature cannot say it.

use std::time::Duration;

use portcullis_config::{
    issuers::{Algorithm, TokenType},
    units::Timestamp,
};

use crate::{
    algorithm,
    error::TokenError,
    jwks::{KeyFault, KeySetError, SkippedKey},
    keys::{Demands, KeySet},
    statements::{Expectation, Statement},
};

/// What clients may sign with: all of these are made with a private half that only the client has.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Es256,
    Algorithm::EdDsa,
    Algorithm::Rs256,
    Algorithm::Ps256,
];

/// Those of one kind of key, for a PEM text that does not say which it is for.
const BY_KIND: [&[Algorithm]; 3] = [
    &[Algorithm::Es256],
    &[Algorithm::EdDsa],
    &[Algorithm::Rs256, Algorithm::Ps256],
];

const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// An assertion is made for one request. Until this has passed it must be remembered that it was used.
const MAX_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// The keys of one client.
pub struct ClientKeys(KeySet);

/// A client has one key, or two while it changes them.
const MAX_DOCUMENT_BYTES: usize = 8 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ClientKeysError {
    #[error("the public key is larger than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
    #[error("there is a private or secret key in it, which must stay where it was made")]
    Private,
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    #[error(
        "the public key is neither a key set nor a PEM block PUBLIC KEY with a P-256, Ed25519 or RSA key of at least 2048 bits"
    )]
    Pem,
}

/// A client's assertion that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAssertion {
    /// The client's own, unique among its assertions.
    pub token_id: String,
    /// From then on it is refused for its age.
    pub refused_from: Timestamp,
}

/// Reads the assertions that clients make for us.
pub struct ClientAssertions {
    audiences: Vec<String>,
    types: [TokenType; 3],
}

impl ClientKeys {
    /// A key set (RFC 7517), one key of it, or one PEM block.
    pub fn parse(text: &str) -> Result<Self, ClientKeysError> {
        let text = text.trim();
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(ClientKeysError::TooLarge);
        }
        if text.starts_with('{') {
            return Ok(Self(key_set(text)?));
        }
        let of_kind = |algorithms: &[Algorithm]| KeySet::from_pem(text, algorithms);
        let found = BY_KIND.into_iter().map(of_kind).find_map(Result::ok);
        found.map(Self).ok_or(ClientKeysError::Pem)
    }
}

fn key_set(text: &str) -> Result<KeySet, ClientKeysError> {
    let read = |text: &str| KeySet::from_jwks(text.as_bytes(), &ALGORITHMS);
    let set = match read(text) {
        // One key by itself is a set of one.
        Err(KeySetError::NotAKeySet) => read(&format!(r#"{{"keys":[{text}]}}"#)),
        set => set,
    };
    let (keys, skipped) = match set {
        Ok(published) => (Some(published.keys), published.skipped),
        Err(KeySetError::NoUsableKey(skipped)) => (None, skipped),
        Err(error) => return Err(error.into()),
    };
    let is_private = |key: &SkippedKey| matches!(key.fault, KeyFault::Private | KeyFault::Secret);
    if skipped.iter().any(is_private) {
        return Err(ClientKeysError::Private);
    }
    keys.ok_or_else(|| KeySetError::NoUsableKey(skipped).into())
}

impl ClientAssertions {
    /// `audiences` are our own names. The first is what RFC 7523 should always have asked for, the issuer.
    pub fn new(audiences: Vec<String>) -> Self {
        let named = |name: &str| TokenType::Named(name.to_owned());
        Self {
            audiences,
            types: [
                named("JWT"),
                named("client-authentication+jwt"),
                TokenType::Absent,
            ],
        }
    }

    /// What they may be signed with, by name.
    pub fn algorithms() -> [&'static str; 4] {
        ALGORITHMS.map(algorithm::name_of)
    }

    /// Which client it claims to be of, so that its keys can be looked up. Nothing is verified yet.
    pub fn claimed_client(assertion: &str) -> Option<String> {
        let statement = Statement::parse(assertion).ok()?;
        let client = statement.claims().name("iss", "iss").ok()?;
        Some(client.to_owned())
    }

    /// Whether this client made it, for us, a moment ago and for not much longer.
    pub fn read(
        &self,
        assertion: &str,
        (client_id, keys): (&str, &ClientKeys),
        now: Timestamp,
    ) -> Result<ClientAssertion, TokenError> {
        let statement = Statement::parse(assertion)?;
        let expected = Expectation {
            issuer: client_id,
            demands: &Demands::new(client_id, &self.audiences),
            types: &self.types,
            clock_skew: CLOCK_SKEW,
            max_lifetime: MAX_LIFETIME,
        };
        let validity = statement.check(&expected, &keys.0, now)?;
        let claims = statement.claims();
        if claims.name("sub", "sub")? != client_id {
            return Err(TokenError::BadClaims("sub"));
        }
        // Meant for several, it could be handed on by one of them.
        if claims.names("aud", "aud")?.len() != 1 {
            return Err(TokenError::WrongAudience);
        }
        Ok(ClientAssertion {
            token_id: claims.name("jti", "jti")?.to_owned(),
            refused_from: validity.expires_at.plus(CLOCK_SKEW),
        })
    }
}
