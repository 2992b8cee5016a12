//! A client of OAuth that others wrote does all that there is, from nothing but our address.

use portcullis_harness::{
    client::Request,
    gateway::{Gateway, Places},
    jose::Es256,
};
use serde_json::{Value, json};

use crate::{
    jose_peers::{configuration, issuer, peers, start},
    stage::{self, PASSWORD, add_user},
};

#[test]
fn a_standard_client_finds_its_way_and_does_all_that_there_is() {
    let gateway = start("");
    does_all_that_there_is(&gateway, &issuer(&gateway));
}

#[test]
fn a_standard_client_finds_its_way_to_an_issuer_with_a_path() {
    let gateway = stage::start(below_a_path);
    let issuer = format!("{}/north/desk", issuer(&gateway));
    does_all_that_there_is(&gateway, &issuer);
    let stray = Request::get("/.well-known/oauth-authorization-server/north");
    assert_eq!(gateway.client().send(&stray).unwrap().status, 404);
}

/// As whoever gives the issuer a path writes it: one more route, which cuts the path off.
fn below_a_path(places: &Places) -> String {
    let whole = configuration(places, "");
    let issuer = format!("issuer: http://{}", places.listener);
    let whole = whole.replace(&issuer, &format!("{issuer}/north/desk"));
    let route = "  - { name: below, match: { path: /north/desk/** }, upstream: builtin:auth, auth: public, \
                 rewrite: { strip_prefix: /north/desk } }\n";
    whole.trim_end_matches(' ').to_owned() + route
}

fn does_all_that_there_is(gateway: &Gateway, issuer: &str) {
    let peers = peers();
    add_user(gateway.house(), "alice", "guest");
    let add = |arguments: &[&str]| -> Value {
        let command = [
            &["client", "add", "--scope", "hotel:read", "--json"],
            arguments,
        ]
        .concat();
        let added = gateway.house().command(&command).unwrap();
        serde_json::from_slice(&added.stdout).unwrap()
    };
    let key = Es256::generate().unwrap();
    std::fs::write(gateway.house().path("robot.pem"), key.public_pem()).unwrap();
    let desk = add(&["desk"]);
    let robot = add(&["robot", "--public-key", "robot.pem"]);
    let body = json!({ "username": "alice", "password": PASSWORD });
    let asked = Request::post("/v1/auth/login").json(&body);
    let signed_in = gateway.client().send(&asked).unwrap().json();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let done = peers.client(&[
        issuer,
        &text(&desk, "id"),
        &text(&desk, "secret"),
        &text(&robot, "id"),
        &key.private_base64().unwrap(),
        &text(&signed_in, "refresh_token"),
    ]);
    let done = done.unwrap();
    println!("{}", done.join("\n"));
    assert_eq!(done.len(), 6, "{done:?}");
}
