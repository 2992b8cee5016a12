//! Tokens that our own key has signed and that say what they must not, and what we give out for one purpose in the place of
//! another.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use portcullis_tokens::AccessClaims;
use serde_json::json;

use super::{
    CORP, House, ISSUER,
    clients::{Program, ask_at, error},
    refresh::{Pair, REFRESH},
    request,
    second_factor::protect,
};

const ME: &str = "/v1/auth/me";
const LOGOUT: &str = "/v1/auth/logout";
const PASSWORD: &str = "an old song of the sea";
const HUNDRED_YEARS: u64 = 100 * 365 * 86_400;

impl House {
    /// What a good token of `saad` says, changed, and signed by the key that signs.
    async fn signed(&self, change: impl FnOnce(&mut AccessClaims)) -> String {
        let good = self.pair("saad", "1234").await;
        let (principal, now) = (self.claims_of(&good.access), self.service.now());
        let mut claims = AccessClaims {
            iss: ISSUER.to_owned(),
            sub: principal.subject().to_owned(),
            aud: "hotel".to_owned(),
            resource: "hotel".to_owned(),
            exp: now.as_secs() + 300,
            iat: now.as_secs(),
            jti: "j1".to_owned(),
            client_id: "portcullis".to_owned(),
            scope: "hotel:read".to_owned(),
            roles: vec!["guest".to_owned()],
            sid: principal.session().unwrap().to_owned(),
            ver: principal.version(),
            tenant: None,
        };
        change(&mut claims);
        self.service.signer.sign(&claims).unwrap()
    }
}

#[tokio::test]
async fn a_signature_of_ours_is_not_enough() {
    let house = House::open().await.with_demo_users().await;
    let program = Program::add(&house, "p", &["hotel:read"]).await;
    let good = house.signed(|_| ()).await;
    assert_eq!(house.get(ME, Some(&good)).await.status, StatusCode::OK);
    type Change<'a> = Box<dyn FnOnce(&mut AccessClaims) + 'a>;
    let id = program.client.id.clone();
    let changes: [(&str, Change<'_>); 10] = [
        ("an older version", Box::new(|claims| claims.ver -= 1)),
        ("a version to come", Box::new(|claims| claims.ver += 1)),
        (
            "nobody",
            Box::new(|claims| claims.sub = "nobody".to_owned()),
        ),
        (
            "a name for an id",
            Box::new(|claims| claims.sub = "saad".to_owned()),
        ),
        (
            "a client of a user's id",
            Box::new(|claims| claims.client_id.clone_from(&claims.sub)),
        ),
        ("a client for a user", Box::new(|claims| claims.sub = id)),
        (
            "a hundred years",
            Box::new(|claims| claims.exp = claims.iat + HUNDRED_YEARS),
        ),
        (
            "an hour where five minutes are the most",
            Box::new(|claims| claims.exp = claims.iat + 3600),
        ),
        (
            "another issuer",
            Box::new(|claims| claims.iss = CORP.to_owned()),
        ),
        (
            "a resource that there is not",
            Box::new(|claims| {
                claims.aud = "casino".to_owned();
                claims.resource = "casino".to_owned();
            }),
        ),
    ];
    for (what, change) in changes {
        let token = house.signed(change).await;
        let answer = house.get(ME, Some(&token)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!(answer.problem(), "invalid-token", "{what}");
        let body = format!("token={token}");
        let told = ask_at("/oauth/introspect", &house, &body, Some(&program.basic())).await;
        assert_eq!(told.json(), json!({ "active": false }), "{what}");
    }
}

#[tokio::test]
async fn nothing_else_that_we_give_out_is_an_access_token() {
    let house = House::open().await.with_demo_users().await;
    house.add_user("nora", PASSWORD, "guest").await;
    let pair = house.pair("saad", "1234").await;
    let program = Program::add(&house, "p", &["audit:read"]).await;
    let admin = house.token("admin", "admin", "portcullis").await;
    protect(&house, "nora").await;
    let body = json!({"username": "nora", "password": PASSWORD});
    let challenge = house.log_in(body).await.json()["challenge"].clone();
    let log = house.get("/v1/admin/audit?limit=1", Some(&admin)).await;
    let cursor = log.json()["next"].clone();
    let basic = program.basic();
    let principal = house.claims_of(&pair.access);
    let given: [(&str, &str); 5] = [
        ("a refresh token", &pair.refresh),
        ("a challenge", challenge.as_str().unwrap()),
        ("a cursor", cursor.as_str().unwrap()),
        (
            "a client's id and secret",
            basic.trim_start_matches("Basic "),
        ),
        ("a user's id", principal.subject()),
    ];
    for (what, text) in given {
        let answer = house.get(ME, Some(text)).await;
        assert_eq!(answer.problem(), "invalid-token", "{what}");
    }
    let access = &pair.access;
    let mfa = json!({"challenge": access, "code": "123456"});
    for (path, body) in [
        (REFRESH, json!({"refresh_token": access})),
        (REFRESH, json!({"refresh_token": challenge})),
        (LOGOUT, json!({"refresh_token": access})),
        ("/v1/auth/login/mfa", mfa),
        (
            "/v1/auth/login/mfa",
            json!({"challenge": pair.refresh, "code": "123456"}),
        ),
    ] {
        let answer = house.post(path, None, body).await;
        assert_eq!(answer.problem(), "invalid-credentials", "{path}");
    }
    let assertion = format!(
        "grant_type=client_credentials&client_assertion={access}&client_assertion_type=\
         urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    let answer = ask_at("/oauth/token", &house, &assertion, None).await;
    assert_eq!(error(&answer), (401, "invalid_client".to_owned()));
    assert!(house.is_in(access).await, "and none of it ended anything");
    Pair::of(&house.refresh(&pair.refresh).await);
}

#[tokio::test]
async fn no_right_makes_a_token_live_longer() {
    let house = House::open().await.with_demo_users().await;
    let admin = house.token("admin", "admin", "portcullis").await;
    let resources = [("hotel", 300), ("hospital", 120), ("portcullis", 300)];
    let scopes = [
        "hotel:read",
        "hospital:read",
        "users:write",
        "clients:write",
    ];
    let program = Program::add(&house, "p", &scopes).await;
    for (resource, cap) in resources {
        let body = json!({"username": "admin", "password": "admin", "resource": resource});
        let pair = Pair::of(&house.log_in(body).await);
        let again = json!({"refresh_token": pair.refresh, "resource": resource});
        let next = Pair::of(&house.post(REFRESH, None, again).await);
        let of_program = program
            .token_with(&house, &format!("&resource={resource}"))
            .await;
        for token in [&pair.access, &next.access, &of_program] {
            let principal = house.claims_of(token);
            let lives = principal.expires_at().saturating_since(house.service.now());
            assert_eq!(lives, Duration::from_secs(cap), "{resource}");
        }
    }
    let client = format!("/v1/admin/clients/{}", program.client.id);
    let user = format!("/v1/admin/users/{}", house.claims_of(&admin).subject());
    for path in [client, user, "/v1/admin/roles/guest".to_owned()] {
        for field in ["max_token_lifetime", "access_token_lifetime", "expires_at"] {
            let body = json!({ field: "36500d" }).to_string();
            let request = request(Method::PATCH, &path, Some(&admin), Body::from(body));
            let answer = house.send(request).await;
            assert_eq!(answer.problem(), "malformed-request", "{path} {field}");
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_or_ahead_ends_no_session_and_opens_none() {
    const HOUR: Duration = Duration::from_secs(3600);
    let house = House::open().await.with_demo_users().await;
    let mut pair = house.pair("saad", "1234").await;
    let spent = house.pair("saad", "1234").await;
    Pair::of(&house.refresh(&spent.refresh).await);
    house.set_back(HOUR);
    pair = Pair::of(&house.refresh(&pair.refresh).await);
    assert!(house.is_in(&pair.access).await, "an hour ago");
    house.token("saad", "1234", "hotel").await;
    let replayed = house.refresh(&spent.refresh).await;
    assert_eq!(
        replayed.problem(),
        "invalid-credentials",
        "a grace that is yet to come is none"
    );
    house.advance(2 * HOUR);
    assert!(
        !house.is_in(&pair.access).await,
        "an hour ahead, it has expired"
    );
    pair = Pair::of(&house.refresh(&pair.refresh).await);
    assert!(house.is_in(&pair.access).await);
    house.set_back(Duration::from_secs(house.service.now().as_secs()));
    assert_ne!(
        house.refresh(&pair.refresh).await.status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "a clock that was never set"
    );
}
