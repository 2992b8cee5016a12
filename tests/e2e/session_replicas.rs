//! Three gateways on one PostgreSQL: what ends at one of them ends at the others, also after a connection was broken.

use std::time::Duration;

use portcullis_harness::{
    client::{Client, Request},
    gateway::{Gateway, Places},
    postgres::Postgres,
    relay::Relay,
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use serde_json::{Value, json};

use crate::stage::{self, PASSWORD, add_user};

const NEW_PASSWORD: &str = "nine violet kites over land";

/// What the contract promises where nothing is broken.
const PROMISED: Duration = Duration::from_secs(2);
const TRIES: usize = 5;

pub(crate) struct Replicas {
    pub(crate) gateways: [Gateway; 3],
    /// Between the last gateway and the database.
    pub(crate) relay: Relay,
    _upstream: Upstream,
    _postgres: Postgres,
}

impl Replicas {
    pub(crate) fn start() -> Self {
        let postgres = Postgres::start().unwrap();
        let upstream = Upstream::start().unwrap();
        let direct = postgres.fresh_database().unwrap();
        let relay = Relay::to(([127, 0, 0, 1], postgres.port()).into()).unwrap();
        let port = |port: u16| format!(":{port}/");
        let relayed = direct.replace(&port(postgres.port()), &port(relay.address().port()));
        assert_ne!(direct, relayed);
        let gateways = [&direct, &direct, &relayed]
            .map(|database| stage::start(|places| configuration(places, database, &upstream)));
        Self {
            gateways,
            relay,
            _upstream: upstream,
            _postgres: postgres,
        }
    }

    pub(crate) fn clients(&self) -> [Client; 3] {
        [0, 1, 2].map(|at: usize| self.gateways[at].client())
    }

    /// Makes a user and has `end` tell how long a token of it was good after it should not have been. A machine that holds
    /// up one of the processes may spoil one try, and not all of them.
    fn are_told_in_time(&self, what: &str, end: impl Fn(&str) -> Duration) {
        let is_in_time = (0..TRIES).any(|number| {
            let name = format!("{}-{number}", what.replace(' ', "-"));
            add_user(self.gateways[0].house(), &name, "guest");
            let took = end(&name);
            println!("{what}: refused everywhere after {took:?}");
            took < PROMISED
        });
        assert!(is_in_time, "{what} was known later than promised each time");
    }

    /// Until each of these gateways refuses the token, and how long that took.
    pub(crate) fn refused_at(&self, which: &[usize], access: &str) -> Duration {
        let mut clients = self.clients();
        let (refused, took) = wait::timed(|| {
            wait::until("a refusal everywhere", PATIENCE, || {
                let is_refused = |at: &usize| visit(&mut clients[*at], access) == 401;
                which.iter().all(is_refused).then_some(())
            })
        });
        refused.unwrap();
        took
    }
}

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

fn visit(client: &mut Client, access: &str) -> u16 {
    let request = Request::get("/hotel/x").bearer(access);
    client.send(&request).unwrap().status
}

pub(crate) fn pair(client: &mut Client, name: &str) -> (String, Value) {
    let body = json!({ "username": name, "password": PASSWORD });
    let answer = client.send_to_be_hashed(&Request::post("/v1/auth/login").json(&body));
    let answer = answer.unwrap().json();
    let access = answer["access_token"].as_str().unwrap().to_owned();
    (access, json!({ "refresh_token": answer["refresh_token"] }))
}

pub(crate) fn log_out(client: &mut Client, access: &str) -> u16 {
    let request = Request::post("/v1/auth/logout").bearer(access);
    client.send(&request).unwrap().status
}

/// Once the database answers.
fn refresh(client: &mut Client, body: &Value) -> u16 {
    let answered = wait::until("a database that answers", PATIENCE, || {
        Some(refresh_once(client, body)).filter(|status| *status != 503)
    });
    answered.unwrap()
}

fn refresh_once(client: &mut Client, body: &Value) -> u16 {
    let request = Request::post("/v1/auth/refresh").json(body);
    client.send(&request).unwrap().status
}

#[test]
fn what_ends_at_one_replica_ends_at_all_of_them() {
    let replicas = Replicas::start();
    replicas.are_told_in_time("a logout", |name| {
        let [mut here, mut there, mut far] = replicas.clients();
        let (access, token) = pair(&mut there, name);
        assert_eq!(
            [visit(&mut here, &access), visit(&mut far, &access)],
            [200, 200]
        );
        assert_eq!(log_out(&mut here, &access), 204);
        assert_eq!(visit(&mut here, &access), 401, "in the very next request");
        let took = replicas.refused_at(&[1, 2], &access);
        assert_eq!(refresh(&mut far, &token), 401);
        took
    });
    replicas.are_told_in_time("user disable at the command line", |name| {
        let [_, mut there, mut far] = replicas.clients();
        let (access, token) = pair(&mut far, name);
        let disable = ["user", "disable", name];
        let disabled = replicas.gateways[0].house().command(&disable).unwrap();
        assert!(disabled.status.success());
        let took = replicas.refused_at(&[0, 1, 2], &access);
        assert_eq!(refresh(&mut there, &token), 401);
        took
    });
    replicas.are_told_in_time("another password", |name| {
        let [mut here, mut there, mut far] = replicas.clients();
        let (access, token) = pair(&mut there, name);
        let body = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
        let change = Request::post("/v1/auth/password")
            .bearer(&access)
            .json(&body);
        let changed = here.send_to_be_hashed(&change).unwrap();
        assert_eq!(changed.status, 200, "{}", changed.text());
        assert_eq!(visit(&mut here, &access), 401, "in the very next request");
        let took = replicas.refused_at(&[1, 2], &access);
        assert_eq!(refresh(&mut far, &token), 401);
        took
    });
}

#[test]
fn a_replica_whose_connection_was_broken_learns_what_it_missed() {
    let replicas = Replicas::start();
    let [mut here, mut there, mut far] = replicas.clients();
    add_user(replicas.gateways[0].house(), "dora", "guest");
    let (access, token) = pair(&mut far, "dora");
    replicas.relay.cut();
    assert_eq!(log_out(&mut here, &access), 204);
    replicas.refused_at(&[0, 1], &access);
    assert_eq!(
        visit(&mut far, &access),
        200,
        "it cannot know, and goes on serving"
    );
    assert_eq!(
        refresh_once(&mut far, &token),
        503,
        "and spends nothing that it cannot count"
    );
    replicas.relay.restore();
    let took = replicas.refused_at(&[2], &access);
    println!("a logout after the connection was back: refused everywhere after {took:?}");
    assert_eq!(
        [refresh(&mut there, &token), refresh(&mut far, &token)],
        [401, 401]
    );
}
