//! A client of OAuth that others wrote does all that there is, from nothing but our address.

use portcullis_harness::{client::Request, jose::Es256};
use serde_json::{Value, json};

use crate::{
    jose_peers::{issuer, peers, start},
    stage::{PASSWORD, add_user},
};

#[test]
fn a_standard_client_finds_its_way_and_does_all_that_there_is() {
    let (peers, gateway) = (peers(), start(""));
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
        &issuer(&gateway),
        &text(&desk, "id"),
        &text(&desk, "secret"),
        &text(&robot, "id"),
        &key.private_base64().unwrap(),
        &text(&signed_in, "refresh_token"),
    ]);
    let done = done.unwrap();
    println!("{}", done.join("\n"));
    assert_eq!(done.len(), 5, "{done:?}");
}
