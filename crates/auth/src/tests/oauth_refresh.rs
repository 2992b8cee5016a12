//! Refresh tokens at `POST /oauth/token`, in the words of RFC 6749, and what another client can do with one: nothing.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis_audit::Action;
use portcullis_config::refresh_tokens::Transport;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{
    Answer, House,
    refresh::{Pair, event},
};
use crate::create_client;

async fn ask(house: &House, body: &str, authorization: Option<&str>) -> Answer {
    let mut request = Request::post("/oauth/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let answer = house.send(request).await;
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    answer
}

fn error(answer: &Answer) -> (u16, String) {
    let word = answer.json()["error"].as_str().unwrap().to_owned();
    (answer.status.as_u16(), word)
}

fn grant(token: &str, more: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={token}{more}")
}

#[tokio::test]
async fn a_standard_client_refreshes_with_the_name_of_the_first_party_or_without_one() {
    let house = House::open().await.with_demo_users().await;
    let pair = house.pair("saad", "1234").await;
    let pair = Pair::of(&ask(&house, &grant(&pair.refresh, ""), None).await);
    let named = grant(&pair.refresh, "&client_id=portcullis&scope=hotel:read");
    let pair = Pair::of(&ask(&house, &named, None).await);
    assert_eq!(pair.answer["token_type"], "bearer");
    let event = grant(&pair.refresh, "&resource=event");
    assert_eq!(
        Pair::of(&ask(&house, &event, None).await).answer["resource"],
        "event"
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_words_of_the_standard_and_spends_nothing() {
    let house = House::open().await.with_demo_users().await;
    let pair = house.pair("saad", "1234").await;
    let token = &pair.refresh;
    let cases = [
        (grant("", ""), "invalid_request"),
        ("grant_type=refresh_token".to_owned(), "invalid_request"),
        (
            grant(token, &format!("&refresh_token={token}")),
            "invalid_request",
        ),
        (grant("x", ""), "invalid_grant"),
        (grant(&"A".repeat(3000), ""), "invalid_grant"),
        (grant(token, "&scope=hotel:write"), "invalid_scope"),
        (grant(token, "&scope=%22"), "invalid_scope"),
        (grant(token, "&scope=+"), "invalid_scope"),
        (grant(token, "&resource=hospital"), "invalid_target"),
        (grant(token, "&resource=casino"), "invalid_target"),
    ];
    for (body, word) in cases {
        let answer = ask(&house, &body, None).await;
        assert_eq!(error(&answer), (400, word.to_owned()), "{body:.80}");
    }
    Pair::of(&ask(&house, &grant(token, ""), None).await);
}

#[tokio::test]
async fn another_client_neither_gets_nor_ends_a_session_that_is_not_its_own() {
    let house = House::open().await.with_demo_users().await;
    let pair = house.pair("saad", "1234").await;
    let token = &pair.refresh;
    let (store, config) = (&house.service.store, &house.service.config);
    let scopes = ["hotel:read".to_owned()];
    let created = event(Action::ClientCreated);
    let made = create_client(store, config, "other", &scopes, created).await;
    let (client, secret) = made.unwrap();
    let (id, secret) = (&client.id, secret.expose_secret());
    let basic = |secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let (right, wrong) = (basic(secret), basic("wrong"));
    let cases = [
        (
            grant(token, &format!("&client_id={id}")),
            None,
            (401, "invalid_client"),
        ),
        (
            grant(token, "&client_id=nobody"),
            None,
            (401, "invalid_client"),
        ),
        (
            grant(token, &format!("&client_id={id}&client_secret=wrong")),
            None,
            (401, "invalid_client"),
        ),
        (
            grant(token, "&client_id=portcullis&client_secret=x"),
            None,
            (401, "invalid_client"),
        ),
        (grant(token, ""), Some(&wrong), (401, "invalid_client")),
        (
            grant(token, &format!("&client_id={id}&client_secret={secret}")),
            None,
            (400, "invalid_grant"),
        ),
        (grant(token, ""), Some(&right), (400, "invalid_grant")),
    ];
    for (body, authorization, (status, word)) in cases {
        let answer = ask(&house, &body, authorization.map(String::as_str)).await;
        assert_eq!(error(&answer), (status, word.to_owned()), "{body}");
    }
    assert!(house.is_in(&pair.access).await);
    Pair::of(&house.refresh(token).await);
}

#[tokio::test]
async fn too_many_repeats_and_a_reuse_have_words_as_well() {
    let house = House::open().await.with_demo_users().await;
    let first = house.pair("saad", "1234").await.refresh;
    for _ in 0..=20 {
        Pair::of(&ask(&house, &grant(&first, ""), None).await);
    }
    let answer = ask(&house, &grant(&first, ""), None).await;
    assert_eq!(error(&answer), (429, "temporarily_unavailable".to_owned()));
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    house.advance(std::time::Duration::from_secs(10));
    let answer = ask(&house, &grant(&first, ""), None).await;
    assert_eq!(error(&answer), (400, "invalid_grant".to_owned()));
    assert_eq!(house.audit_of(Action::TokenReused).await.len(), 1);
}

#[tokio::test]
async fn where_refresh_tokens_are_cookies_there_is_no_such_grant() {
    let house = House::open_with(|config| config.refresh_tokens.transport = Transport::Cookie);
    let house = house.await.with_demo_users().await;
    let answer = ask(&house, &grant("x", ""), None).await;
    assert_eq!(error(&answer), (400, "unsupported_grant_type".to_owned()));
    let metadata = "/.well-known/oauth-authorization-server";
    let grants = |answer: Answer| answer.json()["grant_types_supported"].clone();
    assert_eq!(
        grants(house.get(metadata, None).await),
        json!(["client_credentials"])
    );
    let house = House::open().await;
    let answer = house.get(metadata, None).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        grants(answer),
        json!(["client_credentials", "refresh_token"])
    );
}
