//! WebSockets on both sides of the gateway: a server that does as its client says, and the client.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{
    self, Message, WebSocket,
    client::IntoClientRequest,
    handshake::server::{Request, Response},
    protocol::WebSocketConfig,
};

use crate::wait::PATIENCE;

/// Larger than any message of a test.
const LARGEST: usize = 64 << 20;

/// Echoes every message, with exceptions: `close` has it close, `vanish` drop the connection, `whoami` tells which
/// headers the handshake had, `say N` sends N bytes.
pub struct Echo {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
}

impl Echo {
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let echo = Self {
            address: listener.local_addr()?,
            open: Arc::default(),
            opened: Arc::default(),
        };
        let (open, opened) = (Arc::clone(&echo.open), Arc::clone(&echo.opened));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (open, opened) = (Arc::clone(&open), Arc::clone(&opened));
                thread::spawn(move || {
                    let Some((socket, head)) = accept(stream) else {
                        return;
                    };
                    opened.fetch_add(1, SeqCst);
                    open.fetch_add(1, SeqCst);
                    serve(socket, &head);
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        Ok(echo)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections whose other end has not gone.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// Handshakes that came through.
    pub fn opened(&self) -> usize {
        self.opened.load(SeqCst)
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST))
}

fn accept(stream: TcpStream) -> Option<(WebSocket<TcpStream>, String)> {
    stream.set_nodelay(true).ok()?;
    let mut head = String::new();
    #[expect(
        clippy::result_large_err,
        reason = "the callback's type is the library's"
    )]
    let keep = |request: &Request, response: Response| {
        for (name, value) in request.headers() {
            head.push_str(&format!("{name}: {}\n", value.to_str().unwrap_or("?")));
        }
        Ok(response)
    };
    let socket = tungstenite::accept_hdr_with_config(stream, keep, Some(config())).ok()?;
    Some((socket, head))
}

/// Returns when the connection has ended, whoever ended it.
fn serve(mut socket: WebSocket<TcpStream>, head: &str) {
    while let Ok(message) = socket.read() {
        let text = message.to_text().unwrap_or_default();
        let answered = match (text, text.strip_prefix("say ")) {
            ("close", _) => socket.close(None),
            ("vanish", _) => return,
            ("whoami", _) => socket.send(Message::text(head)),
            (_, Some(length)) => {
                let length = length.parse().unwrap_or(0);
                socket.send(Message::binary(vec![b'a'; length]))
            }
            _ if message.is_text() || message.is_binary() => socket.send(message),
            _ => Ok(()),
        };
        if answered.is_err() {
            return;
        }
    }
}

/// The client's end of an open WebSocket.
pub struct Socket(WebSocket<TcpStream>);

/// What came of a handshake.
pub enum Opening {
    Open(Box<Socket>),
    /// The status of the answer instead.
    Refused(u16),
}

/// Asks `to` for a WebSocket at `target`, with these headers beside the usual.
pub fn open(to: SocketAddr, target: &str, headers: &[(&str, &str)]) -> anyhow::Result<Opening> {
    let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("ws://{to}{target}").into_client_request()?;
    for (name, value) in headers {
        let name: HeaderName = name.parse()?;
        request
            .headers_mut()
            .insert(name, HeaderValue::try_from(*value)?);
    }
    let shaken = tungstenite::client::client_with_config(request, stream, Some(config()));
    match shaken {
        Ok((socket, _)) => Ok(Opening::Open(Box::new(Socket(socket)))),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
            Ok(Opening::Refused(answer.status().as_u16()))
        }
        Err(error) => Err(error).context("no handshake and no answer"),
    }
}

impl Socket {
    /// Sends a text and waits for the next message.
    pub fn ask(&mut self, text: &str) -> anyhow::Result<Vec<u8>> {
        self.send(text)?;
        self.hear()
    }

    pub fn send(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.0.send(Message::text(text))?)
    }

    /// The next message with content.
    pub fn hear(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            let message = self.0.read()?;
            if message.is_text() || message.is_binary() {
                return Ok(message.into_data().to_vec());
            }
        }
    }

    /// Begins the closing handshake, and reads to its end.
    pub fn close(mut self) -> bool {
        self.0.close(None).is_ok() && self.is_closed_within(PATIENCE)
    }

    /// Whether the connection ends within this time, properly or not.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        let patient = |socket: &Self, limit| socket.0.get_ref().set_read_timeout(Some(limit));
        if patient(self, limit).is_err() {
            return false;
        }
        let is_closed = self.reads_to_the_end();
        // What is asked next has its usual time again.
        is_closed || patient(self, PATIENCE).is_err()
    }

    fn reads_to_the_end(&mut self) -> bool {
        loop {
            match self.0.read() {
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) => {
                    return !matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    );
                }
                Err(_closed) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_echoes_and_closes_as_told() {
        let echo = Echo::start().unwrap();
        let Opening::Open(mut socket) = open(echo.address(), "/", &[("x-one", "1")]).unwrap()
        else {
            panic!("the echo refuses nobody");
        };
        assert_eq!(socket.ask("hello").unwrap(), b"hello");
        assert_eq!(socket.ask("say 3").unwrap(), b"aaa");
        let head = String::from_utf8(socket.ask("whoami").unwrap()).unwrap();
        assert!(head.contains("x-one: 1"), "{head}");
        assert_eq!((echo.open(), echo.opened()), (1, 1));
        socket.send("close").unwrap();
        assert!(socket.is_closed_within(PATIENCE));
    }
}
