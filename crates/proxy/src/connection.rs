//! One accepted connection, and the deadlines on what it sends between two requests.
//!
//! Pingora bounds each read, never a request header as a whole, and waits for ever between two requests. The stream it
//! reads from is therefore wrapped: while a header is outstanding, a read that would wait past the deadline ends the
//! connection instead. During an exchange the wrapper stands aside, and the timeouts of the exchange apply.
//!
//! ```text
//! Idle ──first byte──▶ Header ──header complete──▶ Exchange ──answered──▶ Idle (next epoch)
//! ```
//!
//! An HTTP/2 connection carries many exchanges at once. It is due its preface within the time of a header, and from then
//! on the wrapper stands aside for good: frames have bounds of their own, and Pingora closes a connection without streams.

mod guarded;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use http::HeaderValue;
use parking_lot::Mutex;
use pingora::protocols::{ALPN, Stream};
use portcullis_policy::rejection::Malformation;
use tokio::sync::Notify;

pub(crate) use guarded::{GuardedStream, Patience};

tokio::task_local! {
    /// The connection whose requests the current task serves. Pingora hands hooks a session, not our connection.
    static CURRENT: Arc<Connection>;
}

const IDLE: u64 = 0;
const HEADER: u64 = 1;
const EXCHANGE: u64 = 2;
const PHASE_BITS: u32 = 2;

/// How the client talks on a connection, as both sides agreed on it before the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// What hooks and the wrapped stream share about one connection.
pub(crate) struct Connection {
    pub(crate) peer: Option<IpAddr>,
    /// Nobody between the client and us could read it.
    pub(crate) is_encrypted: bool,
    protocol: Protocol,
    /// The peer's address as headers tell it; written once and not for each request.
    pub(crate) peer_value: Option<HeaderValue>,
    /// Epoch and phase in one word. The epoch counts requests, so that a deadline set for one is not taken for the next's.
    state: AtomicU64,
    /// The client closed its side, or ran into a deadline: what follows is no malformed request.
    ended: AtomicBool,
    /// What was wrong with the current request as it was written, once it is known.
    fault: Mutex<Option<Malformation>>,
    /// What came with the head would be a broken body if the body were chunked.
    broken_if_chunked: AtomicBool,
    is_chunked: AtomicBool,
    /// Of a stream in HTTP/2: its answer is whole, and its client still owes a part of the body.
    owes_body: Notify,
    /// Of a stream in HTTP/2: its client went before the answer had begun.
    abandoned: AtomicBool,
}

impl Connection {
    pub(crate) fn new(peer: Option<IpAddr>, accepted: &Stream) -> Self {
        let protocol = match accepted.selected_alpn_proto() {
            Some(ALPN::H2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let begins = match protocol {
            Protocol::Http1 => IDLE,
            Protocol::Http2 => HEADER,
        };
        let told = peer.and_then(|peer| HeaderValue::try_from(peer.to_string()).ok());
        let is_encrypted = accepted.get_ssl_digest().is_some();
        Self::begun((peer, told), is_encrypted, protocol, begins)
    }

    /// What the hooks of one stream see of the connection that carries it.
    pub(crate) fn stream(&self) -> Self {
        let peer = (self.peer, self.peer_value.clone());
        Self::begun(peer, self.is_encrypted, self.protocol, EXCHANGE)
    }

    fn begun(
        (peer, peer_value): (Option<IpAddr>, Option<HeaderValue>),
        is_encrypted: bool,
        protocol: Protocol,
        phase: u64,
    ) -> Self {
        Self {
            peer,
            peer_value,
            is_encrypted,
            protocol,
            state: AtomicU64::new(phase),
            ended: AtomicBool::new(false),
            fault: Mutex::new(None),
            broken_if_chunked: AtomicBool::new(false),
            is_chunked: AtomicBool::new(false),
            owes_body: Notify::new(),
            abandoned: AtomicBool::new(false),
        }
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Runs `serve` so that its hooks find this connection through [`current`].
    pub(crate) async fn scope<F: Future>(self: &Arc<Self>, serve: F) -> F::Output {
        CURRENT.scope(Arc::clone(self), serve).await
    }

    /// The header is complete. What was wrong on the wire so far, if anything, is given out once.
    pub(crate) fn request_began(&self, is_chunked: bool) -> Option<Malformation> {
        if self.protocol == Protocol::Http2 {
            return None;
        }
        self.enter(EXCHANGE);
        self.is_chunked.store(is_chunked, Relaxed);
        let broken = is_chunked && self.broken_if_chunked.load(Relaxed);
        self.take_fault().or(broken.then_some(Malformation::Chunk))
    }

    /// What has turned out to be wrong since.
    pub(crate) fn take_fault(&self) -> Option<Malformation> {
        self.fault.lock().take()
    }

    /// `abandoned`: the client went before its answer had begun.
    pub(crate) fn request_ended(&self, abandoned: bool) {
        if self.protocol == Protocol::Http2 {
            self.abandoned.store(abandoned, Relaxed);
            return;
        }
        let epoch = (self.state.load(Relaxed) >> PHASE_BITS).wrapping_add(1);
        self.state.store(epoch << PHASE_BITS | IDLE, Relaxed);
    }

    pub(crate) fn was_abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }

    /// The answer is whole and the body is not. Pingora bounds the reads of a body in HTTP/1 alone.
    pub(crate) fn note_owed_body(&self) {
        self.owes_body.notify_one();
    }

    pub(crate) async fn owes_body(&self) {
        self.owes_body.notified().await;
    }

    /// Whether Pingora ended the connection over bytes it could not parse: such a request reaches no hook.
    pub(crate) fn ended_malformed(&self) -> bool {
        self.protocol == Protocol::Http1 && self.phase() == HEADER && !self.ended.load(Relaxed)
    }

    fn phase(&self) -> u64 {
        self.state.load(Relaxed) & ((1 << PHASE_BITS) - 1)
    }

    fn enter(&self, phase: u64) {
        let epoch = self.state.load(Relaxed) >> PHASE_BITS;
        self.state.store(epoch << PHASE_BITS | phase, Relaxed);
    }
}

/// The connection of the running task; `None` outside of one, as in a test that drives hooks by hand.
pub(crate) fn current() -> Option<Arc<Connection>> {
    CURRENT.try_with(Arc::clone).ok()
}
