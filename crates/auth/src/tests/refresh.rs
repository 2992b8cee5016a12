//! Refresh tokens: one successor each, a short grace, the end of a session for whoever comes too late, and rights as they are now.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_store::{RoleGrant, User};
use portcullis_tokens::RefreshToken;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Answer, House, NOW};

pub(super) const REFRESH: &str = "/v1/auth/refresh";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const GRACE: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(1);

/// What a sign-in and a refresh give.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) answer: Value,
}

impl Pair {
    pub(super) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let answer = answer.json();
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            answer,
        }
    }
}

impl House {
    pub(super) async fn pair(&self, username: &str, password: &str) -> Pair {
        let body = json!({"username": username, "password": password});
        Pair::of(&self.log_in(body).await)
    }

    pub(super) async fn refresh(&self, token: &str) -> Answer {
        self.post(REFRESH, None, json!({"refresh_token": token}))
            .await
    }

    pub(super) async fn is_in(&self, access: &str) -> bool {
        self.get("/v1/auth/me", Some(access)).await.status == StatusCode::OK
    }

    pub(super) fn claims_of(&self, access: &str) -> std::sync::Arc<portcullis_tokens::Principal> {
        let (verifier, now) = (&self.service.verifier, self.service.now());
        verifier.verify(access, now).unwrap()
    }

    async fn user(&self, access: &str) -> User {
        let id = self.claims_of(access).subject().to_owned();
        self.service.store.user(&id).await.unwrap().unwrap()
    }
}

pub(super) fn event(action: Action) -> Event {
    Event::new(NOW, action, Outcome::Success, Party::operator("test"))
}

/// Anything that is no good gets this one answer.
fn is_refused(answer: &Answer) -> bool {
    answer.status == StatusCode::UNAUTHORIZED && answer.problem() == "invalid-credentials"
}

#[tokio::test]
async fn a_refresh_token_gives_the_next_pair_of_the_same_session() {
    let house = House::open().await.with_demo_users().await;
    let first = house.pair("saad", "1234").await;
    house.advance(Duration::from_secs(60));
    let second = Pair::of(&house.refresh(&first.refresh).await);
    let (before, after) = (
        house.claims_of(&first.access),
        house.claims_of(&second.access),
    );
    assert_eq!(before.session(), after.session());
    assert_ne!(before.token_id(), after.token_id());
    assert_ne!(first.refresh, second.refresh);
    for said in ["resource", "scope", "expires_in", "token_type"] {
        assert_eq!(first.answer[said], second.answer[said], "{said}");
    }
    assert!(house.is_in(&first.access).await, "it was not taken back");
    assert_eq!(house.audit_of(Action::TokenRefreshed).await.len(), 1);
}

#[tokio::test]
async fn a_spent_token_outside_the_grace_ends_its_session_and_no_other() {
    let house = House::open().await.with_demo_users().await;
    let (first, elsewhere) = (
        house.pair("saad", "1234").await,
        house.pair("saad", "1234").await,
    );
    let second = Pair::of(&house.refresh(&first.refresh).await);
    house.advance(GRACE);
    assert!(is_refused(&house.refresh(&first.refresh).await));
    assert!(
        is_refused(&house.refresh(&second.refresh).await),
        "the successor died with it"
    );
    for access in [&first.access, &second.access] {
        assert!(!house.is_in(access).await, "access tokens died with it");
    }
    assert!(house.is_in(&elsewhere.access).await);
    Pair::of(&house.refresh(&elsewhere.refresh).await);
    let reuses = house.audit_of(Action::TokenReused).await;
    assert_eq!(reuses.len(), 1, "a dead session is told of once");
    let ended = reuses[0].target.as_ref().map(|target| target.id.as_str());
    let now = house.service.now();
    let session = house.service.verifier.recognize(&first.access).unwrap();
    assert_eq!(ended, session.session());
    let logged = house.service.store.revocations_after(0, now).await.unwrap();
    assert_eq!(logged.len(), 1, "other processes learn of it");
}

#[tokio::test]
async fn of_three_generations_the_oldest_ends_the_session_even_in_the_same_instant() {
    let house = House::open().await.with_demo_users().await;
    let first = house.pair("saad", "1234").await;
    let second = Pair::of(&house.refresh(&first.refresh).await);
    let third = Pair::of(&house.refresh(&second.refresh).await);
    assert!(is_refused(&house.refresh(&first.refresh).await));
    assert!(is_refused(&house.refresh(&third.refresh).await));
}

#[tokio::test]
async fn an_answer_that_was_lost_can_be_asked_for_again() {
    let house = House::open().await.with_demo_users().await;
    let first = house.pair("saad", "1234").await;
    let lost = Pair::of(&house.refresh(&first.refresh).await);
    house.advance(GRACE - MOMENT);
    let again = Pair::of(&house.refresh(&first.refresh).await);
    assert_eq!(lost.refresh, again.refresh);
    assert_ne!(lost.access, again.access);
    let rows = house.audit_of(Action::TokenRefreshed).await;
    let reasons: Vec<_> = rows.iter().map(|row| row.reason.as_deref()).collect();
    assert_eq!(reasons, [None, Some("repeated")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_tabs_at_once_get_one_successor_and_those_too_many_are_told_to_wait() {
    let house = std::sync::Arc::new(House::open().await.with_demo_users().await);
    let first = house.pair("saad", "1234").await;
    let mut tabs = JoinSet::new();
    for _ in 0..50 {
        let (house, token) = (house.clone(), first.refresh.clone());
        tabs.spawn(async move { house.refresh(&token).await });
    }
    let (mut successors, mut ids, mut waiting) = (BTreeSet::new(), BTreeSet::new(), 0);
    while let Some(answer) = tabs.join_next().await {
        let answer = answer.unwrap();
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.headers[header::RETRY_AFTER], "1");
            assert_eq!(answer.problem(), "rate-limited");
            waiting += 1;
            continue;
        }
        let pair = Pair::of(&answer);
        ids.insert(house.claims_of(&pair.access).token_id().to_owned());
        successors.insert(pair.refresh);
    }
    assert_eq!((successors.len(), ids.len(), waiting), (1, 21, 29));
    let successor = successors.pop_first().unwrap();
    Pair::of(&house.refresh(&successor).await);
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_refused_without_a_look_at_the_database() {
    let house = House::open().await.with_demo_users().await;
    let good = house.pair("saad", "1234").await.refresh;
    let other = house.pair("admin", "admin").await.refresh;
    // Another's session before one's own MAC, and the other way round.
    let spliced = |at: usize| format!("{}{}", &other[..at], &good[at..]);
    let flipped = |at: usize| {
        let mut text = good.clone().into_bytes();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(text).unwrap()
    };
    house.service.store.close().await;
    let last = good.len() - 1;
    let texts = [
        flipped(0),
        flipped(3),
        flipped(10),
        flipped(30),
        flipped(last),
        spliced(last / 3),
        spliced(last / 2),
        spliced(last - last / 4),
        format!("{good}="),
        format!("{good}A"),
        good[..last].to_owned(),
        "x".to_owned(),
        "A".repeat(3000),
        "../../etc/passwd".to_owned(),
    ];
    for text in texts {
        assert_ne!(text, good);
        let answer = house.refresh(&text).await;
        assert!(is_refused(&answer), "{text}: {}", answer.text);
    }
    let known = house.refresh(&good).await;
    assert_eq!(
        known.problem(),
        "store-unavailable",
        "this one is looked up"
    );
}

#[tokio::test]
async fn a_token_for_another_session_or_a_generation_to_come_is_refused() {
    let house = House::open().await.with_demo_users().await;
    let pair = house.pair("saad", "1234").await;
    let sid = house.claims_of(&pair.access).session().unwrap().to_owned();
    let written = |sid: Uuid, generation| {
        house.service.refresh_key.write(RefreshToken {
            session: sid.into_bytes(),
            generation,
        })
    };
    let nobody = written(Uuid::from_u128(1), 0);
    assert!(is_refused(&house.refresh(&nobody).await));
    assert!(house.is_in(&pair.access).await);
    // Only a database that was set back has rows behind the tokens that are out: nobody knows who holds which.
    let ahead = written(sid.parse().unwrap(), 1);
    assert!(is_refused(&house.refresh(&ahead).await));
    assert!(!house.is_in(&pair.access).await);
    assert!(is_refused(&house.refresh(&pair.refresh).await));
}

#[tokio::test]
async fn a_session_ends_to_the_millisecond_after_its_idle_time_and_in_the_last_second_of_its_absolute_one()
 {
    let house = House::open().await.with_demo_users().await;
    let mut pair = house.pair("saad", "1234").await;
    let late = house.pair("saad", "1234").await;
    house.advance(7 * DAY - MOMENT);
    pair = Pair::of(&house.refresh(&pair.refresh).await);
    house.advance(MOMENT);
    assert!(is_refused(&house.refresh(&late.refresh).await), "idle");
    for _ in 0..3 {
        house.advance(6 * DAY);
        pair = Pair::of(&house.refresh(&pair.refresh).await);
    }
    house.advance(5 * DAY - Duration::from_secs(40));
    pair = Pair::of(&house.refresh(&pair.refresh).await);
    assert_eq!(
        pair.answer["expires_in"], 40,
        "no token outlives its session"
    );
    house.advance(Duration::from_secs(39));
    pair = Pair::of(&house.refresh(&pair.refresh).await);
    house.advance(MOMENT);
    assert!(is_refused(&house.refresh(&pair.refresh).await), "absolute");
}

#[tokio::test]
async fn what_is_no_request_at_all_is_said_to_be_none() {
    let house = House::open().await.with_demo_users().await;
    let token = house.pair("saad", "1234").await.refresh;
    let json = "application/json";
    let body = format!(r#"{{"refresh_token":"{token}"}}"#);
    let twice = format!(r#"{{"refresh_token":"{token}","refresh_token":"{token}"}}"#);
    let more = format!(r#"{{"refresh_token":"{token}","generation":7}}"#);
    let large = format!(r#"{{"refresh_token":"{}"}}"#, "A".repeat(65_536));
    let form = format!("refresh_token={token}");
    let multipart = "multipart/form-data; boundary=x";
    let cases = [
        ("POST", json, "{}", "malformed-request"),
        ("POST", json, "", "malformed-request"),
        ("POST", json, "[]", "malformed-request"),
        ("POST", json, r#"{"refresh_token":7}"#, "malformed-request"),
        (
            "POST",
            json,
            r#"{"refresh_token":null}"#,
            "malformed-request",
        ),
        ("POST", json, &twice, "malformed-request"),
        ("POST", json, &more, "malformed-request"),
        ("POST", json, &large, "body-too-large"),
        ("POST", "text/plain", &body, "unsupported-media-type"),
        ("POST", multipart, &body, "unsupported-media-type"),
        (
            "POST",
            "application/x-www-form-urlencoded",
            &form,
            "unsupported-media-type",
        ),
        ("GET", json, "", "method-not-allowed"),
    ];
    for (method, media_type, body, problem) in cases {
        let request = Request::builder().method(method).uri(REFRESH);
        let request = request
            .header(header::CONTENT_TYPE, media_type)
            .header("x-request-id", "r-1");
        let answer = house.send(request.body(Body::from(body.to_owned())).unwrap());
        let answer = answer.await;
        assert_eq!(
            answer.problem(),
            problem,
            "{method} {media_type} {body:.60}"
        );
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    }
    Pair::of(&house.refresh(&token).await);
}

#[tokio::test]
async fn another_resource_may_be_named_and_more_than_the_user_has_costs_no_session() {
    let house = House::open().await.with_demo_users().await;
    let mut pair = house.pair("saad", "1234").await;
    let ask = |token: &str, more: Value| {
        let mut body = json!({"refresh_token": token});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    for more in [
        json!({"resource": "hospital"}),
        json!({"resource": "casino"}),
        json!({"resource": "portcullis"}),
        json!({"scope": "hotel:write"}),
        json!({"scope": "hotel:read hotel:write"}),
        json!({"resource": "event", "scope": "hotel:read"}),
    ] {
        let answer = house
            .post(REFRESH, None, ask(&pair.refresh, more.clone()))
            .await;
        assert_eq!(answer.problem(), "resource-not-allowed", "{more}");
    }
    let event = json!({"resource": "event"});
    pair = Pair::of(&house.post(REFRESH, None, ask(&pair.refresh, event)).await);
    assert_eq!(pair.answer["resource"], "event");
    assert_eq!(house.claims_of(&pair.access).resource(), "event");
    pair = Pair::of(&house.refresh(&pair.refresh).await);
    assert_eq!(pair.answer["resource"], "hotel", "that of the sign-in");
}

#[tokio::test]
async fn a_session_that_was_opened_for_less_stays_so() {
    let house = House::open().await;
    house.add_user("mona", "1234", "staff").await;
    let body = json!({"username": "mona", "password": "1234", "scope": "hotel:read"});
    let mut pair = Pair::of(&house.log_in(body).await);
    pair = Pair::of(&house.refresh(&pair.refresh).await);
    assert_eq!(pair.answer["scope"], "hotel:read");
    let wider = json!({"refresh_token": pair.refresh, "scope": "hotel:read hotel:write"});
    let answer = house.post(REFRESH, None, wider).await;
    assert_eq!(answer.problem(), "resource-not-allowed");
    let whole = house.pair("mona", "1234").await;
    let narrower = json!({"refresh_token": whole.refresh, "scope": "hotel:write"});
    let narrow = Pair::of(&house.post(REFRESH, None, narrower).await);
    assert_eq!(narrow.answer["scope"], "hotel:write");
    let again = Pair::of(&house.refresh(&narrow.refresh).await);
    assert_eq!(again.answer["scope"], "hotel:read hotel:write");
}

#[tokio::test]
async fn the_next_pair_has_the_rights_of_this_moment() {
    let house = House::open().await.with_demo_users().await;
    let pair = house.pair("saad", "1234").await;
    let user = house.user(&pair.access).await;
    let (store, role) = (&house.service.store, |role| RoleGrant {
        role,
        tenant: None,
    });
    let granted = event(Action::RoleGranted);
    let change = house.service.rights_change(&granted);
    let promoted = store.grant_role(&user.id, role("staff"), &change).await;
    house.service.outdate(&promoted.unwrap(), change.until);
    assert!(
        !house.is_in(&pair.access).await,
        "the token tells of the roles before"
    );
    let pair = Pair::of(&house.refresh(&pair.refresh).await);
    assert_eq!(pair.answer["scope"], "hotel:read hotel:write");
    assert!(house.is_in(&pair.access).await);
    for gone in ["staff", "guest"] {
        let changed = store.revoke_role(&user.id, role(gone), &change).await;
        changed.unwrap();
    }
    let answer = house.refresh(&pair.refresh).await;
    assert_eq!(answer.problem(), "resource-not-allowed");
    let back = store.grant_role(&user.id, role("guest"), &change).await;
    back.unwrap();
    let pair = Pair::of(&house.refresh(&pair.refresh).await);
    assert_eq!(
        pair.answer["scope"], "hotel:read",
        "the refusal has spent nothing"
    );
}

#[tokio::test]
async fn what_ends_all_sessions_leaves_no_refresh_token_alive() {
    let house = House::open().await.with_demo_users().await;
    let pair = house.pair("saad", "1234").await;
    let user = house.user(&pair.access).await;
    for disabled in [true, false] {
        let event = event(Action::UserDisabled);
        let change = house.service.rights_change(&event);
        let set = house
            .service
            .store
            .set_disabled(&user.id, disabled, &change);
        set.await.unwrap();
        let answer = house.refresh(&pair.refresh).await;
        assert!(is_refused(&answer), "being enabled signs nobody in");
    }
    let pair = house.pair("saad", "1234").await;
    let body = json!({"current_password": "1234", "new_password": "eleven quiet bicycles"});
    let changed = house
        .post("/v1/auth/password", Some(&pair.access), body)
        .await;
    let new = Pair::of(&changed);
    assert!(is_refused(&house.refresh(&pair.refresh).await));
    Pair::of(&house.refresh(&new.refresh).await);
}

#[tokio::test]
async fn a_new_user_is_given_a_session_that_goes_on() {
    let house = House::open_with(|config| {
        config.registration = portcullis_config::auth::Registration::Open;
    })
    .await;
    let body = json!({"username": "nina", "password": "eleven quiet bicycles"});
    let answer = house.post("/v1/auth/register", None, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    Pair::of(&house.refresh(&token).await);
}
