//! Users of other systems: what is taken in, that they sign in as they did, and that their first sign-in replaces the
//! hash.

use axum::http::StatusCode;
use portcullis_audit::Action;
use serde_json::{Value, json};

use super::{Answer, House};

const PATH: &str = "/v1/admin/users/import";
/// Made by the `bcrypt` package of Python of the word `password`.
pub(crate) const BCRYPT: &str = "$2b$05$qX2CK2M3QNGcyDzDbF5Wk.lizexnIKGSp1.vcgTlvUZc5KKrnRHva";

async fn import(house: &House, body: Value) -> Answer {
    let admin = house.token("admin", "admin", "portcullis").await;
    house.post(PATH, Some(&admin), body).await
}

async fn stored(house: &House, name: &str) -> (String, String) {
    let found = house.service.store.user_by_login(name).await.unwrap();
    let record = found.and_then(|(_, record)| record).unwrap();
    (record.scheme().to_owned(), record.expose_hash().to_owned())
}

#[tokio::test]
async fn an_imported_user_signs_in_and_the_hash_is_ours_from_then_on() {
    let house = House::open().await.with_demo_users().await;
    let body = json!({
        "username": "bertha", "email": "bertha@example.com", "email_verified": true, "password_hash": BCRYPT,
    });
    let answer = import(&house, body.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let user = answer.json();
    assert_eq!(
        (&user["roles"], &user["email_verified"]),
        (&json!(["guest"]), &json!(true))
    );
    assert!(!answer.text.contains("2b$05"));
    assert_eq!(import(&house, body).await.problem(), "conflict");

    let sign_in = async |password: &str| {
        let body = json!({"username": "bertha", "password": password});
        house.log_in(body).await
    };
    assert_eq!(sign_in("passwore").await.problem(), "invalid-credentials");
    assert_eq!(
        stored(&house, "bertha").await,
        ("bcrypt".to_owned(), BCRYPT.to_owned())
    );
    assert_eq!(sign_in("password").await.status, StatusCode::OK);
    let (scheme, hash) = stored(&house, "bertha").await;
    assert_eq!(scheme, "argon2id-nfkc");
    assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
    assert_eq!(sign_in("password").await.status, StatusCode::OK);
    assert_eq!(sign_in("passwore").await.problem(), "invalid-credentials");
    let rows = house.audit_of(Action::UserCreated).await;
    let imported: Vec<_> = rows
        .iter()
        .filter(|row| row.reason.as_deref() == Some("imported"))
        .collect();
    assert_eq!(imported.len(), 1);
    assert_eq!(imported[0].actor.name.as_deref(), Some("admin"));
}

#[tokio::test]
async fn first_sign_ins_at_the_same_time_leave_one_good_hash() {
    let house = House::open().await.with_demo_users().await;
    import(
        &house,
        json!({"username": "bertha", "password_hash": BCRYPT}),
    )
    .await;
    let body = json!({"username": "bertha", "password": "password"});
    let at_once = (0..8).map(|_| house.log_in(body.clone()));
    for answer in futures_util::future::join_all(at_once).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    assert_eq!(stored(&house, "bertha").await.0, "argon2id-nfkc");
    assert_eq!(house.log_in(body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_could_not_be_verified_is_not_imported() {
    let house = House::open().await.with_demo_users().await;
    for hash in [
        "$argon2id$v=19$m=4294967295,t=4294967295,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$2b$31$qX2CK2M3QNGcyDzDbF5Wk.lizexnIKGSp1.vcgTlvUZc5KKrnRHva",
        "$2b$05$qX2CK2M3QNGcyDzDbF5Wk.lizexnIKGSp1.vcgTlvUZc5KKrnRH*a",
        "$argon2id$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "",
    ] {
        let answer = import(
            &house,
            json!({"username": "mallory", "password_hash": hash}),
        )
        .await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{hash}");
        assert_eq!(answer.problem(), "unusable-hash");
    }
    for body in [
        json!({"password_hash": BCRYPT}),
        json!({"username": "mallory"}),
        json!({"username": "mallory", "email_verified": true, "password_hash": BCRYPT}),
        json!({"username": "mal lory", "password_hash": BCRYPT}),
        json!({"username": "mallory", "display_name": "a\u{202e}b", "password_hash": BCRYPT}),
        json!({"username": "mallory", "password_hash": BCRYPT, "roles": ["admin"]}),
    ] {
        let answer = import(&house, body.clone()).await;
        assert_eq!(answer.problem(), "malformed-request", "{body}");
    }
    let nobody = house.service.store.user_by_login("mallory").await.unwrap();
    assert!(nobody.is_none());
}

#[tokio::test]
async fn importing_is_for_administrators() {
    let house = House::open().await.with_demo_users().await;
    let body = json!({"username": "mallory", "password_hash": BCRYPT});
    let guest = house.token("saad", "1234", "hotel").await;
    let refused = house.post(PATH, Some(&guest), body.clone()).await;
    assert_eq!(refused.problem(), "wrong-resource");
    assert_eq!(
        house.post(PATH, None, body).await.problem(),
        "authentication-required"
    );
}
