//! Mail of a whole gateway at a real mail server: in the clear, with a login behind both kinds of TLS, and while it is away.

use std::path::Path;

use portcullis_harness::{
    certificates::Authority,
    client::{Client, Request},
    gateway::Gateway,
    mail_server::{Door, Guarded, MailServer},
    ports::free_port,
    wait::{self, PATIENCE},
};
use serde_json::{Value, json};

use crate::{
    sign_in_stage::start,
    stage::{PASSWORD, add_user, audit_rows, make_user, sqlite},
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

/// A gateway with this mail server asks it to take a letter, and there is none and no login.
fn gets_nothing(server: &MailServer, url: &str, more: &str) {
    let gateway = gateway(url, more);
    forgot(&mut gateway.client(), "alice");
    wait::until("a word about it", PATIENCE, || {
        gateway.stderr().contains("mail is not sent").then_some(())
    })
    .unwrap();
    assert!(server.letters().is_empty(), "{url}{more}");
    assert_eq!(server.logins(), 0, "{url}{more}");
    assert!(!gateway.stderr().contains("p@ss"), "{}", gateway.stderr());
    gateway.stop().unwrap();
}

#[test]
fn mail_and_the_password_go_to_nobody_without_a_good_certificate() {
    let authority = Authority::new("mail").unwrap();
    let pair = authority.server(&["localhost"]).unwrap();
    let ca = format!(", ca: {}", authority.certificate().display());
    for (door, scheme, query) in [
        (Door::StartTls, "smtp", "?tls=required"),
        (Door::Wrapped, "smtps", ""),
    ] {
        let (user, password) = ("gateway", "p@ss:word");
        let guarded = Guarded {
            door,
            pair: &pair,
            user,
            password,
        };
        let server = server(Some(&guarded));
        let at = |host: &str| {
            let port = server.port();
            format!("{scheme}://{user}:p%40ss%3Aword@{host}:{port}{query}")
        };
        let url = at("localhost");
        gets_nothing(&server, &url, "");
        gets_nothing(&server, &at("127.0.0.1"), &ca);
        let gateway = gateway(&url, &ca);
        forgot(&mut gateway.client(), "alice");
        let letter = &server.wait_for(1).unwrap()[0];
        assert!(letter.by_tls && letter.with_login, "{door:?}");
        gateway.stop().unwrap();
    }
}

/// It would take a letter and any login in the clear.
#[test]
fn where_somebody_took_starttls_out_nothing_is_sent() {
    let authority = Authority::new("mail").unwrap();
    let pair = authority.server(&["localhost"]).unwrap();
    let guarded = Guarded {
        door: Door::Stripped,
        pair: &pair,
        user: "gateway",
        password: "p@ss:word",
    };
    let server = server(Some(&guarded));
    let ca = format!(", ca: {}", authority.certificate().display());
    let at = format!("gateway:p%40ss%3Aword@localhost:{}", server.port());
    gets_nothing(&server, &format!("smtp://{at}?tls=required"), &ca);
    gets_nothing(&server, &format!("smtps://{at}"), &ca);
    let taken = gateway(&format!("smtp://{at}"), "");
    forgot(&mut taken.client(), "alice");
    assert!(!server.wait_for(1).unwrap()[0].by_tls, "to this machine");
    taken.stop().unwrap();
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

#[test]
fn whom_an_administrator_makes_verifies_the_address_with_what_came_by_mail() {
    let server = server(None);
    let gateway = gateway(&format!("smtp://127.0.0.1:{}", server.port()), "");
    add_user(gateway.house(), "root", "admin");
    let mut client = gateway.client();
    let root = client.log_in("root", PASSWORD, "portcullis").unwrap();
    let body = json!({ "email": "eve@example.com", "password": PASSWORD });
    let request = Request::post("/v1/admin/users").bearer(&root).json(&body);
    let made = client.send_to_be_hashed(&request).unwrap();
    assert_eq!(made.status, 201, "{}", made.text());
    let letter = &server.wait_for(1).unwrap()[0];
    assert_eq!(
        letter.to,
        ["eve@example.com"],
        "and not who was made by a command"
    );
    let code = json!({ "code": letter.code().unwrap() });
    assert_eq!(post(&mut client, "/v1/auth/email/verify", &code).0, 204);
    let token = client.log_in("eve@example.com", PASSWORD, "hotel").unwrap();
    let me = Request::get("/v1/auth/me").bearer(&token);
    assert_eq!(client.send(&me).unwrap().json()["email_verified"], true);
    gateway.stop().unwrap();
}
