//! Another configuration while requests run: none fails, none sees a mixture, and nothing begins anew that should not.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use portcullis_harness::{
    client::{Client, Request, Response, Socket},
    gateway::{Gateway, Places},
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};
use rustix::process::Signal;
use serde_json::Value;

use crate::stage::{self, all_rows, sqlite};

const RELOADS: &str = "portcullis_config_reloads_total";

/// A configuration whose every part says its `version`: the header of all answers and the path the upstream sees.
fn versioned(places: &Places, upstream: &Upstream, version: u32) -> String {
    let server = stage::server(
        places,
        &format!("headers: {{ security: {{ x-version: \"{version}\" }} }}"),
    );
    let address = upstream.address();
    format!(
        "{server}
upstreams:
  hotel:
    endpoints: [{address}]
    circuit_breaker: {{ consecutive_failures: 2, open_for: 300s }}
rate_limits:
  scarce: {{ key: ip, limit: 3/1h }}
routes:
  - {{ name: left, match: {{ path: /left/** }}, upstream: hotel, auth: public, rewrite: {{ add_prefix: /v{version} }} }}
  - {{ name: right, match: {{ path: /right/** }}, upstream: hotel, auth: public, rewrite: {{ add_prefix: /v{version} }} }}
  - {{ name: scarce, match: {{ path: /scarce }}, upstream: hotel, auth: public, rate_limits: [scarce] }}
"
    )
}

fn start(upstream: &Upstream) -> Gateway {
    stage::start(|places| versioned(places, upstream, 1))
}

/// Every answer is the path that was asked for.
fn echo_targets(upstream: &Upstream) {
    upstream.decides(|head| {
        let target = head.first_line.split(' ').nth(1).unwrap_or_default();
        Reaction::answer(200, target)
    });
}

fn write(gateway: &Gateway, text: &str) {
    fs::write(gateway.house().path("gateway.yaml"), text).unwrap();
}

fn reloads(gateway: &Gateway, outcome: &str) -> f64 {
    gateway
        .metrics()
        .unwrap()
        .sum(RELOADS, &[("outcome", outcome)])
}

/// Tells the gateway and waits until it has counted one more reload that ended so.
fn reload(gateway: &Gateway, text: &str, outcome: &str) {
    let before = reloads(gateway, outcome);
    write(gateway, text);
    gateway.signal(Signal::HUP).unwrap();
    wait_for_reload(gateway, outcome, before);
}

fn wait_for_reload(gateway: &Gateway, outcome: &str, before: f64) {
    let counted = || (reloads(gateway, outcome) > before).then_some(());
    wait::until(&format!("a reload that is {outcome}"), PATIENCE, counted)
        .unwrap_or_else(|e| panic!("{e}: {}", gateway.stderr()));
}

fn wait_for_version(gateway: &Gateway, version: u32) {
    let wanted = version.to_string();
    wait::until(&format!("version {version}"), PATIENCE, || {
        let answer = gateway.client().get("/left/x").ok()?;
        (answer.field("x-version") == Some(&wanted)).then_some(())
    })
    .unwrap_or_else(|e| panic!("{e}: {}", gateway.stderr()));
}

fn status(gateway: &Gateway) -> Value {
    let answer = gateway.ask_admin("/status").unwrap();
    assert_eq!(answer.status, 200);
    serde_json::from_str(&answer.text()).unwrap()
}

/// Clients that ask both routes without a pause and note what is wrong.
struct Trickle {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Trickle {
    fn begin(gateway: &Gateway) -> Self {
        let (stop, answered) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let address = gateway.address();
        let clients = ["/left/x", "/right/x"].map(|path| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                let mut wrong = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let mut client = Client::of(address);
                    match client.get(path) {
                        Ok(answer) => wrong.extend(mistake(path, answer)),
                        Err(error) => wrong.push(format!("{path}: {error:#}")),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                wrong
            })
        });
        Self {
            stop,
            answered,
            clients: clients.into(),
        }
    }

    /// Waits until so many more have been answered.
    fn goes_on(&self, more: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + more;
        wait::until("answers", PATIENCE, || {
            (self.answered.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .unwrap();
    }

    fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let clients = self.clients.into_iter();
        clients.flat_map(|client| client.join().unwrap()).collect()
    }
}

/// The upstream answers with the path it was asked for: its version is that of the routes, the header's that of the
/// server section.
fn mistake(path: &str, answer: Response) -> Option<String> {
    let said = answer.field("x-version").unwrap_or("none").to_owned();
    let (status, text) = (answer.status, answer.text());
    let expected = format!("/v{said}{path}");
    (status != 200 || text != expected)
        .then(|| format!("{path}: {status} {text:?} with x-version {said}"))
}

#[test]
fn no_request_fails_and_none_sees_a_mixture_while_versions_change() {
    let upstream = Upstream::start().unwrap();
    echo_targets(&upstream);
    let gateway = start(&upstream);
    let trickle = Trickle::begin(&gateway);
    for version in 2..=8 {
        let text = versioned(gateway.house().places(), &upstream, version);
        reload(&gateway, &text, "applied");
        wait_for_version(&gateway, version);
        trickle.goes_on(20);
    }
    let wrong = trickle.end();
    assert!(
        wrong.is_empty(),
        "{} wrong: {:?}",
        wrong.len(),
        wrong.first()
    );
}

#[test]
fn a_changed_file_is_taken_without_a_signal() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    write(&gateway, &versioned(gateway.house().places(), &upstream, 2));
    wait_for_version(&gateway, 2);
    assert_eq!(reloads(&gateway, "applied"), 1.0);
}

#[test]
fn a_swapped_config_map_is_taken_and_its_secret_with_it() {
    let upstream = Upstream::start().unwrap();
    let house = stage::build(|_| String::new());
    let places = house.places().clone();
    let lay_out = |folder: &str, version: u32| {
        fs::create_dir(house.path(folder)).unwrap();
        let text = versioned(&places, &upstream, version)
            .replace("x-version:", "x-secret: \"${file:secret}\", x-version:");
        fs::write(house.path(folder).join("gateway.yaml"), text).unwrap();
        fs::write(house.path(folder).join("secret"), format!("s{version}\n")).unwrap();
    };
    // As the kubelet does it: the files are links through `..data`, which alone is swapped.
    lay_out("..1", 1);
    symlink("..1", house.path("..data")).unwrap();
    fs::remove_file(house.path("gateway.yaml")).unwrap();
    symlink("..data/gateway.yaml", house.path("gateway.yaml")).unwrap();
    symlink("..data/secret", house.path("secret")).unwrap();
    lay_out("..2", 2);
    let next = house.path("..data_tmp");
    let data = house.path("..data");
    let secret = house.path("secret");
    let mut gateway = house.launch(&["run"]).unwrap();
    gateway.wait_ready().unwrap();
    symlink("..2", &next).unwrap();
    fs::rename(&next, &data).unwrap();
    wait_for_version(&gateway, 2);
    let secret_of = |answer: Response| answer.field("x-secret").map(str::to_owned);
    let answer = gateway.client().get("/left/x").unwrap();
    assert_eq!(secret_of(answer).as_deref(), Some("s2"));
    // The secret alone.
    fs::remove_file(&secret).unwrap();
    fs::write(&secret, "s3").unwrap();
    wait::until("the new secret", PATIENCE, || {
        let answer = gateway.client().get("/left/x").ok()?;
        (secret_of(answer).as_deref() == Some("s3")).then_some(())
    })
    .unwrap();
}

#[test]
fn a_broken_file_changes_nothing_and_a_good_one_after_it_does() {
    let upstream = Upstream::start().unwrap();
    echo_targets(&upstream);
    let gateway = start(&upstream);
    let trickle = Trickle::begin(&gateway);
    let good = versioned(gateway.house().places(), &upstream, 2);
    let broken = good.replace("upstream: hotel", "upstream: hotle") + "\nunheard_of: 1\n";
    reload(&gateway, &broken, "rejected");
    trickle.goes_on(20);
    let log = gateway.stderr();
    for expected in [
        "routes[0].upstream",
        "routes[2].upstream",
        "unheard_of",
        "gateway.yaml:",
    ] {
        assert!(log.contains(expected), "{expected} is not in {log}");
    }
    assert_eq!(
        status(&gateway)["configuration"]["last_reload"]["outcome"],
        "rejected"
    );
    assert_eq!(
        gateway.client().get("/left/x").unwrap().field("x-version"),
        Some("1")
    );
    reload(&gateway, &good, "applied");
    wait_for_version(&gateway, 2);
    assert_eq!(
        reloads(&gateway, "rejected"),
        1.0,
        "a broken file is complained about once"
    );
    let wrong = trickle.end();
    assert!(wrong.is_empty(), "{:?}", wrong.first());
}

#[test]
fn limits_and_breakers_are_not_given_back_by_a_reload() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    for _ in 0..3 {
        assert_eq!(gateway.client().get("/scarce").unwrap().status, 200);
    }
    upstream.reacts_with(Reaction::answer(503, "sick"));
    for _ in 0..2 {
        assert_eq!(gateway.client().get("/left/x").unwrap().status, 503);
    }
    upstream.reacts_with(Reaction::ok());
    let asked = upstream.count();
    for version in 2..=3 {
        let text = versioned(gateway.house().places(), &upstream, version);
        reload(&gateway, &text, "applied");
        assert_eq!(gateway.client().get("/scarce").unwrap().status, 429);
        let refused = gateway.client().get("/left/x").unwrap();
        assert_eq!(refused.status, 503);
        assert!(
            refused.text().contains("circuit-open"),
            "{}",
            refused.text()
        );
        assert_eq!(
            refused.field("x-version"),
            Some(version.to_string().as_str())
        );
    }
    assert_eq!(upstream.count(), asked, "the upstream must be left alone");
}

#[test]
fn a_request_in_flight_ends_with_what_it_began_with() {
    let (old, new) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    old.reacts_with(Reaction::answer(200, "the old one").delayed(Duration::from_secs(3)));
    let gateway = start(&old);
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send("GET /left/slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait::until("the request", PATIENCE, || (old.count() == 1).then_some(())).unwrap();
    let text = versioned(gateway.house().places(), &new, 2);
    reload(&gateway, &text, "applied");
    let hotel = &status(&gateway)["upstreams"][0];
    assert_eq!(
        hotel["in_flight"], 1,
        "the old one's request still counts: {hotel}"
    );
    assert_eq!(
        gateway.client().get("/left/x").unwrap().text(),
        "ok",
        "new requests go to the new one"
    );
    let answer = socket.response().unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"the old one".as_slice())
    );
    assert_eq!(answer.field("x-version"), Some("1"));
    // The same connection gets the new one with its next request.
    socket.send("GET /left/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(socket.response().unwrap().field("x-version"), Some("2"));
}

#[test]
fn fifty_signals_in_a_row_are_one_change() {
    let upstream = Upstream::start().unwrap();
    echo_targets(&upstream);
    let gateway = start(&upstream);
    let trickle = Trickle::begin(&gateway);
    write(&gateway, &versioned(gateway.house().places(), &upstream, 2));
    for _ in 0..50 {
        gateway.signal(Signal::HUP).unwrap();
    }
    wait_for_version(&gateway, 2);
    trickle.goes_on(50);
    assert!(trickle.end().is_empty());
    assert!((1.0..=50.0).contains(&reloads(&gateway, "applied")));
    assert_eq!(reloads(&gateway, "rejected"), 0.0);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_applied() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream);
    let admin = gateway.admin();
    let text = versioned(gateway.house().places(), &upstream, 2)
        .replace("threads: 2", "threads: 1")
        .replace(&format!("admin: {admin}"), "admin: 127.0.0.1:1");
    reload(&gateway, &text, "partial");
    wait_for_version(&gateway, 2);
    let log = gateway.stderr();
    for key in ["server.admin", "server.threads"] {
        assert!(
            log.contains(&format!("{key} has changed and needs a restart")),
            "{log}"
        );
    }
    let waiting = &status(&gateway)["configuration"]["needs_restart"];
    assert_eq!(
        *waiting,
        serde_json::json!(["server.admin", "server.threads"])
    );
    let back = versioned(gateway.house().places(), &upstream, 3);
    reload(&gateway, &back, "applied");
    assert_eq!(
        status(&gateway)["configuration"]["needs_restart"],
        serde_json::json!([])
    );
}

#[test]
fn connection_caps_and_drain_times_follow() {
    let upstream = Upstream::start().unwrap();
    let mut gateway = start(&upstream);
    let text = versioned(gateway.house().places(), &upstream, 2).replace(
        "threads: 2",
        "threads: 2\n  limits: { connections: 1 }\n  shutdown: { drain_delay: 0s, timeout: 2s }",
    );
    reload(&gateway, &text, "applied");
    let mut held = Socket::connect(gateway.address()).unwrap();
    held.send("GET /left/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(held.response().unwrap().status, 200);
    let mut second = Socket::connect(gateway.address()).unwrap();
    let refused = second.response().unwrap();
    assert_eq!(refused.status, 503, "the cap is one connection now");
    assert_eq!(refused.field("x-version"), Some("2"));
    upstream.reacts_with(Reaction::hang());
    held.send("GET /left/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait::until("the request", PATIENCE, || {
        (upstream.count() == 2).then_some(())
    })
    .unwrap();
    gateway.signal(Signal::TERM).unwrap();
    let (ended, took) = wait::timed(|| gateway.wait_for_end(PATIENCE));
    assert_eq!(ended.unwrap().code(), Some(0));
    assert!(
        took < Duration::from_secs(12),
        "the timeout is 2 s now and not 20, it took {took:?}"
    );
}

#[test]
fn a_changed_issuer_is_believed_from_the_reload_on() {
    let upstream = Upstream::start().unwrap();
    let configuration = |places: &Places, secret: &str| {
        let server = stage::server(places, "");
        let corp = stage::CORP.replace(stage::CORP_SECRET, secret);
        let address = upstream.address();
        format!(
            "{server}{corp}
upstreams: {{ hotel: {{ endpoints: [{address}] }} }}
routes:
  - name: admin
    match: {{ path: /admin/** }}
    upstream: hotel
    auth: {{ resource: hotel, scopes: {{ all: [hotel:read] }} }}
"
        )
    };
    let gateway =
        stage::start(|places| configuration(places, "another secret, of at least 32 bytes"));
    let token = stage::corp_token(&stage::corp_claims("ann"));
    let ask = || {
        let request = Request::get("/admin/x").bearer(&token);
        gateway.client().send(&request).unwrap().status
    };
    assert_eq!(ask(), 401);
    let places = gateway.house().places();
    reload(
        &gateway,
        &configuration(places, stage::CORP_SECRET),
        "applied",
    );
    assert_eq!(ask(), 200);
    let third = configuration(places, "a third secret, of at least 32 bytes too");
    reload(&gateway, &third, "applied");
    assert_eq!(
        ask(),
        401,
        "a token that was remembered must not outlive its issuer's secret"
    );
}

#[test]
fn each_reload_is_in_the_audit_log() {
    let upstream = Upstream::start().unwrap();
    let configuration =
        |places: &Places, version| versioned(places, &upstream, version) + "audit: {}\n";
    let gateway = stage::start(|places| configuration(places, 1));
    let places = gateway.house().places().clone();
    reload(&gateway, &configuration(&places, 2), "applied");
    reload(&gateway, "version: 1\n", "rejected");
    let sha256 = status(&gateway)["configuration"]["sha256"]
        .as_str()
        .unwrap()
        .to_owned();
    // As `sha256sum` prints it for that one line.
    let sha256_of_broken =
        "09bfcc6a14b83e2192b8673677725c84883ee9cd0c70e45c9ec09daa8f2b2847".to_owned();
    let database = sqlite(&gateway);
    let house = gateway.stop_and_keep().unwrap();
    let rows: Vec<_> = all_rows(&database)
        .into_iter()
        .filter(|row| row.action.starts_with("configuration_re"))
        .map(|row| {
            (
                row.action,
                row.outcome,
                row.target.and_then(|file| file.name),
            )
        })
        .collect();
    let expected = [
        ("configuration_reloaded", "success", sha256),
        ("configuration_rejected", "failure", sha256_of_broken),
    ];
    let expected = expected.map(|(action, outcome, sha256)| {
        (
            action.to_owned(),
            outcome.to_owned(),
            Some(format!("sha256:{sha256}")),
        )
    });
    assert_eq!(rows, expected);
    drop(house);
}

#[test]
fn a_reload_during_the_drain_is_left_undone_and_a_stop_during_reloads_ends_well() {
    let upstream = Upstream::start().unwrap();
    let mut gateway = stage::start(|places| {
        versioned(places, &upstream, 1)
            .replace("threads: 2", "threads: 2\n  shutdown: { drain_delay: 3s }")
    });
    let text = versioned(gateway.house().places(), &upstream, 2);
    gateway.signal(Signal::TERM).unwrap();
    wait::until("readiness to go down", PATIENCE, || {
        (gateway.readiness() == Some(503)).then_some(())
    })
    .unwrap();
    write(&gateway, &text);
    for _ in 0..10 {
        gateway.signal(Signal::HUP).unwrap();
        let answer = gateway.client().get("/left/x").unwrap();
        assert_eq!(answer.field("x-version"), Some("1"));
    }
    assert_eq!(gateway.wait_for_end(PATIENCE).unwrap().code(), Some(0));

    let mut gateway = start(&upstream);
    for _ in 0..20 {
        gateway.signal(Signal::HUP).unwrap();
    }
    gateway.signal(Signal::TERM).unwrap();
    for _ in 0..20 {
        // It may have ended by now.
        gateway.signal(Signal::HUP).ok();
    }
    assert_eq!(
        gateway.wait_for_end(PATIENCE).unwrap().code(),
        Some(0),
        "{}",
        gateway.stderr()
    );
}
