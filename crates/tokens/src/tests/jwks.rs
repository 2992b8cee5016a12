//! Key sets as they are found, and as an attacker or a careless issuer would have them.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use portcullis_config::issuers::Algorithm;
use proptest::prelude::*;

use super::*;
use crate::{KeyFault, KeySetError, MAX_KEY_SET_BYTES, PublishedKeys};

const EVERY: [Algorithm; 12] = crate::algorithm::ALL;

fn jwk_of(key: &SigningKey, changes: &Value) -> Value {
    changed(key.public_jwk().expect("a public key"), changes)
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn read(keys: &[Value], algorithms: &[Algorithm]) -> Result<PublishedKeys, KeySetError> {
    KeySet::from_jwks(&set(keys), algorithms)
}

/// What is said of a key that stands beside a good one.
fn fault_of(jwk: &Value, algorithms: &[Algorithm]) -> Option<KeyFault> {
    let good = jwk_of(&key(SigningAlgorithm::EdDsa), &json!({"kid": "good"}));
    let algorithms = [algorithms, &[Algorithm::EdDsa]].concat();
    let read = read(&[good, jwk.clone()], &algorithms).expect("a good key among them");
    assert!(read.skipped.len() <= 1 && read.skipped.iter().all(|skipped| skipped.position == 1));
    read.skipped.first().map(|skipped| skipped.fault)
}

/// A verifier of an issuer that publishes these.
fn publishing(keys: &[Value], algorithms: &[Algorithm]) -> Verifier {
    let settings = foreign::corp();
    let keys = read(keys, algorithms).expect("a usable key").keys;
    let spec = IssuerSpec::foreign(&settings, keys).expect("a good name");
    verifier_of(vec![spec], &Arc::default())
}

fn theirs(key: &SigningKey, header: &Value) -> String {
    forged(
        key,
        &header.to_string(),
        foreign::their_payload().to_string(),
    )
}

#[test]
fn a_published_key_verifies_what_it_signed_for_every_algorithm() {
    let (ec, ed, rsa) = (
        key(SigningAlgorithm::Es256),
        key(SigningAlgorithm::EdDsa),
        key(SigningAlgorithm::Rs256),
    );
    let curve = &ECDSA_P384_SHA384_FIXED_SIGNING;
    let p384_der = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).expect("a key");
    let p384 = EcdsaKeyPair::from_pkcs8(curve, p384_der.as_ref()).expect("our PKCS#8");
    let point = p384.public_key().as_ref();
    let (x, y) = point[1..].split_at(48);
    let p384_jwk =
        json!({"kty": "EC", "crv": "P-384", "kid": "p384", "x": encoded(x), "y": encoded(y)});
    let no_algorithm = json!({"alg": null});
    let published = [
        jwk_of(&ec, &no_algorithm),
        jwk_of(&ed, &no_algorithm),
        jwk_of(&rsa, &no_algorithm),
        p384_jwk,
    ];
    let verifier = publishing(&published, &EVERY);
    let signers = [
        (ec.kid(), encoding_key(&ec), &EVERY[9..10]),
        (
            "p384",
            EncodingKey::from_ec_der(p384_der.as_ref()),
            &EVERY[10..11],
        ),
        (ed.kid(), encoding_key(&ed), &EVERY[11..12]),
        (rsa.kid(), encoding_key(&rsa), &EVERY[3..9]),
    ];
    for (key_id, signer, algorithms) in signers {
        for algorithm in algorithms {
            let name = crate::algorithm::name_of(*algorithm);
            let header = json!({"alg": name, "kid": key_id}).to_string();
            let library = crate::algorithm::for_library(*algorithm);
            let payload = foreign::their_payload().to_string();
            let token = signed_as(library, &signer, &header, payload);
            assert_eq!(refusal(&verifier, &token), None, "{name}");
        }
    }
}

#[test]
fn a_key_is_skipped_unless_it_is_there_to_verify_and_fit_for_it() {
    use KeyFault::{Damaged, OtherAlgorithm, OtherUse, Private, RsaSize, Secret};
    let (ec, rsa) = (key(SigningAlgorithm::Es256), key(SigningAlgorithm::Rs256));
    let x = jwk_of(&ec, &json!({}))["x"].clone();
    let short = encoded([0x80; 128]);
    let long = encoded([0x80; 1025]);
    let cases = [
        (&ec, json!({}), None),
        (&ec, json!({"use": null, "alg": null, "kid": null}), None),
        (&ec, json!({"use": null, "key_ops": ["verify"]}), None),
        (&ec, json!({"x5c": ["rubbish"], "x5t": "x", "exp": 1}), None),
        (&ec, json!({"use": "enc"}), Some(OtherUse)),
        (&ec, json!({"use": "SIG"}), Some(OtherUse)),
        (&ec, json!({"use": ["sig"]}), Some(Damaged("use"))),
        (&ec, json!({"key_ops": ["encrypt"]}), Some(OtherUse)),
        (&ec, json!({"key_ops": []}), Some(OtherUse)),
        (&ec, json!({"key_ops": "verify"}), Some(Damaged("key_ops"))),
        (&ec, json!({"alg": "ES384"}), Some(OtherAlgorithm)),
        (&ec, json!({"alg": "es256"}), Some(OtherAlgorithm)),
        (&ec, json!({"alg": "RS256"}), Some(OtherAlgorithm)),
        (&ec, json!({"alg": "none"}), Some(OtherAlgorithm)),
        (&ec, json!({"alg": "HS256"}), Some(OtherAlgorithm)),
        (&ec, json!({"alg": 5}), Some(Damaged("alg"))),
        (&ec, json!({"kid": 5}), Some(Damaged("kid"))),
        (&ec, json!({"crv": "P-521"}), Some(OtherAlgorithm)),
        (&ec, json!({"crv": "P-384"}), Some(OtherAlgorithm)),
        (
            &ec,
            json!({"crv": "P-384", "alg": null}),
            Some(Damaged("x")),
        ),
        (&ec, json!({"crv": null}), Some(Damaged("crv"))),
        (&ec, json!({"y": x}), Some(Damaged("key material"))),
        (&ec, json!({"y": null}), Some(Damaged("y"))),
        (&ec, json!({"x": "=="}), Some(Damaged("x"))),
        (&ec, json!({"d": "AA"}), Some(Private)),
        (&ec, json!({"kty": "RSA", "alg": null}), Some(Damaged("n"))),
        (&ec, json!({"kty": "oct", "k": "AAAA"}), Some(Secret)),
        (&ec, json!({"kty": "AKP"}), Some(OtherAlgorithm)),
        (&ec, json!({"kty": null}), Some(Damaged("kty"))),
        (&rsa, json!({}), None),
        (&rsa, json!({"e": "AAEAAQ"}), None),
        (&rsa, json!({"e": "AQ"}), Some(Damaged("e"))),
        (&rsa, json!({"e": "Ag"}), Some(Damaged("e"))),
        (&rsa, json!({"e": ""}), Some(Damaged("e"))),
        (&rsa, json!({"e": "AQAAAAE"}), Some(Damaged("e"))),
        (&rsa, json!({"n": short}), Some(RsaSize)),
        (&rsa, json!({"n": long}), Some(RsaSize)),
        (&rsa, json!({"n": ""}), Some(RsaSize)),
        (&rsa, json!({"p": "AA"}), Some(Private)),
        (&rsa, json!({"alg": "RSA-OAEP"}), Some(OtherAlgorithm)),
        (&rsa, json!({"alg": "PS256"}), Some(OtherAlgorithm)),
    ];
    let algorithms = [Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256];
    for (key, changes, wanted) in cases {
        let jwk = jwk_of(key, &changes);
        assert_eq!(fault_of(&jwk, &algorithms), wanted, "{changes}");
    }
    assert_eq!(
        fault_of(&json!([]), &algorithms),
        Some(KeyFault::NotAnObject)
    );
}

#[test]
fn of_two_good_keys_with_one_id_neither_is_used() {
    let (one, two, good) = (
        key(SigningAlgorithm::Es256),
        key(SigningAlgorithm::Es256),
        key(SigningAlgorithm::Es256),
    );
    let same = json!({"kid": "same"});
    let published = [
        jwk_of(&one, &same),
        jwk_of(&good, &json!({})),
        jwk_of(&two, &same),
    ];
    let faults: Vec<_> = read(&published, &EVERY)
        .expect("one good key")
        .skipped
        .into_iter()
        .map(|skipped| (skipped.position, skipped.fault))
        .collect();
    assert_eq!(
        faults,
        [0, 2].map(|place| (place, KeyFault::DuplicateKeyId))
    );
    let verifier = publishing(&published, &EVERY);
    for key in [&one, &two] {
        let token = theirs(key, &json!({"alg": "ES256", "kid": "same"}));
        assert_eq!(refusal(&verifier, &token), Some(TokenError::UnknownKey));
    }
    let token = theirs(&good, &json!({"alg": "ES256", "kid": good.kid()}));
    assert_eq!(refusal(&verifier, &token), None);

    let for_encryption = jwk_of(&two, &json!({"kid": "same", "use": "enc"}));
    let verifier = publishing(&[jwk_of(&one, &same), for_encryption], &EVERY);
    let token = theirs(&one, &json!({"alg": "ES256", "kid": "same"}));
    assert_eq!(
        refusal(&verifier, &token),
        None,
        "no doubt which one is meant"
    );
}

#[test]
fn a_token_without_a_key_id_means_the_only_key_there_is_or_none() {
    let (one, two) = (key(SigningAlgorithm::Es256), key(SigningAlgorithm::Es256));
    let nameless = theirs(&one, &json!({"alg": "ES256"}));
    let named = theirs(&one, &json!({"alg": "ES256", "kid": "x"}));
    let alone = publishing(&[jwk_of(&one, &json!({}))], &EVERY);
    assert_eq!(refusal(&alone, &nameless), None);
    assert_eq!(refusal(&alone, &named), Some(TokenError::UnknownKey));
    let both = publishing(
        &[jwk_of(&one, &json!({})), jwk_of(&two, &json!({}))],
        &EVERY,
    );
    assert_eq!(refusal(&both, &nameless), Some(TokenError::UnknownKey));
    let missing = both
        .examine(&nameless, now())
        .expect_err("a refusal")
        .missing;
    assert!(missing.is_none(), "and no other key would be meant by it");
    let id_less = publishing(&[jwk_of(&one, &json!({"kid": null}))], &EVERY);
    assert_eq!(refusal(&id_less, &nameless), None);
    assert_eq!(refusal(&id_less, &named), Some(TokenError::UnknownKey));
}

#[test]
fn a_published_key_is_never_taken_for_a_secret() {
    let key = key(SigningAlgorithm::Rs256);
    let jwk = jwk_of(&key, &json!({}));
    let oct = json!({"kty": "oct", "kid": "oct", "k": encoded(SECRET)});
    let verifier = publishing(&[jwk.clone(), oct], &EVERY);
    let n = URL_SAFE_NO_PAD
        .decode(jwk["n"].as_str().expect("a text"))
        .expect("base64url");
    let secrets = [
        n,
        jwk.to_string().into_bytes(),
        SECRET.as_bytes().to_vec(),
        Vec::new(),
    ];
    for secret in secrets {
        for key_id in [json!(key.kid()), json!("oct"), Value::Null] {
            let header = changed(json!({"alg": "HS256"}), &json!({"kid": key_id}));
            let signer = EncodingKey::from_secret(&secret);
            let token = signed_as(
                jsonwebtoken::Algorithm::HS256,
                &signer,
                &header.to_string(),
                foreign::their_payload().to_string(),
            );
            assert!(refusal(&verifier, &token).is_some(), "{header}");
        }
    }
}

#[test]
fn a_document_that_is_no_key_set_is_an_error() {
    let good = jwk_of(&key(SigningAlgorithm::EdDsa), &json!({})).to_string();
    let cases = [
        (String::new(), KeySetError::NotAKeySet),
        ("<html>".to_owned(), KeySetError::NotAKeySet),
        ("[]".to_owned(), KeySetError::NotAKeySet),
        ("{}".to_owned(), KeySetError::NotAKeySet),
        (good.clone(), KeySetError::NotAKeySet),
        (format!(r#"{{"keys":{good}}}"#), KeySetError::NotAKeySet),
        (
            format!(r#"{{"keys":[{good}],"keys":[]}}"#),
            KeySetError::NotAKeySet,
        ),
        (
            r#"{"keys":[{"kty":"RSA","kty":"EC"}]}"#.to_owned(),
            KeySetError::NotAKeySet,
        ),
        (
            r#"{"keys":[]}"#.to_owned(),
            KeySetError::NoUsableKey(Vec::new()),
        ),
        (
            format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 101].join(",")),
            KeySetError::TooManyKeys(100),
        ),
        (
            format!(
                r#"{{"keys":[{good}],"x":"{}"}}"#,
                "x".repeat(MAX_KEY_SET_BYTES)
            ),
            KeySetError::TooLarge(MAX_KEY_SET_BYTES),
        ),
    ];
    for (document, wanted) in cases {
        let shown: String = document.chars().take(60).collect();
        let read = KeySet::from_jwks(document.as_bytes(), &EVERY);
        assert_eq!(read.err(), Some(wanted), "{shown}");
    }
}

#[test]
fn the_log_says_which_keys_are_useless_and_nothing_that_could_forge_a_line() {
    let ec = key(SigningAlgorithm::Es256);
    let keys = [
        jwk_of(&ec, &json!({"kid": "one", "use": "enc"})),
        jwk_of(&ec, &json!({"kid": "two\nlines", "d": "AA"})),
    ];
    let error = read(&keys, &EVERY).err().expect("no usable key");
    assert_eq!(
        error.to_string(),
        "the key set has no key that could be used: key 0 (\"one\") is not there to verify signatures; \
         key 1 holds its private half, which is now everybody's"
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let member = prop_oneof![
        Just("kty"),
        Just("crv"),
        Just("x"),
        Just("y"),
        Just("n"),
        Just("e"),
        Just("kid"),
        Just("use"),
        Just("key_ops"),
        Just("alg"),
        Just("keys"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![
            Just("RSA"),
            Just("EC"),
            Just("OKP"),
            Just("P-256"),
            Just("Ed25519"),
            Just("sig")
        ]
        .prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..70).prop_map(|bytes| Value::from(encoded(bytes))),
    ];
    leaf.prop_recursive(3, 60, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((member.clone(), inner), 0..8).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_ends_the_program(keys in proptest::collection::vec(any_json(), 0..6), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(published) = read(&keys, &EVERY) {
            prop_assert!(published.skipped.len() < keys.len());
        }
        prop_assert!(KeySet::from_jwks(&bytes, &EVERY).is_err());
    }
}
