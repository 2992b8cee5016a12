//! The files in `deploy/examples`, started and asked. Only what cannot be the same on a test's machine is replaced:
//! addresses, paths and secrets.

use std::{collections::BTreeSet, fs, path::PathBuf};

use portcullis_harness::{
    certificates::Authority,
    client::{Client, Request, Response},
    gateway::{Gateway, House, Places},
    http2::Http2,
    postgres::Postgres,
    redis::Redis,
    secured_upstream::{Reply, SecuredUpstream},
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
    websocket::{self, Echo, Opening},
};
use serde_json::{Value, json};

use crate::{
    issuer_stage::{Key, document, key_set, url},
    stage::{self, PASSWORD, add_user, now},
};

fn examples() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "deploy", "examples"]
        .iter()
        .collect()
}

/// The example with these texts in the place of those. Each must be there, so that a test does not outlive its example.
fn adapted(name: &str, replaced: &[(&str, String)]) -> String {
    let file = examples().join(name).join("gateway.yaml");
    let text = fs::read_to_string(&file).unwrap();
    replaced.iter().fold(text, |text, (there, here)| {
        assert!(text.contains(there), "{name} has no {there}");
        text.replace(there, here)
    })
}

fn start(name: &str, replaced: impl Fn(&Places) -> Vec<(&'static str, String)>) -> Gateway {
    stage::start(|places| adapted(name, &replaced(places)))
}

fn plain(places: &Places) -> [(&'static str, String); 2] {
    let admin = places.admin.to_string();
    [
        ("0.0.0.0:8080", places.listener.to_string()),
        (":9090", format!(":{}", admin.rsplit(':').next().unwrap())),
    ]
}

/// An identity provider with one key, at the address where `https://login.example.com` stands in the example.
struct Provider {
    server: Upstream,
    key: Key,
}

impl Provider {
    fn start() -> Self {
        let (server, key) = (Upstream::start().unwrap(), Key::generate("k1"));
        let (keys, issuer) = (key_set(&[&key]), url(&server));
        server.decides(move |head| match head.first_line.split(' ').nth(1) {
            Some("/.well-known/openid-configuration") => document(
                &json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") }).to_string(),
            ),
            Some("/jwks" | "/keys" | "/.well-known/jwks.json") => document(&keys),
            _ => Reaction::answer(404, ""),
        });
        Self { server, key }
    }

    fn url(&self) -> String {
        url(&self.server)
    }

    fn token(&self, more: Value) -> String {
        let mut claims =
            json!({ "iss": self.url(), "sub": "alice", "iat": now(), "exp": now() + 240 });
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap());
        self.key.sign(&claims)
    }
}

/// Once the keys are there; an unknown key is asked for again and again until then.
fn ask(gateway: &Gateway, request: &Request) -> Response {
    let mut client = gateway.client();
    wait::until("keys", PATIENCE, || {
        let answer = client.send(request).ok()?;
        (answer.code() != "keys-unavailable").then_some(answer)
    })
    .unwrap()
}

fn outcome(answer: &Response) -> (u16, String) {
    (answer.status, answer.code())
}

#[test]
fn every_example_has_its_line_in_the_list_and_its_test_here() {
    let folders = fs::read_dir(examples()).unwrap().flatten();
    let folders: BTreeSet<String> = folders
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let list = fs::read_to_string(examples().join("README.md")).unwrap();
    let tests = include_str!("examples.rs");
    for name in &folders {
        assert!(
            list.contains(&format!("({name}/gateway.yaml)")),
            "{name} is not listed"
        );
        assert!(
            tests.contains(&format!("(\"{name}\"")),
            "{name} is not started"
        );
    }
    assert_eq!(folders.len(), 7, "{folders:?}");
}

#[test]
fn edge_tls_signs_in_over_https_and_lets_the_web_application_read() {
    let (hotel, authority) = (Upstream::start().unwrap(), Authority::new("test").unwrap());
    let certified = authority.server(&["api.example.com"]).unwrap();
    let house = |places: &Places| {
        let data = places.directory.join("portcullis.db");
        vec![
            ("0.0.0.0:8443", places.listener.to_string()),
            ("127.0.0.1:9090", places.admin.to_string()),
            (
                "/etc/portcullis/tls/tls.crt",
                certified.certificate.display().to_string(),
            ),
            (
                "/etc/portcullis/tls/tls.key",
                certified.key.display().to_string(),
            ),
            (
                "/var/lib/portcullis/portcullis.db",
                data.display().to_string(),
            ),
            (
                "10.0.1.11:9001, 10.0.1.12:9001",
                hotel.address().to_string(),
            ),
        ]
    };
    let gateway = start("edge-tls", house);
    add_user(gateway.house(), "saad", "guest");
    let config = authority.tls_client(&["h2"], None).unwrap();
    let mut client = Http2::connect(gateway.address(), "api.example.com", config).unwrap();
    let body = json!({ "username": "saad", "password": PASSWORD }).to_string();
    let login = http::Request::post("https://api.example.com/v1/auth/login")
        .header("content-type", "application/json")
        .header("origin", "https://app.example.com")
        .body(body.into());
    let answer = client.send(login.unwrap()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.field("access-control-allow-origin"),
        Some("https://app.example.com")
    );
    let signed_in: Value = serde_json::from_str(&answer.text()).unwrap();
    let token = signed_in["access_token"].as_str().unwrap();
    for (method, status) in [("GET", 200), ("POST", 403)] {
        let request = http::Request::builder()
            .method(method)
            .uri("https://api.example.com/rooms/7")
            .header("authorization", format!("Bearer {token}"))
            .body(Default::default());
        assert_eq!(
            client.send(request.unwrap()).unwrap().status,
            status,
            "{method}"
        );
    }
    let told = hotel.take_received();
    let room = told
        .iter()
        .find(|received| received.target() == "/rooms/7")
        .unwrap();
    assert_eq!(room.field("x-forwarded-proto"), Some("https"));
}

#[test]
fn behind_a_load_balancer_believes_the_balancer_alone() {
    let (hotel, provider) = (Upstream::start().unwrap(), Provider::start());
    let gateway = start("behind-a-load-balancer", |places| {
        let mut replaced = plain(places).to_vec();
        replaced.extend([
            ("hotel.internal:9001", hotel.address().to_string()),
            ("https://login.example.com", provider.url()),
            // The balancer of the test.
            (
                "trusted_proxies: [10.0.0.0/8]",
                String::from("trusted_proxies: [127.0.0.9/32]"),
            ),
        ]);
        replaced
    });
    let denied = Request::get("/status").with("x-forwarded-for", "192.0.2.7");
    let balancer = std::net::Ipv4Addr::new(127, 0, 0, 9);
    let mut through = Client::from_address(balancer, gateway.address());
    assert_eq!(
        outcome(&through.send(&denied).unwrap()),
        (403, String::from("address-not-allowed"))
    );
    let mut direct = gateway.client();
    assert_eq!(
        direct.send(&denied).unwrap().status,
        200,
        "a stranger's header says nothing"
    );
    let token = provider.token(json!({ "aud": "hotel" }));
    assert_eq!(
        ask(&gateway, &Request::get("/hotel/rooms").bearer(&token)).status,
        200
    );
    let told = hotel.take_received();
    assert!(
        told.iter().any(|received| received.target() == "/rooms"),
        "the prefix is taken off"
    );
}

#[test]
fn sidecar_takes_the_edges_tokens_without_a_database() {
    let (app, edge) = (Upstream::start().unwrap(), Provider::start());
    let gateway = start("sidecar", |places| {
        let mut replaced = plain(places).to_vec();
        replaced.extend([
            ("127.0.0.1:3000", app.address().to_string()),
            ("https://api.example.com", edge.url()),
        ]);
        replaced
    });
    let token = |scope: &str| {
        edge.token(json!({ "aud": "hotel", "resource": "hotel", "scope": scope, "roles": ["guest"], "sid": "s", "ver": 1, "jti": "j", "client_id": "c" }))
    };
    let reads = Request::get("/rooms").bearer(&token("hotel:read"));
    assert_eq!(ask(&gateway, &reads).status, 200);
    assert_eq!(
        app.take_received()[0].field("x-user-id"),
        Some("edge:alice")
    );
    let other = Request::get("/rooms").bearer(&token("event:read"));
    assert_eq!(
        outcome(&ask(&gateway, &other)),
        (403, String::from("insufficient-scope"))
    );
    assert!(!gateway.house().path("data").exists(), "nothing is kept");
}

#[test]
fn corporate_issuer_finds_the_keys_and_maps_the_groups() {
    let (hotel, corp, partner) = (
        Upstream::start().unwrap(),
        Provider::start(),
        Provider::start(),
    );
    let gateway = start("corporate-issuer", |places| {
        let mut replaced = plain(places).to_vec();
        replaced.extend([
            ("hotel.internal:9001", hotel.address().to_string()),
            ("event.internal:9002", hotel.address().to_string()),
            ("https://login.example.com", corp.url()),
            ("https://id.partner.example", partner.url()),
            // The test's provider signs with the curve; the rest of the example is about RSA no less.
            ("algorithms: [RS256]", String::from("algorithms: [ES256]")),
        ]);
        replaced
    });
    let manager = corp.token(
        json!({ "aud": "hotel", "scp": ["hotel:read"], "groups": ["Hotel-Managers"], "tid": "t1" }),
    );
    let staff = corp.token(
        json!({ "aud": "hotel", "scope": "hotel:read", "groups": ["Hotel-Staff", "Others"] }),
    );
    let theirs = partner
        .token(json!({ "aud": "hotel", "scope": "hotel:admin", "roles": ["Hotel-Managers"] }));
    let put = |token: &str| Request::new("PUT", "/hotel/prices/7").bearer(token);
    assert_eq!(
        ask(&gateway, &Request::get("/hotel/rooms").bearer(&manager)).status,
        200
    );
    assert_eq!(
        ask(&gateway, &Request::get("/hotel/rooms").bearer(&theirs)).status,
        200
    );
    assert_eq!(ask(&gateway, &put(&manager)).status, 200);
    for token in [&staff, &theirs] {
        assert_eq!(
            outcome(&ask(&gateway, &put(token))),
            (403, String::from("insufficient-scope"))
        );
    }
    assert_eq!(
        ask(&gateway, &Request::get("/event/list")).status,
        200,
        "everybody may look"
    );
    let told = hotel.take_received();
    let of = |user: &str| {
        told.iter()
            .any(|received| received.field("x-user-id") == Some(user))
    };
    assert!(of("corp:alice") && of("partner:alice"));
}

#[test]
fn three_replicas_share_users_and_limits() {
    let (postgres, redis) = (Postgres::start().unwrap(), Redis::start().unwrap());
    let (database, hotel) = (
        postgres.fresh_database().unwrap(),
        Upstream::start().unwrap(),
    );
    let replace = |places: &Places| {
        let mut replaced = plain(places).to_vec();
        replaced.extend([
            (
                "postgres://portcullis:${env:POSTGRES_PASSWORD}@postgres.internal/portcullis",
                database.clone(),
            ),
            (
                "redis://:${env:REDIS_PASSWORD}@redis.internal:6379",
                redis.url(),
            ),
            (
                "${env:PORTCULLIS_KEY}",
                String::from("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            ),
            ("hotel.internal:9001", hotel.address().to_string()),
            // A slow machine must not look like a store that is away.
            ("timeout: 5ms", String::from("timeout: 10s")),
        ]);
        replaced
    };
    let gateways = [(); 3].map(|()| start("three-replicas", replace));
    let house: &House = gateways[0].house();
    add_user(house, "saad", "guest");
    let token = gateways[0]
        .client()
        .log_in("saad", PASSWORD, "hotel")
        .unwrap();
    let mut clients: Vec<Client> = gateways.iter().map(Gateway::client).collect();
    let mut ask = |turn: usize| {
        let request = Request::get("/hotel/rooms").bearer(&token);
        clients[turn % 3].send(&request).unwrap().status
    };
    let (statuses, took) = wait::timed(|| (0..90).map(&mut ask).collect::<Vec<u16>>());
    let passed = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!(passed + refused, 90, "{statuses:?}");
    // Sixty a minute over all three, and one more for each second that the test takes.
    let trickled = usize::try_from(took.as_secs()).unwrap() + 1;
    assert!(
        (60..=60 + trickled).contains(&passed),
        "{passed} passed in {took:?}"
    );
}

#[test]
fn grpc_calls_keep_their_trailers_and_refusals_are_grpc_too() {
    let (rooms, provider) = (SecuredUpstream::http2().unwrap(), Provider::start());
    rooms.decides(|_| {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        Reply {
            trailers: Some(trailers),
            ..Reply::ok()
        }
    });
    let authority = Authority::new("test").unwrap();
    let certified = authority.server(&["api.example.com"]).unwrap();
    let gateway = start("grpc", |places| {
        vec![
            ("0.0.0.0:8443", places.listener.to_string()),
            ("127.0.0.1:9090", places.admin.to_string()),
            (
                "/etc/portcullis/tls/tls.crt",
                certified.certificate.display().to_string(),
            ),
            (
                "/etc/portcullis/tls/tls.key",
                certified.key.display().to_string(),
            ),
            ("https://login.example.com", provider.url()),
            ("10.0.1.11:50051", rooms.address().to_string()),
        ]
    });
    let token = provider.token(json!({ "aud": "rooms", "scope": "rooms:read" }));
    let config = authority.tls_client(&["h2"], None).unwrap();
    let mut client = Http2::connect(gateway.address(), "api.example.com", config).unwrap();
    let mut call = |method: &str| {
        let request =
            http::Request::post(format!("https://api.example.com/hotel.v1.Rooms/{method}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("authorization", format!("Bearer {token}"))
                .body(bytes::Bytes::from_static(&[0; 5]));
        client.send(request.unwrap()).unwrap()
    };
    let listed = wait::until("keys", PATIENCE, || {
        let answer = call("List");
        (answer.field("grpc-status") != Some("14")).then_some(answer)
    })
    .unwrap();
    let trailers = listed.trailers.expect("a call ends with trailers");
    assert_eq!(trailers["grpc-status"], "0");
    let refused = call("Delete");
    assert_eq!(
        (refused.status, refused.field("grpc-status")),
        (200, Some("7"))
    );
    assert_eq!(
        rooms.take_asked().len(),
        1,
        "only the call that was let through"
    );
}

#[test]
fn websocket_opens_for_who_may_join_and_counts_the_tunnel() {
    let (chat, provider) = (Echo::start().unwrap(), Provider::start());
    let gateway = start("websocket", |places| {
        let mut replaced = plain(places).to_vec();
        replaced.extend([
            ("10.0.1.21:7000, 10.0.1.22:7000", chat.address().to_string()),
            ("https://login.example.com", provider.url()),
        ]);
        replaced
    });
    let joins = format!(
        "Bearer {}",
        provider.token(json!({ "aud": "chat", "scope": "chat:join" }))
    );
    let reads = format!(
        "Bearer {}",
        provider.token(json!({ "aud": "chat", "scope": "chat:read" }))
    );
    let open = |bearer: &str| {
        let headers: &[(&str, &str)] = if bearer.is_empty() {
            &[]
        } else {
            &[("authorization", bearer)]
        };
        websocket::open(gateway.address(), "/chat", headers).unwrap()
    };
    let status = |bearer: &str| match open(bearer) {
        Opening::Open(_) => 101,
        Opening::Refused(status) => status,
    };
    wait::until("keys", PATIENCE, || (status(&joins) == 101).then_some(())).unwrap();
    assert_eq!((status(""), status(&reads)), (401, 403));
    // The place of the tunnel of before comes back a moment after its end.
    let place = || match open(&joins) {
        Opening::Open(socket) => Some(socket),
        Opening::Refused(429) => None,
        Opening::Refused(status) => panic!("refused with {status}"),
    };
    let mut tunnels: Vec<_> = (0..5)
        .map(|_| wait::until("a place", PATIENCE, place).unwrap())
        .collect();
    assert_eq!(tunnels[0].ask("hello").unwrap(), b"hello");
    assert_eq!(status(&joins), 429, "five tunnels are what a user may hold");
}
