//! Signing and verifying as they should go, and what is not signed at all.

use super::*;
use crate::{IssuerName, SignError};

const ALGORITHMS: [SigningAlgorithm; 4] = [
    SigningAlgorithm::Es256,
    SigningAlgorithm::EdDsa,
    SigningAlgorithm::Rs256,
    SigningAlgorithm::Hs256,
];

#[test]
fn what_is_signed_verifies_and_says_the_same() {
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        let principal = verifier(&key)
            .verify(&signed(&key), now())
            .expect("a token of ours");
        assert_eq!(principal.subject(), claims().sub);
        assert_eq!(
            (principal.issuer(), principal.resource()),
            (&IssuerName::Local, "hotel")
        );
        assert_eq!(
            (principal.scope_line(), principal.role_line()),
            ("hotel:read hotel:write", "guest,staff")
        );
        assert_eq!(
            (
                principal.session(),
                principal.version(),
                principal.token_id()
            ),
            (Some("session-1"), 7, "jti-1")
        );
        assert_eq!(
            (principal.tenant(), principal.client_id()),
            (None, Some("web"))
        );
        assert_eq!(principal.expires_at(), Timestamp::from_secs(NOW + LIFETIME));
    }
}

#[test]
fn a_key_that_was_kept_signs_for_the_verifier_of_the_first() {
    for algorithm in [
        SigningAlgorithm::Es256,
        SigningAlgorithm::EdDsa,
        SigningAlgorithm::Rs256,
    ] {
        let first = key(algorithm);
        let kept = SigningKey::from_pkcs8(algorithm, &first.to_pkcs8()).expect("our own PKCS#8");
        assert_eq!(kept.kid(), first.kid());
        assert_eq!(
            refusal(&verifier(&first), &signed(&kept)),
            None,
            "{}",
            algorithm.name()
        );
    }
}

#[test]
fn a_token_opens_the_gateway_itself_only_if_it_is_ours() {
    let key = key(SigningAlgorithm::Hs256);
    let own = AccessClaims {
        aud: "portcullis".to_owned(),
        resource: "portcullis".to_owned(),
        ..claims()
    };
    let principal = verifier(&key)
        .verify(&key.sign(&own).expect("claims in order"), now())
        .expect("a token of ours");
    assert_eq!(principal.resource(), "portcullis");
}

#[test]
fn what_the_verifier_would_refuse_is_not_issued() {
    let key = key(SigningAlgorithm::Hs256);
    let cases = [
        (
            with(|claims| claims.sub.clear()),
            SignError::BadClaims("sub"),
        ),
        (
            with(|claims| claims.sid = "a\nb".to_owned()),
            SignError::BadClaims("sid"),
        ),
        (
            with(|claims| claims.resource = "event".to_owned()),
            SignError::BadClaims("resource"),
        ),
        (with(|claims| claims.exp = NOW), SignError::BadClaims("exp")),
        (
            with(|claims| claims.roles = vec!["a,b".to_owned()]),
            SignError::BadClaims("roles"),
        ),
        (
            with(|claims| claims.scope = "a\tb".to_owned()),
            SignError::BadClaims("scope"),
        ),
        (
            with(|claims| claims.tenant = Some(" x".to_owned())),
            SignError::BadClaims("tenant"),
        ),
        (
            with(|claims| claims.scope = words(65, 8)),
            SignError::TooManyScopes(64),
        ),
        (
            with(|claims| claims.scope = words(64, 100)),
            SignError::TooLarge(4096),
        ),
    ];
    for (claims, wanted) in cases {
        assert_eq!(key.sign(&claims), Err(wanted));
    }
    assert!(
        key.sign(&with(|claims| claims.scope = words(64, 8)))
            .is_ok(),
        "as many scopes as are allowed"
    );
}

fn with(change: impl FnOnce(&mut AccessClaims)) -> AccessClaims {
    let mut changed = claims();
    change(&mut changed);
    changed
}

fn words(count: usize, length: usize) -> String {
    (0..count)
        .map(|word| format!("{word:0length$}"))
        .collect::<Vec<_>>()
        .join(" ")
}
