//! Caps on what one caller may have going on at the same time: never one too many at the upstream, and every place comes
//! back, also from a client that left.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

use portcullis_harness::{
    client::{Request, Response, Socket},
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE},
};

use crate::stage::{self, corp_claims, corp_token};

const CONFIGURATION: &str = r#"
rate_limits:
  in_flight: { key: user, in_flight: 20 }
  single: { key: ip, in_flight: 1 }
  hourly: { key: ip, limit: 2/1h }
  scarce: { key: "header:X-Scarce", limit: 1/1h }
routes:
  - { name: many, match: { path: /many/** }, upstream: slow, auth: { resource: hotel }, rate_limits: [in_flight] }
  - { name: single, match: { path: /single/** }, upstream: slow, auth: public, rate_limits: [single, hourly] }
  - { name: watched, match: { path: /watched/** }, upstream: slow, auth: public, rate_limits: [single], shadow: [single] }
  - { name: scarce, match: { path: /scarce/** }, upstream: slow, auth: public, rate_limits: [single, scarce] }
"#;

/// What the upstream does with `/…/wait`: nothing until the gate is opened. Anything else is answered at once.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    at_work: AtomicUsize,
    most_at_work: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        let now = self.at_work.fetch_add(1, SeqCst) + 1;
        self.most_at_work.fetch_max(now, SeqCst);
        let closed = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(closed, |is_open| !*is_open).unwrap());
        self.at_work.fetch_sub(1, SeqCst);
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

struct Stage {
    gateway: Gateway,
    gate: Arc<Gate>,
    upstream: Upstream,
}

impl Stage {
    fn build() -> Self {
        let (upstream, gate) = (Upstream::start().unwrap(), Arc::<Gate>::default());
        let at = Arc::clone(&gate);
        upstream.decides(move |head| {
            if head.first_line.contains("/wait") {
                at.pass();
            }
            match &head.first_line {
                line if line.contains("/hang") => Reaction::hang(),
                line if line.contains("/stream") => {
                    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
                    Reaction::send(head).then_hang()
                }
                _ => Reaction::ok(),
            }
        });
        let address = upstream.address();
        let gateway = stage::start(|places| {
            let (server, issuers) = (stage::server(places, ""), stage::CORP);
            format!(
                "{server}{issuers}\nupstreams: {{ slow: {{ endpoints: [{address}], timeouts: {{ request: 1h }} }} }}\n{CONFIGURATION}"
            )
        });
        Self {
            gateway,
            gate,
            upstream,
        }
    }

    fn ask(&self, path: &str) -> Response {
        self.gateway.client().get(path).unwrap()
    }

    /// On a connection and a thread of its own.
    fn begin(&self, request: Request) -> JoinHandle<Response> {
        let mut client = self.gateway.client();
        thread::spawn(move || client.send(&request).unwrap())
    }

    /// Something is being done for the client at the other end of this.
    fn leave_waiting(&self, path: &str) -> Socket {
        let mut socket = Socket::connect(self.gateway.address()).unwrap();
        socket.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        socket
    }

    fn decisions(&self, limit: &str, outcome: &str) -> f64 {
        let metrics = self.gateway.metrics().unwrap();
        let labels = [("limit", limit), ("outcome", outcome)];
        metrics.sum("portcullis_rate_limit_decisions_total", &labels)
    }
}

fn of(user: &str, path: &str) -> Request {
    Request::get(path).bearer(&corp_token(&corp_claims(user)))
}

fn check_refusal(answer: &Response, limit: &str, most: usize) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (429, "rate-limited")
    );
    assert_eq!(answer.field("retry-after"), Some("1"));
    let policy = format!(r#""{limit}";q={most};qu="concurrent-requests""#);
    assert_eq!(answer.field("ratelimit-policy"), Some(policy.as_str()));
    assert_eq!(answer.field("x-ratelimit-remaining"), Some("0"));
}

#[test]
fn twenty_requests_of_a_user_are_at_the_upstream_and_never_one_more() {
    let stage = Stage::build();
    let begun: Vec<_> = (0..25)
        .map(|_| stage.begin(of("eager", "/many/wait")))
        .collect();
    wait::until("five refusals", PATIENCE, || {
        (begun.iter().filter(|one| one.is_finished()).count() == 5).then_some(())
    })
    .unwrap();
    wait::until("the other twenty at the upstream", PATIENCE, || {
        (stage.gate.at_work.load(SeqCst) == 20).then_some(())
    })
    .unwrap();
    assert_eq!(
        stage
            .gateway
            .client()
            .send(&of("patient", "/many/x"))
            .unwrap()
            .status,
        200
    );
    stage.gate.open();
    let answers: Vec<Response> = begun.into_iter().map(|one| one.join().unwrap()).collect();
    let (passed, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((passed.len(), refused.len()), (20, 5));
    refused
        .into_iter()
        .for_each(|answer| check_refusal(answer, "in_flight", 20));
    assert_eq!(stage.decisions("in_flight", "refused"), 5.0);
    assert_eq!(stage.decisions("in_flight", "allowed"), 21.0);
    storm(&stage);
    assert_eq!(stage.gate.most_at_work.load(SeqCst), 20);
    let request = of("eager", "/many/x");
    passes_soon(&stage, &request);
}

/// Thirty clients of one user, each with one request after the other.
fn storm(stage: &Stage) {
    let clients = (0..30).map(|_| {
        let (mut client, request) = (stage.gateway.client(), of("eager", "/many/wait"));
        thread::spawn(move || {
            for _ in 0..20 {
                let status = client.send(&request).unwrap().status;
                assert!(matches!(status, 200 | 429), "{status}");
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let stage = Stage::build();
    for path in ["/single/hang", "/single/stream"] {
        stage.upstream.take_received();
        let mut waiting = stage.leave_waiting(path);
        wait::until("it at the upstream", PATIENCE, || {
            (stage.upstream.count() == 1).then_some(())
        })
        .unwrap();
        if path.ends_with("stream") {
            assert!(
                waiting.head_within(PATIENCE).is_ok(),
                "the answer has begun"
            );
        }
        check_refusal(&stage.ask("/scarce/x"), "single", 1);
        drop(waiting);
        // What the rate refuses had its place and keeps none, so that the next one finds it free.
        wait::until("its place", PATIENCE, || {
            let answer = stage.ask("/scarce/x");
            let policy = answer.field("ratelimit-policy")?;
            (answer.status == 429 && !policy.contains("concurrent")).then_some(())
        })
        .unwrap();
    }
}

#[test]
fn a_cap_in_the_shadow_only_reports() {
    let stage = Stage::build();
    let waiting = stage.begin(Request::get("/watched/wait"));
    wait::until("a request at the upstream", PATIENCE, || {
        (stage.gate.at_work.load(SeqCst) == 1).then_some(())
    })
    .unwrap();
    assert_eq!(stage.ask("/watched/x").status, 200);
    assert_eq!(stage.decisions("single", "would_refuse"), 1.0);
    stage.gate.open();
    assert_eq!(waiting.join().unwrap().status, 200);
}

#[test]
fn a_refusal_for_want_of_a_place_spends_nothing_and_one_of_the_rate_keeps_no_place() {
    let stage = Stage::build();
    let waiting = stage.begin(Request::get("/single/wait"));
    wait::until("a request at the upstream", PATIENCE, || {
        (stage.gate.at_work.load(SeqCst) == 1).then_some(())
    })
    .unwrap();
    for _ in 0..10 {
        check_refusal(&stage.ask("/single/x"), "single", 1);
    }
    stage.gate.open();
    assert_eq!(waiting.join().unwrap().status, 200);
    passes_soon(&stage, &Request::get("/single/x"));
    let policy = wait::until("a refusal for another reason", PATIENCE, || {
        let refused = stage.ask("/single/x");
        let policy = refused.field("ratelimit-policy").unwrap_or_default();
        (!policy.contains("concurrent")).then(|| policy.to_owned())
    });
    let policy = policy.unwrap();
    assert!(
        policy.starts_with(r#""hourly";q=2"#),
        "two an hour, of which the refused spent none: {policy}"
    );
    passes_soon(&stage, &Request::get("/scarce/x"));
}

/// A place is free again a moment after its request was answered.
fn passes_soon(stage: &Stage, request: &Request) {
    let mut client = stage.gateway.client();
    wait::until("a place", PATIENCE, || {
        let answer = client.send(request).unwrap();
        let policy = answer.field("ratelimit-policy").unwrap_or_default();
        assert!(
            answer.status == 200 || policy.contains("concurrent"),
            "{policy}"
        );
        (answer.status == 200).then_some(())
    })
    .unwrap();
}
