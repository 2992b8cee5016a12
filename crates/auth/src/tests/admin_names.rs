//! What an administrator may change of what a user signs in with: the names and the password.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use portcullis_audit::Action;
use portcullis_config::auth::RoleScopes;
use portcullis_store::{CodePurpose, NewCode};
use serde_json::{Value, json};

use super::{Answer, House, NOW, request};

const PASSWORD: &str = "a horse of no particular colour";
const OTHER: &str = "a ferry to the far island";

/// `keeper` writes users and has what a guest has. `saad` is a guest, `root` has everything.
struct Desk {
    house: House,
    keeper: String,
    saad: String,
}

impl Desk {
    async fn open() -> Self {
        let house = House::open_with(|config| {
            let keeper = ["users:read", "users:write", "hotel:read", "event:read"];
            let keeper = RoleScopes::These(keeper.map(str::to_owned).to_vec());
            config.roles.insert("keeper".to_owned(), keeper);
        });
        let house = house.await.with_demo_users().await;
        house.add_user("keeper", "1234", "keeper").await;
        let keeper = house.token("keeper", "1234", "portcullis").await;
        let saad = path(&house, "saad").await;
        Self {
            house,
            keeper,
            saad,
        }
    }

    async fn patch(&self, body: Value) -> Answer {
        self.ask(Method::PATCH, &self.saad, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = Body::from(body.to_string());
        self.house
            .send(request(method, path, Some(&self.keeper), body))
            .await
    }

    async fn put_password(&self, user: &str, password: &str) -> Answer {
        let path = format!("{}/password", path(&self.house, user).await);
        let body = json!({"password": password});
        self.ask(Method::PUT, &path, body).await
    }

    async fn signs_in(&self, name: &str, password: &str) -> u16 {
        let body = json!({"username": name, "password": password, "resource": "hotel"});
        self.house.log_in(body).await.status.as_u16()
    }

    async fn is_good(&self, token: &str) -> bool {
        let me = self.house.get("/v1/auth/me", Some(token)).await;
        me.status == StatusCode::OK
    }
}

async fn path(house: &House, name: &str) -> String {
    let found = house.service.store.user_by_login(name).await.unwrap();
    format!("/v1/admin/users/{}", found.unwrap().0.id)
}

fn refused(answer: &Answer, status: u16, code: &str) {
    let is = (answer.status.as_u16(), answer.problem());
    assert_eq!(is, (status, code.to_owned()), "{}", answer.text);
}

#[tokio::test]
async fn with_another_name_a_user_stays_signed_in_and_signs_in_by_the_new_one_alone() {
    let desk = Desk::open().await;
    let token = desk.house.token("saad", "1234", "hotel").await;
    let renamed = desk.patch(json!({"username": "said"})).await;
    assert_eq!(renamed.status, StatusCode::OK, "{}", renamed.text);
    assert_eq!(renamed.json()["username"], "said");
    assert!(desk.is_good(&token).await);
    assert_eq!(desk.signs_in("said", "1234").await, 200);
    assert_eq!(desk.signs_in("saad", "1234").await, 401);
    let row = desk
        .house
        .audit_of(Action::UserChanged)
        .await
        .pop()
        .unwrap();
    assert_eq!(row.reason.as_deref(), Some("username"));
    assert_eq!(row.actor.name.as_deref(), Some("keeper"));
}

#[tokio::test]
async fn another_address_is_not_verified_and_what_went_to_the_old_one_is_worth_nothing() {
    let desk = Desk::open().await;
    let set = desk.patch(json!({"email": "saad@example.com"})).await;
    assert_eq!(set.json()["email"], "saad@example.com", "{}", set.text);
    let (store, id) = (&desk.house.service.store, set.json()["id"].clone());
    let keep = async |hash: &[u8; 32], purpose| {
        let code = NewCode {
            user_id: id.as_str().unwrap(),
            purpose,
            hash,
            expires_at: NOW.plus(std::time::Duration::from_secs(60)),
        };
        let event = super::clients::event(Action::EmailVerified);
        store.keep_email_code(&code, &event).await.unwrap();
        event
    };
    let event = keep(&[1; 32], CodePurpose::VerifyEmail).await;
    store.verify_email(&[1; 32], &event).await.unwrap();
    let same = desk
        .patch(json!({"email": "Saad@example.com"}))
        .await
        .json();
    let shown = (&same["email"], &same["email_verified"]);
    assert_eq!(shown, (&json!("Saad@example.com"), &json!(true)));
    keep(&[2; 32], CodePurpose::ResetPassword).await;
    let other = desk
        .patch(json!({"email": "said@example.com"}))
        .await
        .json();
    assert_eq!(other["email_verified"], false);
    let purpose = CodePurpose::ResetPassword;
    let holder = store.holder_of_code(purpose, &[2; 32], NOW).await.unwrap();
    assert!(holder.is_none());
    let removed = desk.patch(json!({"email": null})).await.json();
    let shown = (&removed["email"], &removed["email_verified"]);
    assert_eq!(shown, (&Value::Null, &json!(false)));
}

#[tokio::test]
async fn a_name_is_one_users_and_somebody_keeps_one() {
    let desk = Desk::open().await;
    for (body, status, code) in [
        (json!({"username": "ADMIN"}), 409, "conflict"),
        (json!({"username": null}), 409, "conflict"),
        (json!({"username": null, "email": null}), 409, "conflict"),
        (json!({"username": "sa ad"}), 400, "malformed-request"),
        (json!({"username": "a@b.example"}), 400, "malformed-request"),
        (json!({"email": "saad"}), 400, "malformed-request"),
        (json!({"email_verified": true}), 400, "malformed-request"),
        (json!({"password": OTHER}), 400, "malformed-request"),
    ] {
        refused(&desk.patch(body).await, status, code);
    }
    assert_eq!(desk.signs_in("saad", "1234").await, 200);
    assert!(desk.house.audit_of(Action::UserChanged).await.is_empty());
}

#[tokio::test]
async fn a_password_that_is_set_ends_every_session_and_is_the_only_one() {
    let desk = Desk::open().await;
    let token = desk.house.token("saad", "1234", "hotel").await;
    refused(
        &desk.put_password("saad", "1234").await,
        422,
        "weak-password",
    );
    assert!(desk.is_good(&token).await);
    let set = desk.put_password("saad", PASSWORD).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT, "{}", set.text);
    assert!(!desk.is_good(&token).await);
    assert_eq!(desk.signs_in("saad", "1234").await, 401);
    assert_eq!(desk.signs_in("saad", PASSWORD).await, 200);
    let rows = desk.house.audit_of(Action::PasswordChanged).await;
    let [row] = &*rows else { panic!("{rows:?}") };
    assert_eq!(row.actor.name.as_deref(), Some("keeper"));
    let target = row.target.as_ref().unwrap();
    assert_eq!(target.name.as_deref(), Some("saad"));
}

/// Whoever could would be everything that they are.
#[tokio::test]
async fn nobody_sets_what_those_with_more_rights_sign_in_with_nor_ones_own() {
    let desk = Desk::open().await;
    refused(
        &desk.put_password("admin", PASSWORD).await,
        403,
        "insufficient-scope",
    );
    refused(
        &desk.put_password("keeper", PASSWORD).await,
        409,
        "conflict",
    );
    let (admin, own) = (
        path(&desk.house, "admin").await,
        path(&desk.house, "keeper").await,
    );
    for (user, body, status, code) in [
        (
            &admin,
            json!({"username": "root"}),
            403,
            "insufficient-scope",
        ),
        (
            &admin,
            json!({"email": "k@example.com"}),
            403,
            "insufficient-scope",
        ),
        (&own, json!({"email": "k@example.com"}), 409, "conflict"),
    ] {
        refused(&desk.ask(Method::PATCH, user, body).await, status, code);
    }
    for name in ["admin", "keeper"] {
        let found = desk.house.service.store.user_by_login(name).await.unwrap();
        assert_eq!(found.unwrap().0.email, None, "{name}");
    }
    assert_eq!(desk.signs_in("admin", "admin").await, 200);
    let unknown = "/v1/admin/users/0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59/password";
    let body = json!({"password": PASSWORD});
    refused(
        &desk.ask(Method::PUT, unknown, body.clone()).await,
        404,
        "route-not-found",
    );
    let reader = desk.house.token("saad", "1234", "hotel").await;
    let body = Body::from(body.to_string());
    let asked = request(Method::PUT, unknown, Some(&reader), body);
    refused(&desk.house.send(asked).await, 403, "wrong-resource");
}

#[tokio::test]
async fn a_password_is_not_set_for_who_is_disabled() {
    let desk = Desk::open().await;
    let disable = format!("{}/disable", desk.saad);
    let disabled = desk.ask(Method::POST, &disable, json!({})).await;
    assert_eq!(disabled.status, StatusCode::OK, "{}", disabled.text);
    refused(&desk.put_password("saad", PASSWORD).await, 409, "conflict");
}
