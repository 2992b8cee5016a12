//! The client's side: a socket that sends any bytes, and a client of JSON that keeps its connection.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::Value;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, pki_types::ServerName};

use crate::{
    wait::{self, Deadline, PATIENCE},
    wire::{Body, Ending, Head, Wire},
};

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    /// The statuses of the interim answers that came before.
    pub interim: Vec<u16>,
}

impl Response {
    /// The value, where the field is there exactly once.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `Null` where the body is not JSON, so that an assertion on it fails with what it compares.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of a problem, empty where the answer is none.
    pub fn code(&self) -> String {
        let is_problem = self.field("content-type") == Some("application/problem+json");
        let body = if is_problem { self.json() } else { Value::Null };
        body.get("code")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }
}

/// A connection on which any bytes can be sent.
pub struct Socket {
    wire: Wire,
}

impl Socket {
    pub fn connect(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
        Ok(Self {
            wire: Wire::new(stream)?,
        })
    }

    /// Inside TLS, as `name`: the handshake is made and the server known by the time this returns.
    pub fn secure(to: SocketAddr, name: &str, config: ClientConfig) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
        Self::inside_tls(stream, name, config)
    }

    /// What was a plain socket so far, inside TLS from here on.
    pub fn secured(self, name: &str, config: ClientConfig) -> anyhow::Result<Self> {
        Self::inside_tls(self.wire.into_stream()?, name, config)
    }

    fn inside_tls(stream: TcpStream, name: &str, config: ClientConfig) -> anyhow::Result<Self> {
        let name = ServerName::try_from(name.to_owned())?;
        let connection = ClientConnection::new(Arc::new(config), name)?;
        let mut wire = Wire::secured(stream, connection)?;
        wire.shake_hands(&Deadline::within(PATIENCE))?;
        Ok(Self { wire })
    }

    /// What the handshake agreed on; `None` on a plain socket.
    pub fn tls(&self) -> Option<&ClientConnection> {
        self.wire.tls()
    }

    /// From another address of the loopback network: limits by address then count it apart.
    pub fn connect_from(source: Ipv4Addr, to: SocketAddr) -> anyhow::Result<Self> {
        let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&descriptor, &SocketAddrV4::new(source, 0))?;
        connect(&descriptor, &to).with_context(|| format!("connecting from {source} to {to}"))?;
        Ok(Self {
            wire: Wire::new(TcpStream::from(descriptor))?,
        })
    }

    /// Whether it could be sent; a peer may have answered and closed before it read everything.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes.as_ref())
    }

    /// Tells the peer that nothing more comes.
    pub fn finish(&self) {
        self.wire.finish();
    }

    /// The next answer, to a request of any method but HEAD.
    pub fn response(&mut self) -> Result<Response, Ending> {
        self.response_to("GET", PATIENCE)
    }

    pub fn response_within(&mut self, limit: Duration) -> Result<Response, Ending> {
        self.response_to("GET", limit)
    }

    pub fn response_to(&mut self, method: &str, limit: Duration) -> Result<Response, Ending> {
        let deadline = Deadline::within(limit);
        let mut interim = Vec::new();
        loop {
            let head = self.wire.head(&deadline)?;
            let status = status_of(&head).ok_or(Ending::Garbled)?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let has_no_body = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let framing = if has_no_body {
                Body::Exactly(0)
            } else {
                head.body(Body::ToTheEnd)
            };
            let body = self.wire.body(framing, &deadline)?;
            return Ok(Response {
                status,
                head,
                body,
                interim,
            });
        }
    }

    /// Only the head of the answer, where the body is not going to come whole.
    pub fn head_within(&mut self, limit: Duration) -> Result<Head, Ending> {
        self.wire.head(&Deadline::within(limit))
    }

    /// So many bytes, whatever they are.
    pub fn bytes_within(&mut self, length: usize, limit: Duration) -> Result<Vec<u8>, Ending> {
        self.wire.exactly(length, &Deadline::within(limit))
    }

    /// What comes until the peer closes; an error where it does not.
    pub fn rest_within(&mut self, limit: Duration) -> Result<Vec<u8>, Ending> {
        self.wire.to_the_end(&Deadline::within(limit))
    }

    /// Whether the peer closes within this time, whatever it sends before.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        match self.rest_within(limit) {
            Ok(_) => true,
            Err(ending) => ending.is_close(),
        }
    }
}

fn status_of(head: &Head) -> Option<u16> {
    let rest = head.first_line.strip_prefix("HTTP/1.")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// A request of the well-behaved kind.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: impl Into<String>) -> Self {
        Self::new("POST", target)
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.with("Authorization", format!("Bearer {token}"))
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.with("Content-Type", "application/json")
            .body(body.to_string())
    }

    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\n",
            self.method, self.target
        );
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        [text.as_bytes(), &self.body].concat()
    }
}

/// Sends one request after the other, on one connection for as long as the gateway keeps it.
pub struct Client {
    to: SocketAddr,
    source: Ipv4Addr,
    socket: Option<Socket>,
    patience: Duration,
}

impl Client {
    pub fn of(to: SocketAddr) -> Self {
        Self::from_address(Ipv4Addr::LOCALHOST, to)
    }

    /// See [`Socket::connect_from`].
    pub fn from_address(source: Ipv4Addr, to: SocketAddr) -> Self {
        Self {
            to,
            source,
            socket: None,
            patience: PATIENCE,
        }
    }

    /// One that waits for so long for each answer.
    #[must_use]
    pub fn waiting(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub fn get(&mut self, target: &str) -> anyhow::Result<Response> {
        self.send(&Request::get(target))
    }

    /// A kept connection may have been closed in the meantime: the request then goes out once more, on a new one.
    pub fn send(&mut self, request: &Request) -> anyhow::Result<Response> {
        let kept = self.socket.take();
        let was_kept = kept.is_some();
        let mut socket = kept.map_or_else(|| self.connect(), Ok)?;
        match self.exchange(&mut socket, request) {
            Err(Ending::Closed | Ending::Reset) if was_kept => {
                let mut fresh = self.connect()?;
                let response = self.exchange(&mut fresh, request);
                self.keep(fresh, response, request)
            }
            response => self.keep(socket, response, request),
        }
    }

    /// As [`Self::send`], where a password is hashed and a session is kept: a machine that is busy may come to it too late, and
    /// the gateway then asks to come again.
    pub fn send_to_be_hashed(&mut self, request: &Request) -> anyhow::Result<Response> {
        wait::until("a turn to be hashed", PATIENCE, || {
            let answer = self.send(request);
            let is_put_off = |code: String| code == "overloaded" || code == "store-unavailable";
            let is_answered = !answer
                .as_ref()
                .is_ok_and(|answer| is_put_off(answer.code()));
            is_answered.then_some(answer)
        })?
    }

    /// The access token of a sign-in that must succeed.
    pub fn log_in(
        &mut self,
        username: &str,
        password: &str,
        resource: &str,
    ) -> anyhow::Result<String> {
        let body =
            serde_json::json!({ "username": username, "password": password, "resource": resource });
        let answer = self.send_to_be_hashed(&Request::post("/v1/auth/login").json(&body))?;
        ensure!(
            answer.status == 200,
            "sign-in of {username}: {} {}",
            answer.status,
            answer.text()
        );
        let answer = answer.json();
        let token = answer.get("access_token").and_then(Value::as_str);
        token
            .map(str::to_owned)
            .context("no access_token in the answer of a sign-in")
    }

    fn connect(&self) -> anyhow::Result<Socket> {
        Socket::connect_from(self.source, self.to)
    }

    fn exchange(&self, socket: &mut Socket, request: &Request) -> Result<Response, Ending> {
        socket.send(request.bytes(self.to));
        socket.response_to(request.method, self.patience)
    }

    fn keep(
        &mut self,
        socket: Socket,
        response: Result<Response, Ending>,
        request: &Request,
    ) -> anyhow::Result<Response> {
        let response = match response {
            Ok(response) => response,
            Err(ending) => bail!("{} {}: {ending}", request.method, request.target),
        };
        let closes = response
            .head
            .fields_named("connection")
            .any(|value| value.eq_ignore_ascii_case("close"));
        self.socket = (!closes).then_some(socket);
        Ok(response)
    }
}
