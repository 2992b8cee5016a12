//! The OpenAPI document in the hands of a program that believes it: schemathesis (`PyPI`) makes requests out of it, good
//! ones and bad ones, and compares what comes back with what is described: no 5xx, no status, media type, header or body
//! that the document does not have, nothing accepted that it forbids, nothing let in without the token that it asks for.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    time::Duration,
};

use portcullis_harness::{
    client::{Client, Request},
    gateway::Gateway,
    process::Process,
    python::Python,
};
use serde_json::Value;

use crate::stage::{self, PASSWORD, add_user};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/schemathesis");
/// For each operation, beside those that look into its corners.
const EXAMPLES: &str = "30";
/// A run takes a twentieth of it.
const LIMIT: Duration = Duration::from_secs(600);
/// How a run gets tokens. What it does may end them (a logout, a key taken back, a role changed), and then it signs in
/// again.
const SIGNING_IN: &str = r#"
[auth.dynamic.openapi.bearer]
path = "/v1/auth/login"
extract_selector = "/access_token"
retry_on = [401]
"#;

/// Everything is routed and nothing is limited: it is the endpoints that are asked.
fn start() -> Gateway {
    let house = stage::build(|places| {
        let (server, issuer) = (stage::server(places, ""), places.listener);
        format!(
            "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  issuer: http://{issuer}
  registration: open
  default_resource: hotel
  default_role: guest
  throttle: {{ address: 1000000/1m, account: 1000000/1m }}
  password: {{ hash: {{ memory: 8MiB, iterations: 1, parallelism: 1 }} }}
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read], admin: [\"*\"] }}
upstreams:
  hotel: {{ endpoints: [127.0.0.1:9], circuit_breaker: {{}} }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel }} }}
  - {{ name: all, match: {{ path: /** }}, upstream: builtin:auth, auth: public }}
"
        )
    });
    add_user(&house, "ada", "guest");
    add_user(&house, "root", "admin");
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    gateway
}

/// Fails with the report where an answer was not as described; returns how many operations were driven.
fn drive(gateway: &Gateway, more_configuration: &str) -> usize {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = Path::new(FOLDER);
    let python = Python::with(&folder.join("requirements.txt"), target).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (configuration, report) = (
        directory.path().join("toml"),
        directory.path().join("report"),
    );
    let base = fs::read_to_string(folder.join("schemathesis.toml")).unwrap();
    fs::write(&configuration, base + more_configuration).unwrap();
    let document = format!("http://{}/openapi.json", gateway.house().places().listener);
    let mut command = Command::new(python.program("schemathesis"));
    command
        .current_dir(directory.path())
        .arg("--config-file")
        .arg(configuration)
        .args(["run", &document, "--no-color", "--continue-on-failure"])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            EXAMPLES,
        ])
        .args(["--generation-deterministic", "--request-timeout", "25"])
        .stdout(File::create(&report).unwrap())
        .stderr(File::create(directory.path().join("stderr")).unwrap());
    let mut process = Process::start(&mut command, directory.path()).unwrap();
    let status = process.wait(LIMIT).unwrap();
    let report = fs::read_to_string(report).unwrap();
    assert!(status.success(), "{report}");
    tested(&report).unwrap_or_else(|| panic!("{report}"))
}

fn tested(report: &str) -> Option<usize> {
    let (_, rest) = report.split_once("Tested: ")?;
    rest.lines().next()?.trim().parse().ok()
}

fn described(client: &mut Client) -> usize {
    let document = client.get("/openapi.json").unwrap().json();
    let paths = document["paths"].as_object().unwrap().values();
    paths
        .filter_map(Value::as_object)
        .map(serde_json::Map::len)
        .sum()
}

/// `parameters` are lines of that section.
fn drive_as(gateway: &Gateway, name: &str, resource: &str, parameters: &str) {
    let mut client = gateway.client();
    let payload = format!(
        "payload = {{ username = {name:?}, password = {PASSWORD:?}, resource = {resource:?} }}\n"
    );
    let driven = drive(gateway, &format!("{parameters}{SIGNING_IN}{payload}"));
    assert_eq!(driven, described(&mut client));
    // Otherwise most of it may have been refused, as described.
    client.log_in(name, PASSWORD, resource).unwrap();
}

#[test]
fn answers_to_nobody_are_as_described() {
    let gateway = start();
    let driven = drive(&gateway, "");
    assert_eq!(driven, described(&mut gateway.client()));
}

#[test]
fn answers_to_a_user_are_as_described() {
    drive_as(&start(), "ada", "hotel", "");
}

#[test]
fn answers_to_an_administrator_are_as_described() {
    drive_as(&start(), "root", "portcullis", "");
}

/// Where the one above meets ids of nobody for the most part.
#[test]
fn answers_about_a_user_who_exists_are_as_described() {
    let gateway = start();
    let mut client = gateway.client();
    let token = client.log_in("ada", PASSWORD, "hotel").unwrap();
    let profile = Request::get("/v1/users/me").bearer(&token);
    let profile = client.send(&profile).unwrap().json();
    let parameters = format!("\"path.id\" = {}\n", profile["id"]);
    drive_as(&gateway, "root", "portcullis", &parameters);
}
