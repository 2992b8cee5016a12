//! A second factor through a real gateway, by an authenticator of our own making: HMAC and RFC 6238, without the crate
//! that the gateway takes.
//!
//! Codes are taken from the present step onwards and never before it: should a step end in between, they are still
//! within what a phone may be off.

use aws_lc_rs::hmac;
use portcullis_config::storage::Database;
use portcullis_harness::{
    client::{Client, Request, Response},
    postgres::Postgres,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    sign_in_stage::{self, sign_in},
    stage::{self, PASSWORD, add_user, audit_rows, now, sqlite},
};

const PATH: &str = "/v1/auth/mfa/totp";

struct Authenticator {
    secret: Vec<u8>,
    /// The step that was the present one when it was set up.
    step: u64,
}

impl Authenticator {
    /// From what a person would type.
    fn new(base32: &str) -> Self {
        let bits = base32.bytes().flat_map(|letter| {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'2'..=b'7' => letter - b'2' + 26,
                _ => panic!("{base32} is not base 32"),
            };
            (0..5).rev().map(move |bit| value >> bit & 1)
        });
        let bits: Vec<u8> = bits.collect();
        let bytes = bits.chunks_exact(8);
        Self {
            secret: bytes
                .map(|byte| byte.iter().fold(0, |n, bit| n << 1 | bit))
                .collect(),
            step: now() / 30,
        }
    }

    fn code(&self, later: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let tag = hmac::sign(&key, &(self.step + later).to_be_bytes());
        let offset = usize::from(tag.as_ref()[19] & 0xf);
        let word = tag.as_ref()[offset..offset + 4].try_into().unwrap();
        format!(
            "{:06}",
            (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000
        )
    }
}

fn send(
    client: &mut Client,
    method: &'static str,
    path: &str,
    token: &str,
    body: Value,
) -> Response {
    let request = Request::new(method, path).bearer(token).json(&body);
    client.send_to_be_hashed(&request).unwrap()
}

fn challenge(client: &mut Client, name: &str) -> String {
    let answer = sign_in(client, name, PASSWORD);
    assert_eq!((answer.status, answer.code()), (401, "mfa-required".into()));
    answer.json()["challenge"].as_str().unwrap().to_owned()
}

fn answer(client: &mut Client, challenge: &str, code: &str) -> Response {
    let body = json!({ "challenge": challenge, "code": code });
    client
        .send_to_be_hashed(&Request::post("/v1/auth/login/mfa").json(&body))
        .unwrap()
}

/// Sets the factor up; the code of the present step is used for it.
fn protect(client: &mut Client, token: &str) -> (Authenticator, Vec<Value>, String) {
    let begun = send(
        client,
        "POST",
        PATH,
        token,
        json!({ "password": PASSWORD, "format": "png" }),
    );
    assert_eq!(begun.status, 200, "{}", begun.text());
    let begun = begun.json();
    let picture = begun["qr_code"].as_str().unwrap();
    assert!(picture.starts_with("data:image/png;base64,"), "{picture}");
    let app = Authenticator::new(begun["secret"].as_str().unwrap());
    let body = json!({ "password": PASSWORD, "code": app.code(0) });
    let confirmed = send(client, "POST", &format!("{PATH}/confirm"), token, body);
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    let confirmed = confirmed.json();
    let token = confirmed["access_token"].as_str().unwrap();
    let codes = confirmed["recovery_codes"].as_array().unwrap();
    (app, codes.clone(), token.to_owned())
}

#[test]
fn a_second_factor_is_set_up_asked_for_and_taken_away() {
    let gateway = sign_in_stage::start("registration: open");
    let mut client = gateway.client();
    let body = json!({ "username": "alice", "password": PASSWORD });
    let registered = client
        .send(&Request::post("/v1/auth/register").json(&body))
        .unwrap();
    assert_eq!(registered.status, 201, "{}", registered.text());
    let token = registered.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let (app, recovery_codes, _) = protect(&mut client, &token);

    let first = challenge(&mut client, "alice");
    let tokens = answer(&mut client, &first, &app.code(1));
    assert_eq!(tokens.status, 200, "{}", tokens.text());
    let token = tokens.json()["access_token"].as_str().unwrap().to_owned();
    let me = client
        .send(&Request::get("/v1/auth/me").bearer(&token))
        .unwrap();
    assert_eq!(me.json()["username"], "alice");

    let replayed = challenge(&mut client, "alice");
    for (challenge, code) in [
        (&replayed, app.code(1)),
        (&replayed, app.code(0)),
        (&first, app.code(2)),
    ] {
        let refused = answer(&mut client, challenge, &code);
        assert_eq!(
            (refused.status, refused.code()),
            (401, "invalid-credentials".into())
        );
    }
    let recovery_code = recovery_codes[0].as_str().unwrap();
    assert_eq!(answer(&mut client, &replayed, recovery_code).status, 200);
    let again = challenge(&mut client, "alice");
    assert_eq!(answer(&mut client, &again, recovery_code).status, 401);

    let removal = json!({ "password": PASSWORD, "code": recovery_codes[1] });
    let removed = send(&mut client, "DELETE", PATH, &token, removal);
    assert_eq!(removed.status, 204, "{}", removed.text());
    client.log_in("alice", PASSWORD, "hotel").unwrap();
    for action in [
        "mfa_enabled",
        "mfa_challenged",
        "mfa_success",
        "mfa_failure",
        "recovery_code_used",
        "mfa_disabled",
    ] {
        audit_rows(&sqlite(&gateway), action, |rows| !rows.is_empty());
    }
}

#[test]
fn who_lost_everything_is_helped_from_the_command_line_or_by_an_administrator() {
    let gateway = sign_in_stage::start("");
    let house = gateway.house();
    for (name, role) in [("alice", "guest"), ("root", "admin")] {
        add_user(house, name, role);
    }
    let mut client = gateway.client();
    let token = client.log_in("alice", PASSWORD, "hotel").unwrap();
    protect(&mut client, &token);
    let reset = house.command(&["user", "reset-mfa", "alice"]).unwrap();
    assert!(reset.status.success(), "{reset:?}");
    let token = client.log_in("alice", PASSWORD, "hotel").unwrap();
    let again = house.command(&["user", "reset-mfa", "alice"]).unwrap();
    assert_eq!(again.status.code(), Some(1), "there is none left");

    let (_, _, token) = protect(&mut client, &token);
    let root = client.log_in("root", PASSWORD, "portcullis").unwrap();
    let me = client
        .send(&Request::get("/v1/auth/me").bearer(&token))
        .unwrap();
    let path = format!("/v1/admin/users/{}/mfa", me.json()["id"].as_str().unwrap());
    let delete = |token: &str| Request::new("DELETE", &*path).bearer(token);
    assert_eq!(client.send(&delete(&token)).unwrap().status, 403);
    assert_eq!(client.send(&delete(&root)).unwrap().status, 204);
    client.log_in("alice", PASSWORD, "hotel").unwrap();
    let rows = audit_rows(&sqlite(&gateway), "mfa_disabled", |rows| rows.len() == 2);
    let actors: Vec<&str> = rows.iter().map(|row| row.actor.kind.as_str()).collect();
    assert_eq!(
        actors,
        ["operator", "user"],
        "chains in the order of their names"
    );
}

#[test]
fn what_one_replica_asks_another_answers_and_a_code_is_used_on_both() {
    let postgres = Postgres::start().unwrap();
    let database = postgres.fresh_database().unwrap();
    let [one, other] = [(), ()].map(|()| {
        stage::start(|places| {
            let sqlite = "\"sqlite://data/portcullis.db\"";
            let shared =
                format!("\"{database}\", key: \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"");
            sign_in_stage::configuration(&stage::server(places, ""), "").replace(sqlite, &shared)
        })
    });
    add_user(one.house(), "alice", "guest");
    let (mut here, mut there) = (one.client(), other.client());
    let token = here.log_in("alice", PASSWORD, "hotel").unwrap();
    let (app, recovery_codes, _) = protect(&mut here, &token);
    let asked_here = challenge(&mut here, "alice");
    let answered_there = answer(&mut there, &asked_here, &app.code(1));
    assert_eq!(answered_there.status, 200, "{}", answered_there.text());
    for code in [&app.code(1), recovery_codes[0].as_str().unwrap()] {
        let (one, other) = (
            challenge(&mut here, "alice"),
            challenge(&mut there, "alice"),
        );
        // The code of the app was used already; the recovery code is used by whoever is first.
        let statuses = [
            answer(&mut here, &one, code).status,
            answer(&mut there, &other, code).status,
        ];
        let let_in = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(let_in, usize::from(code.len() > 6), "{statuses:?}");
    }
    let database = Database::Postgres(SecretString::from(database));
    audit_rows(&database, "mfa_failure", |rows| rows.len() == 3);
}
