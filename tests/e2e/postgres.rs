//! The same gateway on PostgreSQL: sign-in, revocation from the command line, audit, and what an outage does.

use portcullis_config::storage::Database;
use portcullis_harness::{
    client::{Client, Request},
    gateway::Places,
    postgres::Postgres,
    upstream::Upstream,
    wait::{self, PATIENCE, SOON},
};
use secrecy::SecretString;
use serde_json::json;

use crate::stage::{self, PASSWORD, add_user, audit_rows};

fn configuration(places: &Places, database: &str, upstream: &Upstream) -> String {
    let server = stage::server(places, "");
    format!(
        "{server}
storage: {{ database: \"{database}\", key: \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\" }}
auth:
  default_resource: hotel
  default_role: guest
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read], admin: [\"*\"] }}
upstreams:
  hotel: {{ endpoints: [{}] }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
",
        upstream.address()
    )
}

fn status(client: &mut Client, token: &str) -> u16 {
    client
        .send(&Request::get("/hotel/x").bearer(token))
        .unwrap()
        .status
}

#[test]
fn two_replicas_share_users_keys_and_revocations_and_outlive_their_database() {
    let mut postgres = Postgres::start().unwrap();
    let (database, upstream) = (
        postgres.fresh_database().unwrap(),
        Upstream::start().unwrap(),
    );
    let [one, other] =
        [(), ()].map(|()| stage::start(|places| configuration(places, &database, &upstream)));
    for name in ["alice", "bob"] {
        add_user(one.house(), name, "guest");
    }
    let (mut here, mut there) = (one.client(), other.client());
    let (alice, bob) = (
        here.log_in("alice", PASSWORD, "hotel").unwrap(),
        here.log_in("bob", PASSWORD, "hotel").unwrap(),
    );
    assert_eq!(
        (status(&mut here, &alice), status(&mut there, &alice)),
        (200, 200),
        "one key signs for both"
    );
    assert!(
        other
            .house()
            .command(&["user", "disable", "alice"])
            .unwrap()
            .status
            .success()
    );
    let (ended, took) = wait::timed(|| {
        wait::until("the end of a token on both", PATIENCE, || {
            (status(&mut here, &alice) == 401 && status(&mut there, &alice) == 401).then_some(())
        })
    });
    ended.unwrap();
    assert!(took < SOON, "{took:?}");
    let read = Database::Postgres(SecretString::from(database));
    for action in [
        "login_success",
        "token_issued",
        "user_created",
        "user_disabled",
    ] {
        let rows = audit_rows(&read, action, |rows| !rows.is_empty());
        assert!(rows.iter().all(|row| row.outcome == "success"), "{action}");
    }
    postgres.stop().unwrap();
    assert_eq!(
        (status(&mut here, &bob), status(&mut there, &bob)),
        (200, 200),
        "tokens need no database"
    );
    let body = json!({ "username": "bob", "password": PASSWORD });
    let answer = here
        .send(&Request::post("/v1/auth/login").json(&body))
        .unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "store-unavailable")
    );
    for gateway in [one, other] {
        assert_eq!(
            gateway.readiness(),
            Some(200),
            "what needs no database is still served"
        );
    }
}
