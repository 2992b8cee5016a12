//! Gateways whose sessions are kept somewhere, and one user with tokens of theirs.

use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::{Gateway, Places},
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use serde_json::json;

use crate::stage::{self, PASSWORD, add_user};

pub(crate) const SQLITE: &str = "database: 'sqlite://data/portcullis.db'";

pub(crate) fn configuration(
    places: &Places,
    upstream: &Upstream,
    storage: &str,
    sessions: &str,
) -> String {
    let server = stage::server(places, "");
    format!(
        "{server}
storage: {{ {storage}, key: \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\" }}
auth:
  default_resource: hotel
  default_role: guest
  sessions: {sessions}
  refresh_token: {{ grace: 1m }}
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
upstreams: {{ hotel: {{ endpoints: [{}] }} }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
",
        upstream.address()
    )
}

/// Gateways that have their sessions in common.
pub(crate) struct Stage {
    pub(crate) gateways: Vec<Gateway>,
    _upstream: Upstream,
}

impl Stage {
    pub(crate) fn of(gateways: usize, storage: &str, sessions: &str) -> Self {
        let upstream = Upstream::start().unwrap();
        let start = |_| stage::start(|places| configuration(places, &upstream, storage, sessions));
        let gateways: Vec<Gateway> = (0..gateways).map(start).collect();
        add_user(gateways[0].house(), "alice", "guest");
        Self {
            gateways,
            _upstream: upstream,
        }
    }

    pub(crate) fn client(&self, gateway: usize) -> Client {
        self.gateways[gateway].client()
    }
}

/// One sign-in, as its user knows it.
#[derive(Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    pub(crate) fn of(answer: &Response) -> Self {
        let said = answer.json();
        let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, 200, "{said}");
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
        }
    }
}

/// With a store away that is what the answer says. A busy machine that comes too late to the password is asked again.
pub(crate) fn log_in(client: &mut Client) -> Response {
    let body = json!({ "username": "alice", "password": PASSWORD });
    let request = Request::post("/v1/auth/login").json(&body);
    let answer = wait::until("a turn to be hashed", PATIENCE, || {
        let answer = client.send(&request).unwrap();
        (answer.code() != "overloaded").then_some(answer)
    });
    answer.unwrap()
}

pub(crate) fn refresh(client: &mut Client, token: &str) -> Response {
    let body = json!({ "refresh_token": token });
    let request = Request::post("/v1/auth/refresh").json(&body);
    client.send(&request).unwrap()
}

/// Asks until the stores answer: a Redis that a loaded machine holds up for half a second counts as away.
pub(crate) fn refresh_when_it_is_back(client: &mut Client, token: &str) -> Response {
    let back = wait::until("a store that is back", PATIENCE, || {
        let answer = refresh(client, token);
        (answer.status != 503).then_some(answer)
    });
    back.unwrap()
}

/// As [`refresh_when_it_is_back`].
pub(crate) fn sign_in(client: &mut Client) -> Tokens {
    let back = wait::until("a sign-in", PATIENCE, || {
        let answer = log_in(client);
        (answer.status != 503).then_some(answer)
    });
    Tokens::of(&back.unwrap())
}

pub(crate) fn sign_out(client: &mut Client, access: &str) -> u16 {
    let request = Request::post("/v1/auth/logout")
        .bearer(access)
        .json(&json!({}));
    client.send(&request).unwrap().status
}

/// What the door to the hotel says.
pub(crate) fn door(client: &mut Client, access: &str) -> u16 {
    let request = Request::get("/hotel/x").bearer(access);
    client.send(&request).unwrap().status
}

pub(crate) fn is_away(answer: &Response) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "store-unavailable")
    );
}

/// By the revocation log, which is read each second.
pub(crate) fn refused_soon(client: &mut Client, access: &str) {
    wait::until("the end of a token", PATIENCE, || {
        (door(client, access) == 401).then_some(())
    })
    .unwrap();
}
