//! Clients that sign for themselves, made at the command line, with libraries that others wrote.

use std::fs;

use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::Gateway,
};
use serde_json::Value;

use crate::jose_peers::{issuer, peers, start};

fn carry_out(gateway: &Gateway, command: &[&str]) -> Value {
    let output = gateway.house().command(command).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn status_of(client: &mut Client, id: &str, secret: &str) -> u16 {
    token_for(client, id, secret).status
}

fn token_for(client: &mut Client, id: &str, secret: &str) -> Response {
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let request = Request::post("/oauth/token")
        .with("Content-Type", "application/x-www-form-urlencoded")
        .body(form);
    client.send(&request).unwrap()
}

#[test]
fn libraries_that_others_wrote_authenticate_with_every_kind_of_key() {
    let (peers, gateway) = (peers(), start(""));
    for algorithm in ["ES256", "RS256", "PS256", "EdDSA"] {
        let private = gateway.house().path(&format!("{algorithm}.private.json"));
        let private = private.to_str().unwrap();
        let public = peers.signing_client(&["keys", algorithm, private]).unwrap();
        let path = gateway.house().path(&format!("{algorithm}.json"));
        fs::write(&path, &public[0]).unwrap();
        let path = path.to_str().unwrap();
        let add = [
            "client",
            "add",
            algorithm,
            "--scope",
            "hotel:read",
            "--public-key",
            path,
            "--json",
        ];
        let client = carry_out(&gateway, &add);
        assert_eq!(
            (&client["has_keys"], &client["secret"]),
            (&true.into(), &Value::Null)
        );
        let id = client["id"].as_str().unwrap();
        let done = peers
            .signing_client(&["use", &issuer(&gateway), id, private])
            .unwrap();
        assert_eq!(
            done.last().map(String::as_str),
            Some("jose: got a token once")
        );
        assert_eq!(done.len() == 2, algorithm != "EdDSA", "{done:?}");
    }
}

#[test]
fn a_rotated_secret_is_the_only_one_that_opens() {
    let gateway = start("");
    let made = carry_out(
        &gateway,
        &[
            "client",
            "add",
            "billing",
            "--scope",
            "hotel:read",
            "--json",
        ],
    );
    let (id, first) = (
        made["id"].as_str().unwrap(),
        made["secret"].as_str().unwrap(),
    );
    let mut client = gateway.client();
    assert_eq!(status_of(&mut client, id, first), 200);
    let rotated = carry_out(&gateway, &["client", "rotate-secret", "billing", "--json"]);
    let second = rotated["secret"].as_str().unwrap();
    assert_eq!(status_of(&mut client, id, first), 401);
    assert_eq!(status_of(&mut client, id, second), 200);
    let key = gateway.house().path("robot.pem");
    fs::write(
        &key,
        "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let set = [
        "client",
        "set-key",
        "billing",
        "--public-key",
        key.to_str().unwrap(),
    ];
    let output = gateway.house().command(&set).unwrap();
    assert_eq!(output.status.code(), Some(1), "no private key is taken");
    assert_eq!(
        status_of(&mut client, id, second),
        200,
        "nothing was changed"
    );
}

#[test]
fn scopes_that_are_set_are_the_only_ones_and_a_deleted_client_is_nobody() {
    let gateway = start("");
    let add = ["client", "add", "billing", "--scope", "hotel:read"];
    let made = carry_out(&gateway, &[&add[..], &["--json"]].concat());
    let (id, secret) = (
        made["id"].as_str().unwrap(),
        made["secret"].as_str().unwrap(),
    );
    let mut client = gateway.client();
    let scope = |client: &mut Client| token_for(client, id, secret).json()["scope"].clone();
    assert_eq!(scope(&mut client), "hotel:read");
    let set = ["client", "set-scopes", "billing", "--scope"];
    let wider = ["revocations:read", "--json"];
    let changed = carry_out(&gateway, &[&set[..], &wider].concat());
    assert_eq!(changed["scopes"], serde_json::json!(["revocations:read"]));
    assert_eq!(scope(&mut client), "revocations:read");
    let unknown = [&set[..], &["hotel:burn"]].concat();
    let output = gateway.house().command(&unknown).unwrap();
    assert_eq!(output.status.code(), Some(1), "no scope of the file");
    assert_eq!(scope(&mut client), "revocations:read");

    let deleted = carry_out(&gateway, &["client", "delete", "billing", "--json"]);
    assert_eq!(deleted["id"], id);
    assert_eq!(status_of(&mut client, id, secret), 401);
    let again = gateway.house().command(&["client", "delete", "billing"]);
    assert_eq!(again.unwrap().status.code(), Some(1), "it is gone");
    let anew = carry_out(&gateway, &[&add[..], &["--json"]].concat());
    assert_ne!(anew["id"], id, "the name is free, the id is not");
}
