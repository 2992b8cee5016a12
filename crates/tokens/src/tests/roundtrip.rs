//! Signing and verifying as they should go.

use super::*;
use crate::IssuerName;

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
        let token = key.sign(&claims()).expect("claims in order");
        let principal = verifier(&key)
            .verify(&token, now())
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
        let token = kept.sign(&claims()).expect("claims in order");
        assert_eq!(
            refusal(verifier(&first).verify(&token, now())),
            None,
            "{}",
            algorithm.name()
        );
    }
}
