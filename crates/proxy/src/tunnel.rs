//! A tunnel: the upstream's side of a connection that was a request and is a WebSocket now.
//!
//! No hook runs while a tunnel is silent, so what must end it sits in the connection itself. The one to the upstream is
//! made here and wrapped: its reads end when the tunnel has lasted long enough or its session was revoked, and before
//! the handshake is answered they end with the route's timeout. The client then sees its connection closed.
//!
//! It also keeps the answer back until the whole request is out. Pingora 0.9 closes a tunnel whose `101` it reads before
//! it has noted the end of the request's (empty) body, and a quick upstream is that fast.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    Error, ErrorType,
    connectors::l4::Connect,
    protocols::l4::{
        ext::{connect, connect_uds},
        socket::SocketAddr,
        stream::Stream,
        virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream},
    },
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy},
};
use portcullis_tokens::Principal;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Sleep, sleep, timeout},
};

use crate::{admission::Admitted, gateway::Gateway, lasting::Cut};

/// How often a silent tunnel looks whether it may go on.
const LOOK: Duration = Duration::from_secs(1);

/// Tunnels share no pooled connections with requests: those are not wrapped.
const POOL_OF_ITS_OWN: u64 = 0x7475_6e6e_656c;

/// One attempt to open a tunnel, and the tunnel it becomes.
pub(crate) struct Tunnel {
    gateway: Arc<Gateway>,
    principal: Option<Arc<Principal>>,
    /// When the handshake must be answered, and when the tunnel ends; both since the start of the process.
    answer_by: Duration,
    until: Duration,
    stage: AtomicU8,
    cut: OnceLock<Cut>,
}

/// The connection is being made: TLS may be talking on it.
const CONNECTING: u8 = 0;
/// The handshake is on its way up.
const ASKING: u8 = 1;
const OPEN: u8 = 2;
/// The upstream answered as it would any request, and has done so.
const DECLINED: u8 = 3;

impl Tunnel {
    /// `allowed` is what the route's timeout leaves for the handshake.
    pub(crate) fn new(gateway: &Arc<Gateway>, admitted: &Admitted, allowed: Duration) -> Arc<Self> {
        let now = gateway.now().since_start;
        Arc::new(Self {
            gateway: Arc::clone(gateway),
            principal: admitted.principal().cloned(),
            answer_by: now.saturating_add(allowed),
            until: now.saturating_add(admitted.route().max_connection_life),
            stage: AtomicU8::new(CONNECTING),
            cut: OnceLock::new(),
        })
    }

    /// Has `peer` connected to through here.
    pub(crate) fn lead(self: &Arc<Self>, peer: &mut HttpPeer) {
        peer.group_key ^= POOL_OF_ITS_OWN;
        let options = &mut peer.options;
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        // Reads are bounded in the connection, by what is left of the handshake and then of the tunnel.
        options.read_timeout = None;
        options.custom_l4 = Some(Arc::new(Opening {
            tunnel: Arc::clone(self),
            within: options.connection_timeout,
        }));
    }

    /// The handshake goes out next.
    pub(crate) fn ask(&self) {
        self.stage.store(ASKING, Ordering::Release);
    }

    pub(crate) fn open(&self) {
        self.stage.store(OPEN, Ordering::Release);
    }

    /// The whole answer was read, and was not the one that opens a tunnel. The connection is not used again.
    pub(crate) fn decline(&self) {
        let decline = |stage| (stage != OPEN).then_some(DECLINED);
        self.stage
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, decline)
            .ok();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stage() == OPEN
    }

    pub(crate) fn cut(&self) -> Option<Cut> {
        self.cut.get().copied()
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::Acquire)
    }

    /// How long to wait before looking again; `Err` with the end of the stream, or with the timeout of the handshake.
    fn look(&self) -> Result<Duration, io::Result<()>> {
        let now = self.gateway.now();
        match self.stage() {
            DECLINED => Err(Ok(())),
            OPEN => match Cut::of(self.principal.as_deref(), self.until, now) {
                Some(cut) => {
                    self.cut.get_or_init(|| cut);
                    Err(Ok(()))
                }
                None => Ok(LOOK.min(self.until.saturating_sub(now.since_start))),
            },
            _ if now.since_start >= self.answer_by => Err(Err(io::ErrorKind::TimedOut.into())),
            _ => Ok(self.answer_by.saturating_sub(now.since_start)),
        }
    }
}

/// Pingora prints peers, and with them this.
struct Opening {
    tunnel: Arc<Tunnel>,
    within: Option<Duration>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a tunnel")
    }
}

#[async_trait]
impl Connect for Opening {
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<Stream> {
        let connecting = Socket::connect(address);
        let socket = match self.within {
            None => connecting.await?,
            Some(within) => timeout(within, connecting)
                .await
                .map_err(|_elapsed| Error::new(ErrorType::ConnectTimedout))??,
        };
        let wrapped = WatchedSocket {
            socket,
            tunnel: Arc::clone(&self.tunnel),
            flushes: 0,
            next_look: None,
            stage_then: CONNECTING,
        };
        Ok(VirtualSocketStream::new(Box::new(wrapped)).into())
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn connect(address: &SocketAddr) -> pingora::Result<Self> {
        match address {
            SocketAddr::Inet(address) => connect(address, None).await.map(Self::Tcp),
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().unwrap_or(Path::new(""));
                connect_uds(path).await.map(Self::Unix)
            }
        }
    }
}

/// The accepted bytes are the upstream's own; only when they are read, and when they end, is decided here.
struct WatchedSocket {
    socket: Socket,
    tunnel: Arc<Tunnel>,
    /// Since the last byte went out. The second one ends the request: the first follows its head, the other its body.
    flushes: u8,
    next_look: Option<Pin<Box<Sleep>>>,
    /// When the next look was set.
    stage_then: u8,
}

impl std::fmt::Debug for WatchedSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the upstream's side of a tunnel")
    }
}

impl WatchedSocket {
    fn is_request_out(&self) -> bool {
        self.tunnel.stage() != ASKING || self.flushes >= 2
    }

    /// Looks whether to go on where it is time for it, and is woken when it is next. Ready with what ends the reading.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stage = self.tunnel.stage();
        if self.stage_then != stage {
            self.stage_then = stage;
            self.next_look = None;
        }
        loop {
            if let Some(next_look) = &mut self.next_look {
                ready!(next_look.as_mut().poll(cx));
            }
            match self.tunnel.look() {
                Ok(wait) => self.next_look = Some(Box::pin(sleep(wait))),
                Err(end) => return Poll::Ready(end),
            }
        }
    }
}

impl AsyncRead for WatchedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Before the read: an upstream that never falls silent must not outlast its tunnel.
        if let Poll::Ready(end) = this.poll_look(cx) {
            return Poll::Ready(end);
        }
        if !this.is_request_out() {
            return Poll::Pending;
        }
        match &mut this.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for WatchedSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.flushes = 0;
        match &mut this.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.flushes = this.flushes.saturating_add(1);
        match &mut this.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

impl VirtualSocket for WatchedSocket {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match (&self.socket, option) {
            (Socket::Tcp(socket), VirtualSockOpt::NoDelay) => socket.set_nodelay(true),
            _ => Ok(()),
        }
    }
}
