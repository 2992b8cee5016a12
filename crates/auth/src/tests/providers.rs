//! Signing in elsewhere, at a provider in this process that makes every mistake it is told to.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_config::{providers::Provider as Settings, refresh_tokens::Transport};
use portcullis_store::Identity;
use portcullis_tokens::{SigningAlgorithm, SigningKey};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use super::{Answer, House, ISSUER, NOW, request, second_factor::protect};

const CLIENT: &str = "us";
const BEGIN: &str = "/v1/auth/providers/fake";
const SUBJECT: &str = "110169484474386276334";

/// What a code is good for there.
struct Grant {
    challenge: String,
    id_token: String,
}

struct Fake {
    issuer: String,
    key: SigningKey,
    codes: Mutex<HashMap<String, Grant>>,
    /// Answered by the token endpoint whatever it is asked.
    broken: Mutex<Option<StatusCode>>,
}

impl Fake {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Self {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            key: SigningKey::generate(SigningAlgorithm::Es256).unwrap(),
            codes: Mutex::default(),
            broken: Mutex::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .with_state(Arc::clone(&fake));
        tokio::spawn(async { axum::serve(listener, router).await });
        fake
    }

    fn settings(&self) -> Settings {
        Settings {
            name: "fake".to_owned(),
            issuer: self.issuer.clone(),
            client_id: CLIENT.to_owned(),
            client_secret: "secret".into(),
            scopes: vec!["openid".to_owned()],
            create_users: true,
            allowed_domains: Vec::new(),
            return_to: None,
        }
    }

    fn claims(&self, nonce: &str) -> Value {
        json!({
            "iss": self.issuer, "sub": SUBJECT, "aud": CLIENT, "nonce": nonce, "iat": NOW.as_secs(),
            "exp": NOW.as_secs() + 600, "email": "jo@example.com", "email_verified": true, "name": "Jo",
        })
    }

    /// A person has signed in there; the browser is given this code.
    fn grant(&self, code: &str, challenge: &str, claims: &Value) {
        let claims: &Map<String, Value> = claims.as_object().unwrap();
        self.grant_token(
            code,
            challenge,
            self.key.sign_foreign(Some("JWT"), claims).unwrap(),
        );
    }

    fn grant_token(&self, code: &str, challenge: &str, id_token: String) {
        let challenge = challenge.to_owned();
        let grant = Grant {
            challenge,
            id_token,
        };
        self.codes.lock().unwrap().insert(code.to_owned(), grant);
    }
}

async fn metadata(State(fake): State<Arc<Fake>>) -> Json<Value> {
    let issuer = &fake.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
    }))
}

async fn jwks(State(fake): State<Arc<Fake>>) -> Json<Value> {
    Json(json!({ "keys": [fake.key.public_jwk()] }))
}

async fn token(State(fake): State<Arc<Fake>>, form: Bytes) -> Response {
    if let Some(status) = *fake.broken.lock().unwrap() {
        return (status, "<html>").into_response();
    }
    let form: HashMap<String, String> = form_urlencoded::parse(&form).into_owned().collect();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    // A code is good once.
    match fake.codes.lock().unwrap().remove(&form["code"]) {
        Some(grant) if grant.challenge == challenge => Json(json!({
            "access_token": "a", "token_type": "Bearer", "id_token": grant.id_token,
        }))
        .into_response(),
        Some(_) | None => (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        )
            .into_response(),
    }
}

/// A browser on its way: what it holds, and what the address it was sent to says.
struct Browser {
    cookie: String,
    sent: HashMap<String, String>,
}

impl Browser {
    async fn begin(house: &House, query: &str) -> Self {
        let answer = house.get(&format!("{BEGIN}{query}"), None).await;
        assert_eq!(answer.status, StatusCode::FOUND, "{}", answer.text);
        let address = answer.headers[header::LOCATION].to_str().unwrap();
        let (_, query) = address.split_once('?').unwrap();
        Self {
            cookie: cookie_of(&answer),
            sent: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        }
    }

    fn nonce(&self) -> &str {
        &self.sent["nonce"]
    }

    fn challenge(&self) -> &str {
        &self.sent["code_challenge"]
    }

    fn answer(&self, code: &str) -> String {
        format!("?state={}&code={code}", self.sent["state"])
    }

    async fn come_back(&self, house: &House, query: &str) -> Answer {
        come_back(house, query, &[&self.cookie]).await
    }

    /// The person signs in there, and the browser comes back.
    async fn sign_in(house: &House, fake: &Fake, changes: &Value) -> Answer {
        let browser = Self::begin(house, "").await;
        let mut claims = fake.claims(browser.nonce());
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        fake.grant("code", browser.challenge(), &claims);
        browser.come_back(house, &browser.answer("code")).await
    }
}

fn cookie_of(answer: &Answer) -> String {
    let set = answer.headers[header::SET_COOKIE].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

async fn come_back(house: &House, query: &str, cookies: &[&str]) -> Answer {
    let path = format!("{BEGIN}/callback{query}");
    let mut request: Request<_> = request(Method::GET, &path, None, axum::body::Body::empty());
    for cookie in cookies {
        let cookie = cookie.parse().unwrap();
        request.headers_mut().append(header::COOKIE, cookie);
    }
    house.send(request).await
}

async fn house_with(fake: &Fake, change: impl FnOnce(&mut Settings)) -> House {
    // Another test may have been first.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let mut settings = fake.settings();
    change(&mut settings);
    House::open_with(|config| {
        // The loader wants a cookie where the browser is sent to a page.
        if settings.return_to.is_some() {
            config.refresh_tokens.transport = Transport::Cookie;
        }
        config.providers.push(settings);
    })
    .await
}

/// Status and code of a refusal, which never sets a cookie nor repeats anything.
fn refusal(answer: &Answer) -> (u16, String) {
    assert!(!answer.text.contains("state-of-"), "{}", answer.text);
    assert!(!answer.headers.contains_key(header::LOCATION));
    assert!(!answer.text.contains("access_token"));
    (answer.status.as_u16(), answer.problem())
}

fn denied() -> (u16, String) {
    (401, "invalid-credentials".to_owned())
}

/// Why sign-ins were refused: each reason once, as repeats of one kind become one row.
async fn reasons(house: &House) -> Vec<String> {
    let failures = house.audit_of(Action::LoginFailure).await;
    let reasons = failures.into_iter().filter_map(|row| row.reason);
    let reasons: BTreeSet<String> = reasons.collect();
    reasons.into_iter().collect()
}

#[tokio::test]
async fn who_signs_in_elsewhere_for_the_first_time_gets_an_account_and_a_token() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    let answer = Browser::sign_in(&house, &fake, &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let issued = answer.json();
    assert_eq!(issued["scope"], "hotel:read");
    let token = issued["access_token"].as_str().unwrap();
    let me = house.get("/v1/auth/me", Some(token)).await.json();
    assert_eq!(
        (&me["email"], &me["display_name"], &me["roles"]),
        (&json!("jo@example.com"), &json!("Jo"), &json!(["guest"]))
    );
    let again = Browser::sign_in(&house, &fake, &json!({"email": "new@example.com"})).await;
    let token = again.json()["access_token"].as_str().unwrap().to_owned();
    let same = house.get("/v1/auth/me", Some(&token)).await.json();
    assert_eq!(same, me, "the same person, whatever the address is now");
    let rows = house.audit().await;
    let told: Vec<_> = rows
        .iter()
        .filter(|row| row.action != "signing_key_created")
        .map(|row| (&*row.action, row.reason.as_deref()))
        .collect();
    let by = Some("provider:fake");
    assert_eq!(
        told,
        [
            ("user_created", by),
            ("login_success", by),
            ("token_issued", None),
            ("login_success", by),
            ("token_issued", None),
        ]
    );
}

#[tokio::test]
async fn the_token_is_for_the_resource_that_was_asked_for() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    for (query, expected) in [
        ("?resource=event", Ok("event:read")),
        ("?resource=hospital", Err(403)),
        ("?resource=nothing", Err(403)),
        ("?resource=portcullis", Err(403)),
    ] {
        let browser = Browser::begin(&house, query).await;
        fake.grant("c", browser.challenge(), &fake.claims(browser.nonce()));
        let answer = browser.come_back(&house, &browser.answer("c")).await;
        match expected {
            Ok(scope) => assert_eq!(answer.json()["scope"], scope, "{query}"),
            Err(status) => assert_eq!(
                refusal(&answer),
                (status, "resource-not-allowed".to_owned()),
                "{query}"
            ),
        }
    }
}

#[tokio::test]
async fn the_cookie_is_of_this_host_alone_and_says_nothing() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    let answer = house.get(BEGIN, None).await;
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
    let (value, attributes) = cookie.split_once("; ").unwrap();
    assert!(value.starts_with("__Host-portcullis-sign-in="), "{cookie}");
    assert_eq!(
        attributes,
        "Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax"
    );
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let address = answer.headers[header::LOCATION].to_str().unwrap();
    assert!(address.starts_with(&format!("{}/authorize?", fake.issuer)));
    let sealed = URL_SAFE_NO_PAD
        .decode(value.split_once('=').unwrap().1)
        .unwrap();
    let shown = String::from_utf8_lossy(&sealed);
    for secret in ["fake", "state", "nonce"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_answer_is_worth_nothing_in_a_browser_that_has_not_begun_it() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    let thief = Browser::begin(&house, "").await;
    fake.grant("theirs", thief.challenge(), &fake.claims(thief.nonce()));
    let link = thief.answer("theirs");
    let victim = Browser::begin(&house, "").await;
    let not_begun = (400, "malformed-request".to_owned());
    let forged = format!("{}x", victim.cookie);
    let cases: [(&[&str], &str); 5] = [
        (&[], "no cookie"),
        (&[&victim.cookie], "another's"),
        (&[&thief.cookie, &victim.cookie], "one of two"),
        (&[&forged], "damaged"),
        (&["__Host-portcullis-sign-in="], "empty"),
    ];
    for (cookies, what) in cases {
        let answer = come_back(&house, &link, cookies).await;
        assert_eq!(refusal(&answer), not_begun, "{what}");
    }
    // Without the state there is nothing to compare.
    for query in [
        "",
        "?code=theirs",
        "?state=&code=theirs",
        "?state=a&state=b&code=c",
        "?state=s",
    ] {
        let answer = thief.come_back(&house, query).await;
        assert_eq!(refusal(&answer), not_begun, "{query}");
    }
    let own = thief.come_back(&house, &link).await;
    assert_eq!(own.status, StatusCode::OK, "the code was touched by nobody");
    let told = reasons(&house).await;
    assert!(
        told.iter()
            .all(|reason| reason == "no-cookie" || reason == "other-state"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_begun_sign_in_is_good_once_and_for_ten_minutes() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    let not_begun = (400, "malformed-request".to_owned());
    let browser = Browser::begin(&house, "").await;
    let claims = fake.claims(browser.nonce());
    fake.grant("one", browser.challenge(), &claims);
    fake.grant("two", browser.challenge(), &claims);
    let first = browser.come_back(&house, &browser.answer("one")).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    let removed = first.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(removed.contains("=; Max-Age=0;"), "{removed}");
    for code in ["one", "two"] {
        let again = browser.come_back(&house, &browser.answer(code)).await;
        assert_eq!(refusal(&again), not_begun, "{code}");
    }
    let late = Browser::begin(&house, "").await;
    fake.grant("late", late.challenge(), &fake.claims(late.nonce()));
    house.advance(Duration::from_secs(600));
    let answer = late.come_back(&house, &late.answer("late")).await;
    assert_eq!(refusal(&answer), not_begun);
    assert_eq!(reasons(&house).await, ["replayed", "too-late"]);
}

#[tokio::test]
async fn a_code_of_somebody_else_or_a_second_time_identifies_nobody() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    // Stolen from another browser: the provider was told another challenge.
    let (victim, thief) = (
        Browser::begin(&house, "").await,
        Browser::begin(&house, "").await,
    );
    fake.grant("stolen", victim.challenge(), &fake.claims(thief.nonce()));
    let answer = thief.come_back(&house, &thief.answer("stolen")).await;
    assert_eq!(refusal(&answer), denied());
    let first = Browser::begin(&house, "").await;
    fake.grant("spent", first.challenge(), &fake.claims(first.nonce()));
    first.come_back(&house, &first.answer("spent")).await;
    let second = Browser::begin(&house, "").await;
    let answer = second.come_back(&house, &second.answer("spent")).await;
    assert_eq!(refusal(&answer), denied());
    assert_eq!(reasons(&house).await, ["unknown-code"]);
}

#[tokio::test]
async fn an_id_token_that_is_not_for_this_sign_in_identifies_nobody() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    for (changes, reason) in [
        (json!({"nonce": "another"}), "bad_claims"),
        (json!({"nonce": null}), "bad_claims"),
        (json!({"aud": "others"}), "wrong_audience"),
        (json!({"iss": "https://evil.example"}), "unknown_issuer"),
        (json!({"azp": "others"}), "bad_claims"),
        (json!({"exp": NOW.as_secs() - 60}), "expired"),
        (json!({"iat": NOW.as_secs() - 3600}), "expired"),
        (json!({"sub": ""}), "bad_claims"),
    ] {
        let answer = Browser::sign_in(&house, &fake, &changes).await;
        assert_eq!(refusal(&answer), denied(), "{changes}");
        assert!(
            reasons(&house).await.iter().any(|told| told == reason),
            "{changes}"
        );
    }
    for (header, reason) in [
        (json!({"alg": "none"}), "malformed"),
        (json!({"alg": "HS256"}), "wrong_algorithm"),
    ] {
        let browser = Browser::begin(&house, "").await;
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signature = if reason == "malformed" { "" } else { "AAAA" };
        let token = format!(
            "{}.{}.{signature}",
            encoded(&header),
            encoded(&fake.claims(browser.nonce()))
        );
        fake.grant_token("c", browser.challenge(), token);
        let answer = browser.come_back(&house, &browser.answer("c")).await;
        assert_eq!(refusal(&answer), denied(), "{header}");
        assert!(
            reasons(&house).await.iter().any(|told| told == reason),
            "{header}"
        );
    }
}

#[tokio::test]
async fn what_the_provider_refuses_is_refused_without_its_words() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    let browser = Browser::begin(&house, "").await;
    let query = format!(
        "?state={}&error=access_denied&error_description=%3Cscript%3E&error_uri=https://evil.example",
        browser.sent["state"]
    );
    let answer = browser.come_back(&house, &query).await;
    assert_eq!(refusal(&answer), denied());
    for word in ["access_denied", "script", "evil"] {
        assert!(!answer.text.contains(word), "{word}");
    }
    assert_eq!(reasons(&house).await, ["provider-refused"]);
}

#[tokio::test]
async fn a_provider_that_is_away_or_broken_is_told_apart_from_a_person_who_is_refused() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    *fake.broken.lock().unwrap() = Some(StatusCode::INTERNAL_SERVER_ERROR);
    let answer = Browser::sign_in(&house, &fake, &json!({})).await;
    assert_eq!(refusal(&answer), (502, "upstream-failed".to_owned()));
    let away = house_with(&fake, |settings| {
        // Nobody listens there.
        settings.issuer = "http://127.0.0.1:1".to_owned();
    })
    .await;
    let answer = away.get(BEGIN, None).await;
    assert_eq!(refusal(&answer), (502, "upstream-unreachable".to_owned()));
    assert!(!answer.headers.contains_key(header::SET_COOKIE));
    assert_eq!(reasons(&house).await.len(), 0, "nobody failed to sign in");
}

#[tokio::test]
async fn nobody_is_joined_with_an_account_by_an_address() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    house
        .add_user("jo@example.com", "a long password", "staff")
        .await;
    let verified = Browser::sign_in(&house, &fake, &json!({})).await;
    assert_eq!(refusal(&verified), (409, "conflict".to_owned()));
    let unverified = Browser::sign_in(&house, &fake, &json!({"email_verified": false})).await;
    let token = unverified.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let me = house.get("/v1/auth/me", Some(&token)).await.json();
    assert_eq!(me["roles"], json!(["guest"]));
    assert_eq!(me["email"], Value::Null);
    assert!(
        me["username"].as_str().unwrap().starts_with("fake-"),
        "{me}"
    );
}

#[tokio::test]
async fn only_whom_the_operator_wants_is_let_in() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |settings| {
        settings.allowed_domains = vec!["example.com".to_owned()];
    })
    .await;
    for (changes, status) in [
        (json!({"email": "jo@evil.example"}), 401),
        (json!({"email": "jo@sub.example.com"}), 401),
        (json!({"email_verified": false}), 401),
        (json!({"email": "Jo@EXAMPLE.com"}), 200),
    ] {
        let answer = Browser::sign_in(&house, &fake, &changes).await;
        assert_eq!(answer.status.as_u16(), status, "{changes}");
    }
    let closed = house_with(&fake, |settings| settings.create_users = false).await;
    let answer = Browser::sign_in(&closed, &fake, &json!({})).await;
    assert_eq!(refusal(&answer), denied());
    assert_eq!(reasons(&closed).await, ["unknown-user"]);
    let rows = closed.audit_of(Action::LoginFailure).await;
    let target = rows[0].target.as_ref().unwrap();
    assert_eq!(target.id, format!("fake:{SUBJECT}"), "whom to let in");
}

#[tokio::test]
async fn a_disabled_user_stays_out() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await.with_demo_users().await;
    let answer = Browser::sign_in(&house, &fake, &json!({})).await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let id = house.get("/v1/auth/me", Some(&token)).await.json()["id"].clone();
    let admin = house.token("admin", "admin", "portcullis").await;
    let path = format!("/v1/admin/users/{}/disable", id.as_str().unwrap());
    let disabled = house.post(&path, Some(&admin), json!({})).await;
    assert_eq!(disabled.status, StatusCode::OK, "{}", disabled.text);
    let answer = Browser::sign_in(&house, &fake, &json!({})).await;
    assert_eq!(refusal(&answer), denied());
    assert_eq!(reasons(&house).await, ["disabled"]);
}

#[tokio::test]
async fn the_browser_ends_at_the_operators_page_and_nowhere_else() {
    let fake = Fake::start().await;
    let page = "https://app.example.com/signed-in";
    let house = house_with(&fake, |settings| settings.return_to = Some(page.to_owned())).await;
    let browser = Browser::begin(&house, "?return_to=https://evil.example&redirect_uri=x").await;
    let redirect = format!("{ISSUER}/v1/auth/providers/fake/callback");
    assert_eq!(browser.sent["redirect_uri"], redirect);
    fake.grant("c", browser.challenge(), &fake.claims(browser.nonce()));
    let query = format!("{}&return_to=https://evil.example", browser.answer("c"));
    let answer = browser.come_back(&house, &query).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.headers[header::LOCATION], page);
    assert_eq!(answer.text, "", "no token in a page that nobody asked for");

    let set = answer.headers.get_all(header::SET_COOKIE).iter();
    let set: Vec<&str> = set.map(|cookie| cookie.to_str().unwrap()).collect();
    let refresh = set
        .iter()
        .find(|cookie| cookie.starts_with("__Secure-portcullis-refresh="));
    let pair = refresh
        .unwrap_or_else(|| panic!("{set:?}"))
        .split(';')
        .next();
    let mut request = request(Method::POST, "/v1/auth/refresh", None, "{}".into());
    for (name, value) in [
        (header::COOKIE, pair.unwrap()),
        (header::ORIGIN, ISSUER),
        (header::CONTENT_TYPE, "application/json"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let refreshed = house.send(request).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text);
}

#[tokio::test]
async fn who_has_a_second_factor_is_asked_for_it_behind_a_provider_as_well() {
    let page = "https://app.example.com/signed-in";
    for return_to in [None, Some(page.to_owned())] {
        let fake = Fake::start().await;
        let house = house_with(&fake, |settings| settings.return_to.clone_from(&return_to)).await;
        let user = house
            .add_user("saad", "an old song of the sea", "guest")
            .await;
        let _phone = protect(&house, "saad").await;
        let identity = Identity {
            issuer: fake.issuer.clone(),
            subject: SUBJECT.to_owned(),
        };
        let operator = Party::operator("test");
        let linked = Event::new(NOW, Action::IdentityLinked, Outcome::Success, operator);
        let store = &house.service.store;
        store
            .link_identity(&user.id, &identity, &linked)
            .await
            .unwrap();

        let answer = Browser::sign_in(&house, &fake, &json!({})).await;
        assert!(!answer.text.contains("access_token"), "{}", answer.text);
        if return_to.is_some() {
            let location = answer.headers[header::LOCATION].to_str().unwrap();
            let challenge = location.strip_prefix(page).unwrap();
            assert!(challenge.starts_with("#challenge="), "{location}");
        } else {
            assert_eq!(answer.problem(), "mfa-required");
        }
        let cookies = format!("{:?}", answer.headers.get_all(header::SET_COOKIE));
        assert!(!cookies.contains("portcullis-refresh="), "{cookies}");
    }
}

#[tokio::test]
async fn a_provider_that_the_file_does_not_name_is_not_there() {
    let house = House::open().await;
    for path in [
        BEGIN,
        "/v1/auth/providers/fake/callback?state=s&code=c",
        "/v1/auth/providers/",
    ] {
        let answer = house.get(path, None).await;
        assert_eq!(
            refusal(&answer),
            (404, "route-not-found".to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn of_two_first_sign_ins_at_once_both_are_the_same_user() {
    let fake = Fake::start().await;
    let house = house_with(&fake, |_| ()).await;
    let (one, two) = (
        Browser::begin(&house, "").await,
        Browser::begin(&house, "").await,
    );
    fake.grant("one", one.challenge(), &fake.claims(one.nonce()));
    fake.grant("two", two.challenge(), &fake.claims(two.nonce()));
    let (query_one, query_two) = (one.answer("one"), two.answer("two"));
    let (first, second) = tokio::join!(
        one.come_back(&house, &query_one),
        two.come_back(&house, &query_two)
    );
    let mut ids = Vec::new();
    for answer in [first, second] {
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        let me = house.get("/v1/auth/me", Some(&token)).await.json();
        ids.push(me["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(house.audit_of(Action::UserCreated).await.len(), 1);
}
