//! What failed sign-ins are counted by, through the endpoint: that unknown names tell nothing, that one network is one
//! client, and that strangers do not keep the owner out.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode},
};
use serde_json::json;

use super::{Answer, House, request};

async fn from(house: &House, address: &str, name: &str, password: &str) -> Answer {
    let body = json!({ "username": name, "password": password }).to_string();
    let mut request = request(Method::POST, "/v1/auth/login", None, Body::from(body));
    let address = HeaderValue::from_str(address).unwrap();
    let headers = request.headers_mut();
    headers.insert("x-portcullis-client-address", address);
    house.send(request).await
}

fn said(answer: &Answer) -> (StatusCode, &str, Option<&HeaderValue>) {
    (
        answer.status,
        &answer.text,
        answer.headers.get("retry-after"),
    )
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_held_up_like_one_that_does() {
    let house = House::open().await.with_demo_users().await;
    for number in 0..14_u8 {
        // Each from an address of its own, so that the account alone counts.
        let known = from(&house, &format!("192.0.2.{number}"), "saad", "wrong").await;
        let unknown = from(&house, &format!("198.51.100.{number}"), "nobody", "wrong").await;
        assert_eq!(said(&known), said(&unknown), "try {number}");
        let expected = if number < 10 { 401 } else { 429 };
        assert_eq!(known.status.as_u16(), expected, "try {number}");
    }
}

#[tokio::test]
async fn the_owner_gets_in_from_a_known_address_while_strangers_guess() {
    let house = House::open().await.with_demo_users().await;
    let (home, cafe) = ("203.0.113.9", "203.0.113.200");
    assert_eq!(
        from(&house, home, "saad", "1234").await.status,
        StatusCode::OK
    );
    for number in 0..12 {
        from(&house, &format!("192.0.2.{number}"), "saad", "wrong").await;
    }
    let stranger = from(&house, cafe, "saad", "1234").await;
    assert_eq!(
        stranger.problem(),
        "rate-limited",
        "even with the right password"
    );
    assert_eq!(
        from(&house, home, "saad", "1234").await.status,
        StatusCode::OK
    );
    house.advance(Duration::from_secs(90));
    let later = from(&house, cafe, "saad", "1234").await;
    assert_eq!(
        later.status,
        StatusCode::OK,
        "and nobody is kept out for good"
    );
}

#[tokio::test]
async fn a_client_that_changes_its_address_within_a_64_is_one_client() {
    let house = House::open().await.with_demo_users().await;
    for number in 0..30 {
        let address = format!("2001:db8:0:1:{number:x}::1");
        let answer = from(&house, &address, &format!("guess{number}"), "wrong").await;
        assert_eq!(answer.problem(), "invalid-credentials", "{address}");
    }
    let next = from(&house, "2001:db8:0:1:ffff::1", "another", "wrong").await;
    assert_eq!(next.problem(), "rate-limited");
    let neighbour = from(&house, "2001:db8:0:2::1", "another", "wrong").await;
    assert_eq!(neighbour.problem(), "invalid-credentials");
}

#[tokio::test]
async fn a_sign_in_that_succeeds_counts_for_nothing() {
    let house = House::open().await.with_demo_users().await;
    for _ in 0..40 {
        let answer = from(&house, "203.0.113.9", "saad", "1234").await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}
