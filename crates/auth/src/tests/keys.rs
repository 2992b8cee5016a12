//! Signing keys that follow each other, and one that is taken back, under a clock set by hand.

use std::time::Duration;

use axum::http::{StatusCode, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_audit::Action;
use portcullis_tokens::rotation::PUBLISHED_AHEAD;
use serde_json::{Value, json};

use super::House;

const ROTATE: &str = "/v1/admin/keys/rotate";
const DAY: Duration = Duration::from_secs(86_400);
/// Every instant a second: as often as a gateway looks.
const TICK: Duration = Duration::from_secs(1);

async fn house() -> House {
    House::open().await.with_demo_users().await
}

impl House {
    async fn admin(&self) -> String {
        self.token("admin", "admin", "portcullis").await
    }

    async fn guest(&self) -> String {
        self.token("saad", "1234", "hotel").await
    }

    /// Time passes, and the gateway looks at its keys once.
    async fn pass(&self, time: Duration) {
        self.advance(time);
        let now = self.service.now();
        self.service.signer.refresh(now).await.unwrap();
    }

    async fn published(&self) -> Vec<String> {
        let set = self.get("/.well-known/jwks.json", None).await.json();
        let keys = set["keys"].as_array().unwrap().iter();
        keys.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn me(&self, token: &str) -> StatusCode {
        self.get("/v1/auth/me", Some(token)).await.status
    }

    async fn retire(&self, kid: &str, admin: &str) -> super::Answer {
        let path = format!("/v1/admin/keys/{kid}/retire");
        self.post(&path, Some(admin), Value::Null).await
    }
}

fn kid_of(token: &str) -> String {
    let header = token.split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_by_hand_refuses_no_good_token() {
    let house = house().await;
    let old = kid_of(&house.guest().await);
    house.pass(TICK).await;
    let answer = house
        .post(ROTATE, Some(&house.admin().await), Value::Null)
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let next = answer.json();
    let new = next["kid"].as_str().unwrap().to_owned();
    assert_eq!(
        (&next["state"], &next["algorithm"], &next["signs_from"]),
        (
            &json!("next"),
            &json!("ES256"),
            &json!("2027-01-15T08:06:01.000Z")
        )
    );
    assert_eq!(house.published().await, [old.clone(), new.clone()]);

    house.pass(PUBLISHED_AHEAD - TICK).await;
    let last = house.guest().await;
    assert_eq!(kid_of(&last), old, "others may not have the new one yet");
    house.pass(TICK).await;
    let first = house.guest().await;
    assert_eq!(kid_of(&first), new);
    assert_eq!(house.published().await, [old.clone(), new.clone()]);

    house.pass(Duration::from_secs(298)).await;
    assert_eq!(house.me(&last).await, StatusCode::OK);
    house.pass(Duration::from_secs(67)).await;
    assert_eq!(
        house.published().await,
        [new],
        "nobody can have a token of the old one"
    );
    assert_eq!(house.audit_of(Action::SigningKeyRemoved).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_rotates_by_itself_when_its_time_is_over() {
    let house = house().await;
    let old = kid_of(&house.guest().await);
    house.pass(DAY * 30 - PUBLISHED_AHEAD - TICK).await;
    assert_eq!(house.published().await, [old.as_str()]);
    house.pass(TICK).await;
    assert_eq!(house.published().await.len(), 2);
    house.pass(PUBLISHED_AHEAD).await;
    assert_ne!(kid_of(&house.guest().await), old);
    let made = house.audit_of(Action::SigningKeyCreated).await;
    assert_eq!(made[1].actor.kind, "system");
    assert_eq!(house.audit_of(Action::SigningKeyActivated).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_rotation_at_a_time() {
    let house = house().await;
    let admin = house.admin().await;
    house.post(ROTATE, Some(&admin), Value::Null).await;
    let again = house.post(ROTATE, Some(&admin), Value::Null).await;
    assert_eq!(
        (again.status, again.problem().as_str()),
        (StatusCode::CONFLICT, "conflict")
    );
    assert_eq!(house.published().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_taken_back_verifies_nothing_in_the_very_next_request() {
    let house = house().await;
    let (admin, guest) = (house.admin().await, house.guest().await);
    let old = kid_of(&admin);
    let answer = house.retire(&old, &admin).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let body = answer.json();
    assert_eq!(
        (&body["retired"]["kid"], &body["retired"]["state"]),
        (&json!(old), &json!("retired"))
    );
    let new = body["signing"]["kid"].as_str().unwrap();

    assert_eq!(house.me(&guest).await, StatusCode::UNAUTHORIZED);
    assert_eq!(house.retire(&old, &admin).await.problem(), "invalid-token");
    assert_eq!(house.published().await, [new]);
    let fresh = house.guest().await;
    assert_eq!(kid_of(&fresh), new, "whoever signs in again goes on");
    assert_eq!(house.me(&fresh).await, StatusCode::OK);

    let [row] = &*house.audit_of(Action::SigningKeyRetired).await else {
        panic!("one retirement is one row");
    };
    assert_eq!(row.actor.name.as_deref(), Some("admin"));
    assert_eq!(row.target.as_ref().unwrap().id, old);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_outlive_a_key_that_is_taken_back() {
    let house = house().await;
    let (admin, pair) = (house.admin().await, house.pair("saad", "1234").await);
    let signing = house.retire(&kid_of(&admin), &admin).await.json()["signing"].clone();
    assert_eq!(house.me(&pair.access).await, StatusCode::UNAUTHORIZED);
    let next = house.refresh(&pair.refresh).await.json();
    let access = next["access_token"].as_str().unwrap();
    assert_eq!(signing["kid"], kid_of(access));
    assert_eq!(house.me(access).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_that_was_announced_takes_over_from_one_that_is_taken_back() {
    let house = house().await;
    let admin = house.admin().await;
    let next = house.post(ROTATE, Some(&admin), Value::Null).await.json();
    let answer = house.retire(&kid_of(&admin), &admin).await.json();
    assert_eq!(
        answer["signing"]["kid"], next["kid"],
        "others may have it already"
    );
    assert_eq!(house.published().await, [next["kid"].as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_tells_states_and_no_private_part() {
    let house = house().await;
    let admin = house.admin().await;
    house.post(ROTATE, Some(&admin), Value::Null).await;
    house.retire(&kid_of(&admin), &admin).await;
    let admin = house.admin().await;
    let list = house.get("/v1/admin/keys", Some(&admin)).await;
    let keys = list.json()["keys"].as_array().unwrap().clone();
    let states: Vec<_> = keys
        .iter()
        .map(|key| key["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["active", "retired"]);
    let known = [
        "kid",
        "algorithm",
        "state",
        "created_at",
        "signs_from",
        "activated_at",
        "retired_at",
    ];
    for key in &keys {
        for member in key.as_object().unwrap().keys() {
            assert!(known.contains(&member.as_str()), "{member}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_administrator_of_keys_may_see_or_change_them() {
    let house = house().await;
    house.add_user("clerk", "a clerk's password", "clerk").await;
    let clerk = house
        .token("clerk", "a clerk's password", "portcullis")
        .await;
    let (guest, kid) = (house.guest().await, house.published().await.remove(0));
    for (token, status) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some(&guest), StatusCode::FORBIDDEN),
        (Some(&clerk), StatusCode::FORBIDDEN),
    ] {
        let token = token.map(String::as_str);
        let retire = format!("/v1/admin/keys/{kid}/retire");
        for answer in [
            house.get("/v1/admin/keys", token).await,
            house.post(ROTATE, token, Value::Null).await,
            house.post(&retire, token, Value::Null).await,
        ] {
            assert_eq!(answer.status, status);
        }
    }
    let answer = house.post(ROTATE, Some(&clerk), Value::Null).await;
    assert_eq!(
        answer.headers[header::WWW_AUTHENTICATE],
        r#"Bearer realm="portcullis", error="insufficient_scope", scope="keys:rotate""#
    );
    assert_eq!(house.published().await, [kid]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_nobody_has_is_not_found() {
    let house = house().await;
    let admin = house.admin().await;
    for kid in ["x", "%00", "..%2f", "%ff", &"x".repeat(5000)] {
        let answer = house.retire(kid, &admin).await;
        assert_eq!(answer.problem(), "route-not-found", "{kid}");
    }
    assert!(house.audit_of(Action::SigningKeyRetired).await.is_empty());
}
