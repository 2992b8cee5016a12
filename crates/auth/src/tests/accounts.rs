//! Registering, profiles, and the administration of users.

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
};
use portcullis_audit::Action;
use portcullis_config::auth::Registration;
use portcullis_tokens::{AccessClaims, SigningKey};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Answer, CORP, CORP_SECRET, House, NOW, request};

const REGISTER: &str = "/v1/auth/register";
const GOOD_PASSWORD: &str = "a horse of no particular colour";

async fn open_house() -> House {
    House::open_with(|config| config.registration = Registration::Open).await
}

fn refused(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (status, code),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn only_an_administrator_registers_unless_registration_is_open() {
    let house = House::open().await.with_demo_users().await;
    house.add_user("clerk", "1234", "clerk").await;
    let body = || json!({"username": "new", "password": GOOD_PASSWORD});
    let none = house.post(REGISTER, None, body()).await;
    refused(&none, StatusCode::UNAUTHORIZED, "authentication-required");
    assert_eq!(
        none.headers[header::WWW_AUTHENTICATE],
        r#"Bearer realm="portcullis""#
    );
    refused(
        &house.post(REGISTER, Some("junk"), body()).await,
        StatusCode::UNAUTHORIZED,
        "invalid-token",
    );
    let guest = house.token("saad", "1234", "hotel").await;
    refused(
        &house.post(REGISTER, Some(&guest), body()).await,
        StatusCode::FORBIDDEN,
        "wrong-resource",
    );
    let admin_elsewhere = house.token("admin", "admin", "hotel").await;
    refused(
        &house.post(REGISTER, Some(&admin_elsewhere), body()).await,
        StatusCode::FORBIDDEN,
        "wrong-resource",
    );
    let reader = house.token("clerk", "1234", "portcullis").await;
    let reading = house.post(REGISTER, Some(&reader), body()).await;
    refused(&reading, StatusCode::FORBIDDEN, "insufficient-scope");
    assert!(
        reading.headers[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap()
            .contains(r#"scope="users:write""#)
    );
    let denials = house.audit_of(Action::AccessDenied).await;
    let told: Vec<_> = denials
        .iter()
        .map(|row| (row.actor.name.as_deref(), row.reason.as_deref().unwrap()))
        .collect();
    let expected = [
        (None, "authentication-required"),
        (None, "invalid-token"),
        (Some("saad"), "wrong-resource"),
        (Some("admin"), "wrong-resource"),
        (Some("clerk"), "insufficient-scope"),
    ];
    assert_eq!(told, expected);

    let admin = house.token("admin", "admin", "portcullis").await;
    let made = house.post(REGISTER, Some(&admin), body()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let created = house.audit_of(Action::UserCreated).await.pop().unwrap();
    assert_eq!(created.actor.name.as_deref(), Some("admin"));
    assert_eq!(created.target.unwrap().name.as_deref(), Some("new"));
}

#[tokio::test]
async fn a_new_user_gets_the_default_role_and_a_token_for_the_default_resource() {
    let house = open_house().await;
    let body =
        json!({"username": "New.One", "email": "New@Example.com", "password": GOOD_PASSWORD});
    let answer = house.post("/v1/auth/signup", None, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let body = answer.json();
    assert_eq!(body["user"]["username"], "New.One");
    assert_eq!(body["user"]["email"], "New@Example.com");
    assert_eq!(body["user"]["roles"], json!(["guest"]));
    assert_eq!(
        (&body["token_type"], &body["expires_in"]),
        (&json!("bearer"), &json!(300))
    );
    let me = house
        .get("/v1/auth/me", body["access_token"].as_str())
        .await;
    assert_eq!(me.json()["id"], body["user"]["id"]);
    house.token("new.one", GOOD_PASSWORD, "hotel").await;
    house.token("new@example.com", GOOD_PASSWORD, "event").await;
}

#[tokio::test]
async fn a_default_role_without_the_default_resource_gets_no_token() {
    let house = House::open_with(|config| {
        config.registration = Registration::Open;
        config.default_resource = Some("hospital".to_owned());
    })
    .await;
    let answer = house
        .post(
            REGISTER,
            None,
            json!({"username": "new", "password": GOOD_PASSWORD}),
        )
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(
        answer
            .json()
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["user"]
    );
}

#[tokio::test]
async fn a_name_is_taken_in_all_of_its_spellings() {
    let house = open_house().await;
    house.add_user("admin", "admin", "admin").await;
    house.add_user("a@example.com", "1234", "guest").await;
    for name in [
        json!({"username": "ADMIN"}),
        json!({"username": "ａｄｍｉｎ"}),
        json!({"email": "A@EXAMPLE.com"}),
    ] {
        let mut body = name.clone();
        body["password"] = json!(GOOD_PASSWORD);
        refused(
            &house.post(REGISTER, None, body).await,
            StatusCode::CONFLICT,
            "conflict",
        );
    }
}

#[tokio::test]
async fn registrations_that_are_none_are_refused() {
    let house = open_house().await;
    let check = async |body: Value, status, code| {
        refused(&house.post(REGISTER, None, body).await, status, code)
    };
    let (bad, weak) = (StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY);
    check(json!({"password": GOOD_PASSWORD}), bad, "malformed-request").await;
    for extra in [
        "roles",
        "role",
        "id",
        "ver",
        "disabled",
        "scope",
        "display_name",
    ] {
        check(
            json!({"username": "x", "password": GOOD_PASSWORD, extra: ["admin"]}),
            bad,
            "malformed-request",
        )
        .await;
    }
    for name in [
        "",
        "a b",
        "аdmin",
        "ad\u{200b}min",
        "x@y",
        "\u{202e}nimda",
        "a\r\nb",
    ] {
        check(
            json!({"username": name, "password": GOOD_PASSWORD}),
            bad,
            "malformed-request",
        )
        .await;
    }
    for email in ["", "x", "a@b\r\nBcc: c@d.e", "\"a b\"@c.d"] {
        check(
            json!({"email": email, "password": GOOD_PASSWORD}),
            bad,
            "malformed-request",
        )
        .await;
    }
    check(
        json!({"username": "longusername", "password": "short"}),
        weak,
        "weak-password",
    )
    .await;
    check(
        json!({"username": "longusername", "password": "LongUserName"}),
        weak,
        "weak-password",
    )
    .await;
    check(
        json!({"username": "longusername", "password": "x".repeat(20)}),
        weak,
        "weak-password",
    )
    .await;
    assert!(house.audit_of(Action::UserCreated).await.is_empty());
}

#[tokio::test]
async fn a_profile_is_shown_for_a_token_of_any_resource() {
    let house = House::open().await.with_demo_users().await;
    let token = house.token("saad", "1234", "event").await;
    for path in ["/v1/auth/me", "/v1/users/me", "/v1/users/profile"] {
        let answer = house.get(path, Some(&token)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let profile = answer.json();
        assert_eq!(
            (&profile["username"], &profile["roles"]),
            (&json!("saad"), &json!(["guest"]))
        );
        assert_eq!(profile["created_at"], "2027-01-15T08:00:00.000Z");
        assert!(!answer.text.contains("argon2"), "{}", answer.text);
        refused(
            &house.get(path, None).await,
            StatusCode::UNAUTHORIZED,
            "authentication-required",
        );
    }
    let mut twice = request(Method::GET, "/v1/auth/me", Some(&token), Body::empty());
    twice
        .headers_mut()
        .append(header::AUTHORIZATION, "Bearer x".parse().unwrap());
    refused(
        &house.send(twice).await,
        StatusCode::BAD_REQUEST,
        "malformed-request",
    );
    house.advance(std::time::Duration::from_secs(306));
    refused(
        &house.get("/v1/auth/me", Some(&token)).await,
        StatusCode::UNAUTHORIZED,
        "invalid-token",
    );
}

/// A good token of another issuer, for whom it names.
pub(super) fn foreign_token(subject: &str, sid: &str) -> String {
    let claims = AccessClaims {
        iss: CORP.to_owned(),
        sub: subject.to_owned(),
        aud: "hotel".to_owned(),
        resource: "hotel".to_owned(),
        exp: NOW.as_secs() + 300,
        iat: NOW.as_secs(),
        jti: "j1".to_owned(),
        client_id: "app".to_owned(),
        scope: "hotel:read users:read users:write".to_owned(),
        roles: vec!["admin".to_owned()],
        sid: sid.to_owned(),
        ver: 1,
        tenant: None,
    };
    let key = SigningKey::from_secret(&SecretString::from(CORP_SECRET)).unwrap();
    key.sign(&claims).unwrap()
}

#[tokio::test]
async fn a_foreign_user_is_never_taken_for_a_local_one() {
    let house = House::open().await;
    let admin = house.add_user("admin", "admin", "admin").await;
    let token = foreign_token(&admin.id, "s1");
    let verifier = &house.service.verifier;
    assert!(
        verifier.verify(&token, NOW).is_ok(),
        "a good token, of theirs"
    );
    for path in ["/v1/auth/me", "/v1/admin/users"] {
        let answer = house.get(path, Some(&token)).await;
        refused(&answer, StatusCode::FORBIDDEN, "wrong-resource");
    }
}

#[tokio::test]
async fn other_schemes_and_empty_credentials_are_no_token() {
    let house = House::open().await;
    let check = async |value: &str, code: &str| {
        let mut request = request(Method::GET, "/v1/auth/me", None, Body::empty());
        let value = value.parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        refused(&house.send(request).await, StatusCode::UNAUTHORIZED, code);
    };
    check("Basic c2FhZDoxMjM0", "authentication-required").await;
    check("Bearer", "invalid-token").await;
    check("Bearer ", "invalid-token").await;
    check("bearer a.b.c", "invalid-token").await;
    check("Bearer a.b.c Bearer d.e.f", "invalid-token").await;
}

#[tokio::test]
async fn a_user_changes_its_display_name_and_nothing_else() {
    let house = House::open().await.with_demo_users().await;
    let token = house.token("saad", "1234", "hotel").await;
    let patch = async |body: Value| {
        house
            .send(request(
                Method::PATCH,
                "/v1/users/me",
                Some(&token),
                Body::from(body.to_string()),
            ))
            .await
    };
    assert_eq!(
        patch(json!({"display_name": "Saad H."})).await.json()["display_name"],
        "Saad H."
    );
    for body in [
        json!({}),
        json!({"roles": ["admin"], "ver": 0}),
        json!({"display_name": "x", "roles": ["admin"]}),
        json!({"display_name": 7}),
        json!({"display_name": ""}),
        json!({"display_name": " x"}),
        json!({"display_name": "a\nb"}),
        json!({"display_name": "a\u{202e}b"}),
        json!({"display_name": "x".repeat(101)}),
    ] {
        refused(
            &patch(body).await,
            StatusCode::BAD_REQUEST,
            "malformed-request",
        );
    }
    let profile = house.get("/v1/users/me", Some(&token)).await.json();
    assert_eq!(
        (&profile["display_name"], &profile["roles"]),
        (&json!("Saad H."), &json!(["guest"]))
    );
    assert_eq!(
        patch(json!({"display_name": null})).await.json()["display_name"],
        Value::Null
    );
    assert_eq!(house.audit_of(Action::ProfileChanged).await.len(), 2);
}

#[tokio::test]
async fn users_are_listed_in_pages_without_gap_or_repetition() {
    let house = House::open().await.with_demo_users().await;
    for number in 0..5 {
        house
            .add_user(&format!("user{number}"), "1234", "guest")
            .await;
    }
    let token = house.token("admin", "admin", "portcullis").await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = house
            .get(&format!("/v1/admin/users?limit=3{after}"), Some(&token))
            .await
            .json();
        let users = page["users"].as_array().unwrap();
        assert!(users.len() <= 3);
        seen.extend(
            users
                .iter()
                .map(|user| user["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted_by(|one, other| one < other));
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=-1",
        "after=x",
        "after=' OR 1=1",
        "x=1",
        "limit=1&limit=2",
    ] {
        let path = format!("/v1/admin/users?{}", query.replace(' ', "%20"));
        refused(
            &house.get(&path, Some(&token)).await,
            StatusCode::BAD_REQUEST,
            "malformed-request",
        );
    }
}

#[tokio::test]
async fn the_list_of_users_needs_its_scope() {
    let house = House::open().await.with_demo_users().await;
    house.add_user("clerk", "1234", "clerk").await;
    let list = async |token: Option<&str>| house.get("/v1/admin/users", token).await;
    refused(
        &list(None).await,
        StatusCode::UNAUTHORIZED,
        "authentication-required",
    );
    let guest = house.token("saad", "1234", "hotel").await;
    refused(
        &list(Some(&guest)).await,
        StatusCode::FORBIDDEN,
        "wrong-resource",
    );
    let clerk = house.token("clerk", "1234", "portcullis").await;
    assert_eq!(list(Some(&clerk)).await.status, StatusCode::OK);
    let narrowed = json!({"username": "admin", "password": "admin", "resource": "portcullis", "scope": "audit:read"});
    let narrowed = house.log_in(narrowed).await.json();
    refused(
        &list(narrowed["access_token"].as_str()).await,
        StatusCode::FORBIDDEN,
        "insufficient-scope",
    );
}

#[tokio::test]
async fn a_disabled_user_is_refused_in_the_very_next_request() {
    let house = House::open().await.with_demo_users().await;
    let guest = house.token("saad", "1234", "hotel").await;
    let id = house.get("/v1/auth/me", Some(&guest)).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let admin = house.token("admin", "admin", "portcullis").await;
    let set = async |id: &str, word: &str| {
        house
            .post(
                &format!("/v1/admin/users/{id}/{word}"),
                Some(&admin),
                Value::Null,
            )
            .await
    };
    let disabled = set(&id, "disable").await;
    assert_eq!(
        (disabled.status, &disabled.json()["disabled"]),
        (StatusCode::OK, &json!(true))
    );
    refused(
        &house.get("/v1/auth/me", Some(&guest)).await,
        StatusCode::UNAUTHORIZED,
        "invalid-token",
    );
    assert!(
        house
            .service
            .verifier
            .verify(&guest, house.service.now())
            .is_err(),
        "the gateway refuses it as well"
    );
    let login = house
        .log_in(json!({"username": "saad", "password": "1234"}))
        .await;
    refused(&login, StatusCode::UNAUTHORIZED, "invalid-credentials");

    assert_eq!(set(&id, "enable").await.json()["disabled"], false);
    refused(
        &house.get("/v1/auth/me", Some(&guest)).await,
        StatusCode::UNAUTHORIZED,
        "invalid-token",
    );
    house.token("saad", "1234", "hotel").await;
    assert_eq!(
        house.audit_of(Action::UserDisabled).await[0]
            .target
            .as_ref()
            .unwrap()
            .id,
        id
    );
}

#[tokio::test]
async fn an_administrator_cannot_lock_itself_out() {
    let house = House::open().await.with_demo_users().await;
    let admin = house.token("admin", "admin", "portcullis").await;
    let id = house.get("/v1/auth/me", Some(&admin)).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let disable = async |id: &str| {
        house
            .post(
                &format!("/v1/admin/users/{id}/disable"),
                Some(&admin),
                Value::Null,
            )
            .await
    };
    refused(&disable(&id).await, StatusCode::CONFLICT, "conflict");
    for nobody in [
        "0198c5d0-0000-7000-8000-000000000000",
        "x",
        "%ff",
        "..%2f..",
    ] {
        refused(
            &disable(nobody).await,
            StatusCode::NOT_FOUND,
            "route-not-found",
        );
    }
}
