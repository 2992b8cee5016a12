//! Tokens that are not what they seem: headers that choose their own verification, keys that are no secret, encodings and
//! signatures that are nearly right.

use portcullis_harness::{
    jose::{self, Compact, Es256, Hs256, Signer},
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::token_stage::{OUR_SECRET, Stage, corp_claims};

#[test]
fn algorithm_and_key_are_not_for_the_token_to_choose() {
    let stage = Stage::build();
    let mut table = stage.table();
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS512", "hs256", "ES256", "RS256", "dir",
    ] {
        let unsigned = Compact {
            signature: String::new(),
            ..Compact::parse(&stage.forge(|h, _| h["alg"] = json!(alg))).unwrap()
        };
        table.refuses(
            &format!("alg {alg:?} without a signature"),
            &unsigned.to_string(),
        );
        table.refuses(
            &format!("alg {alg:?} with our signature"),
            &stage.forge(|header, _| header["alg"] = json!(alg)),
        );
    }
    for kid in [
        json!("unknown"),
        json!(""),
        json!("../../../../dev/null"),
        json!("x' UNION SELECT '1';--"),
        json!("|sleep 10"),
        json!(1),
        json!([]),
        Value::Null,
        json!({}),
        json!("k".repeat(4_000)),
    ] {
        table.refuses(
            &format!("kid {:.40}", kid.to_string()),
            &stage.forge(|header, _| header["kid"] = kid),
        );
    }
    table.refuses(
        "no kid",
        &stage.forge(|header, _| drop(header.as_object_mut().unwrap().remove("kid"))),
    );
    table.end();
}

#[test]
fn a_header_that_brings_a_key_or_an_extension_is_refused() {
    let stage = Stage::build();
    let fetched = Upstream::start().unwrap();
    let mut table = stage.table();
    let elsewhere = format!("http://{}/keys", fetched.address());
    let members = [
        ("jwk", stage.corp.public_jwk()),
        ("jku", json!(elsewhere)),
        ("x5u", json!(elsewhere)),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("abc")),
        ("crit", json!(["exp"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("crit", json!("exp")),
        ("b64", json!(false)),
        ("cty", json!("JWT")),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("extra", json!(1)),
    ];
    for (name, value) in members {
        let row = format!("{name}: {value}");
        table.refuses(&row, &stage.forge(|header, _| header[name] = value));
    }
    table.end();
    assert_eq!(
        fetched.connections(),
        0,
        "a key was fetched from where the token said"
    );
}

#[test]
fn only_an_access_token_says_that_it_is_one() {
    let stage = Stage::build();
    let mut table = stage.table();
    for typ in ["JWT", "ID", "dpop+jwt", "refresh+jwt", "", "text/at+jwt"] {
        table.refuses(
            &format!("typ {typ:?}"),
            &stage.forge(|header, _| header["typ"] = json!(typ)),
        );
    }
    table.refuses(
        "no typ",
        &stage.forge(|header, _| drop(header.as_object_mut().unwrap().remove("typ"))),
    );
    table.accepts(
        "typ in capitals",
        &stage.forge(|header, _| header["typ"] = json!("AT+JWT")),
    );
    table.accepts(
        "typ as a media type",
        &stage.forge(|header, _| header["typ"] = json!("application/at+jwt")),
    );
    table.end();
}

#[test]
fn a_public_key_is_not_a_secret() {
    let stage = Stage::build();
    let mut table = stage.table();
    let pem = stage.corp.public_pem();
    let jwk = stage.corp.public_jwk();
    let secrets: [(&str, Vec<u8>); 9] = [
        ("the PEM", pem.clone().into()),
        ("the PEM without its last line end", pem.trim_end().into()),
        ("the DER", stage.corp.public_der()),
        ("the JWK", jwk.to_string().into()),
        ("its x", jwk["x"].as_str().unwrap().into()),
        ("nothing", Vec::new()),
        ("secret", b"secret".to_vec()),
        ("zeros", vec![0; 32]),
        ("the issuer", b"https://corp.example".to_vec()),
    ];
    for (name, secret) in secrets {
        let forged = Hs256(secret)
            .sign(&json!({ "alg": "HS256", "typ": "at+jwt" }), &corp_claims())
            .unwrap();
        table.refuses(&format!("signed with {name}"), &forged.to_string());
        let claiming_es256 = Compact {
            header: stage.corp_token().header,
            ..forged
        };
        table.refuses(
            &format!("signed with {name}, said to be ES256"),
            &claiming_es256.to_string(),
        );
    }
    let other = Es256::generate().unwrap();
    let header = json!({ "alg": "ES256", "typ": "at+jwt" });
    table.refuses(
        "signed with another key",
        &other.sign(&header, &corp_claims()).unwrap().to_string(),
    );
    let brought = json!({ "alg": "ES256", "typ": "at+jwt", "jwk": other.public_jwk() });
    table.refuses(
        "signed with the key it brings",
        &other.sign(&brought, &corp_claims()).unwrap().to_string(),
    );
    for alg in ["HS256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"] {
        let token = stage
            .corp
            .sign(&json!({ "alg": alg, "typ": "at+jwt" }), &corp_claims())
            .unwrap();
        table.refuses(
            &format!("signed with the right key, said to be {alg}"),
            &token.to_string(),
        );
    }
    table.accepts("a good token of corp", &stage.corp_token().to_string());
    table.end();
}

#[test]
fn a_token_has_one_encoding() {
    let stage = Stage::build();
    let good = stage.corp_token();
    let Compact {
        header,
        payload,
        signature,
    } = good.clone();
    let text = good.to_string();
    let mut table = stage.table();
    let parts = [
        header.clone(),
        format!("{header}.{payload}"),
        format!("{text}.{signature}"),
        format!("{text}.x.y"),
        "...".to_owned(),
        format!("{text}."),
        format!(".{text}"),
        ".".to_owned(),
        "..".to_owned(),
        format!("{header}..{signature}"),
        format!("{header}.{payload}."),
        json!({ "payload": payload, "signatures": [] })
            .to_string()
            .replace(' ', ""),
    ];
    for token in parts {
        table.refuses(
            &format!("{:.30}… in {} parts", token, token.split('.').count()),
            &token,
        );
    }
    for (name, part) in [
        ("header", &header),
        ("payload", &payload),
        ("signature", &signature),
    ] {
        let changed = |new: String| text.replacen(part.as_str(), &new, 1);
        table.refuses(
            &format!("padding in the {name}"),
            &changed(format!("{part}=")),
        );
        table.refuses(
            &format!("an asterisk in the {name}"),
            &changed(format!("{part}*")),
        );
        table.refuses(
            &format!("a question mark in the {name}"),
            &changed(format!("{part}?")),
        );
        table.refuses(
            &format!("a blank in the {name}"),
            &changed(part.replacen(&part[3..4], " ", 1)),
        );
        table.refuses(
            &format!("a dot that is none in the {name}"),
            &changed(format!("{part}\u{2024}")),
        );
        table.refuses(
            &format!("a changed byte in the {name}"),
            &changed(flipped(part)),
        );
    }
    table.refuses(
        "stray bits at the end of the signature",
        &with_stray_bits(&text),
    );
    table.end();
}

/// Another letter in the middle.
fn flipped(part: &str) -> String {
    let middle = part.len() / 2;
    let other = if &part[middle..=middle] == "A" {
        "B"
    } else {
        "A"
    };
    format!("{}{other}{}", &part[..middle], &part[middle + 1..])
}

/// The 86th letter of an ES256 signature carries four bits that are not used: another letter decodes to the same bytes.
fn with_stray_bits(token: &str) -> String {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let index = LETTERS.find(last).unwrap();
    format!("{rest}{}", &LETTERS[index + 1..index + 2])
}

#[test]
fn a_signature_fits_to_the_last_bit() {
    let stage = Stage::build();
    let good = stage.corp_token();
    let signature = jose::decode(&good.signature).unwrap();
    let mut table = stage.table();
    for cut in 1..=4 {
        let shorter = Compact {
            signature: good.signature[..good.signature.len() - cut].to_owned(),
            ..good.clone()
        };
        table.refuses(&format!("{cut} letters shorter"), &shorter.to_string());
    }
    let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let (r, s) = signature.split_at(32);
    let variants: [(&str, Vec<u8>); 9] = [
        ("DER", jose::as_der(&signature)),
        ("63 bytes", signature[1..].to_vec()),
        ("65 bytes", [&[0], signature.as_slice()].concat()),
        ("66 bytes", [&[0, 0], signature.as_slice()].concat()),
        ("zeros", vec![0; 64]),
        ("r is 0", [&[0; 32], s].concat()),
        ("s is 0", [r, &[0; 32]].concat()),
        ("r is n", [&order, s].concat()),
        ("s is n", [r, &order].concat()),
    ];
    for (name, bytes) in variants {
        table.refuses(name, &good.with_signature(bytes).to_string());
    }
    for bit in [0, 100, 255, 256, 511] {
        let mut bytes = signature.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        table.refuses(
            &format!("bit {bit} flipped"),
            &good.with_signature(bytes).to_string(),
        );
    }
    // ECDSA lets anybody make this one: so a token must never be known by its bytes alone.
    table.accepts(
        "the mirrored signature",
        &good.with_signature(jose::mirrored(&signature)).to_string(),
    );
    table.end();
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn header_and_payload_are_json_that_reads_one_way() {
    let stage = Stage::build();
    let (header, payload) = (
        stage.good.header_json().unwrap().to_string(),
        stage.good.claims().unwrap().to_string(),
    );
    let mut table = stage.table();
    let headers = [
        header.replacen('{', r#"{"alg":"none","#, 1),
        header.replacen('{', r#"{"\u0061lg":"none","#, 1),
        header.replacen('}', r#","alg":"none"}"#, 1),
        format!("\u{feff}{header}"),
        format!("{header}x"),
        format!("{header}{header}"),
        "[]".to_owned(),
        "\"HS256\"".to_owned(),
        "7".to_owned(),
        "null".to_owned(),
        String::new(),
        "{}".to_owned(),
        header.replacen('}', &format!(",\"x\":\"{}\"}}", "a".repeat(4_096)), 1),
        header.replacen(
            '}',
            &format!(",\"x\":{}1{}}}", "[".repeat(200), "]".repeat(200)),
            1,
        ),
        header.replacen('}', ",\"x\":NaN}", 1),
        header.replacen('{', "{/* */", 1),
    ];
    for bad in headers {
        table.refuses(
            &format!("header {bad:.60}"),
            &stage.forge_text(&bad, &payload),
        );
    }
    let payloads = [
        payload.replacen('{', r#"{"sub":"root","#, 1),
        payload.replacen('{', r#"{"\u0073ub":"root","#, 1),
        payload.replacen('{', r#"{"roles":["admin"],"#, 1),
        format!("\u{feff}{payload}"),
        format!("{payload}x"),
        "[1,null,\"sub\",\"iss\",\"aud\"]".to_owned(),
        "\"claims\"".to_owned(),
        "7".to_owned(),
        String::new(),
        "{}".to_owned(),
        payload.replacen('}', r#","x":"\ud800"}"#, 1),
        payload.replacen('}', ",\"x\":NaN}", 1),
        payload.replacen(
            '}',
            &format!(",\"x\":{}1{}}}", "[".repeat(200), "]".repeat(200)),
            1,
        ),
    ];
    for bad in payloads {
        table.refuses(
            &format!("payload {bad:.60}"),
            &stage.forge_text(&header, &bad),
        );
    }
    let no_utf8 = [
        payload.trim_end_matches('}').as_bytes(),
        b",\"x\":\"\xff\"}",
    ]
    .concat();
    let no_utf8 = Hs256(OUR_SECRET.into())
        .sign_bytes(header.as_bytes(), &no_utf8)
        .unwrap();
    table.refuses("a payload that is not UTF-8", &no_utf8.to_string());
    table.end();
}
