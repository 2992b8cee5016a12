//! What must never be written down, and what must last: passwords and tokens stay out of logs, metrics and the database;
//! signing keys survive a restart, wrapped.

use std::{fs, os::unix::fs::PermissionsExt};

use portcullis_harness::{
    client::Request,
    gateway::{Gateway, House},
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use serde_json::json;

use crate::stage::{self, PASSWORD, add_user};

fn build(upstream: &Upstream) -> House {
    stage::build(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  default_resource: hotel
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
upstreams: {{ hotel: {{ endpoints: [{}] }} }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel }}, audit: all }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
",
            upstream.address()
        )
    })
}

fn run(house: House) -> Gateway {
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    gateway
}

#[test]
fn passwords_and_tokens_are_written_nowhere() {
    let upstream = Upstream::start().unwrap();
    let gateway = run(build(&upstream));
    add_user(gateway.house(), "alice", "guest");
    let mut client = gateway.client();
    let token = client.log_in("alice", PASSWORD, "hotel").unwrap();
    let target = "/hotel/x?access_token=secret-in-the-query";
    let request = Request::get(target)
        .bearer(&token)
        .with("Cookie", "session=secret-in-a-cookie");
    assert_eq!(client.send(&request).unwrap().status, 200);
    let wrong = json!({ "username": "secret-typed-as-a-name", "password": "secret-that-is-wrong" });
    client
        .send(&Request::post("/v1/auth/login").json(&wrong))
        .unwrap();
    client
        .send(&Request::get("/hotel/x").bearer("secret-token-that-is-bad"))
        .unwrap();
    wait::until("the access line of the last request", PATIENCE, || {
        (gateway.stdout().lines().count() >= 4).then_some(())
    })
    .unwrap();
    let signature = token.rsplit('.').next().unwrap().to_owned();
    let logs = [
        ("access log", gateway.stdout()),
        ("log", gateway.stderr()),
        ("metrics", gateway.metrics().unwrap().text().to_owned()),
    ];
    let house = gateway.stop_and_keep().unwrap();
    let files = fs::read_dir(house.path("data"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let files = files.map(|path| {
        (
            path.display().to_string(),
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
        )
    });
    for (name, text) in logs
        .map(|(name, text)| (name.to_owned(), text))
        .into_iter()
        .chain(files)
    {
        for secret in [PASSWORD, &signature, "secret-"] {
            assert!(!text.contains(secret), "{name} holds {secret}");
        }
        assert!(!text.contains("PRIVATE KEY"), "{name} holds a private key");
    }
}

#[test]
fn labels_of_metrics_name_no_user_address_or_path() {
    let upstream = Upstream::start().unwrap();
    let gateway = run(build(&upstream));
    add_user(gateway.house(), "alice", "guest");
    let mut client = gateway.client();
    let token = client.log_in("alice", PASSWORD, "hotel").unwrap();
    for path in ["/hotel/in-the-path", "/nowhere/in-the-path"] {
        client.send(&Request::get(path).bearer(&token)).unwrap();
    }
    let answered = [("route", "hotel"), ("status", "200")];
    // Counted once it has ended, which is after the client has its answer.
    let metrics = wait::until("a request that is counted", PATIENCE, || {
        let metrics = gateway.metrics().unwrap();
        let is_counted = metrics.sum("portcullis_requests_total", &answered) == 1.0;
        let is_refusal_counted = metrics.has("portcullis_rejections_total");
        (is_counted && is_refusal_counted).then_some(metrics)
    })
    .unwrap();
    for word in ["alice", "in-the-path", "client="] {
        assert!(
            !metrics.text().contains(word),
            "{word} is in {}",
            metrics.text()
        );
    }
}

#[test]
fn a_restart_keeps_the_signing_key_and_the_root_key_to_its_owner() {
    let upstream = Upstream::start().unwrap();
    let house = build(&upstream);
    add_user(&house, "alice", "guest");
    let gateway = run(house);
    let token = gateway.client().log_in("alice", PASSWORD, "hotel").unwrap();
    let mode = fs::metadata(gateway.house().path("data/portcullis.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let gateway = run(gateway.stop_and_keep().unwrap());
    let answer = gateway
        .client()
        .send(&Request::get("/hotel/x").bearer(&token))
        .unwrap();
    assert_eq!(answer.status, 200, "a restart must not sign everybody out");
    let house = gateway.stop_and_keep().unwrap();
    fs::write(
        house.path("data/portcullis.key"),
        format!("{}=\n", "A".repeat(43)),
    )
    .unwrap();
    let refused = house.command(&["run"]).unwrap();
    assert_eq!(
        refused.status.code(),
        Some(1),
        "another root key must not be taken for the old one"
    );
}
