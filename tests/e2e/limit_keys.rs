//! What limits count apart: headers, claims, tenants, and several of them together; and what one request spends.

use portcullis_harness::{
    client::{Client, Request, Response},
    gateway::Gateway,
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::stage::{self, corp_claims, corp_token};

/// A few requests an hour for whatever a limit counts, so that nothing comes back while a test runs.
const LIMITS: &str = r#"
rate_limits:
  by_header: { key: "header:X-Api-Client", limit: 3/1h }
  by_tenant: { key: claim:tenant, limit: 3/1h }
  by_claim: { key: claim:org.unit, limit: 3/1h }
  by_all: { key: [route, "header:X-Api-Client", claim:tenant], limit: 3/1h }
  by_role: { key: "header:X-Api-Client", limit: 3/1h, tiers: { staff: 5/1h } }
  by_cost: { key: user, limit: 10/1h }
  wide: { key: user, limit: 5/1h }
  narrow: { key: claim:tenant, limit: 2/1h }
routes:
  - { name: dear, match: { path: /dear/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [{ limit: by_cost, cost: 3 }] }
  - { name: cheap, match: { path: /cheap/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [by_cost] }
  - { name: both, match: { path: /both/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [wide, narrow] }
  - { name: wide, match: { path: /wide/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [wide] }
  - { name: header, match: { path: /header/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [by_header] }
  - { name: tenant, match: { path: /tenant/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [by_tenant] }
  - { name: claim, match: { path: /claim/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [by_claim] }
  - { name: all, match: { path: /all/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [by_all] }
  - { name: other, match: { path: /other/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [by_all] }
  - { name: role, match: { path: /role/** }, upstream: hotel, auth: { resource: hotel }, rate_limits: [by_role] }
"#;

struct Stage {
    gateway: Gateway,
    _upstream: Upstream,
}

impl Stage {
    fn build() -> Self {
        let upstream = Upstream::start().unwrap();
        let address = upstream.address();
        let gateway = stage::start(|places| {
            let (server, issuers) = (stage::server(places, ""), stage::CORP);
            let claims = "claims: { tenant: tid }";
            format!(
                "{server}{issuers}    {claims}\nupstreams: {{ hotel: {{ endpoints: [{address}] }} }}\n{LIMITS}"
            )
        });
        Self {
            gateway,
            _upstream: upstream,
        }
    }

    fn client(&self) -> Client {
        self.gateway.client()
    }
}

/// A token of somebody new each time, so that only the claims given can be what is counted.
fn token(number: u32, claims: &[(&str, Value)]) -> String {
    let mut whole = corp_claims(&format!("user-{number}"));
    for (name, value) in claims {
        whole[*name] = value.clone();
    }
    corp_token(&whole)
}

/// How many of ten requests pass, before and after the first refusal.
fn passed(mut send: impl FnMut(u32) -> Response, limit: &str) -> usize {
    let answers: Vec<Response> = (0..10).map(&mut send).collect();
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (429, "rate-limited")
        );
        let told = refused.field("ratelimit-policy").unwrap_or_default();
        assert!(told.starts_with(&format!("\"{limit}\";")), "{told}");
    }
    passed
}

#[test]
fn a_header_is_counted_before_the_token_and_by_its_whole_value() {
    let stage = Stage::build();
    let mut client = stage.client();
    let mut check = |lines: &[&str], expected: usize| {
        let send = |number| {
            let request = Request::get("/header/x").bearer(&token(number, &[]));
            let lines = lines
                .iter()
                .fold(request, |request, line| request.with("X-Api-Client", *line));
            client.send(&lines).unwrap()
        };
        assert_eq!(passed(send, "by_header"), expected, "{lines:?}");
    };
    check(&["app-1"], 3);
    check(&["app-2"], 3);
    check(&["app-1", "app-2"], 3);
    check(&["app-1, app-2"], 0);
    check(&[], 3);
    check(&["app-3"; 4], 3);
    let mut stranger = stage.client();
    let refused = |request: Request| stranger.send(&request).unwrap().status;
    let statuses: Vec<u16> = [(); 4]
        .map(|()| Request::get("/header/x").with("X-Api-Client", "guessing"))
        .map(refused)
        .into();
    assert_eq!(
        statuses,
        [401, 401, 401, 429],
        "spent without a token as well"
    );
}

#[test]
fn all_users_of_a_tenant_share_its_budget() {
    let stage = Stage::build();
    let mut client = stage.client();
    let mut check = |claims: &[(&str, Value)], expected: usize| {
        let send = |number| {
            client
                .send(&Request::get("/tenant/x").bearer(&token(number, claims)))
                .unwrap()
        };
        assert_eq!(passed(send, "by_tenant"), expected, "{claims:?}");
    };
    check(&[("tid", json!("t1"))], 3);
    check(&[("tid", json!("t2"))], 3);
    check(&[], 3);
    check(&[("tenant", json!("t3"))], 0);
}

#[test]
fn a_claim_that_a_limit_names_is_read_from_the_token() {
    let stage = Stage::build();
    let mut client = stage.client();
    let mut check = |claims: &[(&str, Value)], expected: usize| {
        let send = |number| {
            client
                .send(&Request::get("/claim/x").bearer(&token(number, claims)))
                .unwrap()
        };
        assert_eq!(passed(send, "by_claim"), expected, "{claims:?}");
    };
    check(&[("org", json!({ "unit": "a" }))], 3);
    check(&[("org", json!({ "unit": 7 }))], 3);
    check(&[("org", json!({ "unit": "7" }))], 3);
    check(&[("org", json!({ "unit": true }))], 3);
    check(&[], 3);
    check(&[("org", json!({ "unit": ["a"] }))], 0);
}

#[test]
fn parts_of_a_key_are_counted_together() {
    let stage = Stage::build();
    let mut client = stage.client();
    let mut check = |path: &str, app: &str, tenant: &str, expected: usize| {
        let send = |number| {
            let token = token(number, &[("tid", json!(tenant))]);
            let request = Request::get(path).with("X-Api-Client", app).bearer(&token);
            client.send(&request).unwrap()
        };
        assert_eq!(passed(send, "by_all"), expected, "{path} {app} {tenant}");
    };
    check("/all/x", "app-1", "t1", 3);
    check("/all/y", "app-1", "t1", 0);
    check("/all/x", "app-2", "t1", 3);
    check("/all/x", "app-1", "t2", 3);
    check("/other/x", "app-1", "t1", 3);
}

#[test]
fn a_role_has_its_own_quota_under_the_same_key() {
    let stage = Stage::build();
    let mut client = stage.client();
    let mut check = |app: &str, roles: Value, expected: usize| {
        let send = |number| {
            let token = token(number, &[("roles", roles.clone())]);
            let request = Request::get("/role/x")
                .with("X-Api-Client", app)
                .bearer(&token);
            client.send(&request).unwrap()
        };
        assert_eq!(passed(send, "by_role"), expected, "{app} {roles}");
    };
    check("app-1", json!([]), 3);
    check("app-2", json!(["hotel-staff"]), 5);
}

#[test]
fn a_route_says_what_its_requests_cost() {
    let stage = Stage::build();
    let (mut client, token) = (stage.client(), token(1, &[]));
    let mut passed_at = |path: &str| {
        let request = Request::get(path).bearer(&token);
        passed(|_| client.send(&request).unwrap(), "by_cost")
    };
    assert_eq!(passed_at("/dear/x"), 3, "of ten, nine are spent");
    assert_eq!(
        passed_at("/cheap/x"),
        1,
        "one is left, whichever route asks"
    );
}

#[test]
fn a_request_that_one_limit_refuses_spends_on_no_other() {
    let stage = Stage::build();
    let (mut client, token) = (stage.client(), token(1, &[("tid", json!("t1"))]));
    let mut passed_at = |path: &str, refusing: &str| {
        let request = Request::get(path).bearer(&token);
        passed(|_| client.send(&request).unwrap(), refusing)
    };
    assert_eq!(passed_at("/both/x", "narrow"), 2);
    assert_eq!(
        passed_at("/wide/x", "wide"),
        3,
        "five, of which the eight refused spent none"
    );
}
