//! A service behind the gateway that is reached over TLS, by HTTP/2, or both, and says what it saw.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use h2::server::{self, SendResponse};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::wait::PATIENCE;

/// A request as it arrived, whole.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    /// With scheme and authority where the protocol has them.
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Which of the service's connections it came on, counted from 1.
    pub connection: usize,
    /// The certificate that the gateway showed, as DER.
    pub shown: Option<Vec<u8>>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// Where HTTP/2 is spoken.
    pub headers: HeaderMap,
    /// Where HTTP/2 is spoken and nothing follows, an empty one ends the answer with its head.
    pub body: Bytes,
    /// Behind the body, where HTTP/2 is spoken.
    pub trailers: Option<HeaderMap>,
    /// Not before [`SecuredUpstream::let_go`].
    pub held: bool,
}

impl Reply {
    pub fn ok() -> Self {
        Self::status(StatusCode::OK)
    }

    pub fn status(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"ok"),
            trailers: None,
            held: false,
        }
    }
}

type React = dyn Fn(&Asked) -> Reply + Send + Sync;

/// Listens until it is dropped.
pub struct SecuredUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    tls: Option<TlsAcceptor>,
    react: Mutex<Arc<React>>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    /// Handshakes that failed.
    refused: AtomicUsize,
    let_go: watch::Sender<bool>,
}

impl SecuredUpstream {
    /// Speaks HTTP/2 from the first byte (prior knowledge), and answers everything with 200.
    pub fn http2() -> anyhow::Result<Self> {
        Self::http2_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// As [`Self::http2`], at an address that another has left.
    pub fn http2_at(address: SocketAddr) -> anyhow::Result<Self> {
        Self::start(address, None)
    }

    /// Speaks what ALPN settles on, HTTP/1.1 where it settles on nothing, and answers everything with 200.
    pub fn over_tls(config: ServerConfig) -> anyhow::Result<Self> {
        let anywhere = (Ipv4Addr::LOCALHOST, 0).into();
        Self::start(anywhere, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn start(address: SocketAddr, tls: Option<TlsAcceptor>) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .context("binding an upstream")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            tls,
            react: Mutex::new(Arc::new(|_: &Asked| Reply::ok())),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            let_go: watch::Sender::new(false),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            runtime: Some(runtime),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, by what was asked.
    pub fn decides(&self, react: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *locked(&self.shared.react) = Arc::new(react);
    }

    /// Lets everything be answered that was held, and from now on everything at once.
    pub fn let_go(&self) {
        self.shared.let_go.send_replace(true);
    }

    /// What has arrived since it was last asked.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *locked(&self.shared.asked))
    }

    pub fn count(&self) -> usize {
        locked(&self.shared.asked).len()
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many of them ended in the handshake.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }
}

impl Drop for SecuredUpstream {
    /// Once it has returned, the port refuses and no connection is left.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

/// A test that failed while it held the lock must not hide its message behind a second one.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let served = serve(stream, connection, &shared).await;
            if let Err(error) = served {
                eprintln!("an upstream's connection ended: {error:#}");
            }
        });
    }
}

async fn serve(stream: TcpStream, connection: usize, shared: &Arc<Shared>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let Some(tls) = &shared.tls else {
        return http2(stream, Seen::on(connection), shared).await;
    };
    let accepted = tls.accept(stream).await;
    let stream = accepted.inspect_err(|_| {
        shared.refused.fetch_add(1, Ordering::SeqCst);
    })?;
    let session = stream.get_ref().1;
    let shown = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|certificate| certificate.to_vec());
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let seen = Seen { connection, shown };
    if is_http2 {
        http2(stream, seen, shared).await
    } else {
        http1(stream, seen, shared).await
    }
}

/// What is known of a connection.
#[derive(Clone)]
struct Seen {
    connection: usize,
    shown: Option<Vec<u8>>,
}

impl Seen {
    fn on(connection: usize) -> Self {
        Self {
            connection,
            shown: None,
        }
    }

    /// The request is on record before anything is answered, so that a client with an answer can look.
    async fn reply(self, head: http::request::Parts, body: Bytes, shared: &Shared) -> Reply {
        let asked = Asked {
            method: head.method,
            uri: head.uri,
            version: head.version,
            headers: head.headers,
            connection: self.connection,
            shown: self.shown,
            body,
        };
        let react = Arc::clone(&*locked(&shared.react));
        let reply = react(&asked);
        locked(&shared.asked).push(asked);
        if reply.held {
            // The sender lives as long as the service: it cannot be gone before.
            drop(shared.let_go.subscribe().wait_for(|gone| *gone).await);
        }
        reply
    }
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    seen: Seen,
    shared: &Arc<Shared>,
) -> anyhow::Result<()> {
    let mut connection = server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let (seen, shared) = (seen.clone(), Arc::clone(shared));
        tokio::spawn(async move {
            if let Err(error) = answer(request, respond, seen, &shared).await {
                eprintln!("an upstream's stream ended: {error:#}");
            }
        });
    }
    Ok(())
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    seen: Seen,
    shared: &Shared,
) -> anyhow::Result<()> {
    let (head, mut receiving) = request.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = receiving.data().await {
        let data = data?;
        receiving.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let reply = seen.reply(head, body.freeze(), shared).await;
    let mut head = Response::builder().status(reply.status).body(())?;
    *head.headers_mut() = reply.headers;
    let is_whole = reply.body.is_empty() && reply.trailers.is_none();
    let mut sending = respond.send_response(head, is_whole)?;
    if is_whole {
        return Ok(());
    }
    sending.send_data(reply.body, reply.trailers.is_none())?;
    if let Some(trailers) = reply.trailers {
        sending.send_trailers(trailers)?;
    }
    Ok(())
}

/// As much of it as a test needs: bodies have a declared length.
async fn http1<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    seen: Seen,
    shared: &Arc<Shared>,
) -> anyhow::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        let Some(head) = head(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let length = head.headers.get(http::header::CONTENT_LENGTH);
        let length: usize =
            length.map_or(Ok(0), |length| length.to_str()?.parse().context("a length"))?;
        while buffer.len() < length {
            anyhow::ensure!(stream.read_buf(&mut buffer).await? > 0, "cut off");
        }
        let body = buffer.split_to(length).freeze();
        let reply = seen.clone().reply(head, body, shared).await;
        let status = reply.status;
        let length = reply.body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&reply.body).await?;
        stream.flush().await?;
    }
}

async fn head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
) -> anyhow::Result<Option<http::request::Parts>> {
    const END: &[u8] = b"\r\n\r\n";
    let end = loop {
        if let Some(end) = buffer.windows(END.len()).position(|bytes| bytes == END) {
            break end;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = buffer.split_to(end + END.len());
    let text = std::str::from_utf8(&head)?;
    let mut lines = text.trim_end().split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut request = Request::builder()
        .method(words.next().unwrap_or_default())
        .uri(words.next().unwrap_or_default());
    for line in lines {
        let (name, value) = line.split_once(':').context("a header line")?;
        request = request.header(name, value.trim());
    }
    Ok(Some(request.body(())?.into_parts().0))
}
