//! Setting the factor up, replacing what was lost, and taking it away.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use portcullis_audit::Action;
use serde_json::json;

use super::{
    Answer, House, PASSWORD, Phone, STEP, WRONG, answer, begin, challenge, confirm, house, protect,
    reasons_of, recovery_codes, remove, request,
};

async fn new_codes(house: &House, token: &str, code: &str) -> Answer {
    let body = json!({ "password": PASSWORD, "code": code });
    house
        .post("/v1/auth/mfa/recovery-codes", Some(token), body)
        .await
}

#[tokio::test]
async fn nothing_is_asked_for_before_a_code_has_confirmed_it() {
    let house = house().await;
    let token = house.token("saad", PASSWORD, "hotel").await;
    let begun = begin(&house, &token).await.json();
    assert_eq!(begun["expires_in"], 900);
    let uri = begun["otpauth_uri"].as_str().unwrap();
    assert!(
        uri.starts_with("otpauth://totp/localhost:saad?secret="),
        "{uri}"
    );
    house.token("saad", PASSWORD, "hotel").await;
    let wrong = confirm(&house, &token, WRONG).await;
    assert_eq!(wrong.problem(), "invalid-credentials");
    house.token("saad", PASSWORD, "hotel").await;
}

#[tokio::test]
async fn only_the_latest_secret_can_be_confirmed_and_only_in_time() {
    let house = house().await;
    let token = house.token("saad", PASSWORD, "hotel").await;
    let phone = async || Phone {
        secret: begin(&house, &token).await.json()["secret"]
            .as_str()
            .unwrap()
            .to_owned(),
        recovery_codes: Vec::new(),
        token: token.clone(),
    };
    let (first, second) = (phone().await, phone().await);
    let outdated = confirm(&house, &token, &first.code(&house, 0)).await;
    assert_eq!(outdated.problem(), "invalid-credentials");
    house.advance(Duration::from_secs(900));
    let token = house.token("saad", PASSWORD, "hotel").await;
    let late = confirm(&house, &token, &second.code(&house, 0)).await;
    assert_eq!(late.problem(), "invalid-credentials");
    assert_eq!(
        reasons_of(&house, Action::MfaFailure).await,
        ["wrong-code", "not-begun"]
    );
}

#[tokio::test]
async fn confirming_ends_every_session_and_begins_one() {
    let house = house().await;
    let before = house.token("saad", PASSWORD, "event").await;
    let phone = protect(&house, "saad").await;
    let refused = house.get("/v1/auth/me", Some(&before)).await;
    assert_eq!(refused.problem(), "invalid-token");
    let me = house.get("/v1/auth/me", Some(&phone.token)).await;
    assert_eq!(me.status, StatusCode::OK);
}

#[tokio::test]
async fn a_factor_in_force_is_not_set_up_again() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let token = &phone.token;
    assert_eq!(begin(&house, token).await.problem(), "conflict");
    let again = confirm(&house, token, &phone.code(&house, 0)).await;
    assert_eq!(again.problem(), "conflict");
}

#[tokio::test]
async fn every_step_asks_for_the_password_again() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let token = &phone.token;
    let body = json!({ "password": "another song", "code": phone.code(&house, 0) });
    for path in ["/v1/auth/mfa/totp/confirm", "/v1/auth/mfa/recovery-codes"] {
        let refused = house.post(path, Some(token), body.clone()).await;
        assert_eq!(refused.problem(), "invalid-credentials", "{path}");
        let anonymous = house.post(path, None, body.clone()).await;
        assert_eq!(anonymous.problem(), "authentication-required", "{path}");
    }
    assert_eq!(
        remove(&house, token, body).await.problem(),
        "invalid-credentials"
    );
    let begin = json!({ "password": "another song" });
    let refused = house.post("/v1/auth/mfa/totp", Some(token), begin).await;
    assert_eq!(refused.problem(), "invalid-credentials");
    assert_eq!(house.audit_of(Action::PasswordConfirmed).await.len(), 4);
    challenge(&house, "saad").await;
}

#[tokio::test]
async fn what_weakens_the_factor_asks_for_a_code_as_well() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let token = &phone.token;
    let alone = remove(&house, token, json!({ "password": PASSWORD })).await;
    assert_eq!(alone.problem(), "malformed-request");
    let wrong = json!({ "password": PASSWORD, "code": WRONG });
    assert_eq!(
        remove(&house, token, wrong).await.problem(),
        "invalid-credentials"
    );
    let wrong = new_codes(&house, token, WRONG).await;
    assert_eq!(wrong.problem(), "invalid-credentials");
    challenge(&house, "saad").await;
    let right = json!({ "password": PASSWORD, "code": phone.code(&house, 0) });
    let removed = remove(&house, token, right).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    house.token("saad", PASSWORD, "hotel").await;
}

#[tokio::test]
async fn guessing_with_a_stolen_token_is_held_up_like_any_guessing() {
    let house = house().await;
    let token = protect(&house, "saad").await.token;
    for _ in 0..5 {
        let wrong = new_codes(&house, &token, WRONG).await;
        assert_eq!(wrong.problem(), "invalid-credentials");
    }
    let held_up = json!({ "password": PASSWORD, "code": WRONG });
    let held_up = remove(&house, &token, held_up).await;
    assert_eq!(held_up.problem(), "rate-limited");
    let rows = house.audit_of(Action::MfaFailure).await;
    assert!(
        rows.iter()
            .all(|row| row.actor.name.as_deref() == Some("saad"))
    );
}

#[tokio::test]
async fn new_recovery_codes_end_the_old_ones() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let token = &phone.token;
    let answered = new_codes(&house, token, &phone.recovery_codes[0]).await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    let new = recovery_codes(&answered.json());
    assert_eq!(new.len(), 10);
    let waiting = challenge(&house, "saad").await;
    for old in &phone.recovery_codes[..3] {
        let refused = answer(&house, &waiting, old).await;
        assert_eq!(refused.problem(), "invalid-credentials");
    }
    assert_eq!(
        answer(&house, &waiting, &new[9]).await.status,
        StatusCode::OK
    );
    assert_eq!(house.audit_of(Action::RecoveryCodesReplaced).await.len(), 1);
}

#[tokio::test]
async fn without_a_factor_there_are_no_recovery_codes_to_make() {
    let house = house().await;
    let token = house.token("saad", PASSWORD, "hotel").await;
    let refused = new_codes(&house, &token, WRONG).await;
    assert_eq!(refused.problem(), "invalid-credentials");
    let nothing = remove(&house, &token, json!({ "password": PASSWORD })).await;
    assert_eq!(nothing.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn what_was_begun_is_given_up_without_a_code() {
    let house = house().await;
    let token = house.token("saad", PASSWORD, "hotel").await;
    begin(&house, &token).await;
    let given_up = remove(&house, &token, json!({ "password": PASSWORD })).await;
    assert_eq!(given_up.status, StatusCode::NO_CONTENT);
    assert_eq!(house.audit_of(Action::MfaDisabled).await.len(), 1);
}

#[tokio::test]
async fn a_removed_factor_leaves_no_code_that_works_after_the_next_is_set_up() {
    let house = house().await;
    let first = protect(&house, "saad").await;
    let token = &first.token;
    let body = json!({ "password": PASSWORD, "code": first.code(&house, 0) });
    assert_eq!(
        remove(&house, token, body).await.status,
        StatusCode::NO_CONTENT
    );
    house.advance(STEP * 2);
    protect(&house, "saad").await;
    let waiting = challenge(&house, "saad").await;
    for old in [first.code(&house, 0), first.recovery_codes[0].clone()] {
        let refused = answer(&house, &waiting, &old).await;
        assert_eq!(refused.problem(), "invalid-credentials");
    }
}

/// Signed in with a second proof as well.
async fn administrator(house: &House) -> String {
    let token = house.token("root", PASSWORD, "portcullis").await;
    let begun = begin(house, &token).await.json();
    let phone = Phone {
        secret: begun["secret"].as_str().unwrap().to_owned(),
        recovery_codes: Vec::new(),
        token,
    };
    let confirmed = confirm(house, &phone.token, &phone.code(house, 0)).await;
    let token = confirmed.json()["access_token"].clone();
    token.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_administrator_helps_others_and_not_himself() {
    let house = house().await;
    house.add_user("root", PASSWORD, "admin").await;
    let saad = protect(&house, "saad").await.token;
    let root = administrator(&house).await;
    let reset = async |id: &str, token: &str| {
        let path = format!("/v1/admin/users/{id}/mfa");
        let request = request(Method::DELETE, &path, Some(token), Body::empty());
        house.send(request).await
    };
    let id = async |token: &str| {
        let me = house.get("/v1/auth/me", Some(token)).await.json();
        me["id"].as_str().unwrap().to_owned()
    };
    let (root_id, saad_id) = (id(&root).await, id(&saad).await);
    assert_eq!(reset(&saad_id, &saad).await.problem(), "wrong-resource");
    assert_eq!(reset(&root_id, &root).await.problem(), "conflict");
    let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
    for id in [nobody, "x"] {
        assert_eq!(reset(id, &root).await.problem(), "route-not-found", "{id}");
    }
    let removed = reset(&saad_id, &root).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert_eq!(reset(&saad_id, &root).await.problem(), "route-not-found");
    house.token("saad", PASSWORD, "hotel").await;
    let rows = house.audit_of(Action::MfaDisabled).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].actor.name.as_deref(), Some("root"));
    challenge(&house, "root").await;
}

#[tokio::test]
async fn the_secret_is_nowhere_in_the_database() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let (user, _) = house
        .service
        .store
        .user_by_login("saad")
        .await
        .unwrap()
        .unwrap();
    let kept = house
        .service
        .store
        .totp_secret(&user.id)
        .await
        .unwrap()
        .unwrap();
    let secret = totp_rs::Secret::try_from_base32(&phone.secret).unwrap();
    let length = secret.as_bytes().len();
    assert!(
        kept.wrapped
            .windows(length)
            .all(|window| window != secret.as_bytes())
    );
    let unwrap_for = |owner: &str| {
        let key = &house.service.second_factor_key;
        key.unwrap_for(owner, &kept.wrapped)
            .map(|secret| secret.to_vec())
    };
    assert_eq!(unwrap_for(&user.id).unwrap(), secret.as_bytes());
    assert!(
        unwrap_for("somebody else").is_err(),
        "it is bound to its owner"
    );
}
