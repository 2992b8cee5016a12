//! The keys of one issuer, checked when they are taken in: each is of a known kind and serves exactly one algorithm
//! (RFC 8725 section 3.1), and a shared secret never stands beside public keys, so that nobody can sign with what was
//! published.

use std::sync::Arc;

use aws_lc_rs::signature::ParsedPublicKey;
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{DecodingKey, Validation};
use portcullis_config::issuers::Algorithm;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    algorithm::{self, Family},
    error::{KeyError, TokenError},
    header::Header,
};

/// For every HMAC algorithm. RFC 7518 section 3.2 asks for more from HS384 and HS512, but 256 bits cannot be guessed
/// either, and existing issuers have what they have.
pub(crate) const MIN_SECRET_BYTES: usize = 32;

/// One of our own keys, as it verifies. Made by [`crate::SigningKey::verification_key`].
#[derive(Clone)]
pub struct VerificationKey {
    pub(crate) key_id: Arc<str>,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

impl VerificationKey {
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
}

/// What verifies the tokens of one issuer. Empty: its tokens are answered with [`TokenError::KeysUnavailable`].
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
    choice: Choice,
}

/// A key and the one algorithm it serves here.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: Option<Arc<str>>,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// By `kid`, which the token must have.
    KeyId,
    /// As `KeyId`, but a token without a `kid` means the only key that serves its algorithm, if there is only one.
    KeyIdOrOnlyOne,
    /// There is only one key, listed once for each algorithm it may be used with; `kid` is ignored.
    Algorithm,
}

impl KeySet {
    /// Keys that tokens name by `kid`: the one that signs, and those that did so a short time ago.
    pub fn new(keys: impl IntoIterator<Item = VerificationKey>) -> Result<Self, KeyError> {
        let mut set = Self {
            keys: Vec::new(),
            choice: Choice::KeyId,
        };
        for VerificationKey {
            key_id,
            algorithm,
            key,
        } in keys
        {
            if set
                .keys
                .iter()
                .any(|known| known.id.as_ref() == Some(&key_id))
            {
                return Err(KeyError::DuplicateKeyId);
            }
            set.keys.push(Key {
                id: Some(key_id),
                algorithm,
                key,
            });
        }
        let secrets = set
            .keys
            .iter()
            .filter(|key| Family::of(key.algorithm) == Family::Secret)
            .count();
        if secrets != 0 && secrets != set.keys.len() {
            Err(KeyError::Mixed)
        } else {
            Ok(set)
        }
    }

    /// One public key as PEM text (`PUBLIC KEY` or `RSA PUBLIC KEY`) for an issuer that publishes no key set.
    pub fn from_pem(pem: &str, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        let der = public_key_of_pem(pem).ok_or(KeyError::NotPem)?;
        Self::of_one_key(algorithms, |algorithm| public_key(algorithm, &der))
    }

    /// One secret that the issuer shares with us.
    pub fn from_secret(secret: &SecretString, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        let secret = secret.expose_secret().as_bytes();
        Self::of_one_key(algorithms, |algorithm| shared_secret(algorithm, secret))
    }

    fn of_one_key(
        algorithms: &[Algorithm],
        make: impl Fn(Algorithm) -> Result<DecodingKey, KeyError>,
    ) -> Result<Self, KeyError> {
        if algorithms.is_empty() {
            return Err(KeyError::NoAlgorithm);
        }
        let key = |algorithm: &Algorithm| {
            Ok(Key {
                id: None,
                algorithm: *algorithm,
                key: make(*algorithm)?,
            })
        };
        Ok(Self {
            keys: algorithms.iter().map(key).collect::<Result<_, _>>()?,
            choice: Choice::Algorithm,
        })
    }

    /// Of another issuer, as it publishes them; see [`Self::from_jwks`], which has looked at each.
    pub(crate) fn published(keys: Vec<Key>) -> Self {
        Self {
            keys,
            choice: Choice::KeyIdOrOnlyOne,
        }
    }

    /// Before the first answer of an issuer, or when its last one is too old.
    pub fn empty() -> Self {
        Self::published(Vec::new())
    }

    /// How many it may choose from.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// The key that the header names, if it names its algorithm as well.
    pub(crate) fn choose(&self, header: &Header) -> Result<&Key, TokenError> {
        if self.keys.is_empty() {
            return Err(TokenError::KeysUnavailable);
        }
        let algorithm = header.algorithm.ok_or(TokenError::WrongAlgorithm)?;
        match (self.choice, &header.key_id) {
            (Choice::Algorithm, _) => self.only_one_for(algorithm),
            (Choice::KeyIdOrOnlyOne, None) => self.only_one_for(algorithm),
            (Choice::KeyId, None) => Err(TokenError::UnknownKey),
            (Choice::KeyId | Choice::KeyIdOrOnlyOne, Some(key_id)) => self.named(key_id, algorithm),
        }
    }

    fn named(&self, key_id: &str, algorithm: Algorithm) -> Result<&Key, TokenError> {
        let mut failure = TokenError::UnknownKey;
        for key in &self.keys {
            if key.id.as_deref() != Some(key_id) {
                continue;
            }
            if key.algorithm == algorithm {
                return Ok(key);
            }
            failure = TokenError::WrongAlgorithm;
        }
        Err(failure)
    }

    fn only_one_for(&self, algorithm: Algorithm) -> Result<&Key, TokenError> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err(TokenError::WrongAlgorithm),
            (Some(_), Some(_)) => Err(TokenError::UnknownKey),
        }
    }
}

impl Key {
    /// Checks the signature, and that issuer, audience, subject and expiry are there and are ours. Time is not looked
    /// at: the library would read the system's clock.
    pub(crate) fn check(&self, token: &str, demands: &Demands) -> Result<(), TokenError> {
        let validation = demands.under(self.algorithm)?;
        match jsonwebtoken::decode::<serde::de::IgnoredAny>(token, &self.key, validation) {
            Ok(_) => Ok(()),
            Err(error) => Err(translate(error.kind())),
        }
    }
}

/// What every token of an issuer must say, whichever key signs it. Written out once for each algorithm, because the
/// library wants the two together, and asking it anew for each token is dear.
pub(crate) struct Demands(Vec<(Algorithm, Validation)>);

impl Demands {
    pub(crate) fn new(issuer: &str, audiences: &[String]) -> Self {
        algorithm::install_backend();
        let demand = |algorithm| (algorithm, validation(algorithm, issuer, audiences));
        Self(algorithm::ALL.into_iter().map(demand).collect())
    }

    fn under(&self, algorithm: Algorithm) -> Result<&Validation, TokenError> {
        let found = self.0.iter().find(|(known, _)| *known == algorithm);
        found
            .map(|(_, validation)| validation)
            .ok_or(TokenError::WrongAlgorithm)
    }
}

/// All four claims are required, because the library counts one of the wrong JSON type as absent, and lets what is
/// absent but not required pass.
fn validation(algorithm: Algorithm, issuer: &str, audiences: &[String]) -> Validation {
    let mut validation = Validation::new(algorithm::for_library(algorithm));
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[issuer]);
    validation.set_audience(audiences);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may add variants, and a new one has to refuse as well"
)]
fn translate(error: &jsonwebtoken::errors::ErrorKind) -> TokenError {
    use jsonwebtoken::errors::ErrorKind;
    match error {
        ErrorKind::InvalidAlgorithm => TokenError::WrongAlgorithm,
        ErrorKind::InvalidAudience => TokenError::WrongAudience,
        ErrorKind::InvalidIssuer => TokenError::UnknownIssuer,
        ErrorKind::InvalidToken
        | ErrorKind::Base64(_)
        | ErrorKind::Json(_)
        | ErrorKind::Utf8(_) => TokenError::Malformed,
        ErrorKind::MissingRequiredClaim(claim) => TokenError::BadClaims(match claim.as_str() {
            "exp" => "exp",
            "iss" => "iss",
            "aud" => "aud",
            _ => "sub",
        }),
        _ => TokenError::BadSignature,
    }
}

fn shared_secret(algorithm: Algorithm, secret: &[u8]) -> Result<DecodingKey, KeyError> {
    if Family::of(algorithm) != Family::Secret {
        return Err(KeyError::Mixed);
    }
    if secret.len() < MIN_SECRET_BYTES {
        return Err(KeyError::SecretTooShort(MIN_SECRET_BYTES));
    }
    Ok(DecodingKey::from_secret(secret))
}

/// `der` is a `SubjectPublicKeyInfo`, or the point of an elliptic curve alone.
pub(crate) fn public_key(algorithm: Algorithm, der: &[u8]) -> Result<DecodingKey, KeyError> {
    let wrong_kind = KeyError::WrongKind(algorithm::name_of(algorithm));
    let family = Family::of(algorithm);
    let parser = family.parser().ok_or(KeyError::Mixed)?;
    if ParsedPublicKey::new(parser, der).is_err() {
        return Err(wrong_kind);
    }
    match family {
        Family::Rsa if is_short_rsa(der) => Err(wrong_kind),
        Family::Rsa => Ok(DecodingKey::from_rsa_der(der)),
        Family::P256 | Family::P384 => Ok(DecodingKey::from_ec_der(der)),
        Family::Ed25519 if is_of_small_order(der) => Err(wrong_kind),
        Family::Ed25519 => Ok(DecodingKey::from_ed_der(der)),
        Family::Secret => Err(KeyError::Mixed),
    }
}

/// The library would refuse every token under such a key; the operator should hear of it at the start.
fn is_short_rsa(der: &[u8]) -> bool {
    const MIN_MODULUS_BYTES: usize = 256;
    aws_lc_rs::rsa::PublicKey::from_der(der).is_ok_and(|key| key.modulus_len() < MIN_MODULUS_BYTES)
}

/// Under such a point of Ed25519 a signature fits messages that nobody has signed, which aws-lc leaves to its callers. The
/// point is the end of every form a key comes in.
fn is_of_small_order(der: &[u8]) -> bool {
    let Some(mut y) = der.last_chunk::<32>().copied() else {
        return true;
    };
    // The highest bit is the sign of the other coordinate.
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// The second coordinates, little-endian, of the points whose order divides 8: 0, 1, two of order 8, and what is 1 less
/// than the prime, the prime itself, or 1 more.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    beside(0x01, [0; 2]),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    beside(0xec, [0xff, 0x7f]),
    beside(0xed, [0xff, 0x7f]),
    beside(0xee, [0xff, 0x7f]),
];

/// This byte first, that one last, and the other between.
const fn beside(first: u8, [between, last]: [u8; 2]) -> [u8; 32] {
    let mut number = [between; 32];
    number[0] = first;
    number[31] = last;
    number
}

/// The bytes of the only block of the text.
fn public_key_of_pem(pem: &str) -> Option<Vec<u8>> {
    let (_preface, block) = pem.split_once("-----BEGIN ")?;
    let (label, rest) = block.split_once("-----")?;
    let (body, rest) = rest.split_once("-----END ")?;
    let is_closed = rest
        .strip_prefix(label)
        .is_some_and(|rest| rest.starts_with("-----"));
    if !is_closed
        || rest.contains("-----BEGIN ")
        || !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY")
    {
        return None;
    }
    STANDARD
        .decode(body.split_ascii_whitespace().collect::<String>())
        .ok()
}
