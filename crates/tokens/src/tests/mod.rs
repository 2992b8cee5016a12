//! What the files of this room promise together: signed verifies, and everything else is refused for its own reason.
//!
//! Forged tokens are signed with the real key wherever the case allows it, so that the signature is never what saves us.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use portcullis_config::units::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    AccessClaims, IssuerSpec, KeySet, Revocations, SigningAlgorithm, SigningKey, TokenError,
    Verifier, VerifierParts, der,
};

mod caching;
mod claims;
mod client_assertions;
mod followed;
mod foreign;
mod header;
mod id_tokens;
mod jwks;
mod keys;
mod properties;
mod roundtrip;
mod signatures;
mod time;

const ISSUER: &str = "https://gw.example";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_800_000_000;
const LIFETIME: u64 = 300;

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn key(algorithm: SigningAlgorithm) -> SigningKey {
    match algorithm {
        SigningAlgorithm::Hs256 => SigningKey::from_secret(&SecretString::from(SECRET)),
        SigningAlgorithm::Es256 | SigningAlgorithm::EdDsa | SigningAlgorithm::Rs256 => {
            SigningKey::generate(algorithm)
        }
    }
    .expect("a key of a supported algorithm")
}

fn claims() -> AccessClaims {
    AccessClaims {
        iss: ISSUER.to_owned(),
        sub: "01890000-0000-7000-8000-000000000001".to_owned(),
        aud: "hotel".to_owned(),
        resource: "hotel".to_owned(),
        exp: NOW + LIFETIME,
        iat: NOW,
        jti: "jti-1".to_owned(),
        client_id: "web".to_owned(),
        scope: "hotel:read hotel:write".to_owned(),
        roles: vec!["guest".to_owned(), "staff".to_owned()],
        sid: "session-1".to_owned(),
        ver: 7,
        tenant: None,
    }
}

fn signed(key: &SigningKey) -> String {
    key.sign(&claims()).expect("claims in order")
}

fn local(keys: &[&SigningKey]) -> IssuerSpec {
    let resources = ["hotel", "event"].map(str::to_owned);
    let keys =
        KeySet::new(keys.iter().map(|key| key.verification_key())).expect("keys that fit together");
    IssuerSpec::local(ISSUER, resources, Duration::from_secs(LIFETIME), keys)
}

fn verifier_of(issuers: Vec<IssuerSpec>, revocations: &Arc<Revocations>) -> Verifier {
    let parts = VerifierParts {
        issuers,
        cache_entries: 64,
        cache_bytes: 1 << 20,
        revocations: revocations.clone(),
    };
    Verifier::new(parts).expect("distinct issuers")
}

fn verifier(key: &SigningKey) -> Verifier {
    verifier_of(vec![local(&[key])], &Arc::default())
}

/// Why it is refused; nothing if it passes.
fn refusal(verifier: &Verifier, token: &str) -> Option<TokenError> {
    verifier.verify(token, now()).err()
}

fn encoding_key(key: &SigningKey) -> EncodingKey {
    let private = key.to_pkcs8();
    match key.algorithm() {
        SigningAlgorithm::Hs256 => EncodingKey::from_secret(&private),
        SigningAlgorithm::Es256 => EncodingKey::from_ec_der(&private),
        SigningAlgorithm::EdDsa => EncodingKey::from_ed_der(&private),
        SigningAlgorithm::Rs256 => {
            EncodingKey::from_rsa_der(der::private_key_of_pkcs8(&private).expect("our own PKCS#8"))
        }
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A good signature over whatever header and payload are given.
fn forged(key: &SigningKey, header: &str, payload: impl AsRef<[u8]>) -> String {
    let algorithm = crate::algorithm::for_library(
        crate::algorithm::named(key.algorithm().name()).expect("a known name"),
    );
    signed_as(algorithm, &encoding_key(key), header, payload)
}

fn signed_as(
    algorithm: jsonwebtoken::Algorithm,
    key: &EncodingKey,
    header: &str,
    payload: impl AsRef<[u8]>,
) -> String {
    let message = format!("{}.{}", encoded(header), encoded(payload));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).expect("a signature");
    format!("{message}.{signature}")
}

fn header_of(key: &SigningKey) -> Value {
    json!({"alg": key.algorithm().name(), "kid": key.kid(), "typ": "at+jwt"})
}

fn payload() -> Value {
    serde_json::to_value(claims()).expect("claims are JSON")
}

/// `base` with the members of `changes` set; `null` takes one away.
fn changed(mut base: Value, changes: &Value) -> Value {
    let members = base.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        members.remove(name);
        if !value.is_null() {
            members.insert(name.clone(), value.clone());
        }
    }
    base
}
