//! Signed verifies, and one changed byte does not: for any claims that we sign, any place and any other byte.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static KEYS: LazyLock<[SigningKey; 4]> = LazyLock::new(|| {
    [
        SigningAlgorithm::Es256,
        SigningAlgorithm::EdDsa,
        SigningAlgorithm::Rs256,
        SigningAlgorithm::Hs256,
    ]
    .map(key)
});

fn any_claims() -> impl Strategy<Value = AccessClaims> {
    let name = || "[!-~][ -~\u{e4}\u{4e2d}]{0,20}[!-~]";
    (
        name(),
        name(),
        proptest::collection::vec("[!-+\\--~]{1,12}", 0..4),
        "([#-\\[]{1,9} ?){0,4}",
        any::<u64>(),
    )
        .prop_map(|(sub, sid, roles, scope, ver)| AccessClaims {
            sub,
            sid,
            roles,
            scope,
            ver,
            ..claims()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_verifies(claims in any_claims(), which in 0..4usize) {
        let key = &KEYS[which];
        let principal = verifier(key).verify(&key.sign(&claims).expect("claims in order"), now()).expect("a token of ours");
        prop_assert_eq!(principal.subject(), claims.sub);
        prop_assert_eq!(principal.session(), Some(claims.sid.as_str()));
        prop_assert_eq!(principal.role_line(), claims.roles.join(","));
        prop_assert_eq!(principal.version(), claims.ver);
        prop_assert!(claims.scope.split_whitespace().all(|scope| principal.scopes().contains(scope)));
    }

    /// The strict alphabet gives each byte string one spelling, so that another character is another signature or
    /// another message. The one other signature that anybody can make, the twin of ES256, differs in many characters.
    #[test]
    fn one_changed_byte_is_refused(claims in any_claims(), which in 0..4usize, place in any::<prop::sample::Index>(), byte in 0..128u8) {
        let key = &KEYS[which];
        let verifier = verifier(key);
        let mut token = key.sign(&claims).expect("claims in order").into_bytes();
        prop_assert!(verifier.verify(std::str::from_utf8(&token).expect("ASCII"), now()).is_ok(), "the token itself is remembered");
        let place = place.index(token.len());
        prop_assume!(token[place] != byte);
        token[place] = byte;
        prop_assert!(verifier.verify(std::str::from_utf8(&token).expect("ASCII"), now()).is_err());
    }

    #[test]
    fn no_text_makes_the_verifier_panic(token in "\\PC{0,200}", parts in proptest::collection::vec("[A-Za-z0-9_-]{0,40}", 0..6)) {
        let verifier = verifier(&KEYS[3]);
        prop_assert!(verifier.verify(&token, now()).is_err());
        prop_assert!(verifier.verify(&parts.join("."), now()).is_err());
        prop_assert!(verifier.examine(&token, now()).is_err_and(|refused| refused.issuer.is_none()));
    }
}

/// What is inside is arbitrary, too: the JSON of header and payload, under a good signature.
#[test]
fn every_cut_of_header_and_payload_is_refused() {
    let key = &KEYS[3];
    let verifier = verifier(key);
    let (header, payload) = (header_of(key).to_string(), payload().to_string());
    for length in 0..header.len() {
        assert!(
            refusal(&verifier, &forged(key, &header[..length], &payload)).is_some(),
            "header cut at {length}"
        );
    }
    for length in 0..payload.len() {
        assert!(
            refusal(&verifier, &forged(key, &header, &payload[..length])).is_some(),
            "payload cut at {length}"
        );
    }
}
