//! Signing in: what a token says, who gets one, and how those who do not are answered.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_config::units::ByteSize;
use portcullis_store::{NewUser, PasswordRecord, RoleGrant};
use serde_json::{Value, json};

use super::{House, ISSUER, NOW};
use crate::{
    entitlement::{Wanted, entitle},
    password::{Hasher, Password},
    request::Call,
};

fn parts_of(token: &str) -> (Value, Value) {
    let decode =
        |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let mut parts = token.split('.');
    (decode(parts.next().unwrap()), decode(parts.next().unwrap()))
}

/// A user as another version, or an import, may have left it in the database.
pub(super) async fn add_stored(house: &House, name: &str, password: Option<PasswordRecord>) {
    let user = NewUser {
        id: "0198c5d0-0000-7000-8000-000000000000".to_owned(),
        username: Some(name.to_owned()),
        username_key: Some(name.to_owned()),
        password,
        created_at: NOW,
        ..NewUser::default()
    };
    let created = Event::new(
        NOW,
        Action::UserCreated,
        Outcome::Success,
        Party::operator("test"),
    );
    house
        .service
        .store
        .create_user(&user, &["guest"], &created)
        .await
        .unwrap();
}

fn names(object: &Value) -> BTreeSet<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn a_token_says_exactly_what_the_contract_lists() {
    let house = House::open().await;
    let saad = house.add_user("saad", "1234", "guest").await;
    let answer = house
        .log_in(json!({"username": "saad", "password": "1234", "resource": "hotel"}))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let body = answer.json();
    assert_eq!(
        names(&body),
        BTreeSet::from([
            "access_token",
            "token_type",
            "expires_in",
            "resource",
            "scope",
            "refresh_token"
        ])
    );
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 300);
    assert_eq!(body["resource"], "hotel");
    assert_eq!(body["scope"], "hotel:read");

    let (header, claims) = parts_of(body["access_token"].as_str().unwrap());
    assert_eq!(names(&header), BTreeSet::from(["alg", "kid", "typ"]));
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&json!("ES256"), &json!("at+jwt"))
    );
    let (sid, jti) = (
        claims["sid"].as_str().unwrap(),
        claims["jti"].as_str().unwrap(),
    );
    assert_eq!(uuid::Uuid::parse_str(sid).unwrap().get_version_num(), 7);
    assert_eq!(jti.len(), 32, "128 bits in hexadecimal");
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "sub": saad.id, "aud": "hotel", "resource": "hotel", "iat": NOW.as_secs(),
            "exp": NOW.as_secs() + 300, "jti": jti, "client_id": "portcullis", "scope": "hotel:read",
            "roles": ["guest"], "sid": sid, "ver": 1,
        })
    );
}

#[tokio::test]
async fn a_sign_in_is_in_the_log_with_its_session() {
    let house = House::open().await.with_demo_users().await;
    let token = house.token("saad", "1234", "hotel").await;
    let (_, claims) = parts_of(&token);
    let (success, issued) = (
        house.audit_of(Action::LoginSuccess).await,
        house.audit_of(Action::TokenIssued).await,
    );
    let ([success], [issued]) = (&success[..], &issued[..]) else {
        panic!("one row each")
    };
    assert_eq!(
        (success.actor.kind.as_str(), success.actor.name.as_deref()),
        ("user", Some("saad"))
    );
    assert_eq!(success.actor.id, claims["sub"]);
    assert_eq!(success.source_address.as_deref(), Some("192.0.2.7"));
    assert_eq!(success.request_id.as_deref(), Some("r-1"));
    let session = issued.target.as_ref().unwrap();
    assert_eq!(
        (session.kind.as_str(), json!(session.id)),
        ("session", claims["sid"].clone())
    );
    assert_eq!(issued.resource.as_deref(), Some("hotel"));
}

#[tokio::test]
async fn a_user_signs_in_by_any_spelling_of_its_name_or_address() {
    let house = House::open().await;
    house.add_user("Saad", "1234", "guest").await;
    house.add_user("saad@example.com", "1234", "guest").await;
    for body in [
        json!({"username": "SAAD", "password": "1234"}),
        json!({"username": "ｓａａｄ", "password": "１２３４"}),
        json!({"email": "Saad@Example.com", "password": "1234"}),
        json!({"username": "saad@EXAMPLE.com", "password": "1234"}),
        json!({"username": "saad", "email": null, "password": "1234", "resource": null, "scope": null}),
    ] {
        let answer = house.log_in(body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{body}");
        assert_eq!(
            answer.json()["resource"],
            "hotel",
            "the default, where none is named"
        );
    }
}

#[tokio::test]
async fn a_resource_may_shorten_its_tokens() {
    let house = House::open().await.with_demo_users().await;
    let answer = house
        .log_in(json!({"username": "admin", "password": "admin", "resource": "hospital"}))
        .await;
    assert_eq!(answer.json()["expires_in"], 120);
}

#[tokio::test]
async fn who_is_not_entitled_does_not_learn_whether_the_resource_exists() {
    let house = House::open().await.with_demo_users().await;
    let ask = async |resource: &str, scope: Option<&str>| {
        let body =
            json!({"username": "saad", "password": "1234", "resource": resource, "scope": scope});
        let answer = house.log_in(body).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::FORBIDDEN, "resource-not-allowed")
        );
        answer.text
    };
    let hospital = ask("hospital", None).await;
    assert_eq!(ask("casino", None).await, hospital);
    assert_eq!(ask("portcullis", None).await, hospital);
    assert_eq!(ask("", None).await, hospital);
    assert_eq!(
        ask("hotel", Some("hotel:write")).await,
        hospital,
        "a scope that is not granted"
    );
    let rows = house.audit_of(Action::LoginFailure).await;
    let reasons: Vec<_> = rows
        .iter()
        .filter_map(|row| row.reason.as_deref())
        .collect();
    let expected = [
        "not-entitled",
        "unknown-resource",
        "not-entitled",
        "unknown-resource",
        "scope-not-granted",
    ];
    assert_eq!(reasons, expected);
    assert!(house.audit_of(Action::TokenIssued).await.is_empty());
}

#[tokio::test]
async fn a_scope_that_is_asked_for_narrows_the_token() {
    let house = House::open().await;
    house.add_user("eve", "1234", "staff").await;
    let ask = async |scope: &str| {
        house
            .log_in(
                json!({"username": "eve", "password": "1234", "resource": "hotel", "scope": scope}),
            )
            .await
    };
    assert_eq!(ask("hotel:write").await.json()["scope"], "hotel:write");
    assert_eq!(
        ask("hotel:write hotel:read").await.json()["scope"],
        "hotel:write hotel:read"
    );
    assert_eq!(
        ask("hotel:write event:read").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(ask("").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(ask("a\"b").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn unknown_wrong_disabled_and_passwordless_are_answered_alike() {
    let house = House::open().await.with_demo_users().await;
    let gone = house.add_user("gone", "1234", "guest").await;
    let disabled = Event::new(
        NOW,
        Action::UserDisabled,
        Outcome::Success,
        Party::operator("test"),
    );
    house
        .service
        .store
        .set_disabled(&gone.id, true, &house.service.rights_change(&disabled))
        .await
        .unwrap();
    add_stored(&house, "sso", None).await;

    let mut answers = Vec::new();
    for (name, password) in [
        ("saad", "12345"),
        ("nobody", "1234"),
        ("gone", "1234"),
        ("gone", "wrong"),
        ("sso", "1234"),
        ("no\u{200b}body", "1234"),
        ("a@b@c", "1234"),
        ("saad", "1234\0"),
    ] {
        let answer = house
            .log_in(json!({"username": name, "password": password}))
            .await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::UNAUTHORIZED, "invalid-credentials")
        );
        answers.push((answer.headers, answer.text));
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );

    let rows = house.audit_of(Action::LoginFailure).await;
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.reason.as_deref().unwrap(),
                row.target
                    .as_ref()
                    .and_then(|target| target.name.as_deref()),
            )
        })
        .collect();
    let expected = [
        ("wrong-password", Some("saad")),
        ("unknown-user", None),
        ("disabled", Some("gone")),
        ("wrong-password", Some("gone")),
        ("no-password", Some("sso")),
        ("unknown-user", None),
        ("unknown-user", None),
        ("wrong-password", Some("saad")),
    ];
    assert_eq!(
        told, expected,
        "the log knows which it was, and keeps no name that is nobody's"
    );
}

#[tokio::test]
async fn failures_are_throttled_before_any_hashing_and_alike_for_unknown_names() {
    let house = House::open().await.with_demo_users().await;
    let fail = async |name: &str| {
        house
            .log_in(json!({"username": name, "password": "no"}))
            .await
    };
    for name in ["saad", "nobody"] {
        for _ in 0..10 {
            assert_eq!(fail(name).await.status, StatusCode::UNAUTHORIZED);
        }
    }
    // Nothing is hashed from here on: who reaches the queue is told so.
    let _stall = house.service.hasher.stall().await;
    let (known, unknown) = (fail("Saad").await, fail("NOBODY").await);
    assert_eq!(
        (known.status, known.problem().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "rate-limited")
    );
    assert_eq!(known.headers[header::RETRY_AFTER], "90");
    assert_eq!((known.headers, known.text), (unknown.headers, unknown.text));
    assert_eq!(
        house.audit_of(Action::RateLimited).await[0]
            .reason
            .as_deref(),
        Some("sign_in_account")
    );
    house.advance(std::time::Duration::from_secs(90));
    assert_eq!(
        fail("saad").await.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "one is forgiven by now"
    );
}

#[tokio::test]
async fn a_full_hashing_queue_is_told_with_a_time_to_come_again() {
    let house = House::open().await.with_demo_users().await;
    let _stall = house.service.hasher.stall().await;
    let answer = house
        .log_in(json!({"username": "saad", "password": "1234"}))
        .await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
    );
    let wait: u64 = answer.headers[header::RETRY_AFTER]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((2..=5).contains(&wait), "{wait}");
    assert!(
        house.audit_of(Action::LoginFailure).await.is_empty(),
        "nobody failed to sign in"
    );
}

/// In a storm most are turned away: without the database they are, so none of them costs it anything.
#[tokio::test]
async fn a_full_hashing_queue_is_told_before_the_account_is_looked_up() {
    let house = House::open().await.with_demo_users().await;
    let _stall = house.service.hasher.stall().await;
    house.service.store.close().await;
    for name in ["saad", "nobody"] {
        let answer = house
            .log_in(json!({"username": name, "password": "1234"}))
            .await;
        assert_eq!(answer.problem(), "overloaded", "{name}");
    }
}

#[tokio::test]
async fn without_a_database_nobody_signs_in() {
    let house = House::open().await.with_demo_users().await;
    house.service.store.close().await;
    for (name, password) in [("saad", "1234"), ("nobody", "1234")] {
        let answer = house
            .log_in(json!({"username": name, "password": password}))
            .await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable")
        );
        assert!(answer.headers.contains_key(header::RETRY_AFTER));
    }
}

#[tokio::test]
async fn a_hash_of_old_parameters_is_renewed_by_a_sign_in() {
    let house = House::open().await;
    let mut old = house.service.config.password.clone();
    old.hash.memory = ByteSize(32 * 1024);
    let old_hash = Hasher::start(&old, 1)
        .unwrap()
        .hash(Password::parse("1234").unwrap())
        .await
        .unwrap();
    add_stored(&house, "old", Some(old_hash.clone())).await;
    let stored = async || {
        let (_, record) = house
            .service
            .store
            .user_by_login("old")
            .await
            .unwrap()
            .unwrap();
        record.unwrap().expose_hash().to_owned()
    };
    house
        .log_in(json!({"username": "old", "password": "wrong"}))
        .await;
    assert_eq!(
        stored().await,
        old_hash.expose_hash(),
        "a failure changes nothing"
    );
    house.token("old", "1234", "hotel").await;
    assert!(
        stored().await.starts_with("$argon2id$v=19$m=64,t=1,p=1$"),
        "{}",
        stored().await
    );
    house.token("old", "1234", "hotel").await;
}

#[tokio::test]
async fn a_user_that_was_changed_meanwhile_gets_no_token() {
    let house = House::open().await.with_demo_users().await;
    let (stale, _) = house
        .service
        .store
        .user_by_login("saad")
        .await
        .unwrap()
        .unwrap();
    let granted = Event::new(
        NOW,
        Action::RoleGranted,
        Outcome::Success,
        Party::operator("test"),
    );
    let staff = RoleGrant {
        role: "staff",
        tenant: None,
    };
    house
        .service
        .store
        .grant_role(&stale.id, staff, &house.service.rights_change(&granted))
        .await
        .unwrap();
    let entitlement = entitle(&house.service.config, &stale, &Wanted::all_of("hotel")).unwrap();
    let call = Call::of(&HeaderMap::new());
    let issued = house
        .service
        .issue(&stale, entitlement, &call, Vec::new())
        .await;
    let refusal = issued
        .err()
        .expect("the password was checked for a user that is no more");
    assert_eq!(refusal.rejection.code(), "invalid-credentials");
    assert!(house.audit_of(Action::TokenIssued).await.is_empty());
}

#[tokio::test]
async fn sign_ins_are_counted_by_how_they_ended() {
    let house = House::open().await.with_demo_users().await;
    house.token("saad", "1234", "hotel").await;
    house
        .log_in(json!({"username": "saad", "password": "no"}))
        .await;
    house.log_in(json!({"username": "saad"})).await;
    let families = house.registry.gather();
    let logins = families
        .iter()
        .find(|family| family.name() == "portcullis_logins_total")
        .expect("registered");
    let outcomes: Vec<_> = logins
        .get_metric()
        .iter()
        .map(|metric| metric.get_label()[0].value())
        .collect();
    assert_eq!(
        outcomes,
        ["invalid-credentials", "malformed-request", "success"]
    );
    assert!(
        families
            .iter()
            .any(|family| family.name() == "portcullis_password_hashing_queue")
    );
}
