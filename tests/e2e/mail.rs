//! Mail of a whole gateway at a real mail server: in the clear, by STARTTLS with a login, and while it is away.

use std::path::Path;

use portcullis_harness::{
    certificates::Authority,
    client::{Client, Request},
    gateway::Gateway,
    mail_server::{Guarded, MailServer},
    ports::free_port,
    wait::{self, PATIENCE},
};
use serde_json::{Value, json};

use crate::{
    sign_in_stage::start,
    stage::{PASSWORD, audit_rows, make_user, sqlite},
};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/mail_server");
const ADDRESS: &str = "alice@example.com";
const LINKS: &str = "reset_link: https://app.example/r#, verify_link: https://app.example/v#";

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn server(guarded: Option<&Guarded<'_>>) -> MailServer {
    MailServer::start(Path::new(SOURCE), target(), guarded).unwrap()
}

/// With one user, who has an address.
fn gateway(smtp: &str, more: &str) -> Gateway {
    let mail = format!(
        "registration: open\n  mail: {{ smtp: \"{smtp}\", from: Gateway <no-reply@example.com>, {LINKS}{more} }}"
    );
    let gateway = start(&mail);
    let alice = ["alice", "--email", ADDRESS];
    make_user(gateway.house(), &alice, PASSWORD);
    gateway
}

fn post(client: &mut Client, path: &str, body: &Value) -> (u16, String) {
    let answer = client
        .send_to_be_hashed(&Request::post(path).json(body))
        .unwrap();
    (answer.status, answer.code())
}

fn forgot(client: &mut Client, name: &str) -> (u16, String) {
    post(
        client,
        "/v1/auth/password/forgot",
        &json!({ "username": name }),
    )
}

fn reset(client: &mut Client, code: &str, password: &str) -> (u16, String) {
    let body = json!({ "code": code, "new_password": password });
    post(client, "/v1/auth/password/reset", &body)
}

#[test]
fn a_forgotten_password_is_reset_with_what_came_by_mail() {
    let server = server(None);
    let gateway = gateway(&format!("smtp://127.0.0.1:{}", server.port()), "");
    let mut client = gateway.client();
    let token = client.log_in("alice", PASSWORD, "hotel").unwrap();
    assert_eq!(forgot(&mut client, "nobody").0, 202);
    assert_eq!(forgot(&mut client, ADDRESS).0, 202);
    let letters = server.wait_for(1).unwrap();
    let [letter] = &letters[..] else {
        panic!("{letters:?}")
    };
    assert_eq!(letter.to, [ADDRESS]);
    assert!(letter.text.contains("Subject: Reset your password\r\n"));
    assert!(
        letter
            .text
            .contains("From: Gateway <no-reply@example.com>\r\n")
            || letter
                .text
                .contains("From: \"Gateway\" <no-reply@example.com>\r\n"),
        "{}",
        letter.text
    );
    assert!(!letter.by_tls);
    let code = letter.code().unwrap();
    let done = reset(&mut client, code, "eleven quiet bicycles");
    assert_eq!(done, (204, String::new()));
    let me = client
        .send(&Request::get("/v1/auth/me").bearer(&token))
        .unwrap();
    assert_eq!(me.status, 401, "in the very next request");
    assert!(client.log_in("alice", PASSWORD, "hotel").is_err());
    client
        .log_in("alice", "eleven quiet bicycles", "hotel")
        .unwrap();
    assert_eq!(reset(&mut client, code, PASSWORD).0, 401);
    let rows = audit_rows(&sqlite(&gateway), "password_reset", |rows| rows.len() >= 2);
    assert!(!format!("{rows:?}").contains(code));
    for told in [code, ADDRESS] {
        assert!(!gateway.stderr().contains(told), "{}", gateway.stderr());
    }
    gateway.stop().unwrap();
}

#[test]
fn mail_goes_by_tls_with_a_login_and_to_nobody_without_a_good_certificate() {
    let authority = Authority::new("mail").unwrap();
    let pair = authority.server(&["localhost"]).unwrap();
    let guarded = Guarded {
        pair: &pair,
        user: "gateway",
        password: "p@ss:word",
    };
    let server = server(Some(&guarded));
    let url = format!(
        "smtp://gateway:p%40ss%3Aword@localhost:{}?tls=required",
        server.port()
    );
    let stranger = gateway(&url, "");
    forgot(&mut stranger.client(), "alice");
    wait::until("a word about it", PATIENCE, || {
        stranger.stderr().contains("mail is not sent").then_some(())
    })
    .unwrap();
    assert!(server.letters().is_empty(), "its authority is not known");
    assert!(!stranger.stderr().contains("p@ss"), "{}", stranger.stderr());
    stranger.stop().unwrap();

    let ca = format!(", ca: {}", authority.certificate().display());
    let gateway = gateway(&url, &ca);
    forgot(&mut gateway.client(), "alice");
    let letter = &server.wait_for(1).unwrap()[0];
    assert!(letter.by_tls && letter.with_login);
    gateway.stop().unwrap();
}

#[test]
fn what_could_not_be_sent_is_sent_once_the_server_is_there() {
    let port = free_port().unwrap();
    let gateway = gateway(&format!("smtp://127.0.0.1:{port}"), "");
    let mut client = gateway.client();
    assert_eq!(
        forgot(&mut client, "alice").0,
        202,
        "nobody waits for a mail server"
    );
    wait::until("a word about it", PATIENCE, || {
        gateway.stderr().contains("mail is not sent").then_some(())
    })
    .unwrap();
    let server = MailServer::start_at(port, Path::new(SOURCE), target(), None).unwrap();
    let letter = &server.wait_for(1).unwrap()[0];
    let done = reset(&mut client, letter.code().unwrap(), "eleven quiet bicycles");
    assert_eq!(done.0, 204);
    wait::until("another word about it", PATIENCE, || {
        gateway
            .stderr()
            .contains("mail is sent again")
            .then_some(())
    })
    .unwrap();
    assert_eq!(gateway.stderr().matches("mail is not sent").count(), 1);
    gateway.stop().unwrap();
}

#[test]
fn who_registers_verifies_the_address_with_what_came_by_mail() {
    let server = server(None);
    let gateway = gateway(&format!("smtp://127.0.0.1:{}", server.port()), "");
    let mut client = gateway.client();
    let body = json!({ "email": "Eve+hotel@example.com", "password": PASSWORD });
    let registered = client
        .send_to_be_hashed(&Request::post("/v1/auth/register").json(&body))
        .unwrap();
    assert_eq!(registered.status, 201, "{}", registered.text());
    let letter = &server.wait_for(1).unwrap()[0];
    assert_eq!(letter.to, ["Eve+hotel@example.com"]);
    let code = json!({ "code": letter.code().unwrap() });
    assert_eq!(post(&mut client, "/v1/auth/email/verify", &code).0, 204);
    assert_eq!(post(&mut client, "/v1/auth/email/verify", &code).0, 401);
    let token = client
        .log_in("eve+hotel@example.com", PASSWORD, "hotel")
        .unwrap();
    let me = client
        .send(&Request::get("/v1/auth/me").bearer(&token))
        .unwrap();
    assert_eq!(me.json()["email_verified"], true);
    gateway.stop().unwrap();
}
