//! Clients that sign for themselves (`private_key_jwt`), and everybody who might do it in their place.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_store::Client;
use portcullis_tokens::{SigningAlgorithm, SigningKey};
use serde_json::{Map, Value, json};

use super::{Answer, House, ISSUER, NOW, request};
use crate::{create_signing_client, replace_keys, rotate_secret};

const KIND: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

struct Robot {
    client: Client,
    key: SigningKey,
}

fn event(action: Action) -> Event {
    Event::new(NOW, action, Outcome::Success, Party::operator("test"))
}

impl Robot {
    async fn add(house: &House, name: &str, algorithm: SigningAlgorithm) -> Self {
        let key = SigningKey::generate(algorithm).unwrap();
        let keys = key.public_jwk().unwrap().to_string();
        let (store, config) = (&house.service.store, &house.service.config);
        let (scopes, created) = (["hotel:read".to_owned()], event(Action::ClientCreated));
        let made = create_signing_client(store, config, (name, &scopes), &keys, created).await;
        let client = made.unwrap();
        Self { client, key }
    }

    fn claims(&self, jti: &str) -> Value {
        let (id, now) = (&self.client.id, NOW.as_secs());
        json!({"iss": id, "sub": id, "aud": ISSUER, "jti": jti, "iat": now, "exp": now + 60})
    }

    fn sign(&self, claims: &Value) -> String {
        let claims: &Map<String, Value> = claims.as_object().unwrap();
        self.key.sign_foreign(Some("JWT"), claims).unwrap()
    }

    fn form(&self, jti: &str) -> String {
        form(&self.sign(&self.claims(jti)))
    }
}

fn form(assertion: &str) -> String {
    format!(
        "grant_type=client_credentials&client_assertion_type={KIND}&client_assertion={assertion}"
    )
}

async fn ask(house: &House, body: &str, authorization: Option<&str>) -> Answer {
    let mut request = Request::post("/oauth/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("x-request-id", "r-1");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    house.send(request).await
}

fn error(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let word = answer.json()["error"].as_str().unwrap_or("").to_owned();
    (answer.status.as_u16(), word)
}

fn no_client() -> (u16, String) {
    (401, "invalid_client".to_owned())
}

/// What the log says of the last refusal.
async fn reason(house: &House) -> Option<String> {
    let failures = house.audit_of(Action::LoginFailure).await;
    failures.last().and_then(|row| row.reason.clone())
}

#[tokio::test]
async fn a_client_gets_a_token_for_what_it_signed_with_any_kind_of_key() {
    let house = House::open().await;
    for algorithm in [
        SigningAlgorithm::Es256,
        SigningAlgorithm::EdDsa,
        SigningAlgorithm::Rs256,
    ] {
        let robot = Robot::add(&house, algorithm.name(), algorithm).await;
        let answer = ask(&house, &robot.form("one"), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json()["scope"], "hotel:read");
        // Its id may stand beside it, and the address of the endpoint for our name.
        let mut claims = robot.claims("two");
        claims["aud"] = json!(format!("{ISSUER}/oauth/token"));
        let named = format!(
            "{}&client_id={}",
            form(&robot.sign(&claims)),
            robot.client.id
        );
        let answer = ask(&house, &named, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
}

#[tokio::test]
async fn an_assertion_is_good_once_and_while_it_lives() {
    let house = House::open().await;
    let robot = Robot::add(&house, "robot", SigningAlgorithm::Es256).await;
    let other = Robot::add(&house, "other", SigningAlgorithm::Es256).await;
    let form = robot.form("one");
    assert_eq!(ask(&house, &form, None).await.status, StatusCode::OK);
    assert_eq!(error(&ask(&house, &form, None).await), no_client());
    assert_eq!(reason(&house).await.as_deref(), Some("replayed"));
    // Signed anew, its name is still spent; another client may use the same.
    let mut claims = robot.claims("one");
    claims["exp"] = json!(NOW.as_secs() + 90);
    let again = self::form(&robot.sign(&claims));
    assert_eq!(error(&ask(&house, &again, None).await), no_client());
    let answer = ask(&house, &other.form("one"), None).await;
    assert_eq!(answer.status, StatusCode::OK);
    let late = robot.form("late");
    house.advance(Duration::from_secs(65));
    assert_eq!(error(&ask(&house, &late, None).await), no_client());
    // Swept with the next round, the spent one is refused for its age.
    let now = house.service.now();
    assert!(house.service.store.sweep_spent(now).await.unwrap() >= 1);
    assert_eq!(error(&ask(&house, &form, None).await), no_client());
}

#[tokio::test]
async fn whatever_else_is_said_of_a_client_is_refused_in_one_way() {
    let house = House::open().await;
    let robot = Robot::add(&house, "robot", SigningAlgorithm::Es256).await;
    let thief = Robot::add(&house, "thief", SigningAlgorithm::Es256).await;
    let now = NOW.as_secs();
    let with = |changes: Value| {
        let mut claims = robot.claims("x");
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        form(&robot.sign(&claims))
    };
    let good = robot.sign(&robot.claims("x"));
    let (message, _) = good.rsplit_once('.').unwrap();
    let nobody = json!({"iss": "nobody", "sub": "nobody"});
    for (body, expected) in [
        (
            with(json!({"aud": "https://other.example"})),
            "wrong_audience",
        ),
        (
            with(json!({"aud": [ISSUER, "https://other.example"]})),
            "wrong_audience",
        ),
        (with(json!({"sub": thief.client.id})), "bad_claims"),
        (with(json!({"jti": null})), "bad_claims"),
        (with(json!({"exp": now + 301})), "lifetime_too_long"),
        (with(json!({"exp": now - 10})), "expired"),
        (
            with(json!({"iat": now + 60, "exp": now + 90})),
            "not_yet_valid",
        ),
        (with(nobody), "unknown-client"),
        (form(&thief.sign(&robot.claims("x"))), "unknown_key"),
        (form(&format!("{message}.AAAA")), "bad_signature"),
        (form("x.y.z"), "malformed"),
        (
            form(&format!("{good}&client_id={}", thief.client.id)),
            "another-client",
        ),
    ] {
        let answer = ask(&house, &body, None).await;
        assert_eq!(error(&answer), no_client(), "{expected}");
        assert_eq!(
            answer.headers[header::WWW_AUTHENTICATE],
            r#"Basic realm="portcullis""#
        );
        let told = house.audit_of(Action::LoginFailure).await;
        let is_told = told
            .iter()
            .any(|row| row.reason.as_deref() == Some(expected));
        assert!(is_told, "{expected}: {told:?}");
    }
    let answer = ask(&house, &form(&good), None).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "none of them has spent its name"
    );
}

#[tokio::test]
async fn there_is_one_way_to_authenticate_and_no_half_of_it() {
    let house = House::open().await;
    let robot = Robot::add(&house, "robot", SigningAlgorithm::Es256).await;
    let good = robot.form("x");
    let bad_request = (400, "invalid_request".to_owned());
    let assertion = robot.sign(&robot.claims("x"));
    let grant = "grant_type=client_credentials";
    for (body, authorization) in [
        (format!("{good}&client_secret=s"), None),
        (good.clone(), Some("Basic eDp5")),
        (good.replace("jwt-bearer", "saml2-bearer"), None),
        (format!("{grant}&client_assertion={assertion}"), None),
        (format!("{grant}&client_assertion_type={KIND}"), None),
        (format!("{good}&client_assertion={assertion}"), None),
    ] {
        let answer = ask(&house, &body, authorization).await;
        assert_eq!(error(&answer), bad_request, "{body:.120} {authorization:?}");
    }
    // It has no secret that could be right.
    for secret in ["", "x"] {
        let body = format!(
            "{grant}&client_id={}&client_secret={secret}",
            robot.client.id
        );
        assert_eq!(error(&ask(&house, &body, None).await), no_client());
    }
}

#[tokio::test]
async fn what_a_client_had_before_proves_nothing_any_more() {
    let house = House::open().await;
    let robot = Robot::add(&house, "robot", SigningAlgorithm::Es256).await;
    let (store, until) = (&house.service.store, house.service.last_expiry());
    let (id, changed) = (robot.client.id.as_str(), event(Action::ClientProofChanged));
    let next = SigningKey::generate(SigningAlgorithm::EdDsa).unwrap();
    let keys = next.public_jwk().unwrap().to_string();
    replace_keys(store, id, &keys, until, &changed)
        .await
        .unwrap();
    assert_eq!(
        error(&ask(&house, &robot.form("a"), None).await),
        no_client()
    );
    let renewed = Robot {
        client: robot.client.clone(),
        key: next,
    };
    let answer = ask(&house, &renewed.form("b"), None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let (client, secret) = rotate_secret(store, id, until, &changed).await.unwrap();
    assert!(!client.has_keys);
    assert_eq!(
        error(&ask(&house, &renewed.form("c"), None).await),
        no_client()
    );
    assert_eq!(reason(&house).await.as_deref(), Some("no-key"));
    let secret = secrecy::ExposeSecret::expose_secret(&secret).to_owned();
    let body = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    assert_eq!(ask(&house, &body, None).await.status, StatusCode::OK);
    let disabled = event(Action::ClientDisabled);
    store
        .set_client_disabled(id, true, until, &disabled)
        .await
        .unwrap();
    assert_eq!(error(&ask(&house, &body, None).await), no_client());
}

#[tokio::test]
async fn keys_are_replaced_over_http_and_only_public_ones() {
    let house = House::open().await.with_demo_users().await;
    let admin = house.token("admin", "admin", "portcullis").await;
    let robot = Robot::add(&house, "robot", SigningAlgorithm::Es256).await;
    let put = async |token: &str, keys: &str| {
        let path = format!("/v1/admin/clients/{}/keys", robot.client.id);
        let body = Body::from(json!({"public_keys": keys}).to_string());
        house
            .send(request(Method::PUT, &path, Some(token), body))
            .await
    };
    let issued = ask(&house, &robot.form("1"), None).await.json();
    let before = issued["access_token"].as_str().unwrap().to_owned();
    let next = SigningKey::generate(SigningAlgorithm::EdDsa).unwrap();
    let mut private = next.public_jwk().unwrap();
    private["d"] = json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    let set_of_both = json!({"keys": [next.public_jwk().unwrap(), private]}).to_string();
    for wrong in [&*private.to_string(), &set_of_both, pem, "{}", "", "key"] {
        let answer = put(&admin, wrong).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text);
        assert_eq!(answer.problem(), "malformed-request");
    }
    let large = "k".repeat(5000);
    assert_eq!(put(&admin, &large).await.problem(), "body-too-large");
    let verified = house.service.verifier.verify(&before, NOW);
    assert!(verified.is_ok(), "nothing was changed until now");

    let hr = super::clients::Program::add(&house, "hr", &["clients:write"]).await;
    let hr = hr.token_with(&house, "&resource=portcullis").await;
    let public = next.public_jwk().unwrap().to_string();
    let beyond = put(&hr, &public).await;
    assert_eq!(beyond.problem(), "insufficient-scope");

    let replaced = put(&admin, &public).await;
    assert_eq!(replaced.status, StatusCode::OK, "{}", replaced.text);
    assert_eq!(replaced.json()["proof"], "keys");
    assert!(house.service.verifier.verify(&before, NOW).is_err());
    assert_eq!(ask(&house, &robot.form("2"), None).await.status, 401);
    let robot = Robot {
        client: robot.client.clone(),
        key: next,
    };
    assert_eq!(ask(&house, &robot.form("3"), None).await.status, 200);
    let rows = house.audit_of(Action::ClientProofChanged).await;
    let actors: Vec<_> = rows.iter().map(|row| row.actor.name.as_deref()).collect();
    assert_eq!(actors, [Some("admin")]);
}

#[tokio::test]
async fn the_metadata_says_how_clients_may_prove_themselves() {
    let house = House::open().await;
    let answer = house
        .get("/.well-known/oauth-authorization-server", None)
        .await;
    let metadata = answer.json();
    for endpoint in ["token", "revocation", "introspection"] {
        let methods = &metadata[format!("{endpoint}_endpoint_auth_methods_supported")];
        let listed = methods.as_array().unwrap();
        assert!(
            listed.contains(&json!("private_key_jwt")),
            "{endpoint}: {methods}"
        );
        let algorithms =
            &metadata[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
        assert_eq!(algorithms, &json!(["ES256", "EdDSA", "RS256", "PS256"]));
    }
}
