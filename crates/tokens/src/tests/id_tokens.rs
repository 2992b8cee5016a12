//! What an identity provider says of a person, well and badly signed.

use std::sync::Arc;

use super::*;
use crate::{IdTokens, Identity, IssuerKeys};

const PROVIDER: &str = "https://accounts.example.com";
const CLIENT: &str = "portcullis-at-theirs";
const NONCE: &str = "n-0S6_WzA2Mj";

struct Bench {
    key: SigningKey,
    tokens: IdTokens,
}

fn bench() -> Bench {
    let key = key(SigningAlgorithm::Rs256);
    let tokens = IdTokens::new(PROVIDER, CLIENT, published(&key));
    Bench { key, tokens }
}

fn published(key: &SigningKey) -> Arc<IssuerKeys> {
    let set = json!({ "keys": [key.public_jwk()] }).to_string();
    let algorithms = [portcullis_config::issuers::Algorithm::Rs256];
    let read = KeySet::from_jwks(set.as_bytes(), &algorithms);
    read.expect("a usable key").keys.into()
}

fn said() -> Value {
    json!({
        "iss": PROVIDER, "sub": "110169484474386276334", "aud": CLIENT, "azp": CLIENT, "nonce": NONCE,
        "iat": NOW, "exp": NOW + 3600, "email": "jo@example.com", "email_verified": true, "name": "Jo",
    })
}

fn header(key: &SigningKey) -> Value {
    changed(header_of(key), &json!({"typ": "JWT"}))
}

impl Bench {
    fn read_with(&self, header_changes: &Value, changes: &Value) -> Result<Identity, TokenError> {
        let header = changed(header(&self.key), header_changes).to_string();
        let token = forged(&self.key, &header, changed(said(), changes).to_string());
        let read = self.tokens.read(&token, NONCE, now());
        read.map_err(|refused| refused.cause)
    }

    fn read(&self, changes: &Value) -> Result<Identity, TokenError> {
        self.read_with(&json!({}), changes)
    }
}

#[test]
fn a_good_id_token_tells_who_signed_in() {
    let bench = bench();
    let jo = Identity {
        subject: "110169484474386276334".to_owned(),
        email: Some("jo@example.com".to_owned()),
        name: Some("Jo".to_owned()),
    };
    assert_eq!(bench.read(&json!({})), Ok(jo.clone()));
    assert_eq!(bench.read(&json!({"azp": null})), Ok(jo.clone()));
    assert_eq!(
        bench.read(&json!({"aud": [CLIENT]})),
        Ok(jo.clone()),
        "a list of one"
    );
    assert_eq!(
        bench.read(&json!({"aud": [CLIENT, "another"]})),
        Ok(jo.clone())
    );
    assert_eq!(bench.read_with(&json!({"typ": null}), &json!({})), Ok(jo));
}

#[test]
fn an_address_that_is_not_verified_is_as_if_it_were_not_there() {
    let bench = bench();
    for changes in [
        json!({"email_verified": null}),
        json!({"email_verified": false}),
        json!({"email_verified": "true"}),
        json!({"email_verified": 1}),
        json!({"email": null}),
        json!({"email": ["jo@example.com"]}),
        json!({"email": "jo@example.com\r\nBcc: x@example.com"}),
    ] {
        let identity = bench
            .read(&changes)
            .expect("an identity without an address");
        assert_eq!(identity.email, None, "{changes}");
    }
}

#[test]
fn an_id_token_for_anybody_else_or_any_other_moment_is_refused() {
    use TokenError::{
        BadClaims, Expired, LifetimeTooLong, NotYetValid, UnknownIssuer, WrongAudience,
    };
    let bench = bench();
    let cases = [
        (json!({"nonce": "another"}), BadClaims("nonce")),
        (json!({"nonce": null}), BadClaims("nonce")),
        (json!({"nonce": ""}), BadClaims("nonce")),
        (json!({"nonce": 5}), BadClaims("nonce")),
        (json!({"aud": "another"}), WrongAudience),
        (json!({"aud": null}), BadClaims("aud")),
        (json!({"aud": [CLIENT, 5]}), BadClaims("aud")),
        (
            json!({"aud": [CLIENT, "another"], "azp": null}),
            BadClaims("azp"),
        ),
        (
            json!({"aud": [CLIENT, "another"], "azp": "another"}),
            BadClaims("azp"),
        ),
        (json!({"azp": "another"}), BadClaims("azp")),
        (json!({"azp": [CLIENT]}), BadClaims("azp")),
        (json!({"iss": "https://evil.example"}), UnknownIssuer),
        (json!({"iss": format!("{PROVIDER}/")}), UnknownIssuer),
        (json!({"iss": [PROVIDER]}), UnknownIssuer),
        (json!({"iss": null}), BadClaims("iss")),
        (json!({"sub": null}), BadClaims("sub")),
        (json!({"sub": ""}), BadClaims("sub")),
        (json!({"sub": 5}), BadClaims("sub")),
        (json!({"sub": "a\u{202e}b"}), BadClaims("sub")),
        (json!({"exp": null}), BadClaims("exp")),
        (json!({"exp": NOW - 30}), Expired),
        (json!({"iat": null}), BadClaims("iat")),
        (json!({"iat": NOW + 31}), NotYetValid),
        (json!({"iat": NOW - 601}), Expired),
        (json!({"nbf": NOW + 31}), NotYetValid),
        (json!({"exp": NOW + 24 * 3600 + 1}), LifetimeTooLong),
    ];
    for (changes, expected) in cases {
        assert_eq!(bench.read(&changes), Err(expected), "{changes}");
    }
}

#[test]
fn an_id_token_that_the_provider_did_not_sign_is_refused() {
    use TokenError::{BadSignature, Critical, Malformed, UnknownKey, WrongAlgorithm, WrongType};
    let bench = bench();
    let with = |changes: Value| bench.read_with(&changes, &json!({}));
    assert_eq!(with(json!({"alg": "none"})), Err(WrongAlgorithm));
    assert_eq!(with(json!({"alg": "HS256"})), Err(WrongAlgorithm));
    assert_eq!(with(json!({"kid": "another"})), Err(UnknownKey));
    assert_eq!(with(json!({"typ": "at+jwt"})), Err(WrongType));
    assert_eq!(with(json!({"crit": ["exp"]})), Err(Critical));
    assert_eq!(with(json!({"jwk": {}})), Err(Malformed));
    let refusal = |token: &str| bench.tokens.read(token, NONCE, now()).err();
    let cause = |token: &str| refusal(token).map(|refused| refused.cause);
    let header = header(&bench.key).to_string();
    let other = key(SigningAlgorithm::Rs256);
    let theirs = forged(&other, &header, said().to_string());
    assert_eq!(cause(&theirs), Some(BadSignature));
    let unsigned = format!(
        "{}.{}.",
        encoded(r#"{"alg":"none"}"#),
        encoded(said().to_string())
    );
    assert_eq!(cause(&unsigned), Some(Malformed));
    assert_eq!(cause(""), Some(Malformed));
    assert_eq!(
        cause(&signed(&bench.key)),
        Some(WrongType),
        "an access token"
    );
}

#[test]
fn a_secret_the_provider_shares_with_us_signs_nothing() {
    let bench = bench();
    let secret = key(SigningAlgorithm::Hs256);
    let header = json!({"alg": "HS256", "typ": "JWT"}).to_string();
    let token = forged(&secret, &header, said().to_string());
    let refused = bench.tokens.read(&token, NONCE, now()).err();
    let cause = refused.map(|refused| refused.cause);
    assert_eq!(cause, Some(TokenError::WrongAlgorithm));
}

#[test]
fn a_key_that_is_not_held_may_be_asked_for() {
    let bench = bench();
    let header = changed(header(&bench.key), &json!({"kid": "next"})).to_string();
    let token = forged(&bench.key, &header, said().to_string());
    let refused = bench.tokens.read(&token, NONCE, now()).err();
    assert!(refused.is_some_and(|refused| refused.missing.is_some()));
    let keyless = IdTokens::new(PROVIDER, CLIENT, KeySet::empty().into());
    let refused = keyless.read(&token, NONCE, now()).err();
    let refused = refused.expect("no keys, no identity");
    assert_eq!(refused.cause, TokenError::KeysUnavailable);
    assert!(refused.missing.is_some());
}

/// It comes from the provider itself, which may give another key the name of one before, or none.
#[test]
fn where_no_key_fits_the_provider_may_be_asked_for_its_keys_again() {
    let bench = bench();
    let other = key(SigningAlgorithm::Rs256);
    let same_name = header(&bench.key);
    let nameless = changed(header(&bench.key), &json!({"kid": null}));
    let other_kind = changed(header(&bench.key), &json!({"alg": "ES256"}));
    for header in [same_name, nameless, other_kind] {
        let token = forged(&other, &header.to_string(), said().to_string());
        let refused = bench.tokens.read(&token, NONCE, now()).err();
        assert!(
            refused.is_some_and(|refused| refused.missing.is_some()),
            "{header}"
        );
    }
    let stale = changed(said(), &json!({"iat": NOW - 601}));
    let token = forged(
        &bench.key,
        &header(&bench.key).to_string(),
        stale.to_string(),
    );
    let refused = bench.tokens.read(&token, NONCE, now()).err();
    assert!(refused.is_some_and(|refused| refused.missing.is_none()));
}
