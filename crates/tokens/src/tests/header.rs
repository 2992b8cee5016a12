//! Form and header: everything here but the cases on signatures is signed by the right key.

use super::*;

/// Changes to a good header, and the reason they must be refused for.
#[test]
fn a_header_with_anything_but_what_we_write_is_refused() {
    let key = key(SigningAlgorithm::Es256);
    let verifier = verifier(&key);
    let other = self::key(SigningAlgorithm::EdDsa);
    let cases = [
        (json!({"alg": "none"}), TokenError::WrongAlgorithm),
        (json!({"alg": "None"}), TokenError::WrongAlgorithm),
        (json!({"alg": "NONE"}), TokenError::WrongAlgorithm),
        (json!({"alg": "es256"}), TokenError::WrongAlgorithm),
        (json!({"alg": "Ed25519"}), TokenError::WrongAlgorithm),
        (json!({"alg": "HS256"}), TokenError::WrongAlgorithm),
        (json!({"alg": "ES384"}), TokenError::WrongAlgorithm),
        (json!({"alg": "RS256"}), TokenError::WrongAlgorithm),
        (json!({"alg": null}), TokenError::Malformed),
        (json!({"alg": ["ES256"]}), TokenError::Malformed),
        (json!({"kid": other.kid()}), TokenError::UnknownKey),
        (json!({"kid": 5}), TokenError::Malformed),
        (json!({"kid": [key.kid()]}), TokenError::Malformed),
        (json!({"jwk": key.public_jwk()}), TokenError::Malformed),
        (
            json!({"jku": "http://127.0.0.1:1/jwks"}),
            TokenError::Malformed,
        ),
        (
            json!({"x5u": "http://127.0.0.1:1/cert"}),
            TokenError::Malformed,
        ),
        (json!({"x5c": ["MIIB"]}), TokenError::Malformed),
        (json!({"x5t": "abc"}), TokenError::Malformed),
        (json!({"x5t#S256": "abc"}), TokenError::Malformed),
        (json!({"cty": "JWT"}), TokenError::Malformed),
        (json!({"zip": "DEF"}), TokenError::Malformed),
        (json!({"enc": "A256GCM"}), TokenError::Malformed),
        (json!({"b64": false}), TokenError::Malformed),
        (json!({"note": "x".repeat(4096)}), TokenError::Malformed),
        (json!({"crit": ["exp"]}), TokenError::Critical),
        (json!({"crit": ["b64"], "b64": false}), TokenError::Critical),
        (json!({"crit": []}), TokenError::Critical),
        (json!({"crit": "exp"}), TokenError::Critical),
        (json!({"crit": ["unknown"]}), TokenError::Critical),
        (json!({"typ": null}), TokenError::WrongType),
        (json!({"typ": "JWT"}), TokenError::WrongType),
        (json!({"typ": "ID"}), TokenError::WrongType),
        (json!({"typ": "dpop+jwt"}), TokenError::WrongType),
        (json!({"typ": "refresh+jwt"}), TokenError::WrongType),
        (
            json!({"typ": "application/x/at+jwt"}),
            TokenError::WrongType,
        ),
        (json!({"typ": "text/at+jwt"}), TokenError::WrongType),
        (json!({"typ": 1}), TokenError::Malformed),
    ];
    for (change, wanted) in cases {
        let token = forged(
            &key,
            &changed(header_of(&key), &change).to_string(),
            payload().to_string(),
        );
        assert_eq!(refusal(&verifier, &token), Some(wanted), "{change}");
    }
}

#[test]
fn a_key_id_is_compared_and_never_opened_run_or_asked_for() {
    let key = key(SigningAlgorithm::Es256);
    let verifier = verifier(&key);
    let texts = [
        "",
        " ",
        "../../../../dev/null",
        "/proc/self/environ",
        "x' UNION SELECT '1';--",
        "|sleep 10",
        "http://127.0.0.1:1/jwks",
        "\0",
    ];
    let texts = texts.map(str::to_owned).into_iter();
    for text in texts.chain([format!("{} ", key.kid()), "k".repeat(5_000)]) {
        let header = changed(header_of(&key), &json!({ "kid": text }));
        let token = forged(&key, &header.to_string(), payload().to_string());
        assert_eq!(
            refusal(&verifier, &token),
            Some(TokenError::UnknownKey),
            "{text:.60}"
        );
    }
    let nameless = changed(header_of(&key), &json!({ "kid": null }));
    let token = forged(&key, &nameless.to_string(), payload().to_string());
    assert_eq!(refusal(&verifier, &token), Some(TokenError::UnknownKey));
    let endless = changed(header_of(&key), &json!({ "kid": "k".repeat(65_536) }));
    let token = forged(&key, &endless.to_string(), payload().to_string());
    assert_eq!(refusal(&verifier, &token), Some(TokenError::TooLarge));
}

#[test]
fn the_type_is_a_media_type_in_any_case_with_or_without_its_prefix() {
    let key = key(SigningAlgorithm::EdDsa);
    let verifier = verifier(&key);
    for accepted in [
        "at+jwt",
        "at+JWT",
        "AT+JWT",
        "application/at+jwt",
        "Application/AT+jwt",
    ] {
        let header = changed(header_of(&key), &json!({"typ": accepted}));
        let token = forged(&key, &header.to_string(), payload().to_string());
        assert_eq!(refusal(&verifier, &token), None, "{accepted}");
    }
}

/// Written out, since no JSON writer makes them.
#[test]
fn header_texts_that_two_readers_could_read_differently_are_refused() {
    let key = key(SigningAlgorithm::Es256);
    let verifier = verifier(&key);
    let (kid, good) = (key.kid(), header_of(&key).to_string());
    let deep = format!(
        r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt","a":{}1{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let texts = [
        format!(r#"{{"alg":"ES256","alg":"none","kid":"{kid}","typ":"at+jwt"}}"#),
        format!(r#"{{"alg":"none","alg":"ES256","kid":"{kid}","typ":"at+jwt"}}"#),
        format!(r#"{{"alg":"ES256","\u0061lg":"ES256","kid":"{kid}","typ":"at+jwt"}}"#),
        format!(r#"{{"alg":"ES256","kid":"x","kid":"{kid}","typ":"at+jwt"}}"#),
        format!("\u{feff}{good}"),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("/* */{good}"),
        good.replace("\"at+jwt\"", "NaN"),
        format!("[{good}]"),
        format!("\"{kid}\""),
        "5".to_owned(),
        deep,
    ];
    for text in texts {
        let token = forged(&key, &text, payload().to_string());
        assert_eq!(
            refusal(&verifier, &token),
            Some(TokenError::Malformed),
            "{text}"
        );
    }
    let spaced = format!(" {good}\n");
    assert_eq!(
        refusal(&verifier, &forged(&key, &spaced, payload().to_string())),
        None,
        "JSON allows spaces around"
    );
}

#[test]
fn a_token_has_three_parts_in_one_spelling() {
    let key = key(SigningAlgorithm::Es256);
    let verifier = verifier(&key);
    let good = signed(&key);
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("three parts")
    };
    let cases = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!(".{good}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{good}.{signature}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{good}=="),
        format!("{good}\n"),
        format!(" {good}"),
        format!("{header} .{payload}.{signature}"),
        format!("\"{good}\""),
        format!("{good}, {good}"),
        format!("{header}.{payload}?.{signature}"),
        format!("{header}\u{2024}{payload}\u{2024}{signature}"),
        good.replace('.', "\u{0}"),
        format!("{header}.{payload}.+/{signature}"),
        json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
    ];
    for token in cases {
        assert_eq!(
            refusal(&verifier, &token),
            Some(TokenError::Malformed),
            "{token:?}"
        );
    }
}

#[test]
fn stray_bits_at_the_end_of_a_part_are_refused() {
    let key = key(SigningAlgorithm::Es256);
    let verifier = verifier(&key);
    // 64 bytes of signature leave four bits of the last character, which must all be zero.
    let good = signed(&key);
    for (end, others) in [
        ("A", "BCDEFGHIJKLMNOP"),
        ("Q", "RSTUVWXYZabcdef"),
        ("g", "hijklmnopqrstuv"),
        ("w", "xyz0123456789-_"),
    ] {
        let Some(start) = good.strip_suffix(end) else {
            continue;
        };
        for other in others.chars() {
            assert_eq!(
                refusal(&verifier, &format!("{start}{other}")),
                Some(TokenError::Malformed),
                "{end} became {other}"
            );
        }
    }
    // The same in a header, signed as it is spelled: a space that begins a group of three, four bits of which are spare.
    let header = header_of(&key).to_string();
    let spaces = " ".repeat(3 - (header.len() + 2) % 3);
    let spelled = encoded(header + &spaces);
    let start = spelled
        .strip_suffix('A')
        .expect("two bits of a space and four spare ones");
    let message = format!("{start}B.{}", encoded(payload().to_string()));
    let signature = jsonwebtoken::crypto::sign(
        message.as_bytes(),
        &encoding_key(&key),
        jsonwebtoken::Algorithm::ES256,
    );
    let token = format!("{message}.{}", signature.expect("a signature"));
    assert_eq!(refusal(&verifier, &token), Some(TokenError::Malformed));
}

#[test]
fn more_than_eight_kib_is_refused_before_it_is_read() {
    let verifier = verifier(&key(SigningAlgorithm::Es256));
    assert_eq!(
        refusal(&verifier, &"\u{0}".repeat(8192)),
        Some(TokenError::Malformed),
        "as long as is allowed, and read"
    );
    for length in [8193, 64 << 10, 1 << 20] {
        assert_eq!(
            refusal(&verifier, &"\u{0}".repeat(length)),
            Some(TokenError::TooLarge)
        );
    }
    assert_eq!(
        verifier.cache_counts().misses,
        1,
        "what is too large is not even looked up"
    );
}

#[test]
fn signatures_that_are_none_are_refused() {
    let key = key(SigningAlgorithm::Es256);
    let verifier = verifier(&key);
    let good = signed(&key);
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let raw = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let (r, s) = raw.split_at(32);
    let zero = [0; 32];
    let der = [&[0x30, 0x44, 0x02, 0x20], r, &[0x02, 0x20], s].concat();
    let variants: [(&str, Vec<u8>); 10] = [
        ("all zero", vec![0; 64]),
        ("r is zero", [&zero, s].concat()),
        ("s is zero", [r, &zero].concat()),
        ("s is n", [r, &P256_ORDER].concat()),
        ("r is n", [&P256_ORDER, s].concat()),
        ("one byte less", raw[..63].to_vec()),
        ("one byte more", [raw.as_slice(), &[0]].concat()),
        ("a zero in front of each", [&[0], r, &[0], s].concat()),
        ("DER", der),
        ("r and s changed round", [s, r].concat()),
    ];
    for (what, signature) in variants {
        assert_eq!(
            refusal(&verifier, &format!("{message}.{}", encoded(signature))),
            Some(TokenError::BadSignature),
            "{what}"
        );
    }
    for cut in 1..=4 {
        assert!(
            refusal(&verifier, &good[..good.len() - cut]).is_some(),
            "{cut} characters less"
        );
    }
    let endless = format!("{message}.{}", "A".repeat(64 << 10));
    assert_eq!(refusal(&verifier, &endless), Some(TokenError::TooLarge));
    let unsigned = header_of(&key).to_string().replace("ES256", "none");
    let token = format!(
        "{}.{}.{signature}",
        encoded(unsigned),
        encoded(payload().to_string())
    );
    assert_eq!(
        refusal(&verifier, &token),
        Some(TokenError::WrongAlgorithm),
        "none, with a signature kept"
    );
}

/// Nobody can change what an ES256 token says, but anybody can spell its signature in a second way. Hence everything
/// that denies goes by what the token says.
#[test]
fn the_twin_of_an_es256_signature_is_revoked_with_it() {
    let key = key(SigningAlgorithm::Es256);
    let revocations = Arc::new(Revocations::new());
    let verifier = verifier_of(vec![local(&[&key])], &revocations);
    let good = signed(&key);
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let raw = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let twin = format!(
        "{message}.{}",
        encoded([&raw[..32], &order_less(&raw[32..])].concat())
    );
    assert_ne!(twin, good);
    assert_eq!(
        (refusal(&verifier, &good), refusal(&verifier, &twin)),
        (None, None)
    );
    revocations.revoke(
        crate::Revocation::Session("session-1".to_owned()),
        Timestamp::from_secs(NOW + 600),
    );
    let revoked = Some(TokenError::Revoked);
    assert_eq!(
        (refusal(&verifier, &good), refusal(&verifier, &twin)),
        (revoked, revoked)
    );
}

const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// n - s, digit by digit.
fn order_less(s: &[u8]) -> Vec<u8> {
    let mut difference = P256_ORDER.to_vec();
    let mut borrow = false;
    for place in (0..32).rev() {
        let (first, under) = difference[place].overflowing_sub(s[place]);
        let (digit, under_again) = first.overflowing_sub(u8::from(borrow));
        (difference[place], borrow) = (digit, under || under_again);
    }
    difference
}
