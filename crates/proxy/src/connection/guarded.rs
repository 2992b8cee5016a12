//! The stream Pingora reads from: it reads along, and ends a connection that keeps it waiting.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
};
use portcullis_policy::{
    rejection::Malformation,
    wire::{ChunkWatch, HeadWatch},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{Connection, EXCHANGE, HEADER, IDLE, Protocol};

/// What an HTTP/2 client sends ahead of anything else (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;

/// How long a connection may keep us waiting, and what it is told when it was too long.
#[derive(Clone)]
pub(crate) struct Patience {
    /// Between two requests, and before the first.
    pub(crate) idle: Duration,
    /// From the first wait inside a header to its end.
    pub(crate) header: Duration,
    /// Written as it stands to a client whose header does not come to its end: there is no session to answer on.
    pub(crate) farewell: Bytes,
}

/// The stream Pingora reads from: the accepted one with [`Patience`].
pub(crate) struct GuardedStream {
    accepted: Stream,
    connection: Arc<Connection>,
    patience: Patience,
    /// Made at the first wait and moved on from then: a timer a request would cost more than the check.
    deadline: Option<Pin<Box<Sleep>>>,
    /// The state the deadline was set for.
    set_for: u64,
    head: HeadWatch,
    body: ChunkWatch,
    /// What is still due of an HTTP/2 client's preface.
    preface: usize,
}

impl GuardedStream {
    pub(crate) fn new(accepted: Stream, connection: Arc<Connection>, patience: Patience) -> Self {
        Self {
            accepted,
            connection,
            patience,
            deadline: None,
            set_for: u64::MAX,
            head: HeadWatch::default(),
            body: ChunkWatch::default(),
            preface: PREFACE_BYTES,
        }
    }

    /// # Errors
    /// Where the body can no longer be told from what follows it. Pingora would repair it and read on.
    fn note_read(&mut self, piece: &[u8]) -> io::Result<()> {
        match (piece, self.connection.phase()) {
            ([], _) => self.connection.ended.store(true, Relaxed),
            (_, HEADER) if self.connection.protocol == Protocol::Http2 => self.note_preface(piece),
            (_, EXCHANGE) if self.connection.is_chunked.load(Relaxed) => {
                return self.note_body(piece);
            }
            (_, EXCHANGE) => {}
            (_, phase) => self.note_head(piece, phase),
        }
        Ok(())
    }

    fn note_preface(&mut self, piece: &[u8]) {
        self.preface = self.preface.saturating_sub(piece.len());
        if self.preface == 0 {
            self.connection.enter(EXCHANGE);
        }
    }

    fn note_head(&mut self, piece: &[u8], phase: u64) {
        if phase == IDLE {
            self.connection.enter(HEADER);
            self.head = HeadWatch::default();
            self.body = ChunkWatch::default();
        }
        // Whether the body is chunked is not known before Pingora has read the head.
        self.body.feed(self.head.feed(piece));
        let broken = self.body.is_broken();
        self.connection.broken_if_chunked.store(broken, Relaxed);
        if let Some(fault) = self.head.fault() {
            self.connection.fault.lock().get_or_insert(fault);
        }
    }

    fn note_body(&mut self, piece: &[u8]) -> io::Result<()> {
        self.body.feed(piece);
        if !self.body.is_broken() {
            return Ok(());
        }
        *self.connection.fault.lock() = Some(Malformation::Chunk);
        Err(io::Error::new(io::ErrorKind::InvalidData, "a broken chunk"))
    }

    /// The accepted stream has nothing yet: waits on, or ends the connection once its deadline has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let allowed = match self.connection.phase() {
            IDLE => self.patience.idle,
            HEADER => self.patience.header,
            _ => return Poll::Pending,
        };
        let state = self.connection.state.load(Relaxed);
        if self.set_for != state {
            self.set_for = state;
            let at = Instant::now() + allowed;
            match &mut self.deadline {
                Some(sleep) => sleep.as_mut().reset(at),
                None => self.deadline = Some(Box::pin(tokio::time::sleep_until(at))),
            }
        }
        let passed = self
            .deadline
            .as_mut()
            .is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if passed {
            self.give_up(cx)
        } else {
            Poll::Pending
        }
    }

    /// Reads as the end of the stream, so that Pingora closes; a half-sent request is told why first.
    fn give_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.ended.store(true, Relaxed);
        let is_head_due = self.connection.phase() == HEADER;
        if is_head_due && self.connection.protocol == Protocol::Http1 {
            let accepted = Pin::new(&mut self.accepted);
            if accepted.poll_write(cx, &self.patience.farewell).is_ready() {
                return Pin::new(&mut self.accepted).poll_flush(cx).map(|_| Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.accepted).poll_read(cx, buf) {
            Poll::Ready(result) => {
                let noted = this.note_read(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(result.and(noted))
            }
            Poll::Pending => this.poll_deadline(cx),
        }
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().accepted).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().accepted).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().accepted).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().accepted).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.accepted.is_write_vectored()
    }
}

impl std::fmt::Debug for GuardedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.accepted.fmt(f)
    }
}

#[async_trait]
impl Shutdown for GuardedStream {
    async fn shutdown(&mut self) {
        self.accepted.shutdown().await;
    }
}

impl UniqueID for GuardedStream {
    fn id(&self) -> UniqueIDType {
        self.accepted.id()
    }
}

impl Ssl for GuardedStream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.accepted.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.accepted.selected_alpn_proto()
    }
}

impl GetTimingDigest for GuardedStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.accepted.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.accepted.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.accepted.get_write_pending_time()
    }
}

impl GetProxyDigest for GuardedStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.accepted.get_proxy_digest()
    }
}

impl GetSocketDigest for GuardedStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.accepted.get_socket_digest()
    }
}

#[async_trait]
impl Peek for GuardedStream {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.accepted.try_peek(buf).await
    }
}
