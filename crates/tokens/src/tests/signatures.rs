//! Signatures at the edges of their algorithms: numbers that a careless verifier takes, lengths that are one off, padding
//! that is nearly right, and secrets that are none.
//!
//! `rsa_padding.json` was made once, in Python, with a key that was thrown away: our own libraries pad only as they should.

use portcullis_config::issuers::Algorithm;

use super::{foreign::corp, keys::pem_of, *};

/// What takes the place of a good signature, with a name for the message of a failure.
fn refuses(
    verifier: &Verifier,
    good: &str,
    signatures: impl IntoIterator<Item = (String, Vec<u8>)>,
) {
    let (message, _) = good.rsplit_once('.').expect("three parts");
    assert_eq!(refusal(verifier, good), None);
    for (what, signature) in signatures {
        let token = format!("{message}.{}", encoded(signature));
        assert_eq!(
            refusal(verifier, &token),
            Some(TokenError::BadSignature),
            "{what}"
        );
    }
}

fn signature_of(token: &str) -> Vec<u8> {
    let (_, signature) = token.rsplit_once('.').expect("three parts");
    URL_SAFE_NO_PAD.decode(signature).expect("base64url")
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16))
        .collect::<Result<_, _>>()
        .expect("hexadecimal")
}

/// Around 0, half the order, the order and the prime of the field of P-256, and the end of 32 bytes.
const P256_EDGES: [&str; 10] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000001",
    "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632552",
    "ffffffff00000001000000000000000000000000fffffffffffffffffffffffe",
    "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    "ffffffff00000001000000000000000000000001000000000000000000000000",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

#[test]
fn no_numbers_but_those_that_were_computed_are_an_es256_signature() {
    let key = key(SigningAlgorithm::Es256);
    let good = signed(&key);
    let signature = signature_of(&good);
    let (r, s) = signature.split_at(32);
    let named = |what: &str, r: &[u8], s: &[u8]| (what.to_owned(), [r, s].concat());
    let both = P256_EDGES.iter().flat_map(|r| {
        P256_EDGES
            .iter()
            .map(move |s| named(&format!("{r} {s}"), &hex(r), &hex(s)))
    });
    let one = P256_EDGES
        .iter()
        .flat_map(|edge| [named(edge, &hex(edge), s), named(edge, r, &hex(edge))]);
    refuses(&verifier(&key), &good, both.chain(one));
}

/// The encodings of the points of Ed25519 whose order is 1, 2, 4 or 8, the sign left at 0 (RFC 7748 section 7).
const SMALL_ORDER: [&str; 7] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    // 0 and 1 once more, beyond the prime.
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

const ED25519_ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/// Little-endian.
fn sum(one: &[u8], other: &[u8]) -> Vec<u8> {
    let mut carry = 0_u16;
    let digits = one.iter().zip(other).map(|(one, other)| {
        let sum = u16::from(*one) + u16::from(*other) + carry;
        carry = sum >> 8;
        sum.to_le_bytes()[0]
    });
    digits.collect()
}

#[test]
fn an_ed25519_signature_has_one_spelling_and_no_point_of_small_order() {
    let key = key(SigningAlgorithm::EdDsa);
    let good = signed(&key);
    let signature = signature_of(&good);
    let (r, s) = signature.split_at(32);
    let order = hex(ED25519_ORDER);
    let with_sign = |point: &str| {
        let mut point = hex(point);
        point[31] |= 0x80;
        point
    };
    let points = SMALL_ORDER
        .iter()
        .flat_map(|point| [hex(point), with_sign(point)]);
    let of_small_order = points.flat_map(|point| {
        [vec![0; 32], s.to_vec(), order.clone()].map(|s| {
            (
                format!("{point:02x?} {s:02x?}"),
                [point.clone(), s].concat(),
            )
        })
    });
    let others = [
        ("S and the order", [r, &sum(s, &order)].concat()),
        (
            "S and twice the order",
            [r, &sum(&sum(s, &order), &order)].concat(),
        ),
        ("S is 0", [r, &[0; 32]].concat()),
        ("S is the order", [r, &order].concat()),
        ("one byte less", signature[..63].to_vec()),
        ("one byte more", [signature.as_slice(), &[0]].concat()),
        ("R and S changed round", [s, r].concat()),
    ];
    let others = others.map(|(what, bytes)| (what.to_owned(), bytes));
    refuses(&verifier(&key), &good, of_small_order.chain(others));
}

/// Under such a point a signature of zeros fits one message in eight, or every one.
#[test]
fn a_point_of_small_order_is_no_key() {
    for point in SMALL_ORDER {
        for sign in [0, 0x80] {
            let mut point = hex(point);
            point[31] |= sign;
            let spki = [hex("302a300506032b6570032100"), point.clone()].concat();
            let pem = pem_of("PUBLIC KEY", &spki);
            assert!(
                KeySet::from_pem(&pem, &[Algorithm::EdDsa]).is_err(),
                "{point:02x?} in a file"
            );
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": encoded(&point)});
            let published = json!({ "keys": [jwk] }).to_string();
            assert!(
                KeySet::from_jwks(published.as_bytes(), &[Algorithm::EdDsa]).is_err(),
                "{point:02x?} in a key set"
            );
        }
    }
}

#[test]
fn an_rsa_signature_is_as_long_as_its_key_and_padded_in_one_way() {
    let made: Value = serde_json::from_str(include_str!("rsa_padding.json")).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let keys = KeySet::from_pem(&text(&made["key"]), &[Algorithm::Rs256]);
    let spec = IssuerSpec::foreign(&corp(), keys.expect("an RSA key")).expect("a good name");
    let verifier = verifier_of(vec![spec], &Arc::default());
    let good = format!("{}.{}", text(&made["message"]), text(&made["good"]));
    let bad = made["bad"].as_object().expect("an object").iter();
    let bad = bad.map(|(what, signature)| {
        let bytes = URL_SAFE_NO_PAD.decode(text(signature));
        (what.clone(), bytes.expect("base64url"))
    });
    refuses(&verifier, &good, bad);
}

/// What is tried first by whoever wants to sign for us.
#[test]
fn a_secret_that_anybody_would_guess_signs_nothing() {
    let key = key(SigningAlgorithm::Hs256);
    let verifier = verifier(&key);
    let guesses = [
        "",
        " ",
        "\0",
        "0",
        "1234",
        "12345678",
        "secret",
        "Secret",
        "secret123",
        "secretkey",
        "my-secret",
        "your-256-bit-secret",
        "your_jwt_secret",
        "changeme",
        "password",
        "admin",
        "jwt",
        "key",
        "test",
        "default",
        "null",
        "undefined",
        "HS256",
        "none",
        "portcullis",
        ISSUER,
        "hotel",
        "0123456789abcdef",
        "0123456789abcdef0123456789abcde",
    ];
    let padded = guesses.map(|guess| format!("{guess:0<32}"));
    let zeros = "\0".repeat(32);
    let all = guesses.into_iter().chain(padded.iter().map(String::as_str));
    for secret in all
        .chain([key.kid(), &zeros])
        .filter(|guess| *guess != SECRET)
    {
        let token = signed_as(
            jsonwebtoken::Algorithm::HS256,
            &EncodingKey::from_secret(secret.as_bytes()),
            &header_of(&key).to_string(),
            payload().to_string(),
        );
        assert_eq!(
            refusal(&verifier, &token),
            Some(TokenError::BadSignature),
            "{secret:?}"
        );
    }
}

#[test]
fn the_alphabet_of_every_part_is_that_of_urls() {
    let key = key(SigningAlgorithm::EdDsa);
    let verifier = verifier(&key);
    // Bytes that are spelled with both of the letters in which the alphabets differ.
    let note = "\u{fb}\u{ff}\u{3fe}\u{3ff}?>?>~~??>>";
    let payload = changed(payload(), &json!({ "note": note })).to_string();
    let good = forged(&key, &header_of(&key).to_string(), &payload);
    assert_eq!(refusal(&verifier, &good), None);
    let mut parts = good.split('.').map(str::to_owned).collect::<Vec<_>>();
    assert!(
        parts[1].contains('-') && parts[1].contains('_'),
        "{}",
        parts[1]
    );
    for place in 0..3 {
        let kept = parts[place].clone();
        let other = kept.replace('-', "+").replace('_', "/");
        if other != kept {
            parts[place] = other;
            assert_eq!(
                refusal(&verifier, &parts.join(".")),
                Some(TokenError::Malformed),
                "part {place}"
            );
            parts[place] = kept;
        }
    }
}
