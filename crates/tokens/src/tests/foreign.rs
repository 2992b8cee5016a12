//! Tokens of other issuers.

use std::{collections::BTreeMap, path::PathBuf};

use portcullis_config::issuers::{Algorithm, ClaimNames, Issuer, KeySource, TokenType};

use super::{
    keys::{pem_of, public_der},
    *,
};
use crate::{IssuerName, KeyError};

const CORP: &str = "https://login.example.com";

pub(super) fn corp() -> Issuer {
    let named = |name: &str| TokenType::Named(name.to_owned());
    Issuer {
        name: "corp".to_owned(),
        issuer: CORP.to_owned(),
        audiences: vec!["hotel".to_owned(), "portcullis".to_owned()],
        keys: KeySource::PublicKeyFile(PathBuf::new()),
        algorithms: vec![Algorithm::Hs256],
        types: vec![named("at+jwt"), named("JWT"), TokenType::Absent],
        clock_skew: Duration::from_secs(30),
        max_token_lifetime: Duration::from_secs(3600),
        roles: BTreeMap::from([
            ("hotel-staff".to_owned(), "staff".to_owned()),
            ("Night Shift".to_owned(), "staff".to_owned()),
        ]),
        claims: ClaimNames {
            resource: "aud".to_owned(),
            scopes: vec!["scope".to_owned(), "scp".to_owned()],
            roles: "roles".to_owned(),
            user: "sub".to_owned(),
            tenant: "tid".to_owned(),
        },
        token_cache: 100,
        revocations: None,
    }
}

/// A verifier of ours and theirs, whose tokens are signed with the shared secret.
fn verifier_with(settings: &Issuer) -> Verifier {
    let keys = KeySet::from_secret(&SecretString::from(SECRET), &settings.algorithms)
        .expect("a long secret");
    let foreign = IssuerSpec::foreign(settings, keys).expect("a good name");
    verifier_of(
        vec![local(&[&key(SigningAlgorithm::EdDsa)]), foreign],
        &Arc::default(),
    )
}

pub(super) fn their_payload() -> Value {
    json!({
        "iss": CORP, "sub": "alice", "aud": "hotel", "exp": NOW + 600, "iat": NOW,
        "scope": "hotel:read", "roles": ["hotel-staff", "domain-admin"],
    })
}

fn theirs(header: &str, changes: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    signed_as(
        jsonwebtoken::Algorithm::HS256,
        &key,
        header,
        changed(their_payload(), changes).to_string(),
    )
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[test]
fn claims_asked_for_are_remembered_if_they_have_one_spelling() {
    let settings = corp();
    let keys = KeySet::from_secret(&SecretString::from(SECRET), &settings.algorithms)
        .expect("a long secret");
    let names = ["org", "plan", "beta", "groups", "absent", "realm.unit"].map(Arc::from);
    let foreign = IssuerSpec::foreign(&settings, keys)
        .expect("a good name")
        .remembering(Arc::new(names));
    let claims = json!({
        "org": "1", "plan": 1, "beta": true, "groups": ["a"], "realm": { "unit": "u" }, "other": "x",
    });
    let principal = verifier_of(vec![foreign], &Arc::default())
        .verify(&theirs(HEADER, &claims), now())
        .expect("a token of theirs");
    let check = |name, expected| assert_eq!(principal.remembered().value(name), expected, "{name}");
    check("org", Some(r#""1""#));
    check("plan", Some("1"));
    check("beta", Some("true"));
    check("realm.unit", Some(r#""u""#));
    check("groups", None);
    check("absent", None);
    check("other", None);
}

#[test]
fn a_foreign_user_bears_the_name_of_the_issuer_and_only_mapped_roles() {
    let changes =
        json!({"tid": "t1", "jti": "j1", "client_id": "app", "sid": "session-1", "ver": 9});
    let principal = verifier_with(&corp())
        .verify(&theirs(HEADER, &changes), now())
        .expect("a token of theirs");
    assert_eq!(principal.subject(), "corp:alice");
    assert_eq!(principal.issuer(), &IssuerName::Foreign("corp".into()));
    assert_eq!(
        (
            principal.resource(),
            principal.scope_line(),
            principal.role_line()
        ),
        ("hotel", "hotel:read", "staff")
    );
    assert_eq!(
        (
            principal.tenant(),
            principal.token_id(),
            principal.client_id()
        ),
        (Some("t1"), "j1", Some("app"))
    );
    assert_eq!(
        (principal.session(), principal.version()),
        (None, 0),
        "sessions and versions are those of our own users"
    );
}

#[test]
fn a_foreign_token_never_opens_the_gateway_itself() {
    let refused = Some(TokenError::WrongAudience);
    let verifier = verifier_with(&corp());
    assert_eq!(
        refusal(&verifier, &theirs(HEADER, &json!({"aud": "portcullis"}))),
        refused,
        "though it is in `audiences`"
    );
    assert_eq!(
        refusal(
            &verifier,
            &theirs(HEADER, &json!({"aud": ["portcullis", "hotel"]}))
        ),
        refused
    );
    let by_claim = Issuer {
        claims: ClaimNames {
            resource: "res".to_owned(),
            ..corp().claims
        },
        ..corp()
    };
    assert_eq!(
        refusal(
            &verifier_with(&by_claim),
            &theirs(HEADER, &json!({"res": "portcullis"}))
        ),
        refused
    );
}

#[test]
fn local_revocations_do_not_reach_foreign_tokens() {
    let revocations = Arc::new(Revocations::new());
    let keys = KeySet::from_secret(&SecretString::from(SECRET), &[Algorithm::Hs256])
        .expect("a long secret");
    let verifier = verifier_of(
        vec![IssuerSpec::foreign(&corp(), keys).expect("a good name")],
        &revocations,
    );
    revocations.revoke(
        crate::Revocation::Session("session-1".to_owned()),
        Timestamp::from_secs(NOW + 600),
    );
    let user = |id: &str| crate::Revocation::UserBefore {
        user_id: id.to_owned(),
        version: 9,
    };
    revocations.revoke(user("alice"), Timestamp::from_secs(NOW + 600));
    revocations.revoke(user("corp:alice"), Timestamp::from_secs(NOW + 600));
    assert_eq!(
        refusal(&verifier, &theirs(HEADER, &json!({"sid": "session-1"}))),
        None
    );
}

#[test]
fn the_header_of_a_foreign_token_may_hint_but_not_bring_a_key() {
    let cases = [
        (r#"{"alg":"HS256"}"#, None),
        (r#"{"alg":"HS256","typ":"at+jwt"}"#, None),
        (
            r#"{"alg":"HS256","typ":"application/jwt","kid":"anything"}"#,
            None,
        ),
        (
            r#"{"alg":"HS256","typ":"JWT","x5t":"abc","x5t#S256":"abc","nonce":"1"}"#,
            None,
        ),
        (
            r#"{"alg":"HS256","typ":"secevent+jwt"}"#,
            Some(TokenError::WrongType),
        ),
        (r#"{"alg":"HS384"}"#, Some(TokenError::WrongAlgorithm)),
        (r#"{"alg":"none"}"#, Some(TokenError::WrongAlgorithm)),
        (r#"{"alg":"HS256","kid":7}"#, Some(TokenError::Malformed)),
        (
            r#"{"alg":"HS256","jku":"http://127.0.0.1/"}"#,
            Some(TokenError::Malformed),
        ),
        (
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}"#,
            Some(TokenError::Malformed),
        ),
        (
            r#"{"alg":"HS256","crit":["nonce"],"nonce":"1"}"#,
            Some(TokenError::Critical),
        ),
    ];
    let verifier = verifier_with(&corp());
    for (header, wanted) in cases {
        assert_eq!(
            refusal(&verifier, &theirs(header, &json!({}))),
            wanted,
            "{header}"
        );
    }
}

#[test]
fn foreign_claims_are_read_through_their_mapping_or_refused() {
    let bad = TokenError::BadClaims;
    let cases = [
        (json!({"sub": null}), bad("sub")),
        (json!({"sub": "a\u{202e}"}), bad("user")),
        (json!({"aud": null}), bad("aud")),
        (json!({"aud": "hospital"}), TokenError::WrongAudience),
        (json!({"scope": 5}), bad("scopes")),
        (json!({"scope": ["a b"]}), bad("scopes")),
        (json!({"roles": {"hotel-staff": true}}), bad("roles")),
        (json!({"roles": [5]}), bad("roles")),
        (json!({"tid": 5}), bad("tenant")),
        (json!({"jti": ""}), bad("jti")),
        (json!({"exp": NOW - 30}), TokenError::Expired),
        (json!({"nbf": NOW + 31}), TokenError::NotYetValid),
        (json!({"exp": NOW + 3601}), TokenError::LifetimeTooLong),
        (
            json!({"exp": NOW + 3631, "iat": null}),
            TokenError::LifetimeTooLong,
        ),
        (json!({"iss": ISSUER}), TokenError::WrongType),
    ];
    let verifier = verifier_with(&corp());
    for (change, wanted) in cases {
        assert_eq!(
            refusal(&verifier, &theirs(HEADER, &change)),
            Some(wanted),
            "{change}"
        );
    }
    for change in [
        json!({"exp": NOW - 29}),
        json!({"exp": NOW + 3630, "iat": null}),
        json!({"roles": null, "scope": null}),
    ] {
        assert_eq!(
            refusal(&verifier, &theirs(HEADER, &change)),
            None,
            "{change}"
        );
    }
}

#[test]
fn scopes_and_roles_come_as_lines_or_lists_and_from_the_first_claim_there_is() {
    let cases = [
        (json!({"scope": "a b", "scp": "c"}), "a b", "staff"),
        (
            json!({"scope": null, "scp": ["c", "d", "c"]}),
            "c d",
            "staff",
        ),
        (json!({"scope": null}), "", "staff"),
        (json!({"scope": "a", "roles": "Night Shift"}), "a", "staff"),
        (
            json!({"scope": "a", "roles": ["hotel-staff", "Night Shift"]}),
            "a",
            "staff",
        ),
        (json!({"scope": "a", "roles": ["staff", "admin"]}), "a", ""),
        (json!({"scope": "a", "roles": null}), "a", ""),
    ];
    let verifier = verifier_with(&corp());
    for (change, scopes, roles) in cases {
        let principal = verifier
            .verify(&theirs(HEADER, &change), now())
            .expect("a token of theirs");
        assert_eq!(
            (principal.scope_line(), principal.role_line()),
            (scopes, roles),
            "{change}"
        );
    }
}

#[test]
fn claims_are_found_by_name_and_then_by_path() {
    let claims = ClaimNames {
        resource: "ext.resource".to_owned(),
        roles: "realm_access.roles".to_owned(),
        user: "https://corp.example/id".to_owned(),
        ..corp().claims
    };
    let verifier = verifier_with(&Issuer { claims, ..corp() });
    let change = json!({
        "ext": {"resource": "inventory"}, "realm_access": {"roles": ["hotel-staff"]}, "https://corp.example/id": "4711",
    });
    let principal = verifier
        .verify(&theirs(HEADER, &change), now())
        .expect("a token of theirs");
    assert_eq!(
        (
            principal.subject(),
            principal.resource(),
            principal.role_line()
        ),
        ("corp:4711", "inventory", "staff")
    );
    assert_eq!(
        refusal(&verifier, &theirs(HEADER, &json!({}))),
        Some(TokenError::BadClaims("user"))
    );
}

#[test]
fn every_algorithm_verifies_under_a_single_public_key() {
    let (ec, ed, rsa) = (
        key(SigningAlgorithm::Es256),
        key(SigningAlgorithm::EdDsa),
        key(SigningAlgorithm::Rs256),
    );
    let rsa_family = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
    ];
    let cases: [(&SigningKey, &[Algorithm]); 3] = [
        (&ec, &[Algorithm::Es256]),
        (&ed, &[Algorithm::EdDsa]),
        (&rsa, &rsa_family),
    ];
    for (key, algorithms) in cases {
        let keys = KeySet::from_pem(&pem_of("PUBLIC KEY", &public_der(key)), algorithms)
            .expect("a public key");
        let verifier = verifier_of(
            vec![IssuerSpec::foreign(&corp(), keys).expect("a good name")],
            &Arc::default(),
        );
        for algorithm in algorithms {
            let name = crate::algorithm::name_of(*algorithm);
            let header = format!(r#"{{"alg":"{name}"}}"#);
            let library = crate::algorithm::for_library(*algorithm);
            let token = signed_as(
                library,
                &encoding_key(key),
                &header,
                their_payload().to_string(),
            );
            assert_eq!(refusal(&verifier, &token), None, "{name}");
        }
    }
}

#[test]
fn an_rsa_signature_of_another_padding_or_hash_is_refused() {
    let rsa = key(SigningAlgorithm::Rs256);
    let keys = KeySet::from_pem(
        &pem_of("PUBLIC KEY", &public_der(&rsa)),
        &[Algorithm::Rs256, Algorithm::Ps256],
    );
    let verifier = verifier_of(
        vec![IssuerSpec::foreign(&corp(), keys.expect("an RSA key")).expect("a good name")],
        &Arc::default(),
    );
    let sign = |algorithm, header| {
        signed_as(
            algorithm,
            &encoding_key(&rsa),
            header,
            their_payload().to_string(),
        )
    };
    use jsonwebtoken::Algorithm::{PS256, RS256, RS512};
    assert_eq!(
        refusal(&verifier, &sign(RS256, r#"{"alg":"PS256"}"#)),
        Some(TokenError::BadSignature)
    );
    assert_eq!(
        refusal(&verifier, &sign(PS256, r#"{"alg":"RS256"}"#)),
        Some(TokenError::BadSignature)
    );
    assert_eq!(
        refusal(&verifier, &sign(RS512, r#"{"alg":"RS256"}"#)),
        Some(TokenError::BadSignature)
    );
    assert_eq!(
        refusal(&verifier, &sign(RS512, r#"{"alg":"RS512"}"#)),
        Some(TokenError::WrongAlgorithm),
        "not configured"
    );
}

#[test]
fn each_longer_hash_of_a_secret_verifies() {
    for (algorithm, library) in [
        (Algorithm::Hs384, jsonwebtoken::Algorithm::HS384),
        (Algorithm::Hs512, jsonwebtoken::Algorithm::HS512),
    ] {
        let verifier = verifier_with(&Issuer {
            algorithms: vec![algorithm],
            ..corp()
        });
        let header = format!(r#"{{"alg":"{}"}}"#, crate::algorithm::name_of(algorithm));
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        assert_eq!(
            refusal(
                &verifier,
                &signed_as(library, &key, &header, their_payload().to_string())
            ),
            None
        );
    }
}

#[test]
fn issuers_are_told_apart_by_name_and_by_string() {
    let spec = |name: &str, issuer: &str| {
        let keys = KeySet::from_secret(&SecretString::from(SECRET), &[Algorithm::Hs256])
            .expect("a long secret");
        IssuerSpec::foreign(
            &Issuer {
                name: name.to_owned(),
                issuer: issuer.to_owned(),
                ..corp()
            },
            keys,
        )
    };
    assert_eq!(spec("a:b", CORP).err(), Some(KeyError::IssuerName));
    assert_eq!(spec("", CORP).err(), Some(KeyError::IssuerName));
    assert_eq!(
        spec("local", CORP).err(),
        Some(KeyError::IssuerName),
        "a rule that names `local` means our own"
    );
    let built = |specs: Vec<Result<IssuerSpec, KeyError>>| {
        let issuers = specs
            .into_iter()
            .map(|spec| spec.expect("a good name"))
            .collect();
        Verifier::new(VerifierParts {
            issuers,
            cache_entries: 0,
            cache_bytes: 0,
            revocations: Arc::default(),
        })
        .err()
    };
    assert_eq!(built(vec![spec("a", "x"), spec("b", "y")]), None);
    assert_eq!(
        built(vec![spec("a", "x"), spec("a", "y")]),
        Some(KeyError::DuplicateIssuer)
    );
    assert_eq!(
        built(vec![spec("a", "x"), spec("b", "x")]),
        Some(KeyError::DuplicateIssuer)
    );
}

#[test]
fn a_metric_learns_whose_token_was_refused_but_only_of_known_issuers() {
    let verifier = verifier_with(&corp());
    let claimed = |token: &str| {
        let refused = verifier.examine(token, now()).expect_err("a refusal");
        refused.issuer
    };
    let corp = Some(IssuerName::Foreign("corp".into()));
    assert_eq!(claimed(&theirs(HEADER, &json!({"exp": 1}))), corp);
    assert_eq!(claimed(&theirs(HEADER, &json!({"iss": "x"}))), None);
    assert_eq!(claimed("a.b.c"), None);
    let passing = theirs(HEADER, &json!({}));
    assert!(verifier.verify(&passing, now()).is_ok());
    let late = Timestamp::from_secs(NOW + 700);
    let expired = verifier.examine(&passing, late).err();
    assert_eq!(
        expired.and_then(|refused| refused.issuer),
        corp,
        "of a remembered token as well"
    );
}
