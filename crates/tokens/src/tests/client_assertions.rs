//! What a client says of itself under a key of its own, and who else might have said it.

use super::{
    keys::{pem_of, public_der},
    *,
};
use crate::{ClientAssertion, ClientAssertions, ClientKeys, ClientKeysError};

const CLIENT: &str = "01890000-0000-7000-8000-0000000000c1";
const TOKEN_URL: &str = "https://gw.example/oauth/token";

fn audiences() -> ClientAssertions {
    ClientAssertions::new(vec![ISSUER.to_owned(), TOKEN_URL.to_owned()])
}

fn keys_of(key: &SigningKey) -> ClientKeys {
    ClientKeys::parse(&pem_of("PUBLIC KEY", &public_der(key))).expect("a public key")
}

fn said() -> Value {
    json!({
        "iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "jti": "one", "iat": NOW, "exp": NOW + 60,
    })
}

fn read(
    key: &SigningKey,
    header_changes: &Value,
    changes: &Value,
) -> Result<ClientAssertion, TokenError> {
    let header = json!({"alg": key.algorithm().name(), "typ": "JWT"});
    let header = changed(header, header_changes).to_string();
    let token = forged(key, &header, changed(said(), changes).to_string());
    audiences().read(&token, (CLIENT, &keys_of(key)), now())
}

#[test]
fn a_client_may_sign_with_any_kind_of_key_given_in_any_form() {
    for algorithm in [
        SigningAlgorithm::Es256,
        SigningAlgorithm::EdDsa,
        SigningAlgorithm::Rs256,
    ] {
        let key = key(algorithm);
        let jwk = key.public_jwk().expect("a public key");
        let forms = [
            pem_of("PUBLIC KEY", &public_der(&key)),
            jwk.to_string(),
            json!({ "keys": [jwk] }).to_string(),
        ];
        let header = json!({"alg": algorithm.name(), "kid": key.kid()}).to_string();
        let token = forged(&key, &header, said().to_string());
        for form in forms {
            let keys = ClientKeys::parse(&form).expect("a public key");
            let read = audiences().read(&token, (CLIENT, &keys), now());
            let expected = ClientAssertion {
                token_id: "one".to_owned(),
                refused_from: Timestamp::from_secs(NOW + 65),
            };
            assert_eq!(read, Ok(expected), "{form}");
        }
    }
}

#[test]
fn an_assertion_is_for_us_of_this_client_and_of_this_moment() {
    use TokenError::{
        BadClaims, Expired, LifetimeTooLong, NotYetValid, UnknownIssuer, WrongAudience,
    };
    let key = key(SigningAlgorithm::Es256);
    let read = |changes: &Value| read(&key, &json!({}), changes).map(|_| ());
    for good in [
        json!({"aud": TOKEN_URL}),
        json!({"aud": [ISSUER]}),
        json!({"iat": null}),
        json!({"exp": NOW + 300}),
        json!({"exp": NOW - 4, "iat": NOW - 60}),
    ] {
        assert_eq!(read(&good), Ok(()), "{good}");
    }
    let cases = [
        (json!({"iss": "another"}), UnknownIssuer),
        (json!({"iss": [CLIENT]}), UnknownIssuer),
        (json!({"iss": null}), BadClaims("iss")),
        (json!({"sub": "another"}), BadClaims("sub")),
        (json!({"sub": null}), BadClaims("sub")),
        (json!({"aud": "https://other.example"}), WrongAudience),
        (
            json!({"aud": [ISSUER, "https://other.example"]}),
            WrongAudience,
        ),
        (json!({"aud": [ISSUER, TOKEN_URL]}), WrongAudience),
        (json!({"aud": null}), BadClaims("aud")),
        (json!({"aud": []}), WrongAudience),
        (json!({"jti": null}), BadClaims("jti")),
        (json!({"jti": ""}), BadClaims("jti")),
        (json!({"jti": 1}), BadClaims("jti")),
        (json!({"jti": "x".repeat(257)}), BadClaims("jti")),
        (json!({"exp": null}), BadClaims("exp")),
        (json!({"exp": "soon"}), BadClaims("exp")),
        (json!({"exp": NOW - 5}), Expired),
        (json!({"exp": NOW + 301}), LifetimeTooLong),
        (json!({"exp": NOW + 306, "iat": null}), LifetimeTooLong),
        (json!({"exp": NOW + 60, "iat": NOW - 300}), LifetimeTooLong),
        (json!({"iat": NOW + 6}), NotYetValid),
        (json!({"nbf": NOW + 6}), NotYetValid),
    ];
    for (changes, expected) in cases {
        assert_eq!(read(&changes), Err(expected), "{changes}");
    }
}

#[test]
fn an_assertion_that_the_client_did_not_sign_is_refused() {
    use TokenError::{BadSignature, Critical, Malformed, WrongAlgorithm, WrongType};
    let key = key(SigningAlgorithm::Es256);
    let with = |changes: Value| read(&key, &changes, &json!({})).err();
    assert_eq!(with(json!({"alg": "none"})), Some(WrongAlgorithm));
    assert_eq!(with(json!({"alg": "ES384"})), Some(WrongAlgorithm));
    assert_eq!(with(json!({"typ": "at+jwt"})), Some(WrongType));
    assert_eq!(with(json!({"crit": ["exp"]})), Some(Critical));
    assert_eq!(
        with(json!({"jku": "https://evil.example"})),
        Some(Malformed)
    );
    let header = json!({"alg": "ES256"}).to_string();
    let other = super::key(SigningAlgorithm::Es256);
    let theirs = forged(&other, &header, said().to_string());
    let read = |token: &str| {
        audiences()
            .read(token, (CLIENT, &keys_of(&key)), now())
            .err()
    };
    assert_eq!(read(&theirs), Some(BadSignature));
    // The public key, taken for a secret.
    let public = pem_of("PUBLIC KEY", &public_der(&key));
    let hmac = signed_as(
        jsonwebtoken::Algorithm::HS256,
        &EncodingKey::from_secret(public.as_bytes()),
        &json!({"alg": "HS256"}).to_string(),
        said().to_string(),
    );
    assert_eq!(read(&hmac), Some(WrongAlgorithm));
}

#[test]
fn only_public_keys_of_the_known_kinds_are_taken() {
    let key = key(SigningAlgorithm::Es256);
    let jwk = key.public_jwk().expect("a public key");
    let private = changed(jwk.clone(), &json!({"d": "AA"}));
    let secret = json!({"kty": "oct", "k": "AA"});
    let is_private =
        |text: String| matches!(ClientKeys::parse(&text), Err(ClientKeysError::Private));
    assert!(is_private(private.to_string()));
    assert!(is_private(json!({"keys": [jwk, private]}).to_string()));
    assert!(is_private(secret.to_string()));
    let private_pem = pem_of("PRIVATE KEY", &key.to_pkcs8());
    for text in [
        "",
        "{}",
        "[]",
        "{\"keys\":[]}",
        "hello",
        &private_pem,
        &"{".repeat(9000),
    ] {
        assert!(ClientKeys::parse(text).is_err(), "{text:.40}");
    }
}

#[test]
fn the_client_that_an_assertion_claims_to_be_of_is_read_and_not_believed() {
    let key = key(SigningAlgorithm::Es256);
    let token = forged(&key, r#"{"alg":"ES256"}"#, said().to_string());
    let claimed = ClientAssertions::claimed_client(&token);
    assert_eq!(claimed.as_deref(), Some(CLIENT));
    assert_eq!(ClientAssertions::claimed_client("x.y.z"), None);
    assert_eq!(
        ClientAssertions::algorithms(),
        ["ES256", "EdDSA", "RS256", "PS256"]
    );
}
