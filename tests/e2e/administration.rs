//! Administration as it reaches a real gateway: rights that are given and taken count in the very next request.

use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::Gateway,
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::stage::{self, PASSWORD, add_user};

fn start(upstream: &Upstream) -> Gateway {
    stage::start(|places| {
        format!(
            "{}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  default_resource: hotel
  resources: {{ hotel: {{ scopes: [hotel:read, hotel:write] }} }}
  roles: {{ guest: [hotel:read], admin: [\"*\"] }}
upstreams:
  hotel: {{ endpoints: [{}] }}
routes:
  - {{ name: read, match: {{ path: /read/** }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }} }}
  - {{ name: write, match: {{ path: /write/** }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:write] }} }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
",
            stage::server(places, ""),
            upstream.address()
        )
    })
}

fn ask(client: &mut Client, request: Request, token: &str) -> Response {
    client.send(&request.bearer(token)).unwrap()
}

fn id_of(client: &mut Client, admin: &str, name: &str) -> String {
    let users = ask(client, Request::get("/v1/admin/users"), admin).json();
    let users = users["users"].as_array().unwrap().clone();
    let user = users.iter().find(|user| user["username"] == name);
    user.unwrap()["id"].as_str().unwrap().to_owned()
}

fn status(client: &mut Client, path: &str, token: &str) -> u16 {
    ask(client, Request::get(path), token).status
}

#[test]
fn a_role_that_is_given_and_taken_counts_in_the_next_request() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    add_user(gateway.house(), "root", "admin");
    add_user(gateway.house(), "alice", "guest");
    let mut client = gateway.client();
    let admin = client.log_in("root", PASSWORD, "portcullis").unwrap();
    let alice = id_of(&mut client, &admin, "alice");
    let before = client.log_in("alice", PASSWORD, "hotel").unwrap();
    assert_eq!(status(&mut client, "/read/x", &before), 200);
    assert_eq!(status(&mut client, "/write/x", &before), 403);

    let role = json!({ "name": "night", "scopes": ["hotel:write"] });
    let made = ask(
        &mut client,
        Request::post("/v1/admin/roles").json(&role),
        &admin,
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let grants = format!("/v1/admin/users/{alice}/roles");
    let grant = Request::post(&grants).json(&json!({ "role": "night" }));
    assert_eq!(ask(&mut client, grant, &admin).status, 200);
    assert_eq!(status(&mut client, "/read/x", &before), 401);

    let with_it = client.log_in("alice", PASSWORD, "hotel").unwrap();
    assert_eq!(status(&mut client, "/write/x", &with_it), 200);
    let emptied = Request::new("PATCH", "/v1/admin/roles/night").json(&json!({ "scopes": [] }));
    assert_eq!(ask(&mut client, emptied, &admin).status, 200);
    assert_eq!(status(&mut client, "/write/x", &with_it), 401);
    let marked = client.log_in("alice", PASSWORD, "hotel").unwrap();
    assert_eq!(status(&mut client, "/write/x", &marked), 403);
    let revoke = Request::new("DELETE", format!("{grants}/night"));
    assert_eq!(ask(&mut client, revoke, &admin).status, 200);
    assert_eq!(status(&mut client, "/read/x", &marked), 401);
    let gone = Request::new("DELETE", "/v1/admin/roles/night");
    assert_eq!(ask(&mut client, gone, &admin).status, 204);

    let page = ask(
        &mut client,
        Request::get(format!("/v1/admin/audit?target={alice}&actor=root")),
        &admin,
    );
    let page = page.json();
    let words: Vec<&Value> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["event"])
        .collect();
    assert_eq!(words, ["role_granted", "role_revoked"], "{page}");
    let read = ask(
        &mut client,
        Request::get("/v1/admin/audit?event=audit_read"),
        &admin,
    );
    assert_eq!(
        read.json()["events"].as_array().map(Vec::len),
        Some(2),
        "both readings are in the log: {}",
        read.text()
    );
}

#[test]
fn nobody_is_left_without_an_administrator_over_http_or_at_the_command_line() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    add_user(gateway.house(), "root", "admin");
    let mut client = gateway.client();
    let admin = client.log_in("root", PASSWORD, "portcullis").unwrap();
    let root = format!("/v1/admin/users/{}", id_of(&mut client, &admin, "root"));
    for request in [
        Request::post(format!("{root}/disable")),
        Request::new("DELETE", &*root),
        Request::new("DELETE", format!("{root}/roles/admin")),
    ] {
        let answer = ask(&mut client, request, &admin);
        assert_eq!((answer.status, &*answer.code()), (409, "conflict"));
    }
    for arguments in [
        ["user", "disable", "root"].as_slice(),
        &["user", "revoke", "root", "admin"],
        &["user", "delete", "root"],
    ] {
        let output = gateway.house().command(arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("nobody would be left"), "{said}");
    }
    assert_eq!(
        status(&mut client, &root, &admin),
        200,
        "the token is as good as before"
    );
    add_user(gateway.house(), "second", "admin");
    let output = gateway
        .house()
        .command(&["user", "delete", "root"])
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn roles_are_made_and_changed_at_the_command_line() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    add_user(gateway.house(), "alice", "guest");
    let run = |arguments: &[&str]| {
        let output = gateway.house().command(arguments).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    let made = run(&["role", "add", "night", "--scope", "hotel:write", "--json"]);
    assert_eq!(made.0, Some(0), "{}", made.1);
    let role: Value = serde_json::from_str(&made.1).unwrap();
    assert_eq!(
        (&role["name"], &role["scopes"], &role["source"]),
        (&json!("night"), &json!(["hotel:write"]), &json!("database"))
    );
    assert_eq!(run(&["user", "grant", "alice", "night"]).0, Some(0));
    for (arguments, sentence) in [
        (
            ["role", "add", "guest", "--scope", "hotel:write"].as_slice(),
            "edit the file",
        ),
        (
            &["role", "set", "guest", "--scope", "hotel:write"],
            "edit the file",
        ),
        (
            &["role", "add", "day", "--scope", "hotel:wirte"],
            "no scope of the configuration",
        ),
        (&["role", "remove", "night"], "somebody has it"),
        (&["role", "remove", "day"], "there is no role"),
    ] {
        let (code, said) = run(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
    let listed = run(&["role", "list"]).1;
    assert!(
        listed.contains("night") && listed.contains("guest"),
        "{listed}"
    );
    let mut client = gateway.client();
    let token = client.log_in("alice", PASSWORD, "hotel").unwrap();
    assert_eq!(status(&mut client, "/write/x", &token), 200);
    assert_eq!(run(&["role", "set", "night"]).0, Some(0));
    let refused = portcullis_harness::wait::until(
        "the gateway to follow the command line",
        portcullis_harness::wait::PATIENCE,
        || (status(&mut client, "/write/x", &token) == 401).then_some(()),
    );
    refused.unwrap();
    assert_eq!(run(&["user", "revoke", "alice", "night"]).0, Some(0));
    assert_eq!(run(&["role", "remove", "night"]).0, Some(0));
}
