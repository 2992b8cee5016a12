//! What the tests of reloads share: a configuration that says its version everywhere, ways to bring one in, and clients
//! that ask without a pause meanwhile.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use portcullis_harness::{
    client::{Client, Response},
    gateway::{Gateway, Places},
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::stage;

const RELOADS: &str = "portcullis_config_reloads_total";

/// A configuration whose every part says its `version`: the header of all answers and the path the upstream sees.
pub(crate) fn versioned(places: &Places, upstream: &Upstream, version: u32) -> String {
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

pub(crate) fn start(upstream: &Upstream) -> Gateway {
    stage::start(|places| versioned(places, upstream, 1))
}

/// Every answer is the path that was asked for.
pub(crate) fn echo_targets(upstream: &Upstream) {
    upstream.decides(|head| {
        let target = head.first_line.split(' ').nth(1).unwrap_or_default();
        Reaction::answer(200, target)
    });
}

/// At once, so that nobody reads half of it.
pub(crate) fn write(gateway: &Gateway, text: &str) {
    let aside = gateway.house().path("gateway.yaml.new");
    fs::write(&aside, text).unwrap();
    fs::rename(aside, gateway.house().path("gateway.yaml")).unwrap();
}

pub(crate) fn reloads(gateway: &Gateway, outcome: &str) -> f64 {
    gateway
        .metrics()
        .unwrap()
        .sum(RELOADS, &[("outcome", outcome)])
}

/// Tells the gateway and waits until it has counted one more reload that ended so, and what is usable is in force. Where
/// the test is held up, the gateway sees the change before it is told: then it reads the same text twice.
pub(crate) fn reload(gateway: &Gateway, text: &str, outcome: &str) {
    let before = reloads(gateway, outcome);
    write(gateway, text);
    gateway.signal(Signal::HUP).unwrap();
    wait_for_reload(gateway, outcome, before);
    if outcome != "rejected" {
        let sha256 = sha256_of(text);
        let in_force = || (status(gateway)["configuration"]["sha256"] == sha256).then_some(());
        wait::until("what was written", PATIENCE, in_force).unwrap();
    }
}

fn sha256_of(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn wait_for_reload(gateway: &Gateway, outcome: &str, before: f64) {
    let counted = || (reloads(gateway, outcome) > before).then_some(());
    wait::until(&format!("a reload that is {outcome}"), PATIENCE, counted)
        .unwrap_or_else(|e| panic!("{e}: {}", gateway.stderr()));
}

pub(crate) fn wait_for_version(gateway: &Gateway, version: u32) {
    let wanted = version.to_string();
    wait::until(&format!("version {version}"), PATIENCE, || {
        let answer = gateway.client().get("/left/x").ok()?;
        (answer.field("x-version") == Some(&wanted)).then_some(())
    })
    .unwrap_or_else(|e| panic!("{e}: {}", gateway.stderr()));
}

pub(crate) fn status(gateway: &Gateway) -> Value {
    let answer = gateway.ask_admin("/status").unwrap();
    assert_eq!(answer.status, 200);
    serde_json::from_str(&answer.text()).unwrap()
}

/// Clients that ask both routes without a pause and note what is wrong.
pub(crate) struct Trickle {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Trickle {
    pub(crate) fn begin(gateway: &Gateway) -> Self {
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
    pub(crate) fn goes_on(&self, more: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + more;
        wait::until("answers", PATIENCE, || {
            (self.answered.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .unwrap();
    }

    pub(crate) fn end(self) -> Vec<String> {
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
