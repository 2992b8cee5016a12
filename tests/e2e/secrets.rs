//! What must never be written down, and what must last: passwords and tokens stay out of logs, metrics and the database;
//! signing keys survive a restart, wrapped.

use std::{fs, ops::Range, os::unix::fs::PermissionsExt};

use portcullis_harness::{
    client::Request,
    gateway::{Gateway, House},
    upstream::Upstream,
    wait::{self, PATIENCE},
};
use serde_json::json;

use crate::stage::{self, PASSWORD, add_user};

fn build(upstream: &Upstream) -> House {
    stage::build(|places| {
        let server = stage::server(places, "");
        format!(
            "{server}
storage: {{ database: \"sqlite://data/portcullis.db\" }}
auth:
  default_resource: hotel
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
upstreams: {{ hotel: {{ endpoints: [{}] }} }}
routes:
  - {{ name: hotel, match: {{ path: /hotel/** }}, upstream: hotel, auth: {{ resource: hotel }}, audit: all }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
",
            upstream.address()
        )
    })
}

fn run(house: House) -> Gateway {
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    gateway
}

#[test]
fn passwords_and_tokens_are_written_nowhere() {
    let upstream = Upstream::start().unwrap();
    let gateway = run(build(&upstream));
    add_user(gateway.house(), "alice", "guest");
    let mut client = gateway.client();
    let token = client.log_in("alice", PASSWORD, "hotel").unwrap();
    let target = "/hotel/x?access_token=secret-in-the-query";
    let request = Request::get(target)
        .bearer(&token)
        .with("Cookie", "session=secret-in-a-cookie");
    assert_eq!(client.send(&request).unwrap().status, 200);
    let wrong = json!({ "username": "secret-typed-as-a-name", "password": "secret-that-is-wrong" });
    client
        .send(&Request::post("/v1/auth/login").json(&wrong))
        .unwrap();
    client
        .send(&Request::get("/hotel/x").bearer("secret-token-that-is-bad"))
        .unwrap();
    wait::until("the access line of the last request", PATIENCE, || {
        (gateway.stdout().lines().count() >= 4).then_some(())
    })
    .unwrap();
    let signature = token.rsplit('.').next().unwrap().to_owned();
    let logs = [
        ("access log", gateway.stdout()),
        ("log", gateway.stderr()),
        ("metrics", gateway.metrics().unwrap().text().to_owned()),
    ];
    let house = gateway.stop_and_keep().unwrap();
    let files = fs::read_dir(house.path("data"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let files = files.map(|path| {
        (
            path.display().to_string(),
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
        )
    });
    for (name, text) in logs
        .map(|(name, text)| (name.to_owned(), text))
        .into_iter()
        .chain(files)
    {
        for secret in [PASSWORD, &signature, "secret-"] {
            assert!(!text.contains(secret), "{name} holds {secret}");
        }
        assert!(!text.contains("PRIVATE KEY"), "{name} holds a private key");
    }
}

const METHODS: [&str; 4] = ["MADE-UP", "PURGE", "PROPFIND", "made-up"];

/// Each kind of request that a stranger can vary, in its variation of that number. Two of them are served.
fn strangers_requests(token: &str, number: usize) -> Vec<Request> {
    let made_up = format!("made-up-{number}");
    let sign_in = json!({ "username": made_up, "password": made_up });
    vec![
        Request::get(format!("/hotel/{made_up}")).bearer(token),
        Request::get("/hotel/x")
            .bearer(token)
            .with("X-Request-ID", &made_up)
            .with("User-Agent", &made_up),
        Request::get("/hotel/x").bearer(&made_up),
        Request::get(format!("/{made_up}")),
        Request::get(format!("/v1/{made_up}")),
        Request::post("/v1/auth/login").json(&sign_in),
        Request::new(METHODS[number % METHODS.len()], "/hotel/x"),
    ]
}

/// The names of the series there are, with their labels.
fn series(metrics: &str) -> Vec<&str> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .collect()
}

#[test]
fn labels_of_metrics_name_no_user_address_or_path_and_do_not_grow_in_number() {
    let upstream = Upstream::start().unwrap();
    let gateway = run(build(&upstream));
    add_user(gateway.house(), "alice", "guest");
    let mut client = gateway.client();
    let token = client.log_in("alice", PASSWORD, "hotel").unwrap();
    let mut scrape_after = |numbers: Range<u8>| {
        let served = f64::from(numbers.end) * 2.0;
        for number in numbers {
            for request in strangers_requests(&token, number.into()) {
                client.send(&request).unwrap();
            }
        }
        // A request is counted a moment after its answer.
        let labels = [("route", "hotel"), ("status", "200")];
        let counted = || {
            let metrics = gateway.metrics().ok()?;
            let all = metrics.sum("portcullis_requests_total", &labels) == served;
            all.then_some(metrics)
        };
        wait::until("every request to be counted", PATIENCE, counted).unwrap()
    };
    let (few, many) = (scrape_after(0..40), scrape_after(40..80));
    // The audit log may have been told of something for the first time meanwhile.
    let known = series(few.text());
    let mut added = series(many.text());
    added.retain(|one| !known.contains(one));
    assert!(added.len() < 10, "{added:#?}");
    for word in ["alice", "made-up", "MADE-UP", "client="] {
        assert!(!many.text().contains(word), "{word} in {}", many.text());
    }
}

#[test]
fn what_operators_see_is_not_on_the_listener_of_clients() {
    let upstream = Upstream::start().unwrap();
    let gateway = run(build(&upstream));
    let mut client = gateway.client();
    for path in ["/metrics", "/status", "/healthz", "/readyz"] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            let request = Request::new(method, path);
            for request in [request.clone(), request.body("x".repeat(4_096))] {
                let answer = client.send(&request).unwrap();
                assert_eq!(answer.status, 404, "{method} {path}");
                assert!(!answer.text().contains("portcullis_"), "{method} {path}");
            }
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_restart_keeps_the_signing_key_and_the_root_key_to_its_owner() {
    let upstream = Upstream::start().unwrap();
    let house = build(&upstream);
    add_user(&house, "alice", "guest");
    let gateway = run(house);
    let token = gateway.client().log_in("alice", PASSWORD, "hotel").unwrap();
    let mode = fs::metadata(gateway.house().path("data/portcullis.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let gateway = run(gateway.stop_and_keep().unwrap());
    let answer = gateway
        .client()
        .send(&Request::get("/hotel/x").bearer(&token))
        .unwrap();
    assert_eq!(answer.status, 200, "a restart must not sign everybody out");
    let house = gateway.stop_and_keep().unwrap();
    fs::write(
        house.path("data/portcullis.key"),
        format!("{}=\n", "A".repeat(43)),
    )
    .unwrap();
    let refused = house.command(&["run"]).unwrap();
    assert_eq!(
        refused.status.code(),
        Some(1),
        "another root key must not be taken for the old one"
    );
}
