//! Revocations between gateways: one that issues, with a database, and one beside it that has none and follows. And routes
//! that ask for what is fresh, on both.

use std::time::Duration;

use portcullis_harness::{
    client::{Client, Request},
    gateway::{Gateway, Places},
    postgres::Postgres,
    upstream::Upstream,
    wait::{self, PATIENCE, SOON},
};
use rustix::process::Signal;
use serde_json::Value;

use crate::stage::{self, PASSWORD, add_user};

/// Staleness begins after fifteen seconds.
const STALE_WITHIN: Duration = Duration::from_secs(60);
const ISSUER: &str = "http://localhost:8080";

const FOLLOWED: &str = "the revocations are followed";
const STALE: &str = "the revocations are stale";

fn issuing(places: &Places, storage: &str, upstream: &Upstream) -> String {
    let server = stage::server(places, "");
    format!(
        "{server}
storage: {{ {storage} }}
auth:
  issuer: {ISSUER}
  access_token: {{ lifetime: 15m }}
  default_resource: hotel
  default_role: guest
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read], admin: [\"*\"] }}
upstreams:
  hotel: {{ endpoints: [{}] }}
routes:
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: oauth, match: {{ path: /oauth/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: well-known, match: {{ path: /.well-known/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: plain, match: {{ path: /plain/** }}, upstream: hotel, auth: {{ resource: hotel }} }}
  - {{ name: fresh, match: {{ path: /fresh/** }}, upstream: hotel, auth: {{ resource: hotel, fresh: true }} }}
",
        upstream.address()
    )
}

fn start_issuing(upstream: &Upstream) -> Gateway {
    let storage = "database: \"sqlite://data/portcullis.db\"";
    stage::start(|places| issuing(places, storage, upstream))
}

/// No database, and keys and revocations of the gateway that has one.
fn following(places: &Places, issuing: &Gateway, client: &Account, upstream: &Upstream) -> String {
    let (server, at) = (stage::server(places, ""), issuing.address());
    let Account { id, secret } = client;
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
  - {{ name: plain, match: {{ path: /plain/** }}, upstream: hotel, auth: {{ resource: hotel }} }}
  - {{ name: fresh, match: {{ path: /fresh/** }}, upstream: hotel, auth: {{ resource: hotel, fresh: true }} }}
",
        upstream.address()
    )
}

/// What `portcullis client add` printed.
struct Account {
    id: String,
    secret: String,
}

impl Account {
    fn add(gateway: &Gateway, name: &str, scope: &str) -> Self {
        let added = gateway
            .house()
            .command(&["client", "add", name, "--scope", scope, "--json"]);
        let added = added.unwrap();
        let said: Value = serde_json::from_slice(&added.stdout).unwrap();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        Self {
            id: text("id"),
            secret: text("secret"),
        }
    }

    fn token(&self, client: &mut Client) -> String {
        let Self { id, secret } = self;
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let request = Request::post("/oauth/token")
            .with("Content-Type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = client.send(&request).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }
}

fn carry_out(gateway: &Gateway, command: &[&str]) {
    let output = gateway.house().command(command).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// The status, and the code of a problem.
fn ask(client: &mut Client, path: &str, token: &str) -> (u16, String) {
    let answer = client.send(&Request::get(path).bearer(token)).unwrap();
    (answer.status, answer.code())
}

fn until_status(client: &mut Client, path: &str, token: &str, status: u16, limit: Duration) {
    let what = format!("{status} of {path}");
    let came = wait::until(&what, limit, || {
        (ask(client, path, token).0 == status).then_some(())
    });
    came.unwrap();
}

struct Pair {
    issuing: Gateway,
    following: Gateway,
    upstream: Upstream,
}

impl Pair {
    fn start() -> Self {
        Self::with_scope("revocations:read")
    }

    fn with_scope(scope: &str) -> Self {
        let upstream = Upstream::start().unwrap();
        let issuing = start_issuing(&upstream);
        let client = Account::add(&issuing, "sidecar", scope);
        for name in ["alice", "bob"] {
            add_user(issuing.house(), name, "guest");
        }
        let beside = |places: &Places| following(places, &issuing, &client, &upstream);
        let following = stage::start(beside);
        Self {
            following,
            issuing,
            upstream,
        }
    }

    fn log_in(&self, name: &str) -> String {
        let mut client = self.issuing.client();
        client.log_in(name, PASSWORD, "hotel").unwrap()
    }
}

#[test]
fn a_user_disabled_here_is_refused_there() {
    let pair = Pair::start();
    let (alice, bob) = (pair.log_in("alice"), pair.log_in("bob"));
    let mut there = pair.following.client();
    for path in ["/plain/x", "/fresh/x"] {
        until_status(&mut there, path, &alice, 200, PATIENCE);
    }
    let asked = pair.upstream.take_received();
    let user = asked.last().unwrap().field("x-user-id").unwrap().to_owned();
    assert!(user.starts_with("gate:"), "{user}");
    let (_, took) = wait::timed(|| {
        carry_out(&pair.issuing, &["user", "disable", "alice"]);
        until_status(&mut there, "/plain/x", &alice, 401, PATIENCE);
    });
    println!("refused {took:?} after the command was begun");
    assert!(took < SOON, "it took {took:?}");
    assert_eq!(ask(&mut there, "/fresh/x", &bob).0, 200, "nobody else ends");
    carry_out(&pair.issuing, &["user", "enable", "alice"]);
    let again = pair.log_in("alice");
    until_status(&mut there, "/plain/x", &again, 200, PATIENCE);
    assert_eq!(ask(&mut there, "/plain/x", &alice).0, 401);
}

#[test]
fn a_gateway_that_starts_anew_reads_everything_before_it_admits() {
    let pair = Pair::start();
    let alice = pair.log_in("alice");
    let mut there = pair.following.client();
    until_status(&mut there, "/plain/x", &alice, 200, PATIENCE);
    let house = pair.following.stop_and_keep().unwrap();
    carry_out(&pair.issuing, &["user", "disable", "alice"]);
    let mut following = house.launch(&["run"]).unwrap();
    following.wait_ready().unwrap();
    let mut there = following.client();
    // Keys are fetched in the background, and until then it cannot tell.
    let first = wait::until("a verdict", PATIENCE, || {
        let (status, code) = ask(&mut there, "/plain/x", &alice);
        (code != "keys-unavailable").then_some(status)
    });
    assert_eq!(first.unwrap(), 401);
}

#[test]
fn a_silent_feed_closes_fresh_routes_alone_and_its_return_opens_them() {
    let mut pair = Pair::start();
    let alice = pair.log_in("alice");
    let mut there = pair.following.client();
    until_status(&mut there, "/fresh/x", &alice, 200, PATIENCE);
    let said = |line: &str| pair.following.stderr().matches(line).count();
    wait::until(FOLLOWED, PATIENCE, || (said(FOLLOWED) > 0).then_some(())).unwrap();
    let (before, stale_before) = (said(FOLLOWED), said(STALE));
    pair.issuing.signal(Signal::KILL).unwrap();
    pair.issuing.wait_for_end(PATIENCE).unwrap();
    let closed = wait::until("a stale feed", STALE_WITHIN, || {
        assert_eq!(ask(&mut there, "/plain/x", &alice).0, 200);
        let answer = ask(&mut there, "/fresh/x", &alice);
        (answer.0 != 200).then_some(answer)
    });
    assert_eq!(closed.unwrap(), (503, "revocations-stale".to_owned()));
    assert_eq!(pair.following.readiness(), Some(200), "readiness stays");
    let age = pair.following.metrics().unwrap();
    let age = age.sum("portcullis_revocation_feed_age_seconds", &[]);
    assert!(age > 15.0, "{age}");
    // Said by the next question that fails.
    let told = wait::until("a line in the log", PATIENCE, || {
        (said(STALE) == stale_before + 1).then_some(())
    });
    told.unwrap();
    let mut issuing = pair.issuing.keep().launch(&["run"]).unwrap();
    issuing.wait_ready().unwrap();
    until_status(&mut there, "/fresh/x", &alice, 200, PATIENCE);
    let told = wait::until("another line in the log", PATIENCE, || {
        (said(FOLLOWED) > before).then_some(())
    });
    told.unwrap_or_else(|error| panic!("{error}: {}", pair.following.stderr()));
}

#[test]
fn a_client_without_the_scope_follows_nothing() {
    let pair = Pair::with_scope("audit:read");
    let alice = pair.log_in("alice");
    let mut there = pair.following.client();
    until_status(&mut there, "/plain/x", &alice, 200, PATIENCE);
    assert_eq!(
        ask(&mut there, "/fresh/x", &alice),
        (503, "revocations-stale".to_owned())
    );
    let mut here = pair.issuing.client();
    let token = Account::add(&pair.issuing, "auditor", "audit:read").token(&mut here);
    assert_eq!(
        ask(&mut here, "/v1/revocations", &token),
        (403, "insufficient-scope".to_owned())
    );
}

#[test]
fn a_disabled_clients_token_ends_and_so_does_its_feed() {
    let pair = Pair::start();
    let alice = pair.log_in("alice");
    let mut here = pair.issuing.client();
    let reader = Account::add(&pair.issuing, "reader", "revocations:read");
    let token = reader.token(&mut here);
    assert_eq!(ask(&mut here, "/v1/revocations", &token).0, 200);
    for name in ["reader", "sidecar"] {
        carry_out(&pair.issuing, &["client", "disable", name]);
    }
    assert_eq!(ask(&mut here, "/v1/revocations", &token).0, 401);
    let mut there = pair.following.client();
    until_status(&mut there, "/fresh/x", &alice, 503, STALE_WITHIN);
    carry_out(&pair.issuing, &["client", "enable", "sidecar"]);
    until_status(&mut there, "/fresh/x", &alice, 200, PATIENCE);
}

#[test]
fn who_waits_for_revocations_does_not_hold_up_a_stop() {
    let pair = Pair::start();
    let (stopped, took) = wait::timed(|| pair.issuing.stop());
    stopped.unwrap();
    println!("stopped after {took:?}");
    assert!(took < SOON, "it took {took:?}");
}

#[test]
fn a_gateway_whose_database_is_away_closes_its_own_fresh_routes() {
    let upstream = Upstream::start().unwrap();
    let mut postgres = Postgres::start().unwrap();
    let database = postgres.fresh_database().unwrap();
    let storage =
        format!("database: \"{database}\", key: \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"");
    let gateway = stage::start(|places| issuing(places, &storage, &upstream));
    add_user(gateway.house(), "alice", "guest");
    let mut client = gateway.client();
    let alice = client.log_in("alice", PASSWORD, "hotel").unwrap();
    assert_eq!(ask(&mut client, "/fresh/x", &alice).0, 200);
    postgres.stop().unwrap();
    let closed = wait::until("a stale log", STALE_WITHIN, || {
        assert_eq!(ask(&mut client, "/plain/x", &alice).0, 200);
        let answer = ask(&mut client, "/fresh/x", &alice);
        (answer.0 != 200).then_some(answer)
    });
    assert_eq!(closed.unwrap(), (503, "revocations-stale".to_owned()));
    assert_eq!(gateway.readiness(), Some(200));
}
