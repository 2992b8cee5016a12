//! `explain`, `test` and `schema`: what the gateway would do, asked without a running gateway — and the same as a running
//! one does.

use std::{fs, process::Output};

use portcullis_harness::{client::Request, gateway::House, upstream::Upstream};
use serde_json::{Value, json};

use crate::{
    issuer_stage::{self, Key, key_set},
    stage::{self, CORP, add_user, corp_token, now},
};

/// Of corp, with what every token of it says and these claims.
fn token(claims: Value) -> String {
    let mut whole =
        json!({ "iss": "https://corp.example", "sub": "u1", "iat": now(), "exp": now() + 60 });
    let claims = claims.as_object().cloned().unwrap_or_default();
    whole.as_object_mut().unwrap().extend(claims);
    corp_token(&whole)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn configuration(server: &str, upstream: &str) -> String {
    format!(
        "{server}{CORP}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  resources: {{ hotel: {{ scopes: [hotel:read, hotel:write] }} }}
  roles: {{ guest: [hotel:read], staff: [hotel:read, hotel:write], admin: [\"*\"] }}
  default_resource: hotel
rate_limits:
  per_ip: {{ key: ip, limit: 3/1m }}
  per_user: {{ key: user, limit: 2/1m, tiers: {{ staff: unlimited }} }}
upstreams:
  hotel: {{ endpoints: [{upstream}] }}
routes:
  - name: rooms
    match: {{ path: /rooms/**, methods: [GET] }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }}
    rate_limits: [per_user]
    rewrite: {{ strip_prefix: /rooms, add_prefix: /v2 }}
  - name: keys
    match: {{ path: /keys/** }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:write] }}, roles: {{ any: [staff] }} }}
  - name: watched
    match: {{ path: /watched }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:write] }} }}
    shadow: [access]
  - name: open
    match: {{ path: /open/** }}
    upstream: hotel
    auth: public
    rate_limits: [per_ip]
    ip: {{ deny: [198.51.100.0/24] }}
    body: 10
  - name: moved
    match: {{ path: /moved/** }}
    redirect: {{ to: \"/rooms/{{rest}}\", status: 301 }}
    auth: public
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
"
    )
}

fn house() -> House {
    stage::build(|places| configuration(&stage::server(places, ""), "127.0.0.1:9"))
}

/// The refusing step, the code, and the whole text.
fn explain(house: &House, arguments: &[&str]) -> (String, String, Value) {
    let arguments = [&["explain", "--json"], arguments].concat();
    let output = house.command(&arguments).unwrap();
    let account: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    let steps = account["steps"].as_array().unwrap();
    let refusing = steps.iter().find(|step| step["verdict"] == "REFUSED");
    let refusing = refusing
        .map_or("", |step| step["step"].as_str().unwrap())
        .to_owned();
    let refused = account["refused"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(code(&output), i32::from(!refused.is_empty()), "{account:#}");
    (refusing, refused, account)
}

#[test]
fn an_explanation_names_the_step_that_refuses() {
    let house = house();
    let reads = token(json!({ "aud": "hotel", "scope": "hotel:read" }));
    let elsewhere = token(json!({ "aud": "event", "scope": "hotel:read" }));
    let forged = format!("{}x", &reads[..reads.len() - 1]);
    for (arguments, step, code) in [
        (vec!["GET", "/rooms/1;v=2"], "hygiene", "malformed-request"),
        (vec!["GET", "/nowhere"], "route", "route-not-found"),
        (vec!["DELETE", "/rooms/1"], "route", "method-not-allowed"),
        (
            vec!["GET", "/open/x", "--ip", "198.51.100.9"],
            "address",
            "address-not-allowed",
        ),
        (
            vec!["POST", "/open/x", "--body", "11"],
            "body",
            "body-too-large",
        ),
        (vec!["GET", "/rooms/1"], "token", "authentication-required"),
        (
            vec!["GET", "/rooms/1", "--token", &forged],
            "token",
            "invalid-token",
        ),
        (
            vec!["GET", "/rooms/1", "--token", &elsewhere],
            "access",
            "wrong-resource",
        ),
        (
            vec!["GET", "/keys/1", "--token", &reads],
            "access",
            "insufficient-scope",
        ),
        (vec!["GET", "/rooms/1", "--token", &reads], "", ""),
        (vec!["GET", "/open/x"], "", ""),
    ] {
        let (refusing, refused, account) = explain(&house, &arguments);
        assert_eq!(
            (&*refusing, &*refused),
            (step, code),
            "{arguments:?}\n{account:#}"
        );
    }
}

#[test]
fn an_explanation_says_what_was_wanted_and_what_the_token_holds() {
    let house = house();
    let token = token(
        json!({ "aud": "hotel", "scope": "hotel:read", "roles": ["hotel-staff", "unknown"] }),
    );
    let output = house
        .command(&["explain", "GET", "/keys/1", "--token", &token])
        .unwrap();
    let text = said(&output);
    for part in [
        "wants hotel with all of hotel:write as any of staff",
        "of corp is corp:",
        "with hotel:read as staff",
        "REFUSED",
        "not reached",
        "refused: 403 insufficient-scope",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(!text.contains(&token), "a token is not repeated");
}

#[test]
fn a_redirect_is_explained_by_where_it_leads_and_reaches_no_upstream() {
    let house = house();
    let (_, refused, account) = explain(&house, &["GET", "/moved/7"]);
    assert_eq!(refused, "");
    assert_eq!(
        (&account["answered"], &account["location"]),
        (&json!(301), &json!("/rooms/7"))
    );
    let steps = account["steps"].as_array().unwrap();
    let told = |name: &str| steps.iter().find(|step| step["step"] == name).unwrap();
    assert_eq!(told("route")["note"], "moved redirects");
    assert_eq!(told("circuit breaker")["verdict"], "not reached");
}

#[test]
fn an_argument_that_cannot_be_read_is_wrong_use() {
    let house = house();
    for arguments in [["--header", "nocolon"], ["--keys", "corp"]] {
        let arguments = [&["explain", "GET", "/open/x"], &arguments[..]].concat();
        assert_eq!(code(&house.command(&arguments).unwrap()), 2);
    }
}

#[test]
fn a_shadowed_refusal_is_told_and_does_not_refuse() {
    let house = house();
    let token = token(json!({ "aud": "hotel", "scope": "hotel:read" }));
    let (_, refused, account) = explain(&house, &["GET", "/watched", "--token", &token]);
    assert_eq!(
        (&*refused, &account["would_reject"]),
        ("", &json!(["insufficient-scope"]))
    );
    let steps = account["steps"].as_array().unwrap();
    let access = steps.iter().find(|step| step["step"] == "access").unwrap();
    assert_eq!(access["verdict"], "only watched");
}

#[test]
fn an_explanation_and_the_running_gateway_agree_on_a_real_token() {
    let upstream = Upstream::start().unwrap();
    let gateway = stage::start(|places| {
        configuration(&stage::server(places, ""), &upstream.address().to_string())
    });
    add_user(gateway.house(), "saad", "guest");
    let mut client = gateway.client();
    let token = client.log_in("saad", stage::PASSWORD, "hotel").unwrap();
    for (path, status, code) in [
        ("/rooms/7", 200, ""),
        ("/keys/7", 403, "insufficient-scope"),
    ] {
        let answer = client.send(&Request::get(path).bearer(&token)).unwrap();
        assert_eq!(answer.status, status);
        let (_, refused, account) = explain(gateway.house(), &["GET", path, "--token", &token]);
        assert_eq!(refused, code, "{account:#}");
        assert_eq!(account["principal"]["issuer"], "local");
    }
    let told = upstream.take_received();
    let (.., account) = explain(gateway.house(), &["GET", "/rooms/7?x=1", "--token", &token]);
    assert_eq!(
        (told[0].target(), &account["target"]),
        ("/v2/7", &json!("/v2/7?x=1"))
    );
}

#[test]
fn explaining_makes_neither_a_database_nor_a_key() {
    let house = house();
    explain(&house, &["GET", "/rooms/1", "--token", "x.y.z"]);
    assert!(
        !house.path("data").exists(),
        "only the gateway makes its database"
    );
}

const TABLE: &str = r#"
- name: a guest reads rooms
  request: { path: /rooms/1 }
  caller: { user: saad, resource: hotel, scopes: [hotel:read], roles: [guest] }
  expect: { upstream: hotel, route: rooms, path: /v2/1 }
- name: a guest's third request in a minute is one too many
  request: { path: /rooms/1 }
  caller: { user: saad, resource: hotel, scopes: [hotel:read], roles: [guest] }
  times: 2
  expect: { refused: rate-limited }
- name: staff has no limit
  request: { path: /rooms/1 }
  caller: { user: eve, resource: hotel, scopes: [hotel:read], roles: [staff] }
  times: 50
  expect: { upstream: hotel }
- name: staff of corp may have keys
  request: { method: POST, path: /keys/1 }
  caller: { issuer: corp, user: u1, resource: hotel, scopes: [hotel:write], roles: [staff] }
  expect: { upstream: hotel }
- name: a token for another resource opens nothing
  request: { path: /rooms/1 }
  caller: { issuer: corp, resource: event, scopes: [hotel:read] }
  expect: { refused: wrong-resource }
- name: what is no token is refused
  request: { path: /rooms/1, token: "a.b.c" }
  expect: { refused: invalid-token }
- name: an address on the list is refused
  request: { path: /open/x, ip: 198.51.100.7 }
  expect: { refused: address-not-allowed }
- name: what is watched is let through
  request: { path: /watched }
  caller: { resource: hotel, scopes: [hotel:read] }
  expect: { upstream: hotel, would_reject: [insufficient-scope] }
"#;

#[test]
fn a_table_whose_rows_hold_passes() {
    let house = house();
    fs::write(house.path("table.yaml"), TABLE).unwrap();
    let output = house.command(&["test", "table.yaml"]).unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(
        said(&output).contains("8 of 8 as expected"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_row_that_does_not_hold_fails_and_says_why() {
    let house = house();
    let table = "- name: guests may have keys\n  request: { path: /keys/1 }\n  caller: { resource: hotel, scopes: [hotel:read] }\n  expect: { upstream: hotel }\n";
    fs::write(house.path("table.yaml"), table).unwrap();
    let output = house.command(&["test", "table.yaml"]).unwrap();
    let text = said(&output);
    assert_eq!(code(&output), 1, "{text}");
    for part in [
        "FAILED guests may have keys",
        "expected hotel, found nothing",
        "wants hotel with all of hotel:write",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

#[test]
fn a_table_that_is_none_is_told_with_its_line() {
    let house = house();
    fs::write(
        house.path("table.yaml"),
        "- name: x\n  reqest: { path: / }\n",
    )
    .unwrap();
    let output = house.command(&["test", "table.yaml"]).unwrap();
    let text = said(&output);
    assert_eq!(code(&output), 1, "{text}");
    assert!(text.contains("reqest") && text.contains("line 2"), "{text}");
}

#[test]
fn a_table_without_rows_holds_nothing() {
    let house = house();
    fs::write(house.path("table.yaml"), "[]\n").unwrap();
    let output = house.command(&["test", "table.yaml"]).unwrap();
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert!(said(&output).contains("has no rows"), "{}", said(&output));
}

#[test]
fn the_schema_is_printed_as_json() {
    let output = house().command(&["schema"]).unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "gateway.yaml");
    assert!(schema["properties"]["routes"].is_object());
}

#[test]
fn keys_that_are_fetched_may_be_handed_in() {
    let (issuer, key) = ("http://127.0.0.1:9", Key::generate("k1"));
    let house = stage::build(|places| {
        let source = format!("jwks_url: {issuer}/jwks");
        let issuers = issuer_stage::entry("one", issuer, &source);
        issuer_stage::configuration(places, places.listener, &issuers)
    });
    fs::write(house.path("keys.json"), key_set(&[&key])).unwrap();
    let token = key.token(issuer, "alice");
    let ask = ["GET", "/hotel/x", "--token", &token];
    let (step, refused, _) = explain(&house, &ask);
    assert_eq!((&*step, &*refused), ("token", "keys-unavailable"));
    let (.., account) = explain(&house, &[&ask[..], &["--keys", "one=keys.json"]].concat());
    assert_eq!(account["principal"]["subject"], "one:alice");
    assert_eq!(account["upstream"], "hotel");
}
