//! A gateway that signs in and nothing else, and how to ask it.

use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::Gateway,
};
use serde_json::json;

use crate::stage;

pub(crate) fn start(more: &str) -> Gateway {
    stage::start(|places| configuration(&stage::server(places, ""), more))
}

pub(crate) fn configuration(server: &str, more: &str) -> String {
    format!(
        "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  default_resource: hotel
  default_role: guest
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read], admin: [\"*\"] }}
  {more}
routes:
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: well-known, match: {{ path: /.well-known/**, methods: [GET, HEAD] }}, upstream: builtin:auth, auth: public }}
"
    )
}

/// Comes again where the gateway is too busy.
pub(crate) fn sign_in(client: &mut Client, name: &str, password: &str) -> Response {
    client
        .send_to_be_hashed(&signing_in(name, password))
        .unwrap()
}

pub(crate) fn signing_in(name: &str, password: &str) -> Request {
    let body = json!({ "username": name, "password": password });
    Request::post("/v1/auth/login").json(&body)
}
