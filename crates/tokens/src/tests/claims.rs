//! What a token of ours says, all of it signed by our key. Times have a file of their own.

use super::*;

/// Signs `payload()` with each change, and wants the refusal beside it.
fn check(cases: &[(Value, TokenError)]) {
    let key = key(SigningAlgorithm::EdDsa);
    let verifier = verifier(&key);
    for (change, wanted) in cases {
        let token = forged(
            &key,
            &header_of(&key).to_string(),
            changed(payload(), change).to_string(),
        );
        assert_eq!(refusal(&verifier, &token), Some(*wanted), "{change}");
    }
}

#[test]
fn a_registered_claim_that_is_missing_or_wrong_is_refused() {
    let bad = TokenError::BadClaims;
    check(&[
        (json!({"exp": null}), bad("exp")),
        (json!({"exp": "1800000300"}), bad("exp")),
        (json!({"exp": [NOW + 300]}), bad("exp")),
        (json!({"exp": {}}), bad("exp")),
        (json!({"exp": true}), bad("exp")),
        (json!({"exp": -1}), bad("exp")),
        (json!({"exp": 1e300}), bad("exp")),
        (json!({"nbf": "soon"}), bad("nbf")),
        (json!({"nbf": -1}), bad("nbf")),
        (json!({"iat": null}), bad("iat")),
        (json!({"iat": -1}), bad("iat")),
        (json!({"iat": "1800000000"}), bad("iat")),
        (json!({"iss": null}), bad("iss")),
        (json!({"iss": 5}), bad("iss")),
        (json!({"iss": ["https://evil.example", ISSUER]}), bad("iss")),
        (
            json!({"iss": "https://gw.example/"}),
            TokenError::UnknownIssuer,
        ),
        (
            json!({"iss": "https://GW.example"}),
            TokenError::UnknownIssuer,
        ),
        (
            json!({"iss": "https://evil.example"}),
            TokenError::UnknownIssuer,
        ),
        (json!({"aud": null}), bad("aud")),
        (json!({"aud": 5}), bad("aud")),
        (json!({"aud": {"hotel": 1}}), bad("aud")),
        (json!({"aud": ["hotel", 5]}), bad("aud")),
        (json!({"aud": ["hotel"]}), bad("aud")),
        (json!({"aud": []}), TokenError::WrongAudience),
        (
            json!({"aud": "hospital", "resource": "hospital"}),
            TokenError::WrongAudience,
        ),
        (json!({"resource": "event"}), bad("resource")),
        (json!({"resource": null}), bad("resource")),
        (json!({"resource": ["hotel"]}), bad("resource")),
    ]);
}

#[test]
fn a_name_or_a_permission_that_is_missing_or_wrong_is_refused() {
    let bad = TokenError::BadClaims;
    check(&[
        (json!({"sub": null}), bad("sub")),
        (json!({"sub": ""}), bad("sub")),
        (json!({"sub": 5}), bad("sub")),
        (json!({"sub": "x".repeat(257)}), bad("sub")),
        (json!({"sub": "x".repeat(5000)}), bad("sub")),
        (json!({"sub": "a\u{0}b"}), bad("sub")),
        (json!({"sub": "a\nb"}), bad("sub")),
        (json!({"sub": "a\u{202e}b"}), bad("sub")),
        (json!({"sub": "alice "}), bad("sub")),
        (json!({"sid": null}), bad("sid")),
        (json!({"sid": ""}), bad("sid")),
        (json!({"sid": 1}), bad("sid")),
        (json!({"sid": "a\u{2066}b"}), bad("sid")),
        (json!({"jti": null}), bad("jti")),
        (json!({"jti": "a\u{7f}"}), bad("jti")),
        (json!({"client_id": null}), bad("client_id")),
        (json!({"ver": null}), bad("ver")),
        (json!({"ver": 7.5}), bad("ver")),
        (json!({"ver": -1}), bad("ver")),
        (json!({"ver": "7"}), bad("ver")),
        (json!({"scope": null}), bad("scope")),
        (json!({"scope": ["hotel:read"]}), bad("scope")),
        (json!({"scope": "hotel:read\thotel:write"}), bad("scope")),
        (json!({"roles": null}), bad("roles")),
        (json!({"roles": "admin"}), bad("roles")),
        (json!({"roles": ["admin", 5]}), bad("roles")),
        (json!({"roles": ["guest,admin"]}), bad("roles")),
        (json!({"tenant": 5}), bad("tenant")),
    ]);
}

#[test]
fn claims_that_we_do_not_know_are_ignored() {
    let key = key(SigningAlgorithm::EdDsa);
    let more = json!({"amr": ["pwd"], "auth_time": NOW, "cnf": {"jkt": "x"}});
    let token = forged(
        &key,
        &header_of(&key).to_string(),
        changed(payload(), &more).to_string(),
    );
    assert_eq!(
        refusal(&verifier(&key), &token),
        None,
        "RFC 7519 section 4: an older replica must take a newer one's token"
    );
}

#[test]
fn a_payload_that_two_readers_could_read_differently_is_refused() {
    let key = key(SigningAlgorithm::EdDsa);
    let verifier = verifier(&key);
    let good = payload().to_string();
    let extended = |member: &str| format!("{{{member},{}", &good[1..]).into_bytes();
    let mut not_utf8 = extended(r#""x":"?""#);
    let question_mark = not_utf8
        .iter()
        .position(|byte| *byte == b'?')
        .expect("the member above");
    not_utf8[question_mark] = 0xff;
    let payloads = [
        extended(r#""sub":"admin""#),
        extended(r#""s\u0075b":"admin""#),
        extended(r#""roles":["admin"]"#),
        extended(r#""x":{"y":1,"y":2}"#),
        extended(r#""x":"\ud800""#),
        not_utf8,
        json!([NOW + 300, null, "sub", ISSUER, "hotel"])
            .to_string()
            .into_bytes(),
        format!("[{good}]").into_bytes(),
        format!("{good}{good}").into_bytes(),
        b"null".to_vec(),
        b"{".to_vec(),
    ];
    for payload in payloads {
        let token = forged(&key, &header_of(&key).to_string(), &payload);
        assert_eq!(
            refusal(&verifier, &token),
            Some(TokenError::Malformed),
            "{}",
            String::from_utf8_lossy(&payload)
        );
    }
}

#[test]
fn a_role_gives_no_scope_and_a_star_is_a_word() {
    let key = key(SigningAlgorithm::EdDsa);
    let claims = AccessClaims {
        scope: "hotel:*".to_owned(),
        roles: vec!["admin".to_owned()],
        ..claims()
    };
    let principal = verifier(&key)
        .verify(&key.sign(&claims).expect("claims in order"), now())
        .expect("a token of ours");
    assert!(!principal.scopes().contains("hotel:read") && !principal.scopes().contains("admin"));
}

#[test]
fn the_same_key_under_another_issuer_is_of_no_use() {
    let key = key(SigningAlgorithm::EdDsa);
    let claims = AccessClaims {
        iss: "https://gw-2.example".to_owned(),
        ..claims()
    };
    let token = key.sign(&claims).expect("claims in order");
    assert_eq!(
        refusal(&verifier(&key), &token),
        Some(TokenError::UnknownIssuer)
    );
}

#[test]
fn revoked_sessions_users_and_keys_are_refused_until_the_row_is_moot() {
    let key = key(SigningAlgorithm::EdDsa);
    let until = Timestamp::from_secs(NOW + 60);
    let fence = |version| crate::Revocation::UserBefore {
        user_id: claims().sub,
        version,
    };
    let cases = [
        (
            crate::Revocation::Session("session-1".to_owned()),
            Some(TokenError::Revoked),
        ),
        (crate::Revocation::Session("session-2".to_owned()), None),
        (
            crate::Revocation::Key(key.kid().to_owned()),
            Some(TokenError::Revoked),
        ),
        (fence(8), Some(TokenError::Revoked)),
        (fence(7), None),
    ];
    for (revocation, wanted) in cases {
        let revocations = Arc::new(Revocations::new());
        revocations.revoke(revocation.clone(), until);
        let verifier = verifier_of(vec![local(&[&key])], &revocations);
        let token = signed(&key);
        assert_eq!(
            refusal(&verifier, &token),
            wanted,
            "{revocation:?}, first seen"
        );
        assert_eq!(
            refusal(&verifier, &token),
            wanted,
            "{revocation:?}, remembered"
        );
        assert!(
            verifier.verify(&token, until).is_ok(),
            "{revocation:?} is moot"
        );
    }
}
