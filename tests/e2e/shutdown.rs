//! How the gateway ends: readiness first, then the listeners, then the process, and no request on the way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use portcullis_harness::{
    client::Socket,
    gateway::Gateway,
    upstream::{Reaction, Upstream},
    wait::{self, PATIENCE, SOON},
    wire::Ending,
};
use rustix::process::Signal;

use crate::stage;

const REQUEST: &str = "GET /open/x HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// `shutdown` are entries of `server.shutdown`.
fn start(upstream: &Upstream, shutdown: &str) -> Gateway {
    let address = upstream.address();
    stage::start(|places| {
        let server = stage::server(places, &format!("shutdown: {{ {shutdown} }}"));
        format!(
            "{server}
upstreams:
  hotel: {{ endpoints: [{address}] }}
routes:
  - {{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public }}
"
        )
    })
}

/// Clients that ask without a pause, on kept and on new connections, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn begin(gateway: &Gateway, count: usize) -> Self {
        let (stop, answered) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let address = gateway.address();
        let clients = (0..count).map(|number| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                let mut failures = Vec::new();
                // Every other client takes a new connection for each request.
                let per_connection = if number % 2 == 0 { 50 } else { 1 };
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut socket) = Socket::connect(address) else {
                        continue;
                    };
                    failures.extend(ask(&mut socket, per_connection, &answered));
                }
                failures
            })
        });
        Self {
            clients: clients.collect(),
            stop,
            answered,
        }
    }

    fn wait_for(&self, count: usize) {
        let answered = || self.answered.load(Ordering::Relaxed) >= count;
        wait::until("answers under load", PATIENCE, || answered().then_some(())).unwrap();
    }

    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self
            .clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

/// What went wrong. A connection that is closed before it answered anything of a request was closed before that was
/// read: what counts is an answer that is wrong or begins and does not end.
fn ask(socket: &mut Socket, count: usize, answered: &AtomicUsize) -> Option<String> {
    for _ in 0..count {
        if !socket.send(REQUEST) {
            return None;
        }
        match socket.response() {
            Ok(answer) if answer.status == 200 && answer.body == b"ok" => {
                answered.fetch_add(1, Ordering::Relaxed);
                let closes = answer
                    .head
                    .fields_named("connection")
                    .any(|value| value.eq_ignore_ascii_case("close"));
                if closes {
                    return None;
                }
            }
            Ok(answer) => return Some(format!("an answer with {}", answer.status)),
            Err(Ending::Closed | Ending::Reset) => return None,
            Err(ending) => return Some(ending.to_string()),
        }
    }
    None
}

#[test]
fn under_load_no_request_fails_and_the_process_ends_with_0() {
    let upstream = Upstream::start().unwrap();
    upstream.reacts_with(Reaction::ok().delayed(Duration::from_millis(20)));
    let mut gateway = start(&upstream, "drain_delay: 1s, timeout: 60s");
    let load = Load::begin(&gateway, 8);
    load.wait_for(50);
    gateway.signal(Signal::TERM).unwrap();
    let (status, took) = wait::timed(|| gateway.wait_for_end(PATIENCE));
    let status = status.unwrap();
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
    assert!(
        took < SOON,
        "nothing was in flight for long, yet it took {took:?}"
    );
    let received = upstream.count();
    let (answered, failures) = load.end();
    assert!(
        failures.is_empty(),
        "{} failures, such as {:?}",
        failures.len(),
        failures.first()
    );
    assert_eq!(
        received, answered,
        "the upstream served requests whose answers did not arrive"
    );
}

#[test]
fn readiness_goes_down_at_the_signal_and_listeners_stay_open_while_the_delay_passes() {
    let upstream = Upstream::start().unwrap();
    let gateway = start(&upstream, "drain_delay: 300s, timeout: 600s");
    gateway.signal(Signal::TERM).unwrap();
    wait_for_unreadiness(&gateway);
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(REQUEST);
    assert_eq!(socket.response().unwrap().status, 200);
}

fn wait_for_unreadiness(gateway: &Gateway) {
    let went_down = wait::until("readiness to go down", PATIENCE, || {
        (gateway.readiness() == Some(503)).then_some(())
    });
    went_down.unwrap();
}

#[test]
fn a_request_in_flight_is_finished_before_the_end() {
    let upstream = Upstream::start().unwrap();
    upstream.reacts_with(Reaction::ok().held());
    let mut gateway = start(&upstream, "drain_delay: 0s, timeout: 60s");
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(REQUEST);
    wait::until("the request", PATIENCE, || {
        (upstream.count() == 1).then_some(())
    })
    .unwrap();
    gateway.signal(Signal::TERM).unwrap();
    wait::until("closed listeners", PATIENCE, || {
        Socket::connect(gateway.address()).is_err().then_some(())
    })
    .unwrap();
    assert!(!gateway.has_ended(), "a request is in flight");
    upstream.let_go();
    assert_eq!(socket.response().unwrap().status, 200);
    let (status, took) = wait::timed(|| gateway.wait_for_end(PATIENCE));
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(took < SOON, "it lingered {took:?} with nothing in flight");
}

#[test]
fn an_idle_gateway_ends_at_once() {
    let upstream = Upstream::start().unwrap();
    let mut gateway = start(&upstream, "drain_delay: 0s, timeout: 60s");
    let mut idle = Socket::connect(gateway.address()).unwrap();
    idle.send(REQUEST);
    assert_eq!(idle.response().unwrap().status, 200);
    gateway.signal(Signal::INT).unwrap();
    let (status, took) = wait::timed(|| gateway.wait_for_end(PATIENCE));
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(took < SOON, "an idle connection held it for {took:?}");
    assert!(idle.closes_within(PATIENCE));
}

#[test]
fn a_hanging_upstream_holds_it_no_longer_than_the_timeout() {
    let upstream = Upstream::start().unwrap();
    upstream.reacts_with(Reaction::hang());
    let mut gateway = start(&upstream, "drain_delay: 0s, timeout: 2s");
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(REQUEST);
    wait::until("the request", PATIENCE, || {
        (upstream.count() == 1).then_some(())
    })
    .unwrap();
    let (status, took) = wait::timed(|| {
        gateway.signal(Signal::TERM).unwrap();
        gateway.wait_for_end(PATIENCE)
    });
    assert_eq!(status.unwrap().code(), Some(0), "{}", gateway.stderr());
    assert!(
        (Duration::from_millis(1_500)..SOON).contains(&took),
        "the timeout is 2 s, it took {took:?}"
    );
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let upstream = Upstream::start().unwrap();
    upstream.reacts_with(Reaction::hang());
    let mut gateway = start(&upstream, "drain_delay: 300s, timeout: 600s");
    let mut socket = Socket::connect(gateway.address()).unwrap();
    socket.send(REQUEST);
    wait::until("the request", PATIENCE, || {
        (upstream.count() == 1).then_some(())
    })
    .unwrap();
    gateway.signal(Signal::TERM).unwrap();
    wait_for_unreadiness(&gateway);
    gateway.signal(Signal::TERM).unwrap();
    let (status, took) = wait::timed(|| gateway.wait_for_end(PATIENCE));
    assert!(
        !status.unwrap().success(),
        "whoever asks twice is told that something was left undone"
    );
    assert!(took < SOON, "{took:?}");
}
