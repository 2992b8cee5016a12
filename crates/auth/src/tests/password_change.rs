//! Changing one's password: who may, what it ends, and that asking for the old one is no way to guess it.

use std::time::Duration;

use axum::http::StatusCode;
use portcullis_audit::Action;
use serde_json::{Value, json};

use super::{Answer, House};

const OLD: &str = "an old song of the sea";
const NEW: &str = "eleven quiet bicycles";

async fn house() -> House {
    let house = House::open().await;
    house.add_user("saad", OLD, "guest").await;
    house
}

async fn change(house: &House, token: Option<&str>, current: &str, new: &str) -> Answer {
    let body = json!({"current_password": current, "new_password": new});
    house.post("/v1/auth/password", token, body).await
}

#[tokio::test]
async fn another_password_ends_every_session_and_begins_one() {
    let house = house().await;
    let (here, elsewhere) = (
        house.token("saad", OLD, "event").await,
        house.token("saad", OLD, "hotel").await,
    );
    let answer = change(&house, Some(&here), OLD, NEW).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["resource"], "event");
    for ended in [&here, &elsewhere] {
        let refused = house.get("/v1/auth/me", Some(ended)).await;
        assert_eq!(refused.problem(), "invalid-token");
    }
    let answer = answer.json();
    let me = house
        .get("/v1/auth/me", answer["access_token"].as_str())
        .await;
    assert_eq!(me.status, StatusCode::OK);
    let body = |password| json!({"username": "saad", "password": password});
    assert_eq!(
        house.log_in(body(OLD)).await.problem(),
        "invalid-credentials"
    );
    assert_eq!(house.log_in(body(NEW)).await.status, StatusCode::OK);
    let rows = house.audit_of(Action::PasswordChanged).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].actor.name.as_deref(), Some("saad"));
}

#[tokio::test]
async fn a_token_alone_changes_no_password() {
    let house = house().await;
    let token = house.token("saad", OLD, "hotel").await;
    let wrong = change(&house, Some(&token), "another song", NEW).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.problem(), "invalid-credentials");
    assert_eq!(
        change(&house, None, OLD, NEW).await.problem(),
        "authentication-required"
    );
    let rows = house.audit_of(Action::PasswordConfirmed).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].outcome.as_str(), rows[0].reason.as_deref()),
        ("refused", Some("wrong-password"))
    );
    assert!(house.audit_of(Action::PasswordChanged).await.is_empty());
    assert_eq!(
        house.get("/v1/auth/me", Some(&token)).await.status,
        StatusCode::OK,
        "a wrong guess ends nothing"
    );
}

#[tokio::test]
async fn guesses_at_the_old_password_count_as_failed_sign_ins() {
    let house = house().await;
    let token = house.token("saad", OLD, "hotel").await;
    for _ in 0..10 {
        let guess = change(&house, Some(&token), "another song", NEW).await;
        assert_eq!(guess.problem(), "invalid-credentials");
    }
    let throttled = change(&house, Some(&token), OLD, NEW).await;
    assert_eq!(throttled.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(throttled.headers.contains_key("retry-after"));
    let sign_in = house
        .log_in(json!({"username": "saad", "password": OLD}))
        .await;
    assert_eq!(sign_in.problem(), "rate-limited", "one count for both");
    house.advance(Duration::from_secs(90));
    let token = house.token("saad", OLD, "hotel").await;
    assert_eq!(
        change(&house, Some(&token), OLD, NEW).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_new_password_meets_the_rules_of_a_first_one() {
    let house = house().await;
    let token = house.token("saad", OLD, "hotel").await;
    for weak in ["short", "aaaaaaaaaaaaaaaa"] {
        let answer = change(&house, Some(&token), OLD, weak).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.problem(), "weak-password", "{weak}");
    }
    let bodies: [Value; 4] = [
        json!({"current_password": OLD}),
        json!({"current_password": OLD, "new_password": ""}),
        json!({"current_password": OLD, "new_password": "x".repeat(1025)}),
        json!({"current_password": OLD, "new_password": NEW, "version": 1}),
    ];
    for body in bodies {
        let answer = house
            .post("/v1/auth/password", Some(&token), body.clone())
            .await;
        assert_eq!(answer.problem(), "malformed-request", "{body}");
    }
}

#[tokio::test]
async fn of_two_changes_at_once_one_is_made() {
    let house = house().await;
    let token = house.token("saad", OLD, "hotel").await;
    let (one, other) = tokio::join!(
        change(&house, Some(&token), OLD, NEW),
        change(&house, Some(&token), OLD, "twelve loud tricycles"),
    );
    let made = [&one, &other]
        .iter()
        .filter(|answer| answer.status == StatusCode::OK)
        .count();
    assert_eq!(made, 1, "{} {}", one.text, other.text);
    assert_eq!(house.audit_of(Action::PasswordChanged).await.len(), 1);
}
