//! Mail that resets passwords and verifies addresses: who gets one, what its code is good for, and that nothing tells
//! whether there is such an account.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use parking_lot::Mutex;
use portcullis_audit::Action;
use portcullis_config::{
    auth::{Auth, Registration},
    mail::{Mail, MailServer, MailTls},
};
use portcullis_harness::wait::PATIENCE;
use portcullis_outbound::mail::{Letter, Post};
use serde_json::{Value, json};

use super::{Answer, House, imports::BCRYPT, request, second_factor::protect};

const OLD: &str = "an old song of the sea";
const NEW: &str = "eleven quiet bicycles";
const FORGOT: &str = "/v1/auth/password/forgot";
const RESET: &str = "/v1/auth/password/reset";
const VERIFY: &str = "/v1/auth/email/verify";
const RESEND: &str = "/v1/auth/email/resend";

/// A box that letters fall into.
pub(crate) type Letters = Arc<Mutex<Vec<Letter>>>;

pub(crate) fn post(letters: &Letters) -> Post {
    let letters = Arc::clone(letters);
    Post::through(move |letter| {
        letters.lock().push(letter);
        Ok(())
    })
}

fn with_mail(config: &mut Auth) {
    config.mail = Some(Mail {
        server: MailServer {
            host: "mail.example".to_owned(),
            port: 25,
            tls: MailTls::Plain,
            login: None,
        },
        from: "no-reply@example.com".to_owned(),
        reset_link: Some("https://app.example.com/reset#".to_owned()),
        verify_link: None,
        ca: None,
    });
}

async fn house() -> House {
    let house = House::open_with(with_mail).await;
    house.add_user("saad@example.com", OLD, "guest").await;
    house
}

async fn forgot(house: &House, name: &str) -> Answer {
    house.post(FORGOT, None, json!({ "username": name })).await
}

async fn reset(house: &House, code: &str, password: &str) -> Answer {
    let body = json!({ "code": code, "new_password": password });
    house.post(RESET, None, body).await
}

/// Waits until the courier has been at the post so many times, and takes the letters out.
async fn letters(house: &House, count: usize) -> Vec<Letter> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while house.letters.lock().len() < count {
        assert!(tokio::time::Instant::now() < deadline, "no letter came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::mem::take(&mut *house.letters.lock())
}

/// What stands behind the link, or on a line of its own.
fn code_in(letter: &Letter) -> String {
    let line = letter
        .text
        .lines()
        .find(|line| line.len() >= 22 && !line.contains(' '));
    let line = line.unwrap_or_else(|| panic!("{}", letter.text));
    line.rsplit('#').next().unwrap().to_owned()
}

async fn reset_code(house: &House) -> String {
    assert_eq!(
        forgot(house, "saad@example.com").await.status,
        StatusCode::ACCEPTED
    );
    code_in(&letters(house, 1).await[0])
}

async fn log_in(house: &House, password: &str) -> Answer {
    let body = json!({ "email": "saad@example.com", "password": password });
    house.log_in(body).await
}

#[tokio::test]
async fn a_code_gives_another_password_once_and_ends_every_session() {
    let house = house().await;
    let token = house.token("saad@example.com", OLD, "hotel").await;
    forgot(&house, "SAAD@Example.com").await;
    let letter = &letters(&house, 1).await[0];
    assert_eq!(
        (letter.to.as_str(), letter.subject),
        ("saad@example.com", "Reset your password")
    );
    assert!(
        letter.text.contains("\nhttps://app.example.com/reset#"),
        "{}",
        letter.text
    );
    let code = code_in(letter);
    let answer = reset(&house, &code, NEW).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::NO_CONTENT, "")
    );
    assert_eq!(
        house.get("/v1/auth/me", Some(&token)).await.problem(),
        "invalid-token"
    );
    assert_eq!(log_in(&house, OLD).await.problem(), "invalid-credentials");
    assert_eq!(log_in(&house, NEW).await.status, StatusCode::OK);
    let again = reset(&house, &code, "a third one, as good as any").await;
    assert_eq!(
        (again.status, again.problem().as_str()),
        (StatusCode::UNAUTHORIZED, "invalid-credentials")
    );
    let done = house.audit_of(Action::PasswordReset).await;
    let told: Vec<_> = done
        .iter()
        .map(|row| (row.outcome.as_str(), row.reason.as_deref()))
        .collect();
    assert_eq!(told, [("success", None), ("refused", Some("no-such-code"))]);
    for row in house.audit().await {
        assert!(!format!("{row:?}").contains(&code), "a code in the log");
    }
    let stored = house
        .service
        .store
        .user_by_login("saad@example.com")
        .await
        .unwrap();
    assert!(
        stored.unwrap().0.email_verified,
        "whoever has the code reads the mail"
    );
}

#[tokio::test]
async fn asking_tells_nothing_about_the_account() {
    let house = house().await;
    house.add_user("nameless", OLD, "guest").await;
    let gone = house.add_user("gone@example.com", OLD, "guest").await;
    let admin = house.add_user("admin", "admin", "admin").await;
    let token = house.token("admin", "admin", "portcullis").await;
    let path = format!("/v1/admin/users/{}/disable", gone.id);
    assert_eq!(
        house.post(&path, Some(&token), json!({})).await.status,
        StatusCode::OK,
        "{}",
        admin.id
    );
    let mut answers = Vec::new();
    for name in [
        "saad@example.com",
        "nobody@example.com",
        "nameless",
        "gone@example.com",
        "\u{202e}x",
    ] {
        let answer = forgot(&house, name).await;
        answers.push((answer.status, answer.text, answer.headers));
    }
    let letters = letters(&house, 1).await;
    assert_eq!(
        letters.len(),
        1,
        "one of them has an address and may sign in"
    );
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
        assert_eq!(answer.0, StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn a_code_is_good_for_fifteen_minutes_and_the_newest_only() {
    let house = house().await;
    let older = reset_code(&house).await;
    let newer = reset_code(&house).await;
    assert_eq!(
        reset(&house, &older, NEW).await.problem(),
        "invalid-credentials"
    );
    house.advance(Duration::from_secs(15 * 60));
    assert_eq!(
        reset(&house, &newer, NEW).await.problem(),
        "invalid-credentials"
    );
    let last = reset_code(&house).await;
    house.advance(Duration::from_secs(15 * 60 - 1));
    assert_eq!(
        reset(&house, &last, NEW).await.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn a_weak_password_leaves_the_code_good_and_a_change_does_not() {
    let house = house().await;
    let code = reset_code(&house).await;
    assert_eq!(
        reset(&house, &code, "short").await.problem(),
        "weak-password"
    );
    let token = house.token("saad@example.com", OLD, "hotel").await;
    let change = json!({"current_password": OLD, "new_password": NEW});
    let changed = house.post("/v1/auth/password", Some(&token), change).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let late = reset(&house, &code, "a third one, as good as any").await;
    assert_eq!(late.problem(), "invalid-credentials");
    assert_eq!(log_in(&house, NEW).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_reset_is_no_way_around_the_second_factor() {
    let house = house().await;
    protect(&house, "saad@example.com").await;
    let code = reset_code(&house).await;
    assert_eq!(
        reset(&house, &code, NEW).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(log_in(&house, NEW).await.problem(), "mfa-required");
}

#[tokio::test]
async fn of_many_resets_with_one_code_one_is_made() {
    let house = house().await;
    let code = reset_code(&house).await;
    let all = (0..6).map(|_| reset(&house, &code, NEW));
    let done = futures_util::future::join_all(all).await;
    let made = done
        .iter()
        .filter(|answer| answer.status == StatusCode::NO_CONTENT);
    assert_eq!(made.count(), 1);
}

#[tokio::test]
async fn a_few_letters_go_to_one_account_and_more_are_answered_alike() {
    let house = house().await;
    for _ in 0..6 {
        assert_eq!(
            forgot(&house, "saad@example.com").await.status,
            StatusCode::ACCEPTED
        );
    }
    assert_eq!(letters(&house, 3).await.len(), 3);
    for _ in 0..24 {
        assert_eq!(forgot(&house, "nobody").await.status, StatusCode::ACCEPTED);
    }
    let throttled = forgot(&house, "nobody").await;
    assert_eq!(throttled.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(throttled.headers.contains_key("retry-after"));
    house.advance(Duration::from_secs(15 * 60));
    reset_code(&house).await;
}

#[tokio::test]
async fn guesses_at_codes_are_held_up_by_address() {
    let house = house().await;
    for number in 0..30 {
        let guess = reset(&house, &format!("guess number {number}"), NEW).await;
        assert_eq!(guess.problem(), "invalid-credentials");
    }
    assert_eq!(
        reset(&house, "one more", NEW).await.problem(),
        "rate-limited"
    );
    let verify = house.post(VERIFY, None, json!({"code": "x"})).await;
    assert_eq!(verify.problem(), "rate-limited");
}

#[tokio::test]
async fn who_registers_with_an_address_is_asked_to_verify_it() {
    let house = House::open_with(|config| {
        with_mail(config);
        config.registration = Registration::Open;
    })
    .await;
    let body = json!({"email": "eve@example.com", "password": OLD});
    let registered = house.post("/v1/auth/register", None, body).await;
    assert_eq!(registered.json()["user"]["email_verified"], false);
    let token = registered.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let first = code_in(&letters(&house, 1).await[0]);
    let asked = house.post(RESEND, Some(&token), json!({})).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let second = code_in(&letters(&house, 1).await[0]);
    let verify = async |code: &str| house.post(VERIFY, None, json!({ "code": code })).await;
    assert_eq!(
        verify(&first).await.problem(),
        "invalid-credentials",
        "the newest only"
    );
    let crossed = reset(&house, &second, NEW).await;
    assert_eq!(
        crossed.problem(),
        "invalid-credentials",
        "good for nothing else"
    );
    assert_eq!(
        verify(&format!(" {second}\n")).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        verify(&second).await.problem(),
        "invalid-credentials",
        "once"
    );
    let me = house.get("/v1/auth/me", Some(&token)).await.json();
    assert_eq!(me["email_verified"], true, "and no token ends by it");
    assert_eq!(house.audit_of(Action::EmailVerified).await.len(), 3);
}

/// `mallory` is asked for last, so that whatever else was left to the courier has been carried out.
async fn letters_until_mallory(house: &House) -> Vec<String> {
    house.add_user("mallory@example.com", OLD, "guest").await;
    forgot(house, "mallory@example.com").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let is_mallorys = |letter: &Letter| letter.to == "mallory@example.com";
    while !house.letters.lock().iter().any(is_mallorys) {
        assert!(tokio::time::Instant::now() < deadline, "no letter came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let all = std::mem::take(&mut *house.letters.lock());
    let others = all.into_iter().filter(|letter| !is_mallorys(letter));
    others.map(|letter| letter.to).collect()
}

#[tokio::test]
async fn an_address_that_an_administrator_gives_and_nobody_vouches_for_is_to_be_verified() {
    let house = house().await.with_demo_users().await;
    let admin = house.token("admin", "admin", "portcullis").await;
    let (make, import) = ("/v1/admin/users", "/v1/admin/users/import");
    let mut made = Vec::new();
    for (path, body) in [
        (make, json!({"email": "a@example.com", "password": NEW})),
        (make, json!({"username": "nameless", "password": NEW})),
        (
            import,
            json!({"email": "b@example.com", "password_hash": BCRYPT}),
        ),
        (
            import,
            json!({"email": "c@example.com", "email_verified": true, "password_hash": BCRYPT}),
        ),
        (
            "/v1/auth/register",
            json!({"email": "d@example.com", "password": NEW}),
        ),
    ] {
        let answer = house.post(path, Some(&admin), body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        made.push(answer);
    }
    let nameless = format!("{make}/{}", made[1].json()["id"].as_str().unwrap());
    for body in [
        json!({"username": "named"}),
        json!({"email": "e@example.com"}),
    ] {
        let body = Body::from(body.to_string());
        let change = request(Method::PATCH, &nameless, Some(&admin), body);
        let answer = house.send(change).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    let told = letters_until_mallory(&house).await;
    let unproven = [
        "a@example.com",
        "b@example.com",
        "d@example.com",
        "e@example.com",
    ];
    assert_eq!(told, unproven);
    let asked = house.audit_of(Action::EmailVerificationRequested).await;
    assert_eq!(asked.len(), unproven.len());
    let first = asked[0].target.as_ref().unwrap();
    assert_eq!(first.id, made[0].json()["id"].as_str().unwrap());
}

#[tokio::test]
async fn the_letter_to_whom_an_administrator_made_counts_among_the_few() {
    let house = house().await.with_demo_users().await;
    let admin = house.token("admin", "admin", "portcullis").await;
    let body = json!({"email": "eve@example.com", "password": NEW});
    house.post("/v1/admin/users", Some(&admin), body).await;
    let token = house.token("eve@example.com", NEW, "hotel").await;
    for _ in 0..4 {
        let asked = house.post(RESEND, Some(&token), json!({})).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED);
    }
    assert_eq!(letters_until_mallory(&house).await.len(), 3);
}

#[tokio::test]
async fn without_a_mail_server_there_is_nothing_to_ask() {
    let house = House::open().await.with_demo_users().await;
    let token = house.token("saad", "1234", "hotel").await;
    let bodies: [(&str, Value); 4] = [
        (FORGOT, json!({"username": "saad"})),
        (RESET, json!({"code": "x", "new_password": NEW})),
        (VERIFY, json!({"code": "x"})),
        (RESEND, json!({})),
    ];
    for (path, body) in bodies {
        let answer = house.post(path, Some(&token), body).await;
        assert_eq!(answer.problem(), "route-not-found", "{path}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_before_anything_is_done() {
    let house = house().await;
    for (path, body) in [
        (FORGOT, json!({})),
        (FORGOT, json!({"username": "a", "email": "b"})),
        (FORGOT, json!({"username": ""})),
        (FORGOT, json!({"username": "x".repeat(255)})),
        (FORGOT, json!({"username": "saad", "to": "eve@example.com"})),
        (RESET, json!({"code": "x"})),
        (RESET, json!({"code": "", "new_password": NEW})),
        (RESET, json!({"code": "x".repeat(129), "new_password": NEW})),
        (RESET, json!({"code": 1, "new_password": NEW})),
        (VERIFY, json!({})),
    ] {
        let answer = house.post(path, None, body.clone()).await;
        assert_eq!(answer.problem(), "malformed-request", "{path} {body}");
    }
    assert_eq!(
        house.post(RESEND, None, json!({})).await.problem(),
        "authentication-required"
    );
}
