//! The second factor as its owner meets it: set up, asked for, lost; and what comes of guessing.

mod picture;
mod set_up;
mod sign_in;

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use portcullis_audit::Action;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::{Answer, House, request};

const PASSWORD: &str = "an old song of the sea";
const STEP: Duration = Duration::from_secs(30);
/// No app shows it in these tests but by a chance of one in a million.
const WRONG: &str = "000000";

/// A user with a phone in the hand.
pub(super) struct Phone {
    secret: String,
    recovery_codes: Vec<String>,
    /// Of the session that began with the factor.
    token: String,
}

impl Phone {
    /// What the app shows, some steps from the house's time.
    fn code(&self, house: &House, steps: i64) -> String {
        let secret = Secret::try_from_base32(&self.secret).unwrap();
        let app = Builder::new().with_secret(secret).build().unwrap();
        let at = i64::try_from(house.service.now().as_secs()).unwrap() + 30 * steps;
        app.generate(at.try_into().unwrap()).to_string()
    }
}

async fn house() -> House {
    let house = House::open().await;
    house.add_user("saad", PASSWORD, "guest").await;
    house
}

async fn begin(house: &House, token: &str) -> Answer {
    house
        .post(
            "/v1/auth/mfa/totp",
            Some(token),
            json!({ "password": PASSWORD }),
        )
        .await
}

async fn confirm(house: &House, token: &str, code: &str) -> Answer {
    let body = json!({ "password": PASSWORD, "code": code });
    house
        .post("/v1/auth/mfa/totp/confirm", Some(token), body)
        .await
}

/// Sets the factor up with the code of the step before, so that the present one is still to be used.
pub(super) async fn protect(house: &House, name: &str) -> Phone {
    let token = house.token(name, PASSWORD, "hotel").await;
    let begun = begin(house, &token).await;
    assert_eq!(begun.status, StatusCode::OK, "{}", begun.text);
    let mut phone = Phone {
        secret: begun.json()["secret"].as_str().unwrap().to_owned(),
        recovery_codes: Vec::new(),
        token,
    };
    let confirmed = confirm(house, &phone.token, &phone.code(house, -1)).await;
    assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.text);
    let confirmed = confirmed.json();
    phone.recovery_codes = recovery_codes(&confirmed);
    phone.token = confirmed["access_token"].as_str().unwrap().to_owned();
    phone
}

fn recovery_codes(answer: &Value) -> Vec<String> {
    let codes = answer["recovery_codes"].as_array().unwrap().iter();
    codes
        .map(|code| code.as_str().unwrap().to_owned())
        .collect()
}

/// The first half of a sign-in.
async fn challenge(house: &House, name: &str) -> String {
    let body = json!({ "username": name, "password": PASSWORD });
    let answer = house.log_in(body).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.problem(), "mfa-required");
    answer.json()["challenge"].as_str().unwrap().to_owned()
}

/// The second half.
async fn answer(house: &House, challenge: &str, code: &str) -> Answer {
    let body = json!({ "challenge": challenge, "code": code });
    house.post("/v1/auth/login/mfa", None, body).await
}

async fn remove(house: &House, token: &str, body: Value) -> Answer {
    let body = Body::from(body.to_string());
    let path = "/v1/auth/mfa/totp";
    house
        .send(request(Method::DELETE, path, Some(token), body))
        .await
}

async fn reasons_of(house: &House, action: Action) -> Vec<String> {
    let rows = house.audit_of(action).await.into_iter();
    rows.map(|row| row.reason.unwrap_or_default()).collect()
}
