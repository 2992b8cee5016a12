//! Key sets as others publish them (RFC 7517), taken in key by key. `jsonwebtoken` would use a key for whatever a token
//! asks for, whatever its `use`, `key_ops`, `alg`, curve or size say, and the first of two that bear one name.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicKeyComponents;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_config::issuers::Algorithm;
use serde_json::{Map, Value};

use crate::{
    algorithm::{self, Family},
    json,
    keys::{Key, KeySet, public_key},
    text,
};

/// The largest document that is read: hundreds of keys with their certificates.
pub const MAX_KEY_SET_BYTES: usize = 256 * 1024;

/// An issuer signs with one key and announces the next; whoever lists more than this is something else.
const MAX_KEYS: usize = 100;

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The public exponents that aws-lc takes end here.
const MAX_RSA_EXPONENT_BYTES: usize = 4;

/// What members of a JWK that is not public are called (RFC 7518 section 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A published key set as it is used.
pub struct PublishedKeys {
    pub keys: KeySet,
    /// What was left out, for the log. Encryption keys and algorithms of others are nothing unusual.
    pub skipped: Vec<SkippedKey>,
}

/// A key of a set that is not used, and why. Displays without anything that the issuer could use to forge a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// In the list, counted from 0.
    pub position: usize,
    /// Absent also where it is not fit to be shown.
    pub key_id: Option<String>,
    pub fault: KeyFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("is not a JSON object")]
    NotAnObject,
    #[error("its `{0}` is missing or damaged")]
    Damaged(&'static str),
    #[error("is not there to verify signatures")]
    OtherUse,
    #[error("is for an algorithm that this issuer is not configured with")]
    OtherAlgorithm,
    #[error("is a shared secret, which nobody publishes")]
    Secret,
    #[error("holds its private half, which is now everybody's")]
    Private,
    #[error("is an RSA key of less than 2048 or more than 8192 bits")]
    RsaSize,
    #[error("has the key id of another key of the set")]
    DuplicateKeyId,
}

/// Why a whole document was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("the key set is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the document is not a JSON object with a list `keys`, or has a member twice")]
    NotAKeySet,
    #[error("the key set has more than {0} keys")]
    TooManyKeys(usize),
    #[error("the key set has no key that could be used{}", Listed(.0))]
    NoUsableKey(Vec<SkippedKey>),
}

impl KeySet {
    /// The keys of a published set that verify signatures with one of `algorithms`. A set without any such key is an
    /// error, so that it never takes the place of a good one.
    pub fn from_jwks(
        document: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<PublishedKeys, KeySetError> {
        if document.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetError::TooLarge(MAX_KEY_SET_BYTES));
        }
        let members = json::object(document).ok_or(KeySetError::NotAKeySet)?;
        let published = members
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeySetError::NotAKeySet)?;
        if published.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys(MAX_KEYS));
        }
        let mut skipped = Vec::new();
        let mut candidates = Vec::new();
        for (position, value) in published.iter().enumerate() {
            match Candidate::read(position, value, algorithms) {
                Ok(candidate) => candidates.push(candidate),
                Err(fault) => skipped.push(SkippedKey::of(position, value, fault)),
            }
        }
        let keys = without_namesakes(candidates, published, &mut skipped);
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey(skipped));
        }
        Ok(PublishedKeys {
            keys: Self::published(keys),
            skipped,
        })
    }
}

/// Of two good keys with one name neither is used: which of them is meant would be a guess. Keys that could not be
/// used anyway (one of the same name for encryption, say) leave no doubt.
fn without_namesakes(
    candidates: Vec<Candidate>,
    published: &[Value],
    skipped: &mut Vec<SkippedKey>,
) -> Vec<Key> {
    let names: Vec<Option<String>> = candidates
        .iter()
        .map(|candidate| candidate.key_id.clone())
        .collect();
    let mut keys = Vec::new();
    for candidate in candidates {
        let namesakes = names.iter().filter(|name| **name == candidate.key_id);
        if candidate.key_id.is_some() && namesakes.count() > 1 {
            let value = published.get(candidate.position).unwrap_or(&Value::Null);
            let fault = KeyFault::DuplicateKeyId;
            skipped.push(SkippedKey::of(candidate.position, value, fault));
        } else {
            keys.extend(candidate.keys);
        }
    }
    keys
}

/// A key that can be used, once for each algorithm it may serve.
struct Candidate {
    position: usize,
    key_id: Option<String>,
    keys: Vec<Key>,
}

impl Candidate {
    fn read(position: usize, value: &Value, algorithms: &[Algorithm]) -> Result<Self, KeyFault> {
        let members = value.as_object().ok_or(KeyFault::NotAnObject)?;
        check_purpose(members)?;
        let key_id = optional_text(members, "kid")?;
        let serves = algorithms_of(members, algorithms)?;
        let material = material(members)?;
        let keys = serves.iter().map(|algorithm| {
            let key = public_key(*algorithm, &material)
                .map_err(|_wrong| KeyFault::Damaged("key material"))?;
            Ok(Key {
                id: key_id.map(Into::into),
                algorithm: *algorithm,
                key,
            })
        });
        Ok(Self {
            position,
            key_id: key_id.map(str::to_owned),
            keys: keys.collect::<Result<_, _>>()?,
        })
    }
}

/// RFC 7517 sections 4.2 and 4.3: what the key is for, where it says so; and whether it should have been published.
fn check_purpose(members: &Map<String, Value>) -> Result<(), KeyFault> {
    if text_of(members, "kty")? == "oct" {
        return Err(KeyFault::Secret);
    }
    if PRIVATE_MEMBERS
        .iter()
        .any(|name| members.contains_key(*name))
    {
        return Err(KeyFault::Private);
    }
    if optional_text(members, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(KeyFault::OtherUse);
    }
    let Some(operations) = members.get("key_ops") else {
        return Ok(());
    };
    let operations = operations.as_array().ok_or(KeyFault::Damaged("key_ops"))?;
    let verifies = operations
        .iter()
        .any(|operation| operation.as_str() == Some("verify"));
    if verifies {
        Ok(())
    } else {
        Err(KeyFault::OtherUse)
    }
}

/// Its own algorithm if it names one, or else all that are configured for its kind.
fn algorithms_of(
    members: &Map<String, Value>,
    configured: &[Algorithm],
) -> Result<Vec<Algorithm>, KeyFault> {
    let family = family(members)?;
    let own = optional_text(members, "alg")?;
    let serves: Vec<Algorithm> = configured
        .iter()
        .copied()
        .filter(|algorithm| Family::of(*algorithm) == family)
        .filter(|algorithm| own.is_none_or(|own| algorithm::name_of(*algorithm) == own))
        .collect();
    if serves.is_empty() {
        Err(KeyFault::OtherAlgorithm)
    } else {
        Ok(serves)
    }
}

fn family(members: &Map<String, Value>) -> Result<Family, KeyFault> {
    let curve = || text_of(members, "crv");
    match text_of(members, "kty")? {
        "RSA" => Ok(Family::Rsa),
        "EC" => match curve()? {
            "P-256" => Ok(Family::P256),
            "P-384" => Ok(Family::P384),
            _ => Err(KeyFault::OtherAlgorithm),
        },
        "OKP" => match curve()? {
            "Ed25519" => Ok(Family::Ed25519),
            _ => Err(KeyFault::OtherAlgorithm),
        },
        _ => Err(KeyFault::OtherAlgorithm),
    }
}

/// The key itself, in a form that aws-lc parses and checks: a point that is not on its curve ends there.
fn material(members: &Map<String, Value>) -> Result<Vec<u8>, KeyFault> {
    match family(members)? {
        Family::Rsa => rsa_material(members),
        Family::P256 => point(members, 32),
        Family::P384 => point(members, 48),
        Family::Ed25519 => coordinate(members, "x", 32),
        Family::Secret => Err(KeyFault::Secret),
    }
}

/// SEC 1 section 2.3.3, uncompressed.
fn point(members: &Map<String, Value>, length: usize) -> Result<Vec<u8>, KeyFault> {
    let (x, y) = (
        coordinate(members, "x", length)?,
        coordinate(members, "y", length)?,
    );
    Ok([&[0x04], x.as_slice(), &y].concat())
}

/// RFC 7518 section 6.2.1.2: as many bytes as the curve has, leading zeros included.
fn coordinate(
    members: &Map<String, Value>,
    name: &'static str,
    length: usize,
) -> Result<Vec<u8>, KeyFault> {
    let bytes = bytes_of(members, name)?;
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err(KeyFault::Damaged(name))
    }
}

fn rsa_material(members: &Map<String, Value>) -> Result<Vec<u8>, KeyFault> {
    let (n, e) = (number(members, "n")?, number(members, "e")?);
    let leading = n.first().map_or(0, |first| first.leading_zeros());
    let bits = (n.len() * 8).saturating_sub(leading as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(KeyFault::RsaSize);
    }
    // With an exponent of 1 every message is its own signature, and an even one has no inverse.
    let is_odd = e.last().is_some_and(|last| last % 2 == 1);
    if !is_odd || e == [1] || e.len() > MAX_RSA_EXPONENT_BYTES {
        return Err(KeyFault::Damaged("e"));
    }
    let der: Result<PublicKeyX509Der<'_>, _> = PublicKeyComponents { n, e }.as_der();
    der.map(|der| der.as_ref().to_vec())
        .map_err(|_wrong| KeyFault::Damaged("n"))
}

/// RFC 7518 section 2 forbids leading zeros, which some write all the same.
fn number(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyFault> {
    let bytes = bytes_of(members, name)?;
    let significant = bytes.iter().skip_while(|byte| **byte == 0);
    Ok(significant.copied().collect())
}

fn bytes_of(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, KeyFault> {
    URL_SAFE_NO_PAD
        .decode(text_of(members, name)?)
        .map_err(|_invalid| KeyFault::Damaged(name))
}

fn text_of<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, KeyFault> {
    optional_text(members, name)?.ok_or(KeyFault::Damaged(name))
}

fn optional_text<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, KeyFault> {
    members
        .get(name)
        .map(|value| value.as_str().ok_or(KeyFault::Damaged(name)))
        .transpose()
}

impl SkippedKey {
    fn of(position: usize, value: &Value, fault: KeyFault) -> Self {
        let key_id = value.get("kid").and_then(Value::as_str);
        Self {
            position,
            key_id: key_id.filter(|id| text::is_name(id)).map(str::to_owned),
            fault,
        }
    }
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "key {}", self.position)?;
        if let Some(key_id) = &self.key_id {
            write!(formatter, " ({key_id:?})")?;
        }
        write!(formatter, " {}", self.fault)
    }
}

/// The first few, for one line of a log.
struct Listed<'a>(&'a [SkippedKey]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (place, key) in self.0.iter().take(SHOWN).enumerate() {
            formatter.write_str(if place == 0 { ": " } else { "; " })?;
            write!(formatter, "{key}")?;
        }
        Ok(())
    }
}
