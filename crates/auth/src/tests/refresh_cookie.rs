//! Refresh tokens as cookies: how they are set, when they are taken away, and from whom they are not taken.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use portcullis_config::{auth::Registration, refresh_tokens::Transport};
use serde_json::{Value, json};

use super::{Answer, House, refresh::REFRESH};

const LOGIN: &str = "/v1/auth/login";
const LOGOUT: &str = "/v1/auth/logout";
const NAME: &str = "__Secure-portcullis-refresh";

async fn house_with(transport: Transport) -> House {
    let house = House::open_with(|config| {
        config.refresh_tokens.transport = transport;
        config.refresh_tokens.origins = vec!["https://app.example.com".to_owned()];
    });
    house.await.with_demo_users().await
}

/// A browser, or what passes for one.
struct Browser<'a> {
    house: &'a House,
    cookie: Option<String>,
    headers: Vec<(&'static str, &'static str)>,
}

impl<'a> Browser<'a> {
    async fn signed_in(house: &'a House) -> Self {
        let mut browser = Self {
            house,
            cookie: None,
            headers: vec![("sec-fetch-site", "same-origin")],
        };
        let body = json!({"username": "saad", "password": "1234"});
        let answer = browser.post(LOGIN, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        browser
    }

    async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.send(path, Some("application/json"), &body.to_string())
            .await
    }

    async fn send(&mut self, path: &str, media_type: Option<&str>, body: &str) -> Answer {
        let mut request = Request::post(path).header("x-request-id", "r-1");
        if let Some(media_type) = media_type {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, format!("theme=dark; {NAME}={cookie}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = self.house.send(request).await;
        if let Some(set) = set_cookie(&answer) {
            let value = set.split(';').next().unwrap().split_once('=').unwrap().1;
            self.cookie = (!value.is_empty()).then(|| value.to_owned());
        }
        answer
    }
}

fn set_cookie(answer: &Answer) -> Option<String> {
    let set = answer.headers.get(header::SET_COOKIE)?;
    Some(set.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_cookie_is_for_the_auth_service_alone_and_for_no_script() {
    let house = house_with(Transport::Cookie).await;
    let answer = house
        .log_in(json!({"username": "saad", "password": "1234"}))
        .await;
    let set = set_cookie(&answer).unwrap();
    let (pair, attributes) = set.split_once("; ").unwrap();
    assert!(pair.starts_with(&format!("{NAME}=A")), "{pair}");
    assert_eq!(
        attributes,
        "Max-Age=604800; Path=/v1/auth; Secure; HttpOnly; SameSite=Strict"
    );
    assert_eq!(answer.json()["refresh_token"], Value::Null);
}

#[tokio::test]
async fn each_transport_answers_where_it_says() {
    for (transport, in_body, in_cookie) in [
        (Transport::Body, true, false),
        (Transport::Cookie, false, true),
        (Transport::Both, true, true),
    ] {
        let house = house_with(transport).await;
        let answer = house
            .log_in(json!({"username": "saad", "password": "1234"}))
            .await;
        assert_eq!(
            answer.json()["refresh_token"].is_string(),
            in_body,
            "{transport:?}"
        );
        assert_eq!(set_cookie(&answer).is_some(), in_cookie, "{transport:?}");
    }
}

#[tokio::test]
async fn a_page_goes_on_by_its_cookie_and_signs_out_by_it() {
    let house = house_with(Transport::Cookie).await;
    let mut browser = Browser::signed_in(&house).await;
    let first = browser.cookie.clone().unwrap();
    let answer = browser.post(REFRESH, json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let access = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_ne!(browser.cookie.clone().unwrap(), first);
    let answer = browser.post(LOGOUT, json!({})).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let set = set_cookie(&answer).unwrap();
    assert!(
        set.starts_with(&format!("{NAME}=; Max-Age=0; Path=/v1/auth;")),
        "{set}"
    );
    assert!(browser.cookie.is_none() && !house.is_in(&access).await);
}

#[tokio::test]
async fn pages_of_other_sites_neither_use_nor_replace_it() {
    let house = house_with(Transport::Both).await;
    let mut browser = Browser::signed_in(&house).await;
    let theirs = house.pair("admin", "admin").await.refresh;
    let credentials = json!({"username": "admin", "password": "admin"});
    let elsewhere: [&[(&str, &str)]; 5] = [
        &[("sec-fetch-site", "cross-site")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://app.example.com"),
        ],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://blog.example.com"),
        ],
        &[("origin", "https://evil.test")],
        &[("origin", "null")],
    ];
    for headers in elsewhere {
        browser.headers = headers.to_vec();
        for (path, body) in [
            (REFRESH, json!({})),
            (REFRESH, json!({"refresh_token": theirs})),
            (LOGOUT, json!({})),
            (LOGIN, credentials.clone()),
        ] {
            let answer = browser.post(path, body).await;
            assert_eq!(answer.problem(), "cross-site-request", "{path} {headers:?}");
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
            assert!(set_cookie(&answer).is_none(), "{path} {headers:?}");
        }
    }
    for headers in [
        &[][..],
        &[
            ("sec-fetch-site", "same-site"),
            ("origin", "https://app.example.com"),
        ],
        &[("origin", "http://localhost:8080")],
    ] {
        browser.headers = headers.to_vec();
        let answer = browser.post(REFRESH, json!({})).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{headers:?}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn what_a_page_can_send_without_being_asked_is_not_taken() {
    let house = house_with(Transport::Cookie).await;
    let mut browser = Browser::signed_in(&house).await;
    browser.headers.clear();
    for path in [REFRESH, LOGOUT] {
        for media_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
        ] {
            let answer = browser.send(path, media_type, "").await;
            assert_eq!(
                answer.problem(),
                "unsupported-media-type",
                "{path} {media_type:?}"
            );
        }
    }
    assert_eq!(
        browser.post(REFRESH, json!({})).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_cookie_is_taken_away_with_its_session_and_for_nothing_else() {
    let house = house_with(Transport::Cookie).await;
    let mut browser = Browser::signed_in(&house).await;
    let first = browser.cookie.clone();
    browser.post(REFRESH, json!({})).await;
    let second = browser.cookie.clone();
    for _ in 0..20 {
        browser.cookie.clone_from(&first);
        assert_eq!(
            browser.post(REFRESH, json!({})).await.status,
            StatusCode::OK
        );
        assert_eq!(browser.cookie, second, "a repeat sets the same successor");
    }
    let kept: [(Option<String>, Value, &str); 3] = [
        (first.clone(), json!({}), "rate-limited"),
        (
            second.clone(),
            json!({"resource": "hospital"}),
            "resource-not-allowed",
        ),
        (Some("x".to_owned()), json!({}), "invalid-credentials"),
    ];
    for (cookie, body, problem) in kept {
        browser.cookie = cookie;
        let answer = browser.post(REFRESH, body).await;
        assert_eq!(answer.problem(), problem);
        assert!(set_cookie(&answer).is_none(), "{problem}");
    }
    house.advance(Duration::from_secs(10));
    browser.cookie = first;
    let reused = browser.post(REFRESH, json!({})).await;
    assert_eq!(reused.problem(), "invalid-credentials");
    assert!(
        set_cookie(&reused)
            .unwrap()
            .starts_with(&format!("{NAME}=; Max-Age=0;"))
    );
    browser.cookie = second;
    let ended = browser.post(REFRESH, json!({})).await;
    assert_eq!(ended.problem(), "invalid-credentials");
    assert!(
        set_cookie(&ended).is_none(),
        "it may be another tab's by now, which has signed in again"
    );
    house.service.store.close().await;
    let mut browser = Browser {
        cookie: browser.cookie,
        ..browser
    };
    let away = browser.post(REFRESH, json!({})).await;
    assert_eq!(away.problem(), "store-unavailable");
    assert!(set_cookie(&away).is_none());
}

#[tokio::test]
async fn without_cookies_in_the_file_one_is_not_looked_at() {
    let house = house_with(Transport::Body).await;
    let token = house.pair("saad", "1234").await.refresh;
    let mut browser = Browser {
        house: &house,
        cookie: Some(token),
        headers: vec![("sec-fetch-site", "cross-site")],
    };
    let answer = browser.post(REFRESH, json!({})).await;
    assert_eq!(answer.problem(), "malformed-request");
    let answer = browser.post(LOGOUT, json!({})).await;
    assert_eq!(answer.problem(), "authentication-required");
}

#[tokio::test]
async fn only_who_registers_alone_is_signed_in_by_it() {
    for (registration, is_set) in [(Registration::Open, true), (Registration::Admin, false)] {
        let house = House::open_with(|config| {
            config.refresh_tokens.transport = Transport::Cookie;
            config.registration = registration;
        });
        let house = house.await.with_demo_users().await;
        let admin = house.token("admin", "admin", "portcullis").await;
        let body = json!({"username": "nina", "password": "eleven quiet bicycles"});
        let answer = house.post("/v1/auth/register", Some(&admin), body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        assert_eq!(set_cookie(&answer).is_some(), is_set, "{registration:?}");
    }
}
