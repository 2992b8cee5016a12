//! How a token is carried, and who it can be taken for.

use portcullis_harness::{
    client::{Request, Socket},
    jose::Signer,
};
use serde_json::json;

use crate::{
    stage,
    token_stage::{ABSENT, INVALID, MALFORMED, PASSED, Stage, corp_claims},
};

#[test]
fn a_token_is_taken_from_one_authorization_header_alone() {
    let stage = Stage::build();
    let good = stage.good.to_string();
    let mut table = stage.table();
    table.row("no header", "", ABSENT);
    table.row(
        "a scheme without a token",
        "Authorization: Bearer\r\n",
        MALFORMED,
    );
    table.row(
        "a scheme and blanks",
        "Authorization: Bearer   \r\n",
        MALFORMED,
    );
    table.row("an empty header", "Authorization:\r\n", ABSENT);
    table.row(
        "small letters",
        &format!("authorization: bearer {good}\r\n"),
        PASSED,
    );
    table.row(
        "capitals and two blanks",
        &format!("AUTHORIZATION: BEARER  {good}\r\n"),
        PASSED,
    );
    for (one, other) in [(good.as_str(), "bad"), ("bad", good.as_str())] {
        table.row(
            "two headers",
            &format!("Authorization: Bearer {one}\r\nAuthorization: Bearer {other}\r\n"),
            MALFORMED,
        );
    }
    table.bearer("8193 bytes", &"a".repeat(8_193), INVALID);
    table.bearer("64 KiB", &"a".repeat(65_536), &[(431, "headers-too-large")]);
    table.end();
}

#[test]
fn what_only_resembles_a_bearer_token_is_none() {
    let stage = Stage::build();
    let good = stage.good.to_string();
    let mut table = stage.table();
    let either = [INVALID, MALFORMED, ABSENT].concat();
    table.row(
        "two in one header",
        &format!("Authorization: Bearer {good}, Bearer bad\r\n"),
        &either,
    );
    table.row(
        "another scheme",
        "Authorization: Basic YWxpY2U6cHc=\r\n",
        ABSENT,
    );
    table.row(
        "a scheme that begins alike",
        &format!("Authorization: Bearers {good}\r\n"),
        ABSENT,
    );
    table.row(
        "the scheme is missing",
        &format!("Authorization: {good}\r\n"),
        ABSENT,
    );
    table.row(
        "a tab",
        &format!("Authorization: Bearer\t{good}\r\n"),
        &either,
    );
    table.row(
        "blanks behind, which are no part of a field",
        &format!("Authorization: Bearer {good}  \t\r\n"),
        PASSED,
    );
    table.row(
        "two behind one scheme",
        &format!("Authorization: Bearer {good} {good}\r\n"),
        INVALID,
    );
    table.row(
        "quotes",
        &format!("Authorization: Bearer \"{good}\"\r\n"),
        INVALID,
    );
    table.row(
        "another header",
        &format!("X-Authorization: Bearer {good}\r\nProxy-Authorization: Bearer {good}\r\n"),
        ABSENT,
    );
    table.row(
        "a cookie",
        &format!("Cookie: access_token={good}\r\n"),
        ABSENT,
    );
    table.end();
}

/// RFC 6750 knows tokens in the query and in forms as well. Those are the upstream's, whatever they say.
#[test]
fn only_the_header_says_who_calls() {
    let stage = Stage::build();
    let (good, other) = (stage.good.to_string(), stage.corp_token().to_string());
    let subject = stage.good.claims().unwrap()["sub"].clone();
    let absent = (401, "authentication-required");
    let mut client = stage.gateway.client();
    for elsewhere in [good.as_str(), &other, "bad"] {
        let asked = [
            Request::get(format!("/hotel/x?access_token={elsewhere}")),
            Request::get("/hotel/x").with("Cookie", format!("access_token={elsewhere}")),
            Request::post("/hotel/x")
                .with("Content-Type", "application/x-www-form-urlencoded")
                .body(format!("access_token={elsewhere}")),
        ];
        for request in asked {
            for (header, expected) in [
                (None, absent),
                (Some("bad"), (401, "invalid-token")),
                (Some(good.as_str()), (200, "")),
            ] {
                let request = match header {
                    Some(token) => request.clone().bearer(token),
                    None => request.clone(),
                };
                let answer = client.send(&request).unwrap();
                assert_eq!((answer.status, answer.code().as_str()), expected);
                let received = stage.upstream.take_received();
                let callers: Vec<_> = received.iter().map(|one| one.field("x-user-id")).collect();
                let known = (answer.status == 200).then(|| subject.as_str());
                assert_eq!(callers, Vec::from_iter(known));
            }
        }
    }
}

#[test]
fn bytes_that_no_token_has_are_refused() {
    let stage = Stage::build();
    for byte in [0_u8, b'\r', 0x01, 0x7f, 0x80, 0xff] {
        let mut socket = Socket::connect(stage.gateway.address()).unwrap();
        let parts = [
            b"GET /hotel/x HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer a".as_slice(),
            &[byte],
            b"b\r\n\r\n",
        ];
        socket.send(parts.concat());
        let status = socket.response().unwrap().status;
        assert!(
            [400, 401].contains(&status),
            "{status} for the byte {byte:#x}"
        );
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[test]
fn a_foreign_subject_is_never_taken_for_a_local_user() {
    let stage = Stage::build();
    let local = stage.good.claims().unwrap()["sub"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut claims = corp_claims();
    claims["sub"] = json!(local);
    claims["roles"] = json!(["admin"]);
    let token = stage
        .corp
        .sign(&json!({ "alg": "ES256", "typ": "JWT" }), &claims)
        .unwrap()
        .to_string();
    let mut client = stage.gateway.client();
    let answer = client
        .send(&Request::get("/hotel/x").bearer(&token))
        .unwrap();
    assert_eq!(answer.status, 200);
    let received = stage.upstream.take_received();
    assert_eq!(
        received[0].field("x-user-id"),
        Some(format!("corp:{local}").as_str())
    );
    assert_eq!(
        received[0].field("x-user-roles").unwrap_or_default(),
        "",
        "a role without an entry is dropped"
    );
    let answer = client
        .send(&Request::get("/v1/auth/me").bearer(&token))
        .unwrap();
    assert_ne!(
        answer.status, 200,
        "it must not open the local user's profile"
    );
}

#[test]
fn a_flood_of_bad_tokens_is_refused_and_counted_into_few_rows() {
    let stage = Stage::build();
    let mut client = stage.gateway.client();
    for number in 0..500 {
        let answer = client
            .send(&Request::get("/hotel/x").bearer(&format!("garbage{number}")))
            .unwrap();
        assert_eq!(answer.status, 401);
    }
    assert_eq!(stage.upstream.count(), 0);
    let rows = stage::audit_rows(&stage::sqlite(&stage.gateway), "access_denied", |rows| {
        !rows.is_empty()
    });
    assert!(rows.len() < 50, "500 refusals made {} rows", rows.len());
    assert_eq!(stage.gateway.client().get("/hotel/x").unwrap().status, 401);
}
