//! Between the password and the tokens.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, Method, StatusCode},
};
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_config::refresh_tokens::Transport;
use serde_json::{Value, json};

use super::{
    PASSWORD, Phone, STEP, WRONG, answer, begin, challenge, confirm, house, protect, reasons_of,
};
use crate::tests::{House, request};

#[tokio::test]
async fn a_code_finishes_what_the_password_began() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let body = json!({ "username": "saad", "password": PASSWORD, "resource": "event", "scope": "event:read" });
    let first = house.log_in(body).await;
    assert_eq!(first.problem(), "mfa-required");
    assert!(!first.text.contains("access_token"), "{}", first.text);
    let challenge = first.json()["challenge"].as_str().unwrap().to_owned();
    let second = answer(&house, &challenge, &phone.code(&house, 0)).await;
    assert_eq!(second.status, StatusCode::OK, "{}", second.text);
    let tokens = second.json();
    assert_eq!(
        tokens["resource"], "event",
        "what the password was given for"
    );
    assert_eq!(tokens["scope"], "event:read");
    let me = house
        .get("/v1/auth/me", tokens["access_token"].as_str())
        .await;
    assert_eq!(me.status, StatusCode::OK);

    let actions: Vec<String> = house
        .audit()
        .await
        .into_iter()
        .map(|row| row.action)
        .collect();
    let expected = [
        "user_created",
        "login_success",
        "token_issued",
        "mfa_begun",
        "mfa_enabled",
        "token_issued",
        "mfa_challenged",
        "mfa_success",
        "login_success",
        "token_issued",
    ];
    assert_eq!(actions[1..], expected, "after the signing key");
    assert_eq!(reasons_of(&house, Action::MfaSuccess).await, ["totp"]);
    let logins = house.registry.gather();
    let logins = logins
        .iter()
        .find(|family| family.name() == "portcullis_logins_total");
    let outcomes: Vec<&str> = logins
        .unwrap()
        .get_metric()
        .iter()
        .map(|metric| metric.get_label()[0].value())
        .collect();
    assert_eq!(outcomes, ["mfa-required", "success"]);
}

#[tokio::test]
async fn without_a_factor_the_password_is_enough() {
    let house = house().await;
    protect(&house, "saad").await;
    house.add_user("other", PASSWORD, "guest").await;
    house.token("other", PASSWORD, "hotel").await;
}

#[tokio::test]
async fn a_code_is_taken_once_and_none_before_it_afterwards() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let code = phone.code(&house, 0);
    let first = challenge(&house, "saad").await;
    assert_eq!(answer(&house, &first, &code).await.status, StatusCode::OK);
    for old in [code, phone.code(&house, -1)] {
        let again = challenge(&house, "saad").await;
        assert_eq!(
            answer(&house, &again, &old).await.problem(),
            "invalid-credentials"
        );
    }
    house.advance(STEP);
    let next = challenge(&house, "saad").await;
    let next = answer(&house, &next, &phone.code(&house, 0)).await;
    assert_eq!(next.status, StatusCode::OK);
}

#[tokio::test]
async fn two_steps_off_is_too_far() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    house.advance(STEP * 10);
    let challenge = challenge(&house, "saad").await;
    for (steps, expected) in [(-2, 401), (2, 401), (-1, 200)] {
        let code = phone.code(&house, steps);
        let answer = answer(&house, &challenge, &code).await;
        assert_eq!(answer.status.as_u16(), expected, "{steps} steps off");
    }
}

#[tokio::test]
async fn the_code_of_another_user_opens_nothing() {
    let house = house().await;
    house.add_user("other", PASSWORD, "guest").await;
    let (saad, other) = (
        protect(&house, "saad").await,
        protect(&house, "other").await,
    );
    let challenge = challenge(&house, "saad").await;
    for code in [other.code(&house, 0), other.recovery_codes[0].clone()] {
        let refused = answer(&house, &challenge, &code).await;
        assert_eq!(refused.problem(), "invalid-credentials");
    }
    let own = answer(&house, &challenge, &saad.code(&house, 0)).await;
    assert_eq!(own.status, StatusCode::OK);
}

#[tokio::test]
async fn a_challenge_is_used_once_expires_and_is_not_guessed() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let used = challenge(&house, "saad").await;
    let first = answer(&house, &used, &phone.code(&house, 0)).await;
    assert_eq!(first.status, StatusCode::OK);
    let expired = challenge(&house, "saad").await;
    house.advance(Duration::from_secs(300));
    let made_up = "A".repeat(43);
    for challenge in [&used, &expired, &made_up, "", "x", &"y".repeat(2000)] {
        let refused = answer(&house, challenge, &phone.code(&house, 0)).await;
        assert_eq!(refused.problem(), "invalid-credentials", "{challenge}");
    }
    let reasons = reasons_of(&house, Action::MfaFailure).await;
    assert_eq!(
        reasons,
        ["unknown-challenge"],
        "repeats are counted together"
    );
}

#[tokio::test]
async fn a_challenge_lasts_to_its_last_millisecond() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let challenge = challenge(&house, "saad").await;
    house.advance(Duration::from_millis(299_999));
    let in_time = answer(&house, &challenge, &phone.code(&house, 0)).await;
    assert_eq!(in_time.status, StatusCode::OK);
}

#[tokio::test]
async fn five_wrong_codes_end_a_challenge_and_hold_up_the_account() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let first = challenge(&house, "saad").await;
    for _ in 0..5 {
        let wrong = answer(&house, &first, WRONG).await;
        assert_eq!(wrong.problem(), "invalid-credentials");
    }
    let sixth = answer(&house, &first, &phone.code(&house, 0)).await;
    assert_eq!(
        sixth.problem(),
        "invalid-credentials",
        "even a right code comes too late"
    );
    let second = challenge(&house, "saad").await;
    let held_up = answer(&house, &second, &phone.code(&house, 0)).await;
    assert_eq!(held_up.problem(), "rate-limited");
    assert_eq!(held_up.headers["retry-after"], "30");
    house.advance(STEP);
    let right = answer(&house, &second, &phone.code(&house, 0)).await;
    assert_eq!(
        right.status,
        StatusCode::OK,
        "nobody is locked out for good"
    );
    let third = challenge(&house, "saad").await;
    assert_eq!(
        answer(&house, &third, WRONG).await.problem(),
        "invalid-credentials"
    );
    house.advance(STEP);
    let right = answer(&house, &third, &phone.code(&house, 0)).await;
    assert_eq!(
        right.status,
        StatusCode::OK,
        "a right code has forgiven the wrong ones"
    );
}

#[tokio::test]
async fn the_wait_grows_with_every_further_guess() {
    let house = house().await;
    protect(&house, "saad").await;
    let guess = async || {
        let challenge = challenge(&house, "saad").await;
        answer(&house, &challenge, WRONG).await
    };
    for _ in 0..5 {
        assert_eq!(guess().await.problem(), "invalid-credentials");
    }
    for wait in [30, 60, 120] {
        let held_up = guess().await;
        assert_eq!(held_up.headers["retry-after"], wait.to_string().as_str());
        house.advance(Duration::from_secs(wait));
        assert_eq!(guess().await.problem(), "invalid-credentials");
    }
}

#[tokio::test]
async fn a_recovery_code_opens_once_even_while_others_guess() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    for _ in 0..5 {
        let challenge = challenge(&house, "saad").await;
        answer(&house, &challenge, WRONG).await;
    }
    let written = phone.recovery_codes[0].to_uppercase().replace('-', " ");
    let first = challenge(&house, "saad").await;
    assert_eq!(
        answer(&house, &first, &written).await.status,
        StatusCode::OK
    );
    let again = challenge(&house, "saad").await;
    assert_eq!(
        answer(&house, &again, &written).await.problem(),
        "invalid-credentials"
    );
    let other = answer(&house, &again, &phone.recovery_codes[1]).await;
    assert_eq!(other.status, StatusCode::OK);
    assert_eq!(house.audit_of(Action::RecoveryCodeUsed).await.len(), 2);
}

#[tokio::test]
async fn of_two_who_use_one_code_at_once_one_gets_in() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    for code in [phone.code(&house, 0), phone.recovery_codes[0].clone()] {
        let (one, other) = (
            challenge(&house, "saad").await,
            challenge(&house, "saad").await,
        );
        let (one, other) = tokio::join!(answer(&house, &one, &code), answer(&house, &other, &code));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401]);
    }
}

#[tokio::test]
async fn who_is_disabled_or_changed_in_between_starts_over() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let (user, _) = house
        .service
        .store
        .user_by_login("saad")
        .await
        .unwrap()
        .unwrap();
    let waiting = challenge(&house, "saad").await;
    set_disabled(&house, &user.id, true).await;
    let refused = answer(&house, &waiting, &phone.code(&house, 0)).await;
    assert_eq!(refused.problem(), "invalid-credentials");
    set_disabled(&house, &user.id, false).await;
    let refused = answer(&house, &waiting, &phone.code(&house, 0)).await;
    assert_eq!(
        refused.problem(),
        "invalid-credentials",
        "it is of an older version"
    );
    let anew = challenge(&house, "saad").await;
    let anew = answer(&house, &anew, &phone.code(&house, 0)).await;
    assert_eq!(anew.status, StatusCode::OK, "and the code was not used up");
    let reasons = reasons_of(&house, Action::MfaFailure).await;
    assert_eq!(reasons, ["user-changed", "user-changed"]);
}

async fn set_disabled(house: &House, id: &str, disabled: bool) {
    let now = house.service.now();
    let event = Event::new(
        now,
        Action::UserDisabled,
        Outcome::Success,
        Party::operator("test"),
    );
    let store = &house.service.store;
    let change = house.service.rights_change(&event);
    store.set_disabled(id, disabled, &change).await.unwrap();
}

#[tokio::test]
async fn what_is_no_code_is_refused_before_it_counts() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let challenge = challenge(&house, "saad").await;
    for _ in 0..6 {
        for code in ["", "12345", "abcdef", "<script>"] {
            let refused = answer(&house, &challenge, code).await;
            assert_eq!(refused.problem(), "malformed-request");
            assert!(!refused.text.contains("script"));
        }
    }
    for body in [
        json!({}),
        json!({ "challenge": challenge }),
        json!({ "challenge": 1, "code": 1 }),
    ] {
        let refused = house.post("/v1/auth/login/mfa", None, body).await;
        assert_eq!(refused.problem(), "malformed-request");
    }
    let right = answer(&house, &challenge, &phone.code(&house, 0)).await;
    assert_eq!(right.status, StatusCode::OK);
}

#[tokio::test]
async fn no_row_of_the_log_has_a_code_a_secret_or_a_challenge() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let challenge = challenge(&house, "saad").await;
    let code = phone.code(&house, 0);
    answer(&house, &challenge, WRONG).await;
    answer(&house, &challenge, &code).await;
    for row in house.audit().await {
        let text = format!("{row:?}");
        for secret in [&challenge, &code, &phone.secret, &phone.recovery_codes[0]] {
            assert!(!text.contains(secret.as_str()), "{}", row.action);
        }
    }
}

#[tokio::test]
async fn a_session_of_two_proofs_is_refreshed_without_another() {
    let house = house().await;
    let phone = protect(&house, "saad").await;
    let challenge = challenge(&house, "saad").await;
    let pair = answer(&house, &challenge, &phone.code(&house, 0))
        .await
        .json();
    let body = json!({ "refresh_token": pair["refresh_token"] });
    let refreshed = house.post("/v1/auth/refresh", None, body).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text);
}

#[tokio::test]
async fn where_cookies_are_used_both_ends_of_the_factor_set_one_and_no_other_site_may_ask() {
    let house = House::open_with(|config| config.refresh_tokens.transport = Transport::Cookie);
    let house = house.await;
    house.add_user("saad", PASSWORD, "guest").await;
    let ask = async |path, token: Option<&str>, site, body: Value| {
        let mut request = request(Method::POST, path, token, Body::from(body.to_string()));
        let site = HeaderValue::from_static(site);
        request.headers_mut().insert("sec-fetch-site", site);
        house.send(request).await
    };
    let first = json!({ "username": "saad", "password": PASSWORD });
    let signed_in = ask("/v1/auth/login", None, "same-origin", first.clone()).await;
    let token = signed_in.json()["access_token"].clone();
    let begun = begin(&house, token.as_str().unwrap()).await.json();
    let phone = Phone {
        secret: begun["secret"].as_str().unwrap().to_owned(),
        recovery_codes: Vec::new(),
        token: token.as_str().unwrap().to_owned(),
    };
    let confirmed = confirm(&house, &phone.token, &phone.code(&house, -1)).await;
    let asked = ask("/v1/auth/login", None, "same-origin", first).await;
    let body = json!({ "challenge": asked.json()["challenge"], "code": phone.code(&house, 0) });
    let elsewhere = ask("/v1/auth/login/mfa", None, "cross-site", body.clone()).await;
    assert_eq!(elsewhere.status, StatusCode::FORBIDDEN);
    let here = ask("/v1/auth/login/mfa", None, "same-origin", body).await;
    assert!(
        !asked.headers.contains_key("set-cookie"),
        "nobody is in yet"
    );
    for answer in [confirmed, here] {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        assert!(
            cookie.starts_with("__Secure-portcullis-refresh="),
            "{cookie}"
        );
        assert!(
            answer.json()["refresh_token"].is_null(),
            "it is in the cookie alone"
        );
    }
}
