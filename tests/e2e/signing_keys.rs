//! Signing keys on two replicas and on a gateway beside them: a rotation that nobody notices, and a key that was taken
//! back. Time is set forward in the database, where all of them read it.

use std::time::Duration;

use portcullis_harness::{
    client::{Client, Request},
    gateway::{Gateway, Places},
    jose::Compact,
    postgres::Postgres,
    upstream::Upstream,
    wait::{self, PATIENCE, SOON},
};
use serde_json::Value;

use crate::stage::{self, PASSWORD, add_user};

const ISSUER: &str = "http://localhost:8080";
/// Six minutes from the publication to the first signature, and a little.
const AHEAD: Duration = Duration::from_secs(361);
/// A quarter of an hour of a token's life, what clocks and readings may be late by, and a little.
const OUTLIVES: Duration = Duration::from_secs(15 * 60 + 66);

fn issuing(places: &Places, database: &str, upstream: &Upstream) -> String {
    let server = stage::server(places, "");
    format!(
        "{server}
storage: {{ database: \"{database}\", key: \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\" }}
auth:
  issuer: {ISSUER}
  signing: {{ rotate_every: 1d }}
  access_token: {{ lifetime: 15m }}
  default_resource: hotel
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read], admin: [\"*\"] }}
upstreams:
  hotel: {{ endpoints: [{}] }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: oauth, match: {{ path: /oauth/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: well-known, match: {{ path: /.well-known/** }}, upstream: builtin:auth, auth: public }}
",
        upstream.address()
    )
}

/// A gateway without a database that follows `of`.
fn following(places: &Places, of: &Gateway, upstream: &Upstream) -> String {
    let (server, at) = (stage::server(places, ""), of.address());
    let added = carry_out(
        of,
        &[
            "client",
            "add",
            "sidecar",
            "--scope",
            "revocations:read",
            "--json",
        ],
    );
    let (id, secret) = (text(&added, "id"), text(&added, "secret"));
    format!(
        "{server}
issuers:
  - name: gate
    issuer: {ISSUER}
    audiences: [hotel]
    jwks_url: http://{at}/.well-known/jwks.json
    algorithms: [ES256]
    revocations_url: http://{at}/v1/revocations
    revocations_client: {{ id: {id}, secret: {secret} }}
upstreams:
  hotel: {{ endpoints: [{}] }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel }} }}
",
        upstream.address()
    )
}

/// What a command said in JSON.
fn carry_out(gateway: &Gateway, command: &[&str]) -> Value {
    let output = gateway.house().command(command).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

fn kid_of(token: &str) -> String {
    let header = Compact::parse(token).unwrap().header_json().unwrap();
    text(&header, "kid")
}

fn status(client: &mut Client, token: &str) -> u16 {
    let asked = Request::get("/hotel/x").bearer(token);
    client.send(&asked).unwrap().status
}

/// Two replicas on one database, and one that follows the first.
struct House {
    postgres: Postgres,
    database: String,
    one: Gateway,
    other: Gateway,
    beside: Gateway,
    _upstream: Upstream,
}

impl House {
    fn build() -> Self {
        let (postgres, upstream) = (Postgres::start().unwrap(), Upstream::start().unwrap());
        let database = postgres.fresh_database().unwrap();
        let start = || stage::start(|places| issuing(places, &database, &upstream));
        let (one, other) = (start(), start());
        add_user(one.house(), "alice", "guest");
        add_user(one.house(), "root", "admin");
        let beside = stage::start(|places| following(places, &one, &upstream));
        Self {
            postgres,
            database,
            one,
            other,
            beside,
            _upstream: upstream,
        }
    }

    /// As if everything that happened to the keys had happened so much earlier.
    fn set_forward(&self, by: Duration) {
        let by = by.as_millis();
        let sql = format!(
            "UPDATE signing_keys SET created_ms = created_ms - {by}, \
             activated_ms = activated_ms - {by}, retired_ms = retired_ms - {by}"
        );
        self.postgres.execute(&self.database, &sql).unwrap();
    }

    fn gateways(&self) -> [&Gateway; 3] {
        [&self.one, &self.other, &self.beside]
    }

    /// Until all three say the same of a token.
    fn until_everywhere(&self, token: &str, wanted: u16) {
        for gateway in self.gateways() {
            let mut client = gateway.client();
            let said = wait::until(&format!("{wanted} everywhere"), PATIENCE, || {
                (status(&mut client, token) == wanted).then_some(())
            });
            said.unwrap();
        }
    }

    /// Until a token that this gateway signs is of that key.
    fn until_signed_with(gateway: &Gateway, kid: &str) -> String {
        let mut client = gateway.client();
        let signed = wait::until("a token of the new key", PATIENCE, || {
            let token = client.log_in("alice", PASSWORD, "hotel").unwrap();
            (kid_of(&token) == kid).then_some(token)
        });
        signed.unwrap()
    }

    fn published(gateway: &Gateway) -> Vec<String> {
        let set = gateway
            .client()
            .get("/.well-known/jwks.json")
            .unwrap()
            .json();
        let keys = set["keys"].as_array().unwrap();
        keys.iter().map(|key| text(key, "kid")).collect()
    }

    fn until_published(gateway: &Gateway, wanted: &[&str]) {
        let seen = wait::until("the key set", PATIENCE, || {
            (Self::published(gateway) == wanted).then_some(())
        });
        seen.unwrap();
    }
}

#[test]
fn a_rotation_by_hand_reaches_every_replica_and_refuses_no_good_token() {
    let house = House::build();
    let (one, other) = (&house.one, &house.other);
    let before = one.client().log_in("alice", PASSWORD, "hotel").unwrap();
    let root = one.client().log_in("root", PASSWORD, "portcullis").unwrap();
    let old = kid_of(&before);
    house.until_everywhere(&before, 200);

    let asked = Request::post("/v1/admin/keys/rotate").bearer(&root);
    let answer = one.client().send(&asked).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let new = text(&answer.json(), "kid");
    House::until_published(other, &[&old, &new]);
    let between = other.client().log_in("alice", PASSWORD, "hotel").unwrap();
    assert_eq!(kid_of(&between), old, "published, and not in use yet");

    house.set_forward(AHEAD);
    let tokens = [one, other].map(|gateway| House::until_signed_with(gateway, &new));
    for token in tokens.iter().chain([&before, &between]) {
        house.until_everywhere(token, 200);
    }

    house.set_forward(OUTLIVES);
    for gateway in [one, other] {
        House::until_published(gateway, &[&new]);
        assert_eq!(
            status(&mut gateway.client(), &before),
            401,
            "its key is gone"
        );
        assert_eq!(status(&mut gateway.client(), &tokens[0]), 200);
    }
    let list = carry_out(one, &["key", "list", "--json"]);
    assert_eq!(
        (text(&list, "kid"), text(&list, "state")),
        (new, "active".to_owned())
    );
}

#[test]
fn a_key_rotates_on_its_day_and_one_replica_makes_the_next() {
    let house = House::build();
    let old = House::published(&house.one).pop().unwrap();
    house.set_forward(Duration::from_secs(86_400) - AHEAD + Duration::from_secs(2));
    let published = wait::until("the next key", PATIENCE, || {
        let keys = House::published(&house.one);
        (keys.len() == 2).then_some(keys)
    });
    let published = published.unwrap();
    assert_eq!(published[0], old);
    House::until_published(&house.other, &[&published[0], &published[1]]);
    house.set_forward(AHEAD);
    House::until_signed_with(&house.one, &published[1]);
    House::until_signed_with(&house.other, &published[1]);
}

#[test]
fn a_key_taken_back_at_one_replica_is_soon_refused_at_the_others() {
    let house = House::build();
    let (one, other) = (&house.one, &house.other);
    let token = other.client().log_in("alice", PASSWORD, "hotel").unwrap();
    let root = one.client().log_in("root", PASSWORD, "portcullis").unwrap();
    house.until_everywhere(&token, 200);

    let mut clients = house.gateways().map(Gateway::client);
    let path = format!("/v1/admin/keys/{}/retire", kid_of(&token));
    let asked = Request::post(&path).bearer(&root);
    let answer = one.client().send(&asked).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let [here, there, beside] = &mut clients;
    assert_eq!(status(here, &token), 401, "in the very next request");
    let refused = |client: &mut Client, what: &str| {
        let (refused, took) = wait::timed(|| {
            wait::until(what, PATIENCE, || {
                (status(client, &token) == 401).then_some(())
            })
        });
        refused.unwrap();
        println!("{what}: {took:?} after the answer");
        assert!(took < SOON, "{what}: {took:?}");
    };
    refused(there, "refused at the other replica");
    refused(beside, "refused at the gateway that follows");

    let new = text(&answer.json()["signing"], "kid");
    for gateway in [one, other] {
        let token = House::until_signed_with(gateway, &new);
        house.until_everywhere(&token, 200);
    }
}

#[test]
fn a_key_taken_back_at_the_command_line_is_refused_by_all_that_run() {
    let house = House::build();
    let token = house
        .one
        .client()
        .log_in("alice", PASSWORD, "hotel")
        .unwrap();
    house.until_everywhere(&token, 200);
    let next = carry_out(&house.one, &["key", "rotate", "--json"]);
    assert_eq!(text(&next, "state"), "next");
    let again = house.one.house().command(&["key", "rotate"]).unwrap();
    assert_eq!(again.status.code(), Some(1), "one rotation at a time");
    let done = carry_out(&house.one, &["key", "retire", &kid_of(&token), "--json"]);
    assert_eq!(
        text(&done["signing"], "kid"),
        text(&next, "kid"),
        "it was announced already"
    );
    house.until_everywhere(&token, 401);
    let unknown = house
        .one
        .house()
        .command(&["key", "retire", "nobody"])
        .unwrap();
    assert_eq!(unknown.status.code(), Some(1));
}
