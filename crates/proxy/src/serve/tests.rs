//! The server over real sockets: a failed bind, and a panic in the middle of a request.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::{self, JoinHandle},
};

use portcullis_audit::DeskLimits;
use portcullis_config::units::Timestamp;
use portcullis_harness::{
    ports::free_port,
    wait::{self, PATIENCE},
};
use portcullis_policy::clock::Moment;
use portcullis_tokens::{Revocations, VerifierParts};

use super::*;

/// A gateway with one open route to nobody, and a clock that can be made to panic.
struct Running {
    address: SocketAddr,
    broken_clock: Arc<AtomicBool>,
    status: Status,
    close: oneshot::Sender<CloseWithin>,
    thread: JoinHandle<()>,
}

fn run() -> Running {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let text = format!(
        "version: 1
server: {{ listeners: [{{ address: {address} }}], admin: 127.0.0.1:1, access_log: none }}
upstreams: {{ nobody: {{ endpoints: [127.0.0.1:9] }} }}
routes: [{{ name: open, match: {{ path: /** }}, upstream: nobody, auth: public }}]"
    );
    let config = portcullis_config::parse(&text, "test.yaml", &|_| Err("none".into())).unwrap();
    let broken_clock = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken_clock);
    let no_issuers = VerifierParts {
        issuers: Vec::new(),
        cache_entries: 1,
        cache_bytes: 1024,
        revocations: Arc::new(Revocations::new()),
    };
    let server = Server::bind(Parts {
        config: &config,
        limiter: Arc::new(Limiter::new((1, 2), 16)),
        shared_limits: None,
        verifier: Arc::new(Verifier::new(no_issuers).unwrap()),
        desk: Arc::new(Desk::new(DeskLimits::default())),
        registry: &Registry::new(),
        auth_socket: None,
        clock: Arc::new(move || {
            assert!(
                !is_broken.load(Relaxed),
                "the clock panics, as the test asked it to"
            );
            Moment {
                since_start: Duration::from_secs(1),
                wall: Timestamp::from_secs(1),
            }
        }),
        spans: None,
        seed: [3, 4],
    })
    .unwrap();
    let (close, closing) = oneshot::channel();
    let status = server.status();
    let thread = thread::spawn(move || server.run(closing));
    Running {
        address,
        broken_clock,
        status,
        close,
        thread,
    }
}

impl Running {
    /// All that comes back on a connection of its own; empty where it is closed without an answer.
    fn ask(&self) -> String {
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
            .write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).ok();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[test]
fn a_panic_ends_one_request_and_not_the_process() {
    let gateway = run();
    assert!(
        gateway.ask().starts_with("HTTP/1.1 502 "),
        "nobody is behind the route"
    );
    gateway.broken_clock.store(true, Relaxed);
    assert_eq!(
        gateway.ask(),
        "",
        "the request that meets the panic is not answered"
    );
    gateway.broken_clock.store(false, Relaxed);
    assert!(
        gateway.ask().starts_with("HTTP/1.1 502 "),
        "the next one is served as before"
    );
    // The client has its answer a moment before the exchange is dropped; one lost to the panic would stay for ever.
    let none_in_flight = || (gateway.status.in_flight() == 0).then_some(());
    wait::until("the end of all exchanges", PATIENCE, none_in_flight).unwrap();
    gateway.close.send(Duration::from_secs(5)).unwrap();
    gateway.thread.join().unwrap();
}

#[test]
fn a_taken_address_ends_the_start() {
    let gateway = run();
    let runtime = runtime(1).unwrap();
    let refused = bind(&runtime, gateway.address).map(drop);
    assert!(matches!(refused, Err(StartError::Bind { address, .. }) if address == gateway.address));
    gateway.close.send(Duration::ZERO).unwrap();
    gateway.thread.join().unwrap();
}
