//! Who may force breakers, and what is written of it.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use parking_lot::Mutex;
use portcullis_audit::Action;
use portcullis_policy::breaker::{BreakerSwitch, BreakerView, Forced, State};
use serde_json::{Value, json};

use super::{House, request};

/// One breaker, of an upstream `hotel`.
#[derive(Default)]
pub(crate) struct Scripted(Mutex<Option<Forced>>);

impl BreakerSwitch for Scripted {
    fn breakers(&self) -> Vec<BreakerView> {
        let forced = *self.0.lock();
        vec![BreakerView {
            upstream: "hotel".to_owned(),
            state: forced.map_or(State::Closed, Forced::state),
            forced,
        }]
    }

    fn force(&self, upstream: &str, forced: Option<Forced>) -> Option<BreakerView> {
        (upstream == "hotel").then(|| *self.0.lock() = forced)?;
        self.breakers().pop()
    }
}

const HOTEL: &str = "/v1/admin/breakers/hotel";

async fn admin() -> (House, String) {
    let house = House::open().await.with_demo_users().await;
    let token = house.token("admin", "admin", "portcullis").await;
    (house, token)
}

#[tokio::test]
async fn an_administrator_holds_a_breaker_and_lets_it_go() {
    let (house, token) = admin().await;
    let shown = |state: &str, forced: Value| json!({ "upstream": "hotel", "state": state, "forced": forced });
    for (force, state) in [
        (json!("open"), "open"),
        (json!("closed"), "closed"),
        (Value::Null, "closed"),
    ] {
        let answer = house
            .post(HOTEL, Some(&token), json!({ "force": force }))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json(), shown(state, force.clone()));
        let all = house.get("/v1/admin/breakers", Some(&token)).await;
        assert_eq!(all.json(), json!({ "breakers": [shown(state, force)] }));
    }
    let patched = request(
        Method::PATCH,
        HOTEL,
        Some(&token),
        Body::from(r#"{"force":"open"}"#),
    );
    assert_eq!(
        house.send(patched).await.json(),
        shown("open", json!("open"))
    );
}

#[tokio::test]
async fn who_held_it_and_who_let_go_is_written_down() {
    let (house, token) = admin().await;
    for force in [json!("open"), Value::Null] {
        house
            .post(HOTEL, Some(&token), json!({ "force": force }))
            .await;
    }
    for (action, reason) in [
        (Action::BreakerForced, "open"),
        (Action::BreakerReleased, "closed"),
    ] {
        let rows = house.audit_of(action).await;
        let [row] = rows.as_slice() else {
            panic!("one row, not {rows:#?}");
        };
        let text = format!("{row:?}");
        for part in ["admin", "hotel", reason] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}

#[tokio::test]
async fn nobody_else_may() {
    let house = House::open().await.with_demo_users().await;
    let guest = house.token("saad", "1234", "hotel").await;
    let open = json!({ "force": "open" });
    let answer = house.post(HOTEL, Some(&guest), open.clone()).await;
    assert_eq!(answer.problem(), "wrong-resource");
    let answer = house.post(HOTEL, None, open).await;
    assert_eq!(answer.problem(), "authentication-required");
    let answer = house.get("/v1/admin/breakers", Some(&guest)).await;
    assert_eq!(answer.problem(), "wrong-resource");
    assert_eq!(house.service.breakers.breakers()[0].forced, None);
}

#[tokio::test]
async fn what_is_not_meant_is_not_done() {
    let (house, token) = admin().await;
    for body in [
        json!({}),
        json!({ "force": "half_open" }),
        json!({ "force": true }),
        json!({ "force": "open", "for": "1h" }),
    ] {
        let answer = house.post(HOTEL, Some(&token), body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let nowhere = house
        .post(
            "/v1/admin/breakers/hotl",
            Some(&token),
            json!({ "force": "open" }),
        )
        .await;
    assert_eq!(nowhere.problem(), "route-not-found");
    assert_eq!(house.service.breakers.breakers()[0].forced, None);
}
