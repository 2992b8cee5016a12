//! Breakers in an administrator's hand, through the whole gateway: the API of the auth service moves what the proxy owns.

use std::fs;

use portcullis_harness::{
    client::Request,
    gateway::{Gateway, Places},
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage;

fn configuration(places: &Places, upstream: &Upstream, open_for: &str) -> String {
    let server = stage::server(places, "");
    let address = upstream.address();
    format!(
        "{server}
auth:
  issuer: http://localhost
  default_resource: hotel
  default_role: guest
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read], admin: [\"*\"] }}
upstreams:
  hotel: {{ endpoints: [{address}], circuit_breaker: {{ consecutive_failures: 3, open_for: {open_for} }} }}
routes:
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: public }}
"
    )
}

fn force(gateway: &Gateway, token: &str, force: &Value) {
    let request = Request::post("/v1/admin/breakers/hotel")
        .bearer(token)
        .json(&json!({ "force": force }));
    let answer = gateway.client().send(&request).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["forced"], *force);
}

fn state(gateway: &Gateway, state: &str) -> f64 {
    gateway.metrics().unwrap().sum(
        "portcullis_circuit_breaker_state",
        &[("upstream", "hotel"), ("state", state)],
    )
}

#[test]
fn an_administrator_takes_an_upstream_out_and_puts_it_back() {
    let upstream = Upstream::start().unwrap();
    let gateway = stage::start(|places| configuration(places, &upstream, "60s"));
    stage::add_user(gateway.house(), "root", "admin");
    let mut client = gateway.client();
    let token = client
        .log_in("root", stage::PASSWORD, "portcullis")
        .unwrap();

    force(&gateway, &token, &json!("open"));
    let refused = client.get("/hotel/x").unwrap();
    assert_eq!(
        (refused.code().as_str(), refused.field("retry-after")),
        ("circuit-open", Some("60"))
    );
    assert_eq!((upstream.count(), state(&gateway, "open")), (0, 1.0));

    let text = configuration(gateway.house().places(), &upstream, "61s");
    fs::write(gateway.house().path("gateway.yaml"), text).unwrap();
    gateway.signal(Signal::HUP).unwrap();
    let reloaded = wait::until("the new configuration", PATIENCE, || {
        let refused = client.get("/hotel/x").unwrap();
        assert_eq!(refused.code(), "circuit-open", "a reload let go of it");
        (refused.field("retry-after") == Some("61")).then_some(())
    });
    reloaded.unwrap();

    force(&gateway, &token, &json!("closed"));
    upstream.reacts_with(Reaction::answer(503, "sick"));
    for _ in 0..20 {
        assert_eq!(client.get("/hotel/x").unwrap().text(), "sick");
    }
    assert_eq!(state(&gateway, "closed"), 1.0);

    force(&gateway, &token, &Value::Null);
    for _ in 0..3 {
        assert_eq!(client.get("/hotel/x").unwrap().text(), "sick");
    }
    assert_eq!(client.get("/hotel/x").unwrap().code(), "circuit-open");

    let forced = gateway.metrics().unwrap().sum(
        "portcullis_circuit_breaker_transitions_total",
        &[("upstream", "hotel"), ("reason", "forced")],
    );
    assert_eq!(forced, 2.0, "closed to open, open to closed");
    let rows = stage::audit_rows(&stage::sqlite(&gateway), "breaker_forced", |rows| {
        rows.len() == 2
    });
    assert!(format!("{rows:?}").contains("root"), "{rows:#?}");
}

#[test]
fn the_admin_port_shows_and_changes_nothing() {
    let upstream = Upstream::start().unwrap();
    let gateway = stage::start(|places| configuration(places, &upstream, "60s"));
    let mut admin = portcullis_harness::client::Client::of(gateway.admin());
    let answer = admin
        .send(&Request::post("/v1/admin/breakers/hotel").json(&json!({ "force": "open" })))
        .unwrap();
    assert_eq!(answer.status, 404);
    assert_eq!(gateway.client().get("/hotel/x").unwrap().text(), "ok");
}
