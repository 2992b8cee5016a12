//! A service behind the gateway that keeps every byte it was sent and answers as it is told, well or badly.

use std::{
    collections::HashMap,
    io::Write,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context;
use rustix::net::sockopt::set_socket_linger;

use crate::{
    wait::{self, Deadline, PATIENCE},
    wire::{Body, Ending, Head, Wire},
};

/// Longer than any test: the gateway closes the connections it no longer needs.
const IDLE: Duration = Duration::from_secs(120);

/// A request as it arrived, whole.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: Head,
    /// Without the framing of chunks.
    pub body: Vec<u8>,
    /// Which of the upstream's connections it came on, counted from 1.
    pub connection: usize,
}

impl Received {
    pub fn method(&self) -> &str {
        self.head.first_line.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.head.first_line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

/// What the upstream does about a request, one step after the other. A reaction that neither closes nor resets leaves
/// the connection open for the next request.
#[derive(Clone, Debug, Default)]
pub struct Reaction {
    steps: Vec<Step>,
    before_the_body: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Until [`Upstream::let_go`].
    Wait,
    /// Until the gateway closes.
    Hang,
    Close,
    Reset,
}

impl Reaction {
    pub fn ok() -> Self {
        Self::answer(200, "ok")
    }

    pub fn answer(status: u16, body: &str) -> Self {
        Self::send(format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// These bytes, whether they are HTTP or not.
    pub fn send(bytes: impl Into<Vec<u8>>) -> Self {
        Self::default().then_send(bytes)
    }

    pub fn hang() -> Self {
        Self::default().then_hang()
    }

    pub fn close() -> Self {
        Self::default().then_close()
    }

    pub fn reset() -> Self {
        Self::default().then_reset()
    }

    #[must_use]
    pub fn then_send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    #[must_use]
    pub fn then_pause(self, length: Duration) -> Self {
        self.then(Step::Pause(length))
    }

    #[must_use]
    pub fn then_close(self) -> Self {
        self.then(Step::Close)
    }

    #[must_use]
    pub fn then_reset(self) -> Self {
        self.then(Step::Reset)
    }

    #[must_use]
    pub fn then_hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// After so long.
    #[must_use]
    pub fn delayed(mut self, by: Duration) -> Self {
        self.steps.insert(0, Step::Pause(by));
        self
    }

    /// Not before [`Upstream::let_go`].
    #[must_use]
    pub fn held(mut self) -> Self {
        self.steps.insert(0, Step::Wait);
        self
    }

    /// As soon as the head is there, without reading the body.
    #[must_use]
    pub fn before_the_body(self) -> Self {
        Self {
            before_the_body: true,
            ..self
        }
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

type React = dyn Fn(&Head) -> Reaction + Send + Sync;

/// Listens until it is dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    react: Mutex<Arc<React>>,
    received: Mutex<Vec<Received>>,
    broken_off: Mutex<Vec<Vec<u8>>>,
    connections: AtomicUsize,
    /// By connection, to end them when the upstream goes.
    streams: Mutex<HashMap<usize, TcpStream>>,
    stopped: AtomicBool,
    has_let_go: Mutex<bool>,
    letting_go: Condvar,
}

impl Shared {
    fn wait_until_let_go(&self) {
        let held = locked(&self.has_let_go);
        let waited = self
            .letting_go
            .wait_timeout_while(held, IDLE, |has_let_go| !*has_let_go);
        // Whatever came of it, the wait is over.
        drop(waited);
    }
}

impl Upstream {
    /// Answers everything with 200.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_at(0)
    }

    /// At a port that was known before, as of one that comes late or comes back.
    pub fn start_at(port: u16) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("binding an upstream")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            react: Mutex::new(Arc::new(|_: &Head| Reaction::ok())),
            received: Mutex::default(),
            broken_off: Mutex::default(),
            connections: AtomicUsize::new(0),
            streams: Mutex::default(),
            stopped: AtomicBool::new(false),
            has_let_go: Mutex::default(),
            letting_go: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let accepting = thread::Builder::new()
            .name("upstream".to_owned())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, to everything.
    pub fn reacts_with(&self, reaction: Reaction) {
        self.decides(move |_| reaction.clone());
    }

    /// From now on, by what the head says.
    pub fn decides(&self, react: impl Fn(&Head) -> Reaction + Send + Sync + 'static) {
        *locked(&self.shared.react) = Arc::new(react);
    }

    /// Lets everything be answered that was held, and from now on everything at once.
    pub fn let_go(&self) {
        *locked(&self.shared.has_let_go) = true;
        self.shared.letting_go.notify_all();
    }

    /// How many requests have arrived whole.
    pub fn count(&self) -> usize {
        locked(&self.shared.received).len()
    }

    /// What has arrived since it was last asked.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut *locked(&self.shared.received))
    }

    /// The requests that broke off before they were whole, since it was last asked.
    pub fn take_broken_off(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *locked(&self.shared.broken_off))
    }

    /// How many connections were ever made.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    /// Once it has returned, the port refuses and no connection is left.
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let ended = wait::until("the end of an upstream", PATIENCE, || {
            // Wakes the accepting thread, which then sees that it is over.
            drop(TcpStream::connect(self.address));
            self.accepting.is_finished().then_some(())
        });
        if let Err(error) = ended {
            eprintln!("an upstream at {} goes on: {error}", self.address);
        }
        for (_, stream) in locked(&self.shared.streams).drain() {
            // Whoever has gone already needs no goodbye.
            drop(stream.shutdown(Shutdown::Both));
        }
        self.let_go();
    }
}

/// A test that failed while it held the lock must not hide its message behind a second one.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        if let Ok(clone) = stream.try_clone() {
            locked(&shared.streams).insert(connection, clone);
        }
        let (shared, Ok(mut wire)) = (Arc::clone(shared), Wire::new(stream)) else {
            continue;
        };
        let serving = thread::Builder::new().name("upstream".to_owned());
        drop(serving.spawn(move || {
            serve(&mut wire, connection, &shared);
            // The last handle but ours: with it gone, dropping ours closes.
            locked(&shared.streams).remove(&connection);
        }));
    }
}

fn serve(wire: &mut Wire, connection: usize, shared: &Shared) {
    while let Some(reaction) = receive(wire, connection, shared) {
        let mut steps = reaction.steps.into_iter();
        if !steps.all(|step| carry_out(step, wire, shared)) {
            return;
        }
    }
}

/// The request is on record before anything is answered, so that a client with an answer can look.
fn receive(wire: &mut Wire, connection: usize, shared: &Shared) -> Option<Reaction> {
    let deadline = Deadline::within(IDLE);
    let head = match wire.head(&deadline) {
        Ok(head) => head,
        Err(ending) => {
            note_break(shared, ending, wire.rest().to_vec());
            return None;
        }
    };
    let react = Arc::clone(&*locked(&shared.react));
    let reaction = react(&head);
    if !reaction.before_the_body && head.field("expect") == Some("100-continue") {
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let framing = if reaction.before_the_body {
        Body::Exactly(0)
    } else {
        head.body(Body::Exactly(0))
    };
    match wire.body(framing, &deadline) {
        Ok(body) => {
            locked(&shared.received).push(Received {
                head,
                body,
                connection,
            });
            Some(reaction)
        }
        Err(ending) => {
            note_break(shared, ending, [head.raw.as_slice(), wire.rest()].concat());
            None
        }
    }
}

fn note_break(shared: &Shared, ending: Ending, bytes: Vec<u8>) {
    if ending != Ending::Closed && !bytes.is_empty() {
        locked(&shared.broken_off).push(bytes);
    }
}

/// Whether the connection goes on.
fn carry_out(step: Step, wire: &mut Wire, shared: &Shared) -> bool {
    match step {
        Step::Send(bytes) => wire.stream().write_all(&bytes).is_ok(),
        Step::Pause(length) => {
            thread::sleep(length);
            true
        }
        Step::Wait => {
            shared.wait_until_let_go();
            true
        }
        Step::Hang => {
            // Whatever it reads or however it ends: the point is that nothing is answered.
            drop(wire.to_the_end(&Deadline::within(IDLE)));
            false
        }
        Step::Close => {
            wire.finish();
            false
        }
        Step::Reset => {
            // Closing with a linger of zero sends RST.
            if let Err(error) = set_socket_linger(wire.stream(), Some(Duration::ZERO)) {
                eprintln!("an upstream closes instead of resetting: {error}");
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::Socket, wait::SOON};

    #[test]
    fn it_keeps_what_it_was_sent_and_answers_as_told() {
        let upstream = Upstream::start().unwrap();
        upstream.decides(|head| {
            if head.first_line.starts_with("GET /a ") {
                Reaction::ok()
            } else {
                Reaction::reset()
            }
        });
        let mut socket = Socket::connect(upstream.address()).unwrap();
        socket.send("POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        assert_eq!(socket.response_within(SOON).unwrap_err(), Ending::Reset);
        let mut socket = Socket::connect(upstream.address()).unwrap();
        socket.send("GET /a HTTP/1.1\r\nX: 1\r\nx: 2\r\n\r\n");
        assert_eq!(socket.response_within(SOON).unwrap().text(), "ok");
        let received = upstream.take_received();
        assert_eq!(
            (received[0].target(), received[0].body.as_slice()),
            ("/b", b"abc".as_slice())
        );
        assert_eq!(
            received[1].head.fields_named("X").collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert_eq!((received[1].connection, upstream.connections()), (2, 2));
    }

    #[test]
    fn an_answer_that_is_cut_off_is_no_answer() {
        let upstream = Upstream::start().unwrap();
        upstream.reacts_with(
            Reaction::send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").then_close(),
        );
        let mut socket = Socket::connect(upstream.address()).unwrap();
        socket.send("GET / HTTP/1.1\r\n\r\n");
        assert_eq!(socket.response_within(SOON).unwrap_err(), Ending::CutOff);
    }

    #[test]
    fn what_is_held_is_answered_once_it_is_let_go() {
        let upstream = Upstream::start().unwrap();
        upstream.reacts_with(Reaction::ok().held());
        let mut socket = Socket::connect(upstream.address()).unwrap();
        socket.send("GET / HTTP/1.1\r\n\r\n");
        let early = socket.response_within(Duration::from_millis(200));
        assert_eq!(early.unwrap_err(), Ending::TimedOut);
        upstream.let_go();
        assert_eq!(socket.response_within(SOON).unwrap().text(), "ok");
    }

    #[test]
    fn nobody_is_left_to_answer_once_it_is_gone() {
        let upstream = Upstream::start().unwrap();
        let address = upstream.address();
        let mut socket = Socket::connect(address).unwrap();
        drop(upstream);
        assert!(Socket::connect(address).is_err());
        assert!(socket.closes_within(SOON));
    }

    #[test]
    fn a_request_that_breaks_off_is_not_received() {
        let upstream = Upstream::start().unwrap();
        let mut socket = Socket::connect(upstream.address()).unwrap();
        socket.send("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
        socket.finish();
        assert!(socket.closes_within(SOON));
        assert_eq!(upstream.count(), 0);
        assert_eq!(upstream.take_broken_off().len(), 1);
    }
}
