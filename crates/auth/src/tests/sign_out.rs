//! Signing out: of this session, the others or all; who may; and the list of one's sessions.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use portcullis_audit::Action;
use portcullis_config::{auth::Auth, refresh_tokens::Transport};
use serde_json::{Value, json};

use super::{Answer, House, accounts::foreign_token, refresh::Pair};

const LOGOUT: &str = "/v1/auth/logout";
const SESSIONS: &str = "/v1/auth/sessions";

async fn house() -> House {
    House::open().await.with_demo_users().await
}

impl House {
    async fn log_out(&self, access: &str, scope: &str) -> StatusCode {
        let body = json!({"scope": scope});
        self.post(LOGOUT, Some(access), body).await.status
    }

    async fn end(&self, access: &str, sid: &str) -> Answer {
        let request = Request::builder()
            .method(Method::DELETE)
            .uri(format!("{SESSIONS}/{sid}"))
            .header("x-request-id", "r-1")
            .header(header::AUTHORIZATION, format!("Bearer {access}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Whether the session goes on, by both of its tokens.
    async fn goes_on(&self, pair: &Pair) -> bool {
        let (is_in, answer) = (
            self.is_in(&pair.access).await,
            self.refresh(&pair.refresh).await,
        );
        let is_refreshed = answer.status == StatusCode::OK;
        assert_eq!(is_in, is_refreshed, "the two do not part: {}", answer.text);
        is_in
    }

    async fn listed(&self, access: &str, query: &str) -> Value {
        let answer = self.get(&format!("{SESSIONS}{query}"), Some(access)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }
}

fn sids(listed: &Value) -> Vec<String> {
    let sessions = listed["sessions"].as_array().unwrap().iter();
    sessions
        .map(|session| session["sid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn each_reach_ends_what_it_says_and_nothing_else() {
    for (scope, expected) in [
        ("this", [false, true, true, true]),
        ("others", [true, false, false, true]),
        ("all", [false, false, false, true]),
    ] {
        let house = house().await;
        let mut pairs = Vec::new();
        for _ in 0..3 {
            pairs.push(house.pair("saad", "1234").await);
        }
        pairs.push(house.pair("admin", "admin").await);
        assert_eq!(
            house.log_out(&pairs[0].access, scope).await,
            StatusCode::NO_CONTENT
        );
        for (at, (pair, goes_on)) in pairs.iter().zip(expected).enumerate() {
            assert_eq!(house.goes_on(pair).await, goes_on, "{scope}: {at}");
        }
        let ends = house.audit_of(Action::SessionEnded).await;
        assert_eq!(ends.len(), if scope == "others" { 2 } else { 1 }, "{scope}");
        assert!(
            ends.iter()
                .all(|end| end.actor.name.as_deref() == Some("saad"))
        );
    }
}

#[tokio::test]
async fn a_sign_in_after_an_end_of_all_goes_on() {
    let house = house().await;
    let before = house.pair("saad", "1234").await;
    house.log_out(&before.access, "all").await;
    let after = house.pair("saad", "1234").await;
    assert!(house.goes_on(&after).await && !house.goes_on(&before).await);
}

#[tokio::test]
async fn no_body_means_this_session() {
    let house = house().await;
    let (pair, other) = (
        house.pair("saad", "1234").await,
        house.pair("saad", "1234").await,
    );
    let request = Request::post(LOGOUT)
        .header(header::AUTHORIZATION, format!("Bearer {}", pair.access))
        .body(Body::empty())
        .unwrap();
    assert_eq!(house.send(request).await.status, StatusCode::NO_CONTENT);
    assert!(!house.goes_on(&pair).await && house.goes_on(&other).await);
}

#[tokio::test]
async fn a_refresh_token_signs_out_as_well_current_or_spent() {
    let house = house().await;
    for spends_first in [false, true] {
        let mut pair = house.pair("saad", "1234").await;
        let held = pair.refresh.clone();
        if spends_first {
            pair = Pair::of(&house.refresh(&held).await);
            house.advance(Duration::from_secs(60));
        }
        let answer = house
            .post(LOGOUT, None, json!({"refresh_token": held}))
            .await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
        assert!(!house.goes_on(&pair).await);
        let again = house
            .post(LOGOUT, None, json!({"refresh_token": held}))
            .await;
        assert_eq!(again.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(house.audit_of(Action::SessionEnded).await.len(), 2);
}

#[tokio::test]
async fn signing_out_twice_is_no_mistake_and_told_of_once() {
    for scope in ["this", "all"] {
        let house = house().await;
        let pair = house.pair("saad", "1234").await;
        for _ in 0..2 {
            assert_eq!(
                house.log_out(&pair.access, scope).await,
                StatusCode::NO_CONTENT
            );
        }
        assert_eq!(
            house.audit_of(Action::SessionEnded).await.len(),
            1,
            "{scope}"
        );
    }
}

#[tokio::test]
async fn an_expired_access_token_ends_its_own_session_and_no_other() {
    let house = house().await;
    let (pair, other) = (
        house.pair("saad", "1234").await,
        house.pair("saad", "1234").await,
    );
    house.advance(Duration::from_secs(3600));
    for scope in ["others", "all"] {
        assert_eq!(
            house.log_out(&pair.access, scope).await,
            StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(
        house.log_out(&pair.access, "this").await,
        StatusCode::NO_CONTENT
    );
    assert_ne!(house.refresh(&pair.refresh).await.status, StatusCode::OK);
    assert_eq!(house.refresh(&other.refresh).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_spent_refresh_token_ends_no_session_beside_its_own() {
    let house = house().await;
    let (first, other) = (
        house.pair("saad", "1234").await,
        house.pair("saad", "1234").await,
    );
    house.refresh(&first.refresh).await;
    for scope in ["others", "all"] {
        let body = json!({"refresh_token": first.refresh, "scope": scope});
        let answer = house.post(LOGOUT, None, body).await;
        assert_eq!(answer.problem(), "invalid-credentials");
    }
    assert!(house.goes_on(&other).await);
}

#[tokio::test]
async fn whoever_holds_nothing_of_ours_signs_nobody_out() {
    let house = house().await;
    let pair = house.pair("saad", "1234").await;
    let forged = pair.access.replacen('.', ".e", 1);
    let cases = [
        (None, json!({}), "authentication-required"),
        (None, json!({"refresh_token": "x"}), "invalid-credentials"),
        (Some("x"), json!({}), "invalid-token"),
        (Some(forged.as_str()), json!({}), "invalid-token"),
        (
            Some(pair.access.as_str()),
            json!({"scope": "everybody"}),
            "malformed-request",
        ),
        (
            Some(pair.access.as_str()),
            json!({"sid": "x"}),
            "malformed-request",
        ),
    ];
    for (token, body, problem) in cases {
        let answer = house.post(LOGOUT, token, body.clone()).await;
        assert_eq!(answer.problem(), problem, "{body}");
    }
    assert!(house.goes_on(&pair).await);
}

#[tokio::test]
async fn a_token_of_another_issuer_ends_no_session_of_ours_whatever_it_names() {
    let house = house().await;
    let pair = house.pair("saad", "1234").await;
    let principal = house.claims_of(&pair.access);
    let theirs = foreign_token(principal.subject(), principal.session().unwrap());
    for scope in ["this", "others", "all"] {
        let answer = house
            .post(LOGOUT, Some(&theirs), json!({ "scope": scope }))
            .await;
        assert_eq!(answer.problem(), "wrong-resource", "{scope}");
    }
    assert!(house.goes_on(&pair).await);
}

/// Whoever shows two tokens is taken at the word of the header; the other's session goes on.
#[tokio::test]
async fn beside_an_access_token_no_refresh_token_is_looked_at() {
    let change = |config: &mut Auth| config.refresh_tokens.transport = Transport::Both;
    let house = House::open_with(change).await.with_demo_users().await;
    let theirs = house.pair("admin", "admin").await;
    for (in_cookie, in_body) in [(true, false), (false, true), (true, true)] {
        let own = house.pair("saad", "1234").await;
        let body = if in_body {
            json!({"refresh_token": theirs.refresh})
        } else {
            json!({})
        };
        let mut request = Request::post(LOGOUT)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", own.access));
        if in_cookie {
            let cookie = format!("__Secure-portcullis-refresh={}", theirs.refresh);
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        assert_eq!(house.send(request).await.status, StatusCode::NO_CONTENT);
        assert!(!house.goes_on(&own).await);
        assert!(house.is_in(&theirs.access).await);
    }
    assert!(house.goes_on(&theirs).await);
}

#[tokio::test]
async fn people_see_their_own_sessions_the_latest_first_and_which_is_this_one() {
    let house = house().await;
    let mut own = Vec::new();
    for _ in 0..5 {
        own.push(house.pair("saad", "1234").await);
        house.advance(Duration::from_secs(1));
    }
    house.pair("admin", "admin").await;
    let mut expected: Vec<String> = own
        .iter()
        .map(|pair| house.claims_of(&pair.access).session().unwrap().to_owned())
        .collect();
    expected.reverse();
    let access = &own[1].access;
    let listed = house.listed(access, "").await;
    assert_eq!(sids(&listed), expected);
    assert_eq!(listed["next"], Value::Null);
    let current: Vec<bool> = listed["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["current"].as_bool().unwrap())
        .collect();
    assert_eq!(current, [false, false, false, true, false]);
    let shown = &listed["sessions"][0];
    assert_eq!(shown["resource"], "hotel");
    assert_eq!(shown["created_at"], shown["last_used_at"]);
    for secret in ["mac_kid", "generation", "user_id"] {
        assert_eq!(shown[secret], Value::Null, "{secret}");
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = house.listed(access, &query).await;
        seen.extend(sids(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!(seen, expected);
    for query in ["?limit=0", "?limit=100", "?after=x", "?user=1"] {
        let answer = house.get(&format!("{SESSIONS}{query}"), Some(access)).await;
        assert_eq!(answer.problem(), "malformed-request", "{query}");
    }
}

#[tokio::test]
async fn what_has_ended_is_not_shown() {
    let house = house().await;
    let (old, ended) = (
        house.pair("saad", "1234").await,
        house.pair("saad", "1234").await,
    );
    house.log_out(&ended.access, "this").await;
    let listed = house.listed(&old.access, "").await;
    assert_eq!(sids(&listed).len(), 1);
    house.log_out(&old.access, "all").await;
    let new = house.pair("saad", "1234").await;
    let listed = house.listed(&new.access, "").await;
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(listed["sessions"][0]["current"], true);
}

#[tokio::test]
async fn one_session_is_ended_by_its_user_and_by_nobody_else() {
    let house = house().await;
    let (here, there) = (
        house.pair("saad", "1234").await,
        house.pair("saad", "1234").await,
    );
    let admin = house.pair("admin", "admin").await;
    let sid = house.claims_of(&there.access).session().unwrap().to_owned();
    for (access, sid) in [
        (&admin.access, sid.as_str()),
        (&here.access, "0197f3c2-5a41-7d10-9e2f-6f1d2c3b4a59"),
        (&here.access, "x"),
    ] {
        assert_eq!(house.end(access, sid).await.problem(), "route-not-found");
    }
    assert!(house.is_in(&there.access).await);
    assert_eq!(
        house.end(&here.access, &sid).await.status,
        StatusCode::NO_CONTENT
    );
    assert!(!house.goes_on(&there).await && house.goes_on(&here).await);
    assert_eq!(
        house.end(&here.access, &sid).await.problem(),
        "route-not-found"
    );
    assert_eq!(house.audit_of(Action::SessionEnded).await.len(), 1);
}

#[tokio::test]
async fn a_device_is_shown_by_its_words() {
    let house = house().await;
    let body = json!({"username": "saad", "password": "1234"}).to_string();
    let request = Request::post("/v1/auth/login")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, format!("Firefox {}", "x".repeat(600)))
        .header("x-portcullis-client-address", "192.0.2.7")
        .body(Body::from(body))
        .unwrap();
    let pair = Pair::of(&house.send(request).await);
    let listed = house.listed(&pair.access, "").await;
    let shown = &listed["sessions"][0];
    assert_eq!(shown["ip"], "192.0.2.7");
    let agent = shown["user_agent"].as_str().unwrap();
    assert!(agent.starts_with("Firefox x") && agent.len() == 256);
}
