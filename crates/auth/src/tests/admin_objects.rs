//! Sessions and clients over the administration API.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use portcullis_audit::Action;
use serde_json::json;

use super::{Answer, House, request};

async fn house() -> (House, String) {
    let house = House::open().await.with_demo_users().await;
    let admin = house.token("admin", "admin", "portcullis").await;
    (house, admin)
}

async fn ask(house: &House, method: Method, path: &str, token: &str) -> Answer {
    house
        .send(request(method, path, Some(token), Body::empty()))
        .await
}

#[tokio::test]
async fn a_session_is_listed_and_ended_and_so_are_all_of_a_user() {
    let (house, admin) = house().await;
    let first = house.token("saad", "1234", "hotel").await;
    house.advance(Duration::from_secs(1));
    let second = house.token("saad", "1234", "event").await;
    let found = house.service.store.user_by_login("saad").await.unwrap();
    let of_saad = format!("/v1/admin/sessions?user={}", found.unwrap().0.id);
    let list = async || {
        let page = house.get(&of_saad, Some(&admin)).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        page.json()["sessions"].as_array().unwrap().clone()
    };
    let sessions = list().await;
    assert_eq!(
        (
            &sessions[0]["resource"],
            &sessions[1]["resource"],
            sessions.len()
        ),
        (&json!("event"), &json!("hotel"), 2)
    );
    let path = format!("/v1/admin/sessions/{}", sessions[1]["id"].as_str().unwrap());
    assert_eq!(ask(&house, Method::DELETE, &path, &admin).await.status, 204);
    assert_eq!(house.get("/v1/auth/me", Some(&first)).await.status, 401);
    assert_eq!(house.get("/v1/auth/me", Some(&second)).await.status, 200);
    assert_eq!(ask(&house, Method::DELETE, &path, &admin).await.status, 404);
    assert_eq!(list().await.len(), 1);
    assert_eq!(
        ask(&house, Method::DELETE, &of_saad, &admin).await.status,
        204
    );
    assert_eq!(house.get("/v1/auth/me", Some(&second)).await.status, 401);
    assert!(list().await.is_empty());
    let ended = house.audit_of(Action::SessionEnded).await;
    let actors: Vec<_> = ended.iter().map(|row| row.actor.name.as_deref()).collect();
    assert_eq!(actors, [Some("admin"), Some("admin")]);
    let guest = house.token("saad", "1234", "hotel").await;
    let refused = house.get(&of_saad, Some(&guest)).await;
    assert_eq!(refused.problem(), "wrong-resource");
}

#[tokio::test]
async fn a_client_is_made_changed_and_deleted_and_shows_its_secret_once() {
    let (house, admin) = house().await;
    let new = json!({"name": "robot", "scopes": ["hotel:read"]});
    let made = house
        .post("/v1/admin/clients", Some(&admin), new.clone())
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.json()["secret"].as_str().map(str::len), Some(43));
    let again = house.post("/v1/admin/clients", Some(&admin), new).await;
    assert_eq!(again.problem(), "conflict");
    let path = format!("/v1/admin/clients/{}", made.json()["id"].as_str().unwrap());
    let shown = house.get(&path, Some(&admin)).await;
    assert!(shown.json().get("secret").is_none() && !shown.text.contains("hash"));
    let rotated = house
        .post(&format!("{path}/secret"), Some(&admin), json!({}))
        .await;
    assert_ne!(rotated.json()["secret"], made.json()["secret"]);
    let wider = json!({"scopes": ["hotel:read", "hotel:write"], "disabled": true});
    let changed = request(
        Method::PATCH,
        &path,
        Some(&admin),
        Body::from(wider.to_string()),
    );
    let changed = house.send(changed).await.json();
    assert_eq!(
        (&changed["scopes"], &changed["disabled"]),
        (&json!(["hotel:read", "hotel:write"]), &json!(true))
    );
    for (body, status) in [
        (json!({"scopes": []}), 400),
        (json!({"scopes": ["*"]}), 400),
        (json!({"version": 1}), 400),
    ] {
        let wrong = request(
            Method::PATCH,
            &path,
            Some(&admin),
            Body::from(body.to_string()),
        );
        assert_eq!(house.send(wrong).await.status, status, "{body}");
    }
    assert_eq!(ask(&house, Method::DELETE, &path, &admin).await.status, 204);
    assert_eq!(
        house.get(&path, Some(&admin)).await.problem(),
        "route-not-found"
    );
    let program = super::clients::Program::add(&house, "hr", &["clients:write"]).await;
    let token = program.token_with(&house, "&resource=portcullis").await;
    let more = json!({"name": "sly", "scopes": ["users:write"]});
    let refused = house.post("/v1/admin/clients", Some(&token), more).await;
    assert_eq!(refused.problem(), "insufficient-scope");
}
