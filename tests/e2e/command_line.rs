//! The commands as an operator types them, beside a running gateway where they are meant for one.

use std::{process::Output, time::Duration};

use portcullis_config::storage::Database;
use portcullis_harness::{
    client::{Client, Request},
    gateway::Gateway,
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use serde_json::Value;

use crate::stage::{self, PASSWORD, SHIPPED, add_user, audit_rows, sqlite};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn configuration(server: &str, upstream: &Upstream) -> String {
    format!(
        "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  default_resource: hotel
  default_role: guest
  resources: {{ hotel: {{ scopes: [hotel:read] }}, event: {{ scopes: [event:read] }} }}
  roles: {{ guest: [hotel:read], staff: [hotel:read, event:read], admin: [\"*\"] }}
upstreams:
  hotel: {{ endpoints: [{}] }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
",
        upstream.address()
    )
}

fn start(upstream: &Upstream) -> Gateway {
    stage::start(|places| configuration(&stage::server(places, ""), upstream))
}

#[test]
fn the_shipped_file_passes_its_check() {
    let house = stage::build(|_| SHIPPED.to_owned());
    let output = house.command(&["check"]).unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
}

#[test]
fn a_check_names_every_mistake_and_its_place() {
    let house = stage::build(|_| {
        "version: 1\nserver:\n  threads: none\n  colour: red\nroutes:\n  - name: a\n    match: { path: /a }\n    upstream: nowhere\n".into()
    });
    let output = house.command(&["check"]).unwrap();
    let text = said(&output);
    assert_eq!(code(&output), 1, "{text}");
    for place in ["gateway.yaml:3:", "gateway.yaml:4:", "gateway.yaml:8:"] {
        assert!(text.contains(place), "{place} is not named in: {text}");
    }
    assert!(
        text.contains("server.colour") && text.contains("routes[0]"),
        "{text}"
    );
    let output = house.command(&["check", "--json"]).unwrap();
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &verdict["valid"]), (1, &Value::Bool(false)));
    assert!(
        verdict["mistakes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|mistake| mistake["line"].is_u64()),
        "{verdict}"
    );
    let output = house.command(&["run"]).unwrap();
    assert_eq!(
        code(&output),
        1,
        "a gateway must not start with mistakes: {}",
        said(&output)
    );
}

#[test]
fn what_is_typed_wrongly_is_answered_with_2() {
    let house = stage::build(|_| SHIPPED.to_owned());
    for arguments in [
        ["fly"].as_slice(),
        &["run", "--colour"],
        &[],
        &["user"],
        &["backup"],
    ] {
        assert_eq!(code(&house.command(arguments).unwrap()), 2, "{arguments:?}");
    }
    let output = house
        .command(&["check", "--config", "absent.yaml"])
        .unwrap();
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("absent.yaml"), "{}", said(&output));
}

#[test]
fn a_taken_port_ends_the_start_with_a_sentence() {
    let upstream = Upstream::start().unwrap();
    for taken in ["listener", "admin"] {
        let house = stage::build(|places| {
            let mut places = places.clone();
            let place = if taken == "admin" {
                &mut places.admin
            } else {
                &mut places.listener
            };
            *place = upstream.address();
            configuration(&stage::server(&places, ""), &upstream)
        });
        let output = house.command(&["run"]).unwrap();
        assert_eq!(code(&output), 1, "{taken}");
        let text = said(&output);
        assert!(
            text.contains(&format!("cannot listen on {}", upstream.address())),
            "{taken}: {text}"
        );
        assert!(!text.contains("panicked"), "{taken}: {text}");
    }
}

#[test]
fn a_demo_whose_port_is_taken_greets_nobody_and_says_what_to_do() {
    let taken = Upstream::start().unwrap();
    let port = taken.address().port().to_string();
    let house = stage::build(|_| String::new());
    for (option, other) in [("--port", "--admin-port"), ("--admin-port", "--port")] {
        let output = house.command(&["demo", option, &port, other, "0"]).unwrap();
        assert_eq!(code(&output), 1, "{option}");
        let text = said(&output);
        assert!(
            text.contains(&format!("give another port with {option}")),
            "{text}"
        );
        assert!(output.stdout.is_empty(), "{text}");
    }
}

#[test]
fn keys_in_files_are_looked_at_by_a_check_as_by_a_start() {
    let house = stage::build(|places| {
        let issuers = "issuers: [{ name: corp, issuer: https://corp.example, audiences: [hotel], \
                       public_key_file: corp.pem, algorithms: [ES256] }]";
        let upstream = "upstreams: { hotel: { endpoints: [127.0.0.1:9] } }";
        let route = "routes: [{ name: hotel, match: { path: /** }, upstream: hotel, auth: { resource: hotel } }]";
        format!(
            "{}{issuers}\n{upstream}\n{route}\n",
            stage::server(places, "")
        )
    });
    for (content, complaint) in [
        (None, "cannot read corp.pem"),
        (Some("no key"), "no PEM block"),
    ] {
        if let Some(content) = content {
            std::fs::write(house.path("corp.pem"), content).unwrap();
        }
        for command in [["check"].as_slice(), &["check", "--json"], &["run"]] {
            let output = house.command(command).unwrap();
            assert_eq!(code(&output), 1, "{command:?}");
            let text = said(&output);
            assert!(text.contains("corp cannot be used"), "{command:?}: {text}");
            assert!(text.contains(complaint), "{command:?}: {text}");
        }
    }
}

#[test]
fn a_database_that_cannot_be_opened_is_named() {
    let upstream = Upstream::start().unwrap();
    let house = stage::build(|places| configuration(&stage::server(places, ""), &upstream));
    std::fs::create_dir_all(house.path("data")).unwrap();
    std::fs::write(house.path("data/portcullis.db"), "no database").unwrap();
    for command in [["run"].as_slice(), &["user", "list"], &["migrate"]] {
        let output = house.command(command).unwrap();
        assert_eq!(code(&output), 1, "{command:?}");
        let text = said(&output);
        assert!(
            text.contains("data/portcullis.db (storage.database)"),
            "{text}"
        );
    }
}

#[test]
fn a_database_is_migrated_once() {
    let upstream = Upstream::start().unwrap();
    let house = stage::build(|places| configuration(&stage::server(places, ""), &upstream));
    let first = house.command(&["migrate"]).unwrap();
    assert_eq!(code(&first), 0, "{}", said(&first));
    assert!(house.path("data/portcullis.db").exists());
    let again = house.command(&["migrate", "--json"]).unwrap();
    assert_eq!(code(&again), 0, "{}", said(&again));
    assert!(
        !String::from_utf8_lossy(&again.stdout).contains("0001"),
        "nothing is left to do: {}",
        said(&again)
    );
}

#[test]
fn a_healthcheck_tells_whether_the_gateway_is_ready() {
    let upstream = Upstream::start().unwrap();
    let house = stage::build(|places| configuration(&stage::server(places, ""), &upstream));
    assert_eq!(
        code(&house.command(&["healthcheck"]).unwrap()),
        1,
        "nothing runs"
    );
    let gateway = start(&upstream);
    // It has two seconds for its answer, which a slow machine may miss.
    let ready = wait::until("a healthcheck that is content", PATIENCE, || {
        let output = gateway.house().command(&["healthcheck"]).unwrap();
        (code(&output) == 0).then_some(())
    });
    ready.unwrap();
    gateway.stop().unwrap();
}

#[test]
fn a_user_can_be_managed_beside_the_running_gateway() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let house = gateway.house();
    add_user(house, "alice", "guest");
    let listed = house.command(&["user", "list", "--json"]).unwrap();
    let user: Value = serde_json::from_str(said(&listed).lines().next().unwrap()).unwrap();
    assert_eq!(
        (&user["username"], &user["disabled"]),
        (&Value::from("alice"), &Value::from(false))
    );
    assert!(
        !said(&listed).contains("argon2"),
        "a list shows password hashes"
    );
    let mut client = gateway.client();
    assert!(
        client.log_in("alice", PASSWORD, "event").is_err(),
        "a guest has no event"
    );
    let granted = house.command(&["user", "grant", "alice", "staff"]).unwrap();
    assert_eq!(code(&granted), 0, "{}", said(&granted));
    client.log_in("alice", PASSWORD, "event").unwrap();
    for arguments in [
        ["user", "grant", "alice", "emperor"],
        ["user", "grant", "nobody", "staff"],
    ] {
        assert_eq!(
            code(&house.command(&arguments).unwrap()),
            1,
            "{arguments:?}"
        );
    }
    let weak = house
        .command_with_input(&["user", "add", "bob"], "short")
        .unwrap();
    assert_eq!(code(&weak), 1, "{}", said(&weak));
    for action in ["user_created", "role_granted"] {
        let rows = audit_rows(&sqlite(&gateway), action, |rows| !rows.is_empty());
        assert_eq!(
            (rows[0].actor.kind.as_str(), rows[0].outcome.as_str()),
            ("operator", "success"),
            "{action}"
        );
    }
}

#[test]
fn sessions_are_listed_and_ended_beside_the_running_gateway() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let house = gateway.house();
    add_user(house, "alice", "guest");
    let mut client = gateway.client();
    let tokens = [(); 3].map(|()| client.log_in("alice", PASSWORD, "hotel").unwrap());
    let listed = || {
        let output = house.command(&["session", "list", "alice", "--json"]);
        let lines = said(&output.unwrap());
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    let sessions = listed();
    assert_eq!(sessions.len(), 3, "{sessions:?}");
    assert_eq!(sessions[0]["resource"], "hotel");

    let one = sessions[0]["id"].as_str().unwrap();
    assert_eq!(code(&house.command(&["session", "end", one]).unwrap()), 0);
    assert_eq!(code(&house.command(&["session", "end", one]).unwrap()), 1);
    let left = || {
        tokens
            .iter()
            .filter(|token| opens(&mut gateway.client(), token))
            .count()
    };
    wait::until("one token to be refused", PATIENCE, || {
        (left() == 2).then_some(())
    })
    .unwrap();
    assert_eq!(listed().len(), 2);

    let ended = house
        .command(&["session", "end", "--all-of", "alice"])
        .unwrap();
    assert_eq!(code(&ended), 0, "{}", said(&ended));
    wait::until("every token to be refused", PATIENCE, || {
        (left() == 0).then_some(())
    })
    .unwrap();
    assert_eq!(listed().len(), 0);
    assert_eq!(code(&house.command(&["session", "end"]).unwrap()), 2);
}

/// Whether the token still opens the hotel.
fn opens(client: &mut Client, token: &str) -> bool {
    let answer = client
        .send(&Request::get("/hotel/x").bearer(token))
        .unwrap();
    assert!([200, 401].contains(&answer.status), "{}", answer.status);
    answer.status == 200
}

/// Disables a user and returns how long its token was good after that.
fn outlives_its_user(gateway: &Gateway, name: &str, token: &str) -> Duration {
    let mut client = gateway.client();
    assert!(opens(&mut client, token));
    let disabled = gateway.house().command(&["user", "disable", name]);
    assert_eq!(code(&disabled.unwrap()), 0);
    let (ended, took) = wait::timed(|| {
        wait::until("the end of a token", PATIENCE, || {
            (!opens(&mut client, token)).then_some(())
        })
    });
    ended.unwrap();
    took
}

#[test]
fn disabling_a_user_ends_its_tokens_within_two_seconds() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let names = ["alice", "bob", "carol", "dan", "eve", "frank"];
    for name in names {
        add_user(gateway.house(), name, "guest");
    }
    let mut client = gateway.client();
    let tokens = names.map(|name| client.log_in(name, PASSWORD, "hotel").unwrap());
    let [alice, bob, others @ ..] = &tokens;
    // The first is not measured: with its end the gateway has just looked, and the next must wait for the next look. A
    // machine that stalls may spoil one measurement, and not all of them.
    outlives_its_user(&gateway, "alice", alice);
    let mut others = names[2..].iter().zip(others);
    let is_soon =
        others.any(|(name, token)| outlives_its_user(&gateway, name, token).as_secs() < 2);
    assert!(is_soon, "each of them took longer");
    assert!(opens(&mut client, bob), "another user's token must not end");
    assert!(
        client.log_in("alice", PASSWORD, "hotel").is_err(),
        "a disabled user signs in"
    );
    assert_eq!(
        code(
            &gateway
                .house()
                .command(&["user", "enable", "alice"])
                .unwrap()
        ),
        0
    );
    let fresh = client.log_in("alice", PASSWORD, "hotel").unwrap();
    assert!(opens(&mut client, &fresh));
    assert!(!opens(&mut client, alice), "what was ended stays ended");
}

#[test]
fn a_revocation_survives_a_restart() {
    let upstream = Upstream::start().unwrap();
    let house = stage::build(|places| configuration(&stage::server(places, ""), &upstream));
    add_user(&house, "alice", "guest");
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    let token = gateway.client().log_in("alice", PASSWORD, "hotel").unwrap();
    assert_eq!(
        code(
            &gateway
                .house()
                .command(&["user", "disable", "alice"])
                .unwrap()
        ),
        0
    );
    let house = gateway.stop_and_keep().unwrap();
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    assert!(
        !opens(&mut gateway.client(), &token),
        "the first request after the start"
    );
}

#[test]
fn a_backup_is_whole_though_the_gateway_runs() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    add_user(gateway.house(), "alice", "guest");
    gateway.client().log_in("alice", PASSWORD, "hotel").unwrap();
    let output = gateway.house().command(&["backup", "copy.db"]).unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    let copy = Database::Sqlite(gateway.house().path("copy.db"));
    let rows = audit_rows(&copy, "login_success", |rows| !rows.is_empty());
    assert_eq!(rows.len(), 1);
    let again = gateway.house().command(&["backup", "copy.db"]).unwrap();
    assert_eq!(code(&again), 1, "a backup must not overwrite another");
    assert!(gateway.client().log_in("alice", PASSWORD, "hotel").is_ok());
}
