//! Tokens that are given back, and tokens that are asked about.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use portcullis_audit::Action;
use serde_json::{Value, json};

use super::{
    Answer, House,
    clients::{Program, ask_at, error},
    request,
};

const REVOKE: &str = "/oauth/revoke";
const INTROSPECT: &str = "/oauth/introspect";

async fn house() -> House {
    House::open().await.with_demo_users().await
}

impl House {
    async fn is_good(&self, token: &str) -> bool {
        let at = self.service.now();
        let refused = self.service.verifier.verify(token, at).err();
        refused.is_none()
    }

    /// Without any authentication but the token itself.
    async fn give_back(&self, token: &str, more: &str) -> Answer {
        let body = format!("token={token}{more}");
        ask_at(REVOKE, self, &body, None).await
    }

    async fn ask_about(&self, token: &str, program: &Program) -> Value {
        let body = format!("token={token}");
        let answer = ask_at(INTROSPECT, self, &body, Some(&program.basic())).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        answer.json()
    }
}

/// The same for everything that cannot be revoked.
fn is_done(answer: &Answer) -> bool {
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    answer.status == StatusCode::OK && answer.text.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_a_users_token_ends_its_session_in_the_very_next_request() {
    let house = house().await;
    for more in [
        "",
        "&client_id=portcullis",
        "&token_type_hint=refresh_token",
        "&token_type_hint=x",
    ] {
        let (token, other) = (
            house.token("saad", "1234", "hotel").await,
            house.token("saad", "1234", "hotel").await,
        );
        assert!(is_done(&house.give_back(&token, more).await), "{more}");
        let me = house.get("/v1/auth/me", Some(&token)).await;
        assert_eq!(me.problem(), "invalid-token", "{more}");
        assert!(
            house.is_good(&other).await,
            "{more}: another session of the same user"
        );
    }
    let rows = house.audit_of(Action::TokenRevoked).await;
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0].actor.name.as_deref(), Some("saad"));
    assert_eq!(rows[0].target.as_ref().unwrap().kind, "session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_gives_back_its_own_tokens_and_nobody_elses() {
    let house = house().await;
    let (one, other) = (
        Program::add(&house, "one", &["hotel:read"]).await,
        Program::add(&house, "other", &["hotel:read"]).await,
    );
    let (mine, spare, theirs) = (
        one.token(&house).await,
        one.token(&house).await,
        other.token(&house).await,
    );
    let users = house.token("saad", "1234", "hotel").await;
    for token in [&mine, &theirs, &users] {
        let body = format!("token={token}&token_type_hint=access_token");
        let answer = ask_at(REVOKE, &house, &body, Some(&one.basic())).await;
        assert!(is_done(&answer));
    }
    assert!(!house.is_good(&mine).await);
    for token in [&spare, &theirs, &users] {
        assert!(house.is_good(token).await);
    }
    assert!(is_done(&house.give_back(&theirs, "").await));
    assert!(
        house.is_good(&theirs).await,
        "a program's token is no proof for it"
    );
    let log = house
        .service
        .store
        .revocations_after(0, house.service.now());
    assert_eq!(log.await.unwrap().len(), 1, "replicas hear of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_good_token_is_given_back_with_the_same_answer() {
    let house = house().await;
    let token = house.token("saad", "1234", "hotel").await;
    assert!(is_done(&house.give_back(&token, "").await));
    let expired = house.token("saad", "1234", "hotel").await;
    house.advance(Duration::from_secs(400));
    for token in [&*token, &*expired, "x", "a.b.c", "%00", &"x".repeat(3000)] {
        assert!(is_done(&house.give_back(token, "").await), "{token}");
    }
    assert_eq!(house.audit_of(Action::TokenRevoked).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_that_is_given_back_signs_out() {
    let house = house().await;
    for more in ["", "&client_id=portcullis&token_type_hint=access_token"] {
        let (pair, other) = (
            house.pair("saad", "1234").await,
            house.pair("saad", "1234").await,
        );
        assert!(is_done(&house.give_back(&pair.refresh, more).await));
        assert!(!house.is_good(&pair.access).await, "{more}");
        assert_eq!(
            house.refresh(&pair.refresh).await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(house.refresh(&other.refresh).await.status, StatusCode::OK);
        assert!(is_done(&house.give_back(&pair.refresh, more).await));
    }
    assert_eq!(house.audit_of(Action::SessionEnded).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_refresh_token_will_do_and_a_programs_word_for_it_will_not() {
    let house = house().await;
    let program = Program::add(&house, "p", &["hotel:read"]).await;
    let pair = house.pair("saad", "1234").await;
    let next = house.refresh(&pair.refresh).await.json();
    let next = next["refresh_token"].as_str().unwrap();
    for token in [next, &pair.refresh] {
        let body = format!("token={token}");
        let answer = ask_at(REVOKE, &house, &body, Some(&program.basic())).await;
        assert!(is_done(&answer), "as for a token that is unknown");
        assert!(house.is_good(&pair.access).await);
    }
    assert!(is_done(&house.give_back(&pair.refresh, "").await));
    assert_eq!(house.refresh(next).await.status, StatusCode::UNAUTHORIZED);
    assert!(!house.is_good(&pair.access).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_is_never_active() {
    let house = house().await;
    let program = Program::add(&house, "p", &["hotel:read"]).await;
    let pair = house.pair("saad", "1234").await;
    assert_eq!(
        house.ask_about(&pair.access, &program).await["active"],
        true
    );
    let told = house.ask_about(&pair.refresh, &program).await;
    assert_eq!(told, json!({ "active": false }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_cannot_prove_itself_ends_nothing() {
    let house = house().await;
    let program = Program::add(&house, "p", &["hotel:read"]).await;
    let (id, token) = (&program.client.id, program.token(&house).await);
    let users = house.token("saad", "1234", "hotel").await;
    for token in [&token, &users] {
        for (more, authorization, status, word) in [
            ("&client_id=x", None, 401, "invalid_client"),
            (&*format!("&client_id={id}"), None, 401, "invalid_client"),
            (
                &*format!("&client_id={id}&client_secret=x"),
                None,
                401,
                "invalid_client",
            ),
            (
                "&client_id=portcullis&client_secret=x",
                None,
                401,
                "invalid_client",
            ),
            ("", Some("Basic eDp5"), 401, "invalid_client"),
            (
                "&client_secret=x",
                Some(&*program.basic()),
                400,
                "invalid_request",
            ),
        ] {
            let body = format!("token={token}{more}");
            let answer = ask_at(REVOKE, &house, &body, authorization).await;
            assert_eq!(error(&answer), (status, word.to_owned()), "{more}");
        }
        assert!(house.is_good(token).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_of_tokens_for_the_resources_it_has_scopes_of() {
    let house = house().await;
    let hotel = Program::add(&house, "hotel-service", &["hotel:read"]).await;
    let token = house.token("saad", "1234", "hotel").await;
    let told = house.ask_about(&token, &hotel).await;
    let saad = house
        .service
        .store
        .user_by_login("saad")
        .await
        .unwrap()
        .unwrap()
        .0;
    for (name, wanted) in [
        ("active", json!(true)),
        ("token_type", json!("Bearer")),
        ("iss", json!(super::ISSUER)),
        ("sub", json!(saad.id)),
        ("aud", json!("hotel")),
        ("resource", json!("hotel")),
        ("client_id", json!("portcullis")),
        ("scope", json!("hotel:read")),
        ("roles", json!(["guest"])),
        ("iat", json!(1_800_000_000)),
        ("exp", json!(1_800_000_300)),
    ] {
        assert_eq!(told[name], wanted, "{name}");
    }
    let own = hotel.token(&house).await;
    assert_eq!(house.ask_about(&own, &hotel).await["sub"], hotel.client.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inactive_for_whatever_reason_is_all_that_is_said() {
    let house = house().await;
    let hotel = Program::add(&house, "hotel-service", &["hotel:read", "users:read"]).await;
    let event = Program::add(&house, "event-service", &["event:read"]).await;
    let inactive = json!({ "active": false });
    let token = house.token("saad", "1234", "hotel").await;
    assert_eq!(
        house.ask_about(&token, &event).await,
        inactive,
        "another resource"
    );
    let administration = house.token("admin", "admin", "portcullis").await;
    assert_eq!(house.ask_about(&administration, &hotel).await, inactive);
    let revoked = house.token("saad", "1234", "hotel").await;
    house.give_back(&revoked, "").await;
    let disabled = Program::add(&house, "gone", &["hotel:read"]).await;
    let ended = disabled.token(&house).await;
    disabled.set_disabled(&house, true).await;
    for (what, token) in [
        ("revoked", &*revoked),
        ("of a disabled client", &*ended),
        ("no token", "x"),
        (
            "no signature",
            &format!("{}.", token.rsplit_once('.').unwrap().0),
        ),
        ("another signature", &format!("{token}A")),
    ] {
        assert_eq!(house.ask_about(token, &hotel).await, inactive, "{what}");
    }
    house.add_user("eve", "a long password", "guest").await;
    let eves = house.token("eve", "a long password", "hotel").await;
    let eve = house
        .service
        .store
        .user_by_login("eve")
        .await
        .unwrap()
        .unwrap()
        .0;
    let path = format!("/v1/admin/users/{}/disable", eve.id);
    house.post(&path, Some(&administration), Value::Null).await;
    assert_eq!(
        house.ask_about(&eves, &hotel).await,
        inactive,
        "of a disabled user"
    );
    house.advance(Duration::from_secs(306));
    assert_eq!(house.ask_about(&token, &hotel).await, inactive, "expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_asks_about_tokens_without_authentication() {
    let house = house().await;
    let token = house.token("saad", "1234", "hotel").await;
    for (more, authorization) in [
        ("", None),
        ("&client_id=portcullis", None),
        ("", Some(format!("Bearer {token}"))),
        ("", Some("Basic eDp5".to_owned())),
    ] {
        let body = format!("token={token}{more}");
        let answer = ask_at(INTROSPECT, &house, &body, authorization.as_deref()).await;
        assert_eq!(error(&answer), (401, "invalid_client".to_owned()), "{more}");
        assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE));
    }
}

/// RFC 6749 section 5.2 on every path: the form of the error, the status, and nothing for a cache.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_of_oauth_is_refused_in_oauths_form() {
    let house = house().await;
    let program = Program::add(&house, "p", &["hotel:read"]).await;
    let basic = program.basic();
    for path in ["/oauth/token", REVOKE, INTROSPECT] {
        for (body, status) in [
            (String::new(), 400),
            ("token=".to_owned(), 400),
            ("token=a&token=b".to_owned(), 400),
            (
                "token=a&token_type_hint=a&token_type_hint=b".to_owned(),
                400,
            ),
            ("token=%ff".to_owned(), 400),
            ("x".repeat(64 * 1024), 413),
        ] {
            let answer = ask_at(path, &house, &body, Some(&basic)).await;
            let expected = (status, "invalid_request".to_owned());
            assert_eq!(
                error(&answer),
                expected,
                "{path} {}",
                body.get(..20).unwrap_or(&body)
            );
        }
        let multipart = request(Method::POST, path, None, Body::from("token=a"));
        assert_eq!(
            error(&house.send(multipart).await).0,
            400,
            "{path}: JSON is no form"
        );
        for method in [
            Method::GET,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ] {
            let asked = request(method.clone(), path, None, Body::empty());
            let answer = house.send(asked).await;
            assert_eq!(
                error(&answer),
                (405, "invalid_request".to_owned()),
                "{method} {path}"
            );
            assert_eq!(answer.headers[header::ALLOW], "POST");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_published_documents_may_be_kept_by_a_cache() {
    let house = house().await;
    let cacheable = [
        "/.well-known/jwks.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource",
    ];
    for path in cacheable {
        let answer = house.get(path, None).await;
        assert_eq!(
            answer.headers[header::CACHE_CONTROL],
            "public, max-age=300",
            "{path}"
        );
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = house.send(request(method, path, None, Body::empty())).await;
            assert_eq!(answer.problem(), "method-not-allowed", "{path}");
        }
    }
    for path in [
        "/health",
        "/v1/auth/me",
        "/v1/admin/keys",
        "/oauth/token",
        "/nothing",
        "/.well-known/nothing",
    ] {
        let answer = house.get(path, None).await;
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
    }
}
