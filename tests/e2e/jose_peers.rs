//! Libraries of other languages take our discovery document, our keys and our tokens, with each algorithm that is
//! published, through a rotation and after a key was taken back.

use std::path::Path;

use portcullis_harness::{
    gateway::{Gateway, Places},
    jose::Compact,
    oauth_peers::OauthPeers,
    wait::{self, PATIENCE},
};
use serde_json::Value;

use crate::stage::{self, PASSWORD, add_user};

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/oauth_peers");
const LIBRARIES: [&str; 3] = ["jose", "pyjwt", "joserfc"];

pub(crate) fn peers() -> OauthPeers {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    OauthPeers::install(Path::new(PROGRAMS), target).unwrap()
}

/// A gateway that is its own issuer at the address where it is met.
pub(crate) fn start(more: &str) -> Gateway {
    stage::start(|places| configuration(places, more))
}

pub(crate) fn configuration(places: &Places, more: &str) -> String {
    let (server, at) = (stage::server(places, ""), places.listener);
    format!(
        "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  issuer: http://{at}
  default_resource: hotel
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read], admin: [\"*\"] }}
  {more}
routes:
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: oauth, match: {{ path: /oauth/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: well-known, match: {{ path: /.well-known/** }}, upstream: builtin:auth, auth: public }}
"
    )
}

pub(crate) fn issuer(gateway: &Gateway) -> String {
    format!("http://{}", gateway.address())
}

fn log_in(gateway: &Gateway) -> String {
    gateway.client().log_in("alice", PASSWORD, "hotel").unwrap()
}

fn kid_of(token: &str) -> String {
    let header = Compact::parse(token).unwrap().header_json().unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

fn carry_out(gateway: &Gateway, command: &[&str]) -> Value {
    let output = gateway.house().command(command).unwrap();
    assert!(output.status.success(), "{command:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The first word of each verdict of each library, having checked that the libraries agree.
fn verdicts(peers: &OauthPeers, gateway: &Gateway, audience: &str, tokens: &[&str]) -> Vec<String> {
    let of = |library| {
        let said = peers.verdicts(library, &issuer(gateway), audience, tokens);
        let said = said.unwrap();
        assert_eq!(said.len(), tokens.len(), "{library}: {said:?}");
        println!("{library}: {said:?}");
        let words = said
            .iter()
            .map(|verdict| verdict.split(' ').next().unwrap_or_default().to_owned());
        words.collect::<Vec<_>>()
    };
    let [first, rest @ ..] = LIBRARIES.map(of);
    rest.iter().for_each(|other| assert_eq!(&first, other));
    first
}

/// The last character but a few of the signature, changed.
fn altered(token: &str) -> String {
    let (kept, end) = token.split_at(token.len() - 10);
    let changed = if end.starts_with('A') { "B" } else { "A" };
    format!("{kept}{changed}{}", &end[1..])
}

#[test]
fn three_libraries_take_our_tokens_with_every_algorithm_that_is_published() {
    let peers = peers();
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let gateway = start(&format!("signing: {{ algorithm: {algorithm} }}"));
        add_user(gateway.house(), "alice", "guest");
        let good = log_in(&gateway);
        let tokens = [&*good, &altered(&good), "a.b.c"];
        let words = verdicts(&peers, &gateway, "hotel", &tokens);
        assert_eq!(words, ["good", "refused", "refused"], "{algorithm}");
        let elsewhere = verdicts(&peers, &gateway, "event", &[&good]);
        assert_eq!(elsewhere, ["refused"], "{algorithm}: for another resource");
    }
}

#[test]
fn a_key_that_is_next_disturbs_nobody_and_one_taken_back_is_gone() {
    let (peers, gateway) = (peers(), start(""));
    add_user(gateway.house(), "alice", "guest");
    let before = log_in(&gateway);
    let next = carry_out(&gateway, &["key", "rotate", "--json"]);
    assert_eq!(verdicts(&peers, &gateway, "hotel", &[&before]), ["good"]);
    carry_out(&gateway, &["key", "retire", &kid_of(&before), "--json"]);
    let after = wait::until("a token of the next key", PATIENCE, || {
        let token = log_in(&gateway);
        (next["kid"] == kid_of(&token)).then_some(token)
    });
    let words = verdicts(&peers, &gateway, "hotel", &[&before, &after.unwrap()]);
    assert_eq!(words, ["refused", "good"]);
}
