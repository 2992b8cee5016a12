//! Tokens for programs, and the log of revocations that they may follow.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_store::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{Answer, House, NOW};
use crate::create_client;

const FORM: &str = "application/x-www-form-urlencoded";
const GRANT: &str = "grant_type=client_credentials";

pub(super) fn event(action: Action) -> Event {
    Event::new(NOW, action, Outcome::Success, Party::operator("test"))
}

pub(super) struct Program {
    pub(super) client: Client,
    secret: SecretString,
}

impl Program {
    pub(super) async fn add(house: &House, name: &str, scopes: &[&str]) -> Self {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let (store, config) = (&house.service.store, &house.service.config);
        let created = event(Action::ClientCreated);
        let made = create_client(store, config, name, &scopes, created).await;
        let (client, secret) = made.unwrap();
        Self { client, secret }
    }

    fn in_body(&self, more: &str) -> String {
        let (id, secret) = (&self.client.id, self.secret.expose_secret());
        format!("{GRANT}&client_id={id}&client_secret={secret}{more}")
    }

    pub(super) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.client.id, self.secret.expose_secret());
        format!("Basic {}", STANDARD.encode(pair))
    }

    pub(super) async fn token(&self, house: &House) -> String {
        self.token_with(house, "").await
    }

    pub(super) async fn token_with(&self, house: &House, more: &str) -> String {
        let answer = ask(house, &self.in_body(more), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub(super) async fn set_disabled(&self, house: &House, disabled: bool) {
        let (store, until) = (&house.service.store, house.service.last_expiry());
        let event = event(Action::ClientDisabled);
        let id = &self.client.id;
        let set = store.set_client_disabled(id, disabled, until, &event).await;
        set.unwrap();
    }
}

async fn ask(house: &House, body: &str, authorization: Option<&str>) -> Answer {
    ask_at("/oauth/token", house, body, authorization).await
}

pub(super) async fn ask_at(
    path: &str,
    house: &House,
    body: &str,
    authorization: Option<&str>,
) -> Answer {
    let mut request = Request::post(path)
        .header(header::CONTENT_TYPE, FORM)
        .header("x-request-id", "r-1");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    house
        .send(request.body(Body::from(body.to_owned())).unwrap())
        .await
}

/// The status and OAuth's word, having checked that the answer is whole.
pub(super) fn error(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    let body = answer.json();
    assert!(body["error_description"].is_string(), "{body}");
    let word = body["error"].as_str().unwrap().to_owned();
    (answer.status.as_u16(), word)
}

#[tokio::test]
async fn a_client_gets_a_token_that_opens_what_it_was_granted() {
    let house = House::open().await;
    let program = Program::add(&house, "sidecar", &["revocations:read"]).await;
    for (body, authorization) in [
        (program.in_body(""), None),
        (GRANT.to_owned(), Some(program.basic())),
    ] {
        let answer = ask(&house, &body, authorization.as_deref()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        let issued = answer.json();
        assert_eq!(
            (&issued["resource"], &issued["scope"], &issued["expires_in"]),
            (
                &json!("portcullis"),
                &json!("revocations:read"),
                &json!(300)
            )
        );
        let token = issued["access_token"].as_str().unwrap();
        let principal = house.service.verifier.verify(token, NOW).unwrap();
        assert_eq!(principal.subject(), program.client.id);
        assert_eq!(principal.client_id(), Some(principal.subject()));
        assert_eq!(principal.session(), Some(principal.token_id()));
        assert_eq!((principal.version(), principal.roles().len()), (1, 0));
    }
    let rows = house.audit_of(Action::TokenIssued).await;
    assert_eq!((rows.len(), rows[0].actor.kind.as_str()), (2, "client"));
    let read = house.service.store.client(&program.client.id).await;
    assert_eq!(read.unwrap().unwrap().last_used_at, Some(NOW));
}

#[tokio::test]
async fn what_a_client_does_wrong_is_said_in_the_words_of_the_standard() {
    let house = House::open().await.with_demo_users().await;
    let program = Program::add(&house, "p", &["hotel:read", "hotel:write"]).await;
    let (id, basic) = (&program.client.id, program.basic());
    let body = |more: &str| program.in_body(more);
    let wrong = format!("{GRANT}&client_id={id}&client_secret=wrong");
    let unknown = format!("{GRANT}&client_id=x&client_secret=wrong");
    let password = "grant_type=password&username=saad&password=1234";
    let two_ways = body("");
    let another = format!("{GRANT}&client_id=x");
    for (body, authorization, status, word) in [
        ("", None, 400, "invalid_request"),
        ("client_id=x", None, 400, "invalid_request"),
        (&*body("&scope="), None, 200, ""),
        (&*body("&scope=%22"), None, 400, "invalid_scope"),
        (&*body("&scope=+"), None, 400, "invalid_scope"),
        (
            &*body("&scope=hotel:read+event:read"),
            None,
            400,
            "invalid_scope",
        ),
        (&*body("&scope=*"), None, 400, "invalid_scope"),
        (&*body("&resource=event"), None, 400, "invalid_target"),
        (&*body("&resource=portcullis"), None, 400, "invalid_target"),
        (&*body("&resource=nothing"), None, 400, "invalid_target"),
        (
            &*body("&resource=hotel&resource=hotel"),
            None,
            400,
            "invalid_request",
        ),
        (
            &*body("&grant_type=client_credentials"),
            None,
            400,
            "invalid_request",
        ),
        (&*body("&scope=%ff"), None, 400, "invalid_request"),
        (password, None, 400, "unsupported_grant_type"),
        (password, Some(&*basic), 400, "unsupported_grant_type"),
        ("grant_type=implicit", None, 400, "unsupported_grant_type"),
        (GRANT, None, 401, "invalid_client"),
        (&*wrong, None, 401, "invalid_client"),
        (&*unknown, None, 401, "invalid_client"),
        (GRANT, Some("Basic !"), 401, "invalid_client"),
        (GRANT, Some("Basic eDp5"), 401, "invalid_client"),
        (GRANT, Some("Bearer x"), 401, "invalid_client"),
        (&*two_ways, Some(&*basic), 400, "invalid_request"),
        (&*another, Some(&*basic), 400, "invalid_request"),
    ] {
        let answer = ask(&house, body, authorization).await;
        if status == 200 {
            assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.text);
            continue;
        }
        assert_eq!(error(&answer), (status, word.to_owned()), "{body}");
        let challenge = answer.headers.get(header::WWW_AUTHENTICATE);
        assert_eq!(challenge.is_some(), status == 401, "{body}");
        assert!(!answer.text.contains("wrong"), "the input is reflected");
    }
}

#[tokio::test]
async fn what_is_no_token_request_is_refused_in_the_same_form() {
    let house = House::open().await;
    let get = house.get("/oauth/token", None).await;
    assert_eq!(error(&get), (405, "invalid_request".to_owned()));
    let as_json = house
        .post("/oauth/token", None, json!({"grant_type": "x"}))
        .await;
    assert_eq!(error(&as_json), (400, "invalid_request".to_owned()));
    let long = ask(&house, &"x".repeat(5000), None).await;
    assert_eq!(error(&long), (413, "invalid_request".to_owned()));
}

#[tokio::test]
async fn a_resource_need_not_be_named_where_only_one_can_be_meant() {
    let house = House::open().await;
    let both = Program::add(&house, "both", &["hotel:read", "event:read"]).await;
    let unnamed = ask(&house, &both.in_body(""), None).await;
    assert_eq!(error(&unnamed), (400, "invalid_target".to_owned()));
    for resource in ["hotel", "event"] {
        let named = both.in_body(&format!("&resource={resource}"));
        let issued = ask(&house, &named, None).await.json();
        assert_eq!(issued["scope"], format!("{resource}:read"));
    }
    let one = Program::add(&house, "one", &["hospital:read", "hospital:write"]).await;
    let issued = ask(&house, &one.in_body("&scope=hospital:read"), None).await;
    let issued = issued.json();
    assert_eq!(
        (&issued["resource"], &issued["scope"], &issued["expires_in"]),
        (&json!("hospital"), &json!("hospital:read"), &json!(120))
    );
}

#[tokio::test]
async fn a_disabled_client_gets_no_token_and_its_old_one_reads_nothing() {
    let house = House::open().await;
    let program = Program::add(&house, "sidecar", &["revocations:read"]).await;
    let token = program.token(&house).await;
    program.set_disabled(&house, true).await;
    let refused = ask(&house, &program.in_body(""), None).await;
    assert_eq!(error(&refused), (401, "invalid_client".to_owned()));
    let reading = house.get("/v1/revocations", Some(&token)).await;
    assert_eq!(
        (reading.status, reading.problem().as_str()),
        (StatusCode::UNAUTHORIZED, "invalid-token")
    );
    program.set_disabled(&house, false).await;
    let reading = house.get("/v1/revocations", Some(&token)).await;
    assert_eq!(reading.problem(), "invalid-token", "what ended stays ended");
    program.token(&house).await;
    let failures = house.audit_of(Action::LoginFailure).await;
    let target = failures[0].target.as_ref().unwrap();
    assert_eq!(failures[0].reason.as_deref(), Some("disabled"));
    assert_eq!(target.name.as_deref(), Some("sidecar"));
}

#[tokio::test]
async fn the_log_is_read_with_its_scope_only() {
    let house = House::open().await.with_demo_users().await;
    let other = Program::add(&house, "other", &["audit:read"]).await;
    for (token, status, code) in [
        (None, 401, "authentication-required"),
        (Some("x".to_owned()), 401, "invalid-token"),
        (Some(other.token(&house).await), 403, "insufficient-scope"),
        (
            Some(house.token("saad", "1234", "hotel").await),
            403,
            "wrong-resource",
        ),
    ] {
        let answer = house.get("/v1/revocations", token.as_deref()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (status, code)
        );
    }
    let admin = house.token("admin", "admin", "portcullis").await;
    let answer = house.get("/v1/revocations", Some(&admin)).await;
    assert_eq!(answer.json(), json!({ "revocations": [], "next": 0 }));
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    for query in ["?after=x", "?after=-1", "?wait=x", "?colour=red"] {
        let answer = house
            .get(&format!("/v1/revocations{query}"), Some(&admin))
            .await;
        assert_eq!(answer.problem(), "malformed-request", "{query}");
    }
}

async fn read(house: &House, token: &str, query: &str) -> Value {
    let path = format!("/v1/revocations{query}");
    let answer = house.get(&path, Some(token)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn the_log_tells_who_was_revoked_until_when_and_where_to_go_on() {
    let house = House::open().await;
    let reader = Program::add(&house, "reader", &["revocations:read"]).await;
    let token = reader.token(&house).await;
    let saad = house.add_user("saad", "1234", "guest").await;
    let until = house.service.last_expiry();
    let disabled = event(Action::UserDisabled);
    let store = &house.service.store;
    store
        .set_disabled(&saad.id, true, &house.service.rights_change(&disabled))
        .await
        .unwrap();
    let entry = json!({
        "seq": 1, "kind": "user", "id": saad.id, "version": 2, "until": until.as_millis(),
    });
    let page = json!({ "revocations": [entry], "next": 1 });
    assert_eq!(read(&house, &token, "").await, page);
    assert_eq!(
        read(&house, &token, "?after=99&wait=20").await,
        page,
        "a reader ahead of the log begins anew"
    );
    let none = json!({ "revocations": [], "next": 1 });
    assert_eq!(read(&house, &token, "?after=1").await, none);
    house.advance(Duration::from_secs(306));
    let token = reader.token(&house).await;
    assert_eq!(
        read(&house, &token, "?after=0").await,
        none,
        "what is moot is not told, and not waited for again"
    );
}

#[tokio::test]
async fn who_waits_is_told_as_soon_as_there_is_something() {
    let house = House::open().await.with_demo_users().await;
    let reader = Program::add(&house, "reader", &["revocations:read"]).await;
    let token = reader.token(&house).await;
    let saad = house.service.store.user_by_login("saad").await.unwrap();
    let saad = saad.unwrap().0.id;
    let disable = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let event = event(Action::UserDisabled);
        let change = house.service.rights_change(&event);
        let store = &house.service.store;
        store.set_disabled(&saad, true, &change).await.unwrap();
    };
    let began = tokio::time::Instant::now();
    let (page, ()) = tokio::join!(read(&house, &token, "?after=0&wait=20"), disable);
    assert_eq!(page["revocations"][0]["id"], saad);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "the wait was sat out"
    );
}

#[tokio::test]
async fn more_who_wait_than_there_are_places_are_told_to_come_back() {
    let house = House::open().await;
    let reader = Program::add(&house, "reader", &["revocations:read"]).await;
    let token = reader.token(&house).await;
    let taken = house.service.log_watch.take_all_places();
    let answer = house.get("/v1/revocations?wait=5", Some(&token)).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
    );
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    read(&house, &token, "").await;
    drop(taken);
    house.service.end_waits();
    let began = tokio::time::Instant::now();
    read(&house, &token, "?wait=20").await;
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "a stop does not wait for those who wait"
    );
}

#[tokio::test]
async fn a_clients_token_is_nobodys_profile() {
    let house = House::open().await;
    let program = Program::add(&house, "p", &["users:read"]).await;
    let token = program.token(&house).await;
    let answer = house.get("/v1/auth/me", Some(&token)).await;
    assert_eq!(answer.problem(), "invalid-token");
}
