//! What the rooms promise together: signed verifies, and everything else is refused for its own reason.

use std::{sync::Arc, time::Duration};

use portcullis_config::units::Timestamp;
use secrecy::SecretString;

use crate::{
    AccessClaims, IssuerSpec, KeySet, Principal, Revocations, SigningAlgorithm, SigningKey,
    TokenError, Verifier, VerifierParts,
};

mod roundtrip;

const ISSUER: &str = "https://gw.example";
const NOW: u64 = 1_800_000_000;
const LIFETIME: u64 = 300;

fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

fn key(algorithm: SigningAlgorithm) -> SigningKey {
    match algorithm {
        SigningAlgorithm::Hs256 => {
            SigningKey::from_secret(&SecretString::from("0123456789abcdef0123456789abcdef"))
        }
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

fn local(keys: KeySet) -> IssuerSpec {
    let resources = ["hotel", "event"].map(str::to_owned);
    IssuerSpec::local(ISSUER, resources, Duration::from_secs(LIFETIME), keys)
}

fn verifier_of(issuers: Vec<IssuerSpec>) -> Verifier {
    let revocations = Arc::new(Revocations::new());
    Verifier::new(VerifierParts {
        issuers,
        cache_entries: 64,
        cache_bytes: 1 << 20,
        revocations,
    })
    .expect("distinct issuers")
}

fn verifier(key: &SigningKey) -> Verifier {
    verifier_of(vec![local(
        KeySet::new([key.verification_key()]).expect("one key"),
    )])
}

fn refusal(outcome: Result<Arc<Principal>, TokenError>) -> Option<TokenError> {
    outcome.err()
}
