//! Keys: their ids, what is published of them, and that what is published signs nothing.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::{EcdsaKeyPair, KeyPair},
};
use base64::engine::general_purpose::STANDARD;
use portcullis_config::issuers::Algorithm;

use super::*;
use crate::{KeyError, SignError};

#[test]
fn a_key_id_is_the_thumbprint_of_rfc_7638() {
    // RFC 8037 appendix A.1 and A.3: the private key in the PKCS#8 of RFC 8410.
    let seed = URL_SAFE_NO_PAD
        .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
        .expect("base64url");
    let prefix = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let key = SigningKey::from_pkcs8(
        SigningAlgorithm::EdDsa,
        &[prefix.as_slice(), &seed].concat(),
    )
    .expect("an Ed25519 key");
    assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let jwk = key.public_jwk().expect("a public key");
    assert_eq!(jwk["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
}

#[test]
fn a_published_key_holds_what_verifies_and_nothing_that_signs() {
    let members: [(SigningAlgorithm, &[&str]); 3] = [
        (
            SigningAlgorithm::Es256,
            &["alg", "crv", "kid", "kty", "use", "x", "y"],
        ),
        (
            SigningAlgorithm::EdDsa,
            &["alg", "crv", "kid", "kty", "use", "x"],
        ),
        (
            SigningAlgorithm::Rs256,
            &["alg", "e", "kid", "kty", "n", "use"],
        ),
    ];
    for (algorithm, wanted) in members {
        let key = key(algorithm);
        let jwk = key.public_jwk().expect("a public key");
        let mut names: Vec<_> = jwk
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        names.sort();
        assert_eq!(names, wanted);
        assert_eq!(
            (&jwk["kid"], &jwk["use"], &jwk["alg"]),
            (&json!(key.kid()), &json!("sig"), &json!(algorithm.name()))
        );
        assert_eq!(SigningAlgorithm::named(algorithm.name()), Some(algorithm));
    }
    assert!(
        key(SigningAlgorithm::Hs256).public_jwk().is_none(),
        "a secret is not published"
    );
}

#[test]
fn the_library_reads_our_published_keys() {
    for algorithm in [
        SigningAlgorithm::Es256,
        SigningAlgorithm::EdDsa,
        SigningAlgorithm::Rs256,
    ] {
        let key = key(algorithm);
        let jwk = serde_json::from_value(key.public_jwk().expect("a public key")).expect("a JWK");
        let decoding = jsonwebtoken::DecodingKey::from_jwk(&jwk).expect("a public key");
        let mut validation =
            jsonwebtoken::Validation::new(algorithm.name().parse().expect("a JOSE name"));
        validation.set_audience(&["hotel"]);
        validation.validate_exp = false;
        let read = jsonwebtoken::decode::<Value>(signed(&key), &decoding, &validation);
        assert_eq!(
            read.expect("a good signature").claims,
            payload(),
            "{}",
            algorithm.name()
        );
    }
}

#[test]
fn a_secret_has_a_steady_id_that_does_not_tell_it() {
    let (first, again) = (key(SigningAlgorithm::Hs256), key(SigningAlgorithm::Hs256));
    assert_eq!(first.kid(), again.kid());
    let other = SigningKey::from_secret(&SecretString::from("another secret of thirty-two bytes"))
        .expect("long enough");
    assert_ne!(first.kid(), other.kid());
    let short = SigningKey::from_secret(&SecretString::from("x".repeat(31)));
    assert_eq!(short.err(), Some(KeyError::SecretTooShort(32)));
    assert_eq!(
        SigningKey::generate(SigningAlgorithm::Hs256).err(),
        Some(KeyError::NotGenerated("HS256"))
    );
}

#[test]
fn a_kept_key_is_read_only_as_what_it_is() {
    let kept = key(SigningAlgorithm::Es256).to_pkcs8();
    assert_eq!(
        SigningKey::from_pkcs8(SigningAlgorithm::EdDsa, &kept).err(),
        Some(KeyError::WrongKind("EdDSA"))
    );
    assert_eq!(
        SigningKey::from_pkcs8(SigningAlgorithm::Rs256, &kept).err(),
        Some(KeyError::WrongKind("RS256"))
    );
    assert_eq!(
        SigningKey::from_pkcs8(SigningAlgorithm::Es256, &kept[1..]).err(),
        Some(KeyError::WrongKind("ES256"))
    );
    assert_eq!(
        SigningKey::from_pkcs8(SigningAlgorithm::Hs256, &kept).err(),
        Some(KeyError::WrongKind("HS256"))
    );
}

/// Whoever has the published key must not be able to sign with it as if it were a secret.
#[test]
fn nothing_that_is_published_is_a_secret() {
    for algorithm in [
        SigningAlgorithm::Es256,
        SigningAlgorithm::EdDsa,
        SigningAlgorithm::Rs256,
    ] {
        let key = key(algorithm);
        let verifier = verifier(&key);
        for secret in published(&key) {
            let header = changed(header_of(&key), &json!({"alg": "HS256"})).to_string();
            let token = signed_as(
                jsonwebtoken::Algorithm::HS256,
                &EncodingKey::from_secret(&secret),
                &header,
                payload().to_string(),
            );
            assert_eq!(refusal(&verifier, &token), Some(TokenError::WrongAlgorithm));
            let renamed = header.replace("HS256", algorithm.name());
            let token = signed_as(
                jsonwebtoken::Algorithm::HS256,
                &EncodingKey::from_secret(&secret),
                &renamed,
                payload().to_string(),
            );
            assert_eq!(
                refusal(&verifier, &token),
                Some(TokenError::BadSignature),
                "under its real algorithm"
            );
        }
    }
}

fn published(key: &SigningKey) -> Vec<Vec<u8>> {
    let der = public_der(key);
    let jwk = key.public_jwk().expect("a public key");
    let member = jwk
        .get("n")
        .or(jwk.get("x"))
        .and_then(Value::as_str)
        .expect("the key itself");
    let raw = URL_SAFE_NO_PAD.decode(member).expect("base64url");
    let pem = pem_of("PUBLIC KEY", &der);
    vec![
        pem.trim_end().as_bytes().to_vec(),
        pem.into_bytes(),
        der,
        jwk.to_string().into_bytes(),
        raw,
        b"secret".to_vec(),
        Vec::new(),
    ]
}

/// The `SubjectPublicKeyInfo` of RFC 5280.
pub(super) fn public_der(key: &SigningKey) -> Vec<u8> {
    let private = key.to_pkcs8();
    let der: PublicKeyX509Der<'_> = match key.algorithm() {
        SigningAlgorithm::Es256 => {
            let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
            EcdsaKeyPair::from_pkcs8(algorithm, &private)
                .expect("our PKCS#8")
                .public_key()
                .as_der()
        }
        SigningAlgorithm::EdDsa => aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(&private)
            .expect("our PKCS#8")
            .public_key()
            .as_der(),
        SigningAlgorithm::Rs256 | SigningAlgorithm::Hs256 => {
            aws_lc_rs::signature::RsaKeyPair::from_pkcs8(&private)
                .expect("our PKCS#8")
                .public_key()
                .as_der()
        }
    }
    .expect("a public key");
    der.as_ref().to_vec()
}

pub(super) fn pem_of(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("ASCII"))
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

#[test]
fn a_public_key_serves_only_the_algorithms_of_its_kind() {
    let ec = pem_of("PUBLIC KEY", &public_der(&key(SigningAlgorithm::Es256)));
    let rsa = pem_of("PUBLIC KEY", &public_der(&key(SigningAlgorithm::Rs256)));
    let refused = |pem: &str, algorithms: &[Algorithm]| KeySet::from_pem(pem, algorithms).err();
    assert_eq!(refused(&ec, &[Algorithm::Es256]), None);
    assert_eq!(refused(&rsa, &[Algorithm::Rs256, Algorithm::Ps512]), None);
    assert_eq!(
        refused(&ec, &[Algorithm::Es384]),
        Some(KeyError::WrongKind("ES384")),
        "another curve"
    );
    assert_eq!(
        refused(&ec, &[Algorithm::EdDsa]),
        Some(KeyError::WrongKind("EdDSA"))
    );
    assert_eq!(
        refused(&rsa, &[Algorithm::Rs256, Algorithm::Es256]),
        Some(KeyError::WrongKind("ES256"))
    );
    assert_eq!(
        refused(&rsa, &[Algorithm::Rs256, Algorithm::Hs256]),
        Some(KeyError::Mixed),
        "the classic confusion"
    );
    assert_eq!(refused(&rsa, &[]), Some(KeyError::NoAlgorithm));
    assert_eq!(
        refused(SHORT_RSA, &[Algorithm::Rs256]),
        Some(KeyError::WrongKind("RS256")),
        "1024 bits"
    );
}

#[test]
fn only_one_public_key_block_is_a_key_file() {
    let der = public_der(&key(SigningAlgorithm::EdDsa));
    let good = pem_of("PUBLIC KEY", &der);
    let refused = |pem: &str| KeySet::from_pem(pem, &[Algorithm::EdDsa]).err();
    assert_eq!(
        refused(&format!("a comment\r\n{}", good.replace('\n', "\r\n"))),
        None
    );
    for text in [
        String::new(),
        good.replace("-----END", "----END"),
        format!("{good}{good}"),
        pem_of("CERTIFICATE", &der),
        pem_of("PRIVATE KEY", &der),
        good.replace("END PUBLIC", "END RSA PUBLIC"),
        good.replace("MC", "M!"),
    ] {
        assert_eq!(refused(&text), Some(KeyError::NotPem), "{text}");
    }
}

#[test]
fn a_secret_never_stands_beside_public_keys() {
    let (secret, public) = (key(SigningAlgorithm::Hs256), key(SigningAlgorithm::Es256));
    let set =
        |keys: &[&SigningKey]| KeySet::new(keys.iter().map(|key| key.verification_key())).err();
    assert_eq!(set(&[&secret, &public]), Some(KeyError::Mixed));
    assert_eq!(set(&[&public, &public]), Some(KeyError::DuplicateKeyId));
    let shared = SecretString::from(SECRET);
    assert_eq!(
        KeySet::from_secret(&shared, &[Algorithm::Hs256, Algorithm::Rs256]).err(),
        Some(KeyError::Mixed)
    );
    let short = SecretString::from("secret");
    assert_eq!(
        KeySet::from_secret(&short, &[Algorithm::Hs256]).err(),
        Some(KeyError::SecretTooShort(32))
    );
}

#[test]
fn errors_tell_nothing_of_the_key() {
    let texts = [
        KeyError::SecretTooShort(32).to_string(),
        KeyError::NotPem.to_string(),
        SignError::Failed.to_string(),
    ];
    assert!(
        texts
            .iter()
            .all(|text| !text.contains(SECRET) && !text.ends_with('.'))
    );
}

const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDZ4HkKAV3/8spyhY0IGhyjWNJV\n\
ZCPtq/fr6FAeMuLM0nOPYHM6fdRVBdAQX6bh3u55Xq4U+NXRzcBvHo+iwhZ0ZSSC\n\
qh0k2bFx9KiVjL7bAyWLUnWXH9Lhr050akxf7cuqNPVo6ylfNvFQZmxRwi2+eDCM\n\
OOwJmxmZHjDs8EQjQQIDAQAB\n\
-----END PUBLIC KEY-----";
