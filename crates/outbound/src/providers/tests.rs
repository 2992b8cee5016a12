//! A provider on this machine that answers as it is told. Whole sign-ins with a real one are tried with the whole
//! gateway.

use std::sync::{Arc, Mutex};

use portcullis_harness::{
    jose::{Es256, Signer},
    upstream::{Reaction, Upstream},
};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::*;

const NOW: u64 = 1_800_000_000;
const US: &str = "https://gw.example";

struct Fake {
    server: Upstream,
    key: Es256,
    /// The members of its key set.
    keys: Arc<Mutex<Vec<Value>>>,
    /// What is added to the metadata, and what the token endpoint answers.
    script: Arc<Mutex<(Value, Reaction)>>,
}

impl Fake {
    fn start() -> Self {
        // Another test may have been first.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let (server, key) = (Upstream::start().unwrap(), Es256::generate().unwrap());
        let script = Arc::new(Mutex::new((json!({}), Reaction::answer(500, ""))));
        let issuer = format!("http://{}", server.address());
        let keys = Arc::new(Mutex::new(vec![jwk(&key, Some("one"))]));
        let (told, published) = (Arc::clone(&script), Arc::clone(&keys));
        server.decides(move |head| {
            let (more, token) = told.lock().unwrap().clone();
            match head.first_line.split(' ').nth(1) {
                Some("/.well-known/openid-configuration") => answer(200, &metadata(&issuer, &more)),
                Some("/jwks") => answer(200, &json!({ "keys": *published.lock().unwrap() })),
                Some("/token") => token,
                _ => Reaction::answer(404, ""),
            }
        });
        Self {
            server,
            key,
            keys,
            script,
        }
    }

    /// From now on it has this key and no other.
    fn publishes(&self, key: &Es256, name: Option<&str>) {
        *self.keys.lock().unwrap() = vec![jwk(key, name)];
    }

    /// From now on its ID tokens are signed with this key.
    fn signs_with(&self, key: &Es256, name: Option<&str>) {
        let token = self.id_token_by(key, name);
        self.answers(answer(
            200,
            &json!({"access_token": "a", "token_type": "Bearer", "id_token": token}),
        ));
    }

    /// Another key in the place of the one before.
    fn rotates(&self, name: Option<&str>) {
        let key = Es256::generate().unwrap();
        self.publishes(&key, name);
        self.signs_with(&key, name);
    }

    /// Somebody has signed in, so that the keys of now are known.
    async fn is_known_by(&self, client: &Provider) {
        identified(client).await;
        self.server.take_received();
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn says(&self, metadata: Value) {
        self.script.lock().unwrap().0 = metadata;
    }

    fn answers(&self, token: Reaction) {
        self.script.lock().unwrap().1 = token;
    }

    fn id_token(&self) -> String {
        self.id_token_by(&self.key, Some("one"))
    }

    fn id_token_by(&self, key: &Es256, name: Option<&str>) -> String {
        let mut header = json!({"alg": "ES256"});
        if let Some(name) = name {
            header["kid"] = json!(name);
        }
        let claims = json!({
            "iss": self.issuer(), "sub": "jo", "aud": "us", "nonce": "n", "iat": NOW, "exp": NOW + 60,
        });
        key.sign(&header, &claims).unwrap().to_string()
    }

    fn client(&self) -> Provider {
        let settings = Settings {
            name: "fake".to_owned(),
            issuer: self.issuer(),
            client_id: "us".to_owned(),
            client_secret: "s:1".into(),
            scopes: vec!["openid".to_owned(), "email".to_owned()],
            create_users: true,
            allowed_domains: Vec::new(),
            return_to: None,
        };
        let keeper = KeyKeeper::new(Handle::current(), Box::new(|| 0.5));
        Provider::new(&settings, US, &keeper).unwrap()
    }

    fn asked(&self, target: &str) -> Vec<portcullis_harness::upstream::Received> {
        let received = self.server.take_received().into_iter();
        received.filter(|asked| asked.target() == target).collect()
    }
}

fn jwk(key: &Es256, name: Option<&str>) -> Value {
    let mut jwk = key.public_jwk();
    if let Some(name) = name {
        jwk["kid"] = json!(name);
    }
    jwk
}

fn metadata(issuer: &str, more: &Value) -> Value {
    let mut metadata = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize?tenant=1"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
    });
    for (name, value) in more.as_object().unwrap() {
        metadata[name] = value.clone();
    }
    metadata
}

fn answer(status: u16, body: &Value) -> Reaction {
    let body = body.to_string();
    Reaction::send(format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn begun() -> Begun {
    Begun {
        state: "s".to_owned(),
        nonce: "n".to_owned(),
        // Of RFC 7636 appendix B.
        verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into(),
    }
}

async fn identify(client: &Provider, issuer: Option<&str>) -> Result<Identity, ProviderError> {
    let returned = Returned {
        code: "c o/de",
        issuer,
    };
    let now = Timestamp::from_secs(NOW);
    client.identify(&begun(), returned, now).await
}

/// Whom a loaded machine kept waiting for longer than a browser is tries again.
async fn identified(client: &Provider) -> Identity {
    let deadline = tokio::time::Instant::now() + portcullis_harness::wait::PATIENCE;
    loop {
        match identify(client, None).await {
            Ok(identity) => return identity,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_is_sent_to_the_provider_with_what_ties_it_to_us() {
    let fake = Fake::start();
    let address = fake.client().address(&begun()).await.unwrap();
    let expected = format!(
        "{}/authorize?tenant=1&response_type=code&client_id=us&state=s\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256\
         &redirect_uri=https%3A%2F%2Fgw.example%2Fv1%2Fauth%2Fproviders%2Ffake%2Fcallback\
         &scope=openid+email&nonce=n",
        fake.issuer()
    );
    assert_eq!(address, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_exchanged_once_for_who_signed_in() {
    let fake = Fake::start();
    let tokens = json!({"access_token": "a", "token_type": "Bearer", "id_token": fake.id_token()});
    fake.answers(answer(200, &tokens));
    let client = fake.client();
    assert_eq!(identify(&client, None).await.unwrap().subject, "jo");
    let asked = fake.asked("/token");
    let [asked] = asked.as_slice() else {
        panic!("asked {} times", asked.len());
    };
    // The halves are escaped before they are put together.
    assert_eq!(asked.field("authorization"), Some("Basic dXM6cyUzQTE="));
    assert_eq!(
        String::from_utf8_lossy(&asked.body),
        "grant_type=authorization_code&code=c+o%2Fde\
         &code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk\
         &redirect_uri=https%3A%2F%2Fgw.example%2Fv1%2Fauth%2Fproviders%2Ffake%2Fcallback"
    );
    assert_eq!(
        identify(&client, Some(&fake.issuer()))
            .await
            .unwrap()
            .subject,
        "jo"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_wants_our_secret_in_the_form_gets_it_there() {
    let fake = Fake::start();
    fake.says(json!({"token_endpoint_auth_methods_supported": ["client_secret_post"]}));
    let refused = identify(&fake.client(), None).await;
    assert!(
        matches!(refused, Err(ProviderError::Unusable)),
        "{refused:?}"
    );
    let asked = fake.asked("/token").pop().unwrap();
    assert_eq!(asked.field("authorization"), None);
    let body = String::from_utf8(asked.body).unwrap();
    assert!(body.contains("&client_id=us&client_secret=s%3A1"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_the_token_endpoint_answers_identifies_nobody() {
    let fake = Fake::start();
    let client = fake.client();
    let error = |code: &str| answer(400, &json!({ "error": code, "error_description": "<b>" }));
    let with = |id_token: Value| {
        answer(
            200,
            &json!({"access_token": "a", "token_type": "Bearer", "id_token": id_token}),
        )
    };
    for (reaction, expected) in [
        (error("invalid_grant"), "it does not know the code"),
        (
            error("invalid_client"),
            "its token endpoint does not accept us as a client",
        ),
        (
            error("slow_down"),
            "its token endpoint gave no usable answer",
        ),
        (
            Reaction::answer(500, "<html>"),
            "its token endpoint gave no usable answer",
        ),
        (
            Reaction::answer(200, "<html>"),
            "its token endpoint gave no usable answer",
        ),
        (
            with(Value::Null),
            "its token endpoint gave no usable answer",
        ),
        (
            with(json!("x")),
            "the token is not a well-formed signed token",
        ),
        (
            Reaction::send("HTTP/1.1 302 X\r\nlocation: /token\r\ncontent-length: 0\r\n\r\n"),
            "its token endpoint gave no usable answer",
        ),
        (
            with(json!("x".repeat(70_000))),
            "its token endpoint answered with more than 65536 bytes",
        ),
        (
            Reaction::send("HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\n{").then_close(),
            "its token endpoint broke off its answer",
        ),
    ] {
        fake.answers(reaction);
        let refused = identify(&client, None).await.unwrap_err();
        assert_eq!(refused.to_string(), expected);
        assert_eq!(
            fake.asked("/token").len(),
            1,
            "nobody asks twice: {expected}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_provider_brings_its_code_to_nobody() {
    let fake = Fake::start();
    fake.says(json!({"authorization_response_iss_parameter_supported": true}));
    let client = fake.client();
    for issuer in [None, Some("https://evil.example"), Some("")] {
        let refused = identify(&client, issuer).await;
        assert!(
            matches!(refused, Err(ProviderError::OtherIssuer)),
            "{issuer:?}"
        );
    }
    assert_eq!(fake.asked("/token").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_names_no_endpoint_we_may_ask_is_refused() {
    for (metadata, expected) in [
        (
            json!({"token_endpoint": "http://far.example/token"}),
            "its metadata names no token_endpoint that may be used",
        ),
        (
            json!({"authorization_endpoint": null}),
            "its metadata names no authorization_endpoint that may be used",
        ),
        (
            json!({"issuer": "https://evil.example"}),
            "its metadata is that of another issuer",
        ),
    ] {
        let fake = Fake::start();
        fake.says(metadata);
        let refused = fake.client().address(&begun()).await.unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_not_asked_for_everybody_who_comes() {
    let fake = Fake::start();
    let client = fake.client();
    fake.says(json!({"issuer": "another"}));
    let before = "/.well-known/openid-configuration";
    client.address(&begun()).await.unwrap_err();
    // The keys are asked for at the same place, by themselves.
    fake.asked(before);
    for _ in 0..5 {
        let refused = client.address(&begun()).await;
        assert!(matches!(refused, Err(ProviderError::Away)), "{refused:?}");
    }
}

/// Under another name, under the same, and without any.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_changed_while_somebody_signed_in_is_asked_for_once() {
    for (before, after) in [
        (Some("one"), Some("two")),
        (Some("one"), Some("one")),
        (None, None),
    ] {
        let (fake, first) = (Fake::start(), Es256::generate().unwrap());
        fake.publishes(&first, before);
        fake.signs_with(&first, before);
        let client = fake.client();
        fake.is_known_by(&client).await;
        client.address(&begun()).await.unwrap();
        fake.rotates(after);
        assert_eq!(identified(&client).await.subject, "jo");
        identified(&client).await;
        assert_eq!(fake.asked("/jwks").len(), 1, "{before:?} {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_sign_in_after_a_change_of_keys_wait_for_one_question() {
    let fake = Fake::start();
    fake.signs_with(&fake.key, Some("one"));
    let client = Arc::new(fake.client());
    fake.is_known_by(&client).await;
    fake.rotates(Some("two"));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let client = Arc::clone(&client);
        all.spawn(async move { identified(&client).await });
    }
    all.join_all().await;
    assert_eq!(fake.asked("/jwks").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_withdrawn_signs_nobody_in_and_is_not_asked_for_each_time() {
    let fake = Fake::start();
    fake.signs_with(&fake.key, Some("one"));
    let client = fake.client();
    fake.is_known_by(&client).await;
    fake.rotates(Some("two"));
    fake.is_known_by(&client).await;
    for (name, expected) in [
        (Some("one"), TokenError::UnknownKey),
        (Some("two"), TokenError::BadSignature),
        (None, TokenError::BadSignature),
        (Some("three"), TokenError::UnknownKey),
    ] {
        fake.signs_with(&fake.key, name);
        let refused = identify(&client, None).await;
        let is_expected =
            matches!(refused, Err(ProviderError::IdToken(cause)) if cause == expected);
        assert!(is_expected, "{name:?}: {refused:?}");
    }
    // However slow this machine is, ten seconds do not pass with each of them.
    assert!(fake.asked("/jwks").len() < 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sign_ins_at_a_time_than_there_are_places_are_turned_away() {
    let fake = Fake::start();
    let client = fake.client();
    let all = client.places.acquire_many(PLACES.try_into().unwrap()).await;
    let refused = client.address(&begun()).await;
    assert!(matches!(refused, Err(ProviderError::Busy)), "{refused:?}");
    drop(all);
    client.address(&begun()).await.unwrap();
}
