//! Tenants over real sockets: whose token opens which path, and whom a sign-in makes a tenant's.

use portcullis_harness::{
    client::{Client, Request},
    gateway::Gateway,
    upstream::Upstream,
};
use serde_json::json;

use crate::stage::{self, PASSWORD, add_user};

fn start(upstream: &Upstream) -> Gateway {
    stage::start(|places| {
        format!(
            "{}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  default_resource: hotel
  resources: {{ hotel: {{ scopes: [hotel:read, hotel:write] }} }}
  roles: {{ guest: [hotel:read], staff: [hotel:read, hotel:write], admin: [\"*\"] }}
upstreams:
  hotel: {{ endpoints: [{}] }}
routes:
  - {{ name: any, match: {{ path: /any/** }}, upstream: hotel, auth: {{ resource: hotel }} }}
  - {{ name: some, match: {{ path: /some/** }}, upstream: hotel, auth: {{ resource: hotel, tenant: required }} }}
  - {{ name: one, match: {{ path: /t/*/rooms/** }}, upstream: hotel, auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }}, tenant: {{ segment: 2 }} }} }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
",
            stage::server(places, ""),
            upstream.address()
        )
    })
}

fn run(gateway: &Gateway, arguments: &[&str]) {
    let output = gateway.house().command(arguments).unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn sign_in(client: &mut Client, name: &str, tenant: Option<&str>) -> Result<String, String> {
    let body = json!({ "username": name, "password": PASSWORD, "tenant": tenant });
    let answer = client
        .send(&Request::post("/v1/auth/login").json(&body))
        .unwrap();
    match answer.json()["access_token"].as_str() {
        Some(token) => Ok(token.to_owned()),
        None => Err(answer.code()),
    }
}

fn status(client: &mut Client, path: &str, token: &str) -> u16 {
    client
        .send(&Request::get(path).bearer(token))
        .unwrap()
        .status
}

#[test]
fn a_token_opens_the_paths_of_its_own_tenant_and_no_others() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let house = gateway.house();
    add_user(house, "nobodys", "guest");
    add_user(house, "several", "guest");
    let added = house
        .command_with_input(
            &[
                "user", "add", "acmes", "--role", "guest", "--tenant", "acme",
            ],
            PASSWORD,
        )
        .unwrap();
    assert!(added.status.success());
    for tenant in ["acme", "globex"] {
        run(
            &gateway,
            &["user", "grant", "several", "staff", "--tenant", tenant],
        );
    }
    let mut client = gateway.client();
    let tokens = [
        ("nobodys", None, [200, 403, 403, 403]),
        ("acmes", None, [200, 200, 200, 403]),
        ("several", None, [200, 403, 403, 403]),
        ("several", Some("acme"), [200, 200, 200, 403]),
        ("several", Some("globex"), [200, 200, 403, 200]),
    ];
    for (name, tenant, expected) in tokens {
        let token = sign_in(&mut client, name, tenant).unwrap();
        let paths = ["/any/x", "/some/x", "/t/acme/rooms/7", "/t/globex/rooms/7"];
        let found = paths.map(|path| status(&mut client, path, &token));
        assert_eq!(found, expected, "{name} {tenant:?}");
    }
    let refused = Err("resource-not-allowed".to_owned());
    assert_eq!(sign_in(&mut client, "nobodys", Some("acme")), refused);
    assert_eq!(sign_in(&mut client, "acmes", Some("globex")), refused);
    let acmes = sign_in(&mut client, "acmes", None).unwrap();
    for path in [
        "/t/%61cme/rooms/7",
        "/t/globex/../acme/rooms/7",
        "/t/acme//rooms/7",
    ] {
        assert_ne!(status(&mut client, path, &acmes), 500, "{path}");
    }
    for path in [
        "/t/globex/rooms/acme",
        "/t/acme/../globex/rooms/7",
        "/t/Acme/rooms/7",
    ] {
        assert_ne!(status(&mut client, path, &acmes), 200, "{path}");
    }
}

#[test]
fn a_refusal_for_the_tenant_names_the_scopes_alone_and_a_rehearsal_the_tenant() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    add_user(gateway.house(), "nobodys", "guest");
    let mut client = gateway.client();
    let token = sign_in(&mut client, "nobodys", None).unwrap();
    let answer = client
        .send(&Request::get("/t/acme/rooms/7").bearer(&token))
        .unwrap();
    assert_eq!(
        (answer.status, &*answer.code()),
        (403, "insufficient-scope")
    );
    assert!(!answer.text().contains("acme"), "{}", answer.text());
    let table = "
- { name: own, request: { path: /t/acme/rooms/7 }, caller: { resource: hotel, scopes: [hotel:read], tenant: acme }, expect: { upstream: hotel } }
- { name: another, request: { path: /t/globex/rooms/7 }, caller: { resource: hotel, scopes: [hotel:read], tenant: acme }, expect: { refused: insufficient-scope } }
- { name: none, request: { path: /some/x }, caller: { resource: hotel, scopes: [hotel:read] }, expect: { refused: insufficient-scope } }
";
    std::fs::write(gateway.house().path("tenants.yaml"), table).unwrap();
    let tested = gateway.house().command(&["test", "tenants.yaml"]).unwrap();
    let said = String::from_utf8_lossy(&tested.stdout).into_owned()
        + &String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{said}");
    let explained = gateway
        .house()
        .command_with_input(
            &["explain", "GET", "/t/acme/rooms/7", "--token", "-"],
            &token,
        )
        .unwrap();
    let said = String::from_utf8_lossy(&explained.stdout);
    assert!(
        !explained.status.success() && said.contains("of the tenant in segment 2"),
        "{said}"
    );
}
