//! Staying signed in and signing out, at a real gateway before a real service: by tokens in the body and by the cookie.

use portcullis_config::storage::Database;
use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::{Gateway, Places},
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::stage::{self, PASSWORD, add_user, audit_rows};

const REFRESH: &str = "/v1/auth/refresh";
const LOGOUT: &str = "/v1/auth/logout";

struct Place {
    gateway: Gateway,
    /// Outlives the gateway.
    _upstream: Upstream,
}

impl Place {
    fn open(refresh_token: &str) -> Self {
        let upstream = Upstream::start().unwrap();
        let gateway = stage::start(|places| configuration(places, refresh_token, &upstream));
        add_user(gateway.house(), "alice", "guest");
        Self {
            gateway,
            _upstream: upstream,
        }
    }
}

fn configuration(places: &Places, refresh_token: &str, upstream: &Upstream) -> String {
    let server = stage::server(places, "");
    format!(
        "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  refresh_token: {{ {refresh_token} }}
  default_resource: hotel
  default_role: guest
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
upstreams:
  hotel: {{ endpoints: [{}] }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
  - {{ name: oauth, match: {{ path: /oauth/** }}, upstream: builtin:auth, auth: public }}
",
        upstream.address()
    )
}

fn sign_in(client: &mut Client) -> Response {
    let body = json!({ "username": "alice", "password": PASSWORD });
    post(client, "/v1/auth/login", &body)
}

fn post(client: &mut Client, path: &str, body: &Value) -> Response {
    client.send(&Request::post(path).json(body)).unwrap()
}

fn text(answer: &Response, name: &str) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()[name].as_str().unwrap().to_owned()
}

/// What the service behind the gateway, or the gateway in its place, says to an access token.
fn visit(client: &mut Client, access: &str) -> u16 {
    let request = Request::get("/hotel/x").bearer(access);
    client.send(&request).unwrap().status
}

#[test]
fn a_session_goes_on_until_it_is_signed_out_and_then_not_for_one_request() {
    let place = Place::open("grace: 1m");
    let mut client = place.gateway.client();
    let first = sign_in(&mut client);
    let body = json!({ "refresh_token": text(&first, "refresh_token") });
    let second = post(&mut client, REFRESH, &body);
    let again = post(&mut client, REFRESH, &body);
    let refresh = text(&second, "refresh_token");
    assert_eq!(refresh, text(&again, "refresh_token"), "one successor");
    let access = text(&second, "access_token");
    for access in [&text(&first, "access_token"), &access] {
        assert_eq!(visit(&mut client, access), 200);
    }
    let out = Request::post(LOGOUT).bearer(&access);
    assert_eq!(client.send(&out).unwrap().status, 204);
    assert_eq!(visit(&mut client, &access), 401, "in the very next request");
    let late = post(&mut client, REFRESH, &json!({ "refresh_token": refresh }));
    assert_eq!(
        (late.status, late.code().as_str()),
        (401, "invalid-credentials")
    );
    assert_eq!(
        client.send(&out).unwrap().status,
        204,
        "twice is no mistake"
    );
}

#[test]
fn a_spent_token_takes_its_session_with_it_and_a_restart_does_not_bring_it_back() {
    let place = Place::open("grace: 0ms");
    let mut client = place.gateway.client();
    let first = sign_in(&mut client);
    let spent = text(&first, "refresh_token");
    let second = post(&mut client, REFRESH, &json!({ "refresh_token": spent }));
    let access = text(&second, "access_token");
    assert_eq!(visit(&mut client, &access), 200);
    let form = format!("grant_type=refresh_token&refresh_token={spent}");
    let replay = Request::post("/oauth/token")
        .with("Content-Type", "application/x-www-form-urlencoded")
        .body(form);
    let refused = client.send(&replay).unwrap();
    assert_eq!(refused.json()["error"], "invalid_grant");
    assert_eq!(visit(&mut client, &access), 401, "in the very next request");
    let Place { gateway, _upstream } = place;
    let house = gateway.stop_and_keep().unwrap();
    let database = Database::Sqlite(house.path("data/portcullis.db"));
    let reuses = audit_rows(&database, "token_reused", |rows| !rows.is_empty());
    assert_eq!(reuses.len(), 1);
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    let mut client = gateway.client();
    assert_eq!(visit(&mut client, &access), 401);
    let successor = json!({ "refresh_token": text(&second, "refresh_token") });
    assert_eq!(post(&mut client, REFRESH, &successor).status, 401);
}

#[test]
fn a_page_stays_signed_in_by_a_cookie_that_only_the_auth_service_sees() {
    let place = Place::open("transport: cookie");
    let mut client = place.gateway.client();
    let set = |answer: &Response| answer.field("set-cookie").map(str::to_owned);
    let pair = |set: &str| set.split(';').next().unwrap().to_owned();
    let first = sign_in(&mut client);
    assert_eq!(first.json()["refresh_token"], Value::Null);
    let cookie = set(&first).unwrap();
    for attribute in ["Path=/v1/auth", "Secure", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(&format!("; {attribute}")), "{cookie}");
    }
    let go_on = |cookie: &str, site: &str| {
        Request::post(REFRESH)
            .with("Cookie", pair(cookie))
            .with("Sec-Fetch-Site", site)
            .json(&json!({}))
    };
    let elsewhere = client.send(&go_on(&cookie, "cross-site")).unwrap();
    assert_eq!(elsewhere.code(), "cross-site-request");
    let second = client.send(&go_on(&cookie, "same-origin")).unwrap();
    let access = text(&second, "access_token");
    assert_eq!(visit(&mut client, &access), 200);
    let next = set(&second).unwrap();
    let out = Request::post(LOGOUT)
        .with("Cookie", pair(&next))
        .with("Sec-Fetch-Site", "same-origin")
        .json(&json!({}));
    let answer = client.send(&out).unwrap();
    assert_eq!(answer.status, 204);
    assert!(
        set(&answer).unwrap().contains("=; Max-Age=0;"),
        "{:?}",
        answer.head
    );
    assert_eq!(visit(&mut client, &access), 401);
    let (_name, token) = pair(&next)
        .split_once('=')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    for log in [place.gateway.stdout(), place.gateway.stderr()] {
        assert!(!log.contains(&token), "no log has the cookie");
    }
}
