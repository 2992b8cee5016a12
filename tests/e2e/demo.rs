//! The demo that the suites share: the shipped configuration with its three backends.
//!
//! One process for all of them, because its backends would like one port each. The tests keep out of each other's way by
//! users and client addresses of their own.

use std::{net::SocketAddr, sync::OnceLock};

use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::Gateway,
    wait::{self, PATIENCE},
};
use serde_json::{Value, json};

use crate::stage::{self, PASSWORD};

pub(crate) fn demo() -> &'static Gateway {
    static DEMO: OnceLock<Gateway> = OnceLock::new();
    DEMO.get_or_init(stage::demo)
}

/// Where the demo's hospital backend listens, from the banner.
pub(crate) fn hospital_backend() -> SocketAddr {
    let banner = wait::until("the banner", PATIENCE, || {
        let text = demo().stdout();
        text.contains("/fail?for=").then_some(text)
    });
    let banner = banner.unwrap();
    let before = banner.split("/fail?for=").next().unwrap();
    before.rsplit("http://").next().unwrap().parse().unwrap()
}

pub(crate) fn headers(answer: &Response, names: &[&str]) -> Vec<Option<String>> {
    names
        .iter()
        .map(|name| answer.field(name).map(str::to_owned))
        .collect()
}

/// What the backend says it received.
pub(crate) fn received(answer: &Response) -> Value {
    answer.json()["received"]["headers"].clone()
}

/// Registers a guest, as an administrator, and signs it in.
pub(crate) fn user(client: &mut Client, name: &str, resource: &str) -> String {
    let admin = client.log_in("admin", "admin", "portcullis").unwrap();
    let body = json!({ "username": name, "password": PASSWORD });
    let answer = client
        .send_to_be_hashed(
            &Request::post("/v1/auth/register")
                .bearer(&admin)
                .json(&body),
        )
        .unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    client.log_in(name, PASSWORD, resource).unwrap()
}
