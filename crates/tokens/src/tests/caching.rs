//! Remembered tokens: what may still change is asked each time.

use super::*;
use crate::{CacheCounts, Revocation};

#[test]
fn a_remembered_token_is_found_by_its_bytes_and_checked_again() {
    let key = key(SigningAlgorithm::Es256);
    let revocations = Arc::new(Revocations::new());
    let verifier = verifier_of(vec![local(&[&key])], &revocations);
    let token = signed(&key);
    let first = verifier.verify(&token, now()).expect("a token of ours");
    let again = verifier.verify(&token, now()).expect("the same token");
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(verifier.cache_counts(), CacheCounts { hits: 1, misses: 1 });

    let late = Timestamp::from_secs(NOW + LIFETIME + 5);
    assert_eq!(
        verifier.verify(&token, late).err(),
        Some(TokenError::Expired)
    );
    revocations.revoke(Revocation::Session("session-1".to_owned()), late);
    assert_eq!(
        refusal(&verifier, &token),
        Some(TokenError::Revoked),
        "in the very next request"
    );
    assert_eq!(verifier.cache_counts(), CacheCounts { hits: 3, misses: 1 });
}

#[test]
fn what_is_refused_is_not_remembered() {
    let key = key(SigningAlgorithm::Es256);
    let verifier = verifier(&key);
    let (message, signature) = signed(&key)
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("three parts");
    let forged = format!("{message}.{}", "A".repeat(signature.len()));
    for _ in 0..2 {
        assert_eq!(refusal(&verifier, &forged), Some(TokenError::BadSignature));
    }
    assert_eq!(verifier.cache_counts(), CacheCounts { hits: 0, misses: 2 });
}

#[test]
fn a_replaced_key_ends_its_tokens_at_once_even_remembered_ones() {
    let (old, new, other) = (
        key(SigningAlgorithm::Es256),
        key(SigningAlgorithm::Es256),
        key(SigningAlgorithm::EdDsa),
    );
    let verifier = verifier(&old);
    let token = signed(&old);
    assert_eq!(refusal(&verifier, &token), None);

    let keys = |keys: &[&SigningKey]| {
        KeySet::new(keys.iter().map(|key| key.verification_key())).expect("distinct keys")
    };
    verifier
        .replace_keys(ISSUER, keys(&[&new, &old, &other]))
        .expect("the issuer is known");
    assert_eq!(refusal(&verifier, &token), None, "within the overlap");
    assert_eq!(refusal(&verifier, &signed(&new)), None);
    assert_eq!(
        refusal(&verifier, &signed(&other)),
        None,
        "keys of two algorithms may follow each other"
    );

    verifier
        .replace_keys(ISSUER, keys(&[&new]))
        .expect("the issuer is known");
    assert_eq!(
        refusal(&verifier, &token),
        Some(TokenError::UnknownKey),
        "after it"
    );
    verifier
        .replace_keys(ISSUER, keys(&[]))
        .expect("the issuer is known");
    assert_eq!(
        refusal(&verifier, &signed(&new)),
        Some(TokenError::KeysUnavailable)
    );
    assert!(
        verifier
            .replace_keys("https://nobody.example", keys(&[]))
            .is_err()
    );
}

#[test]
fn without_a_cache_every_token_is_verified_anew() {
    let key = key(SigningAlgorithm::Hs256);
    let parts = VerifierParts {
        issuers: vec![local(&[&key])],
        cache_entries: 0,
        cache_bytes: 0,
        revocations: Arc::default(),
    };
    let verifier = Verifier::new(parts).expect("one issuer");
    let token = signed(&key);
    assert_eq!(
        (refusal(&verifier, &token), refusal(&verifier, &token)),
        (None, None)
    );
    assert_eq!(verifier.cache_counts(), CacheCounts { hits: 0, misses: 2 });
}
