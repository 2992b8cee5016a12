//! HTTP/1 messages off a socket, for both sides of the gateway. Reads what is there and repairs nothing: what a peer
//! really sent is what the tests are about.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use crate::wait::Deadline;

/// How long one read may block before the deadline is looked at again.
const TICK: Duration = Duration::from_millis(100);
/// More than any message of a test; what is longer is a runaway peer.
const LARGEST: usize = 64 << 20;

/// Why a message did not come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer closed the connection in the middle of a message")]
    CutOff,
    #[error("the peer reset the connection")]
    Reset,
    #[error("nothing more came in time")]
    TimedOut,
    #[error("what came is not HTTP/1")]
    Garbled,
}

impl Ending {
    /// Whether the connection is gone.
    pub fn is_close(self) -> bool {
        match self {
            Self::Closed | Self::CutOff | Self::Reset => true,
            Self::TimedOut | Self::Garbled => false,
        }
    }
}

/// The first line and the fields of a message, as they came.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub raw: Vec<u8>,
    pub first_line: String,
    /// In the order and the spelling of the wire, one entry a line.
    pub fields: Vec<(String, String)>,
}

impl Head {
    fn parse(raw: Vec<u8>) -> Self {
        let text: String = raw.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        };
        Self {
            fields: lines.map(field).collect(),
            first_line,
            raw,
        }
    }

    /// The value, where the field is there exactly once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields_named(name);
        values.next().filter(|_| values.next().is_none())
    }

    pub fn fields_named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self
            .fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// The framing this head announces. A response without any ends with the connection.
    pub fn body(&self, otherwise: Body) -> Body {
        if self
            .fields_named("transfer-encoding")
            .any(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            return Body::Chunked;
        }
        let length = self
            .fields_named("content-length")
            .next()
            .and_then(|length| length.parse().ok());
        length.map_or(otherwise, Body::Exactly)
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Exactly(usize),
    Chunked,
    ToTheEnd,
}

/// A socket with what was read from it and not yet taken.
pub struct Wire {
    carrier: Carrier,
    buffer: Vec<u8>,
}

enum Carrier {
    Plain(TcpStream),
    Secured(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        prepare(&stream)?;
        Ok(Self {
            carrier: Carrier::Plain(stream),
            buffer: Vec::new(),
        })
    }

    /// What is sent and read is inside TLS. The handshake is made with the first of it.
    pub fn secured(stream: TcpStream, connection: ClientConnection) -> io::Result<Self> {
        prepare(&stream)?;
        let secured = StreamOwned::new(connection, stream);
        Ok(Self {
            carrier: Carrier::Secured(Box::new(secured)),
            buffer: Vec::new(),
        })
    }

    /// The socket itself, beneath any TLS.
    pub fn stream(&self) -> &TcpStream {
        match &self.carrier {
            Carrier::Plain(stream) => stream,
            Carrier::Secured(secured) => &secured.sock,
        }
    }

    /// The socket under what was sent so far, where nothing is inside TLS yet.
    pub fn into_stream(self) -> io::Result<TcpStream> {
        self.stream().try_clone()
    }

    /// What the handshake agreed on; `None` on a plain socket.
    pub fn tls(&self) -> Option<&ClientConnection> {
        match &self.carrier {
            Carrier::Plain(_) => None,
            Carrier::Secured(secured) => Some(&secured.conn),
        }
    }

    /// Makes the handshake, where there is one to make.
    pub fn shake_hands(&mut self, deadline: &Deadline) -> io::Result<()> {
        let Carrier::Secured(secured) = &mut self.carrier else {
            return Ok(());
        };
        while secured.conn.is_handshaking() {
            match secured.conn.complete_io(&mut secured.sock) {
                Err(error) if is_quiet(&error) && !deadline.has_passed() => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// A peer that has closed already is no failure: its answer may be there to be read.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.carrier {
            Carrier::Plain(stream) => stream.write_all(bytes).is_ok(),
            Carrier::Secured(secured) => secured
                .write_all(bytes)
                .and_then(|()| secured.flush())
                .is_ok(),
        }
    }

    /// Ends our side; the peer's can still be read.
    pub fn finish(&self) {
        // The peer may have closed first, which is just as well.
        drop(self.stream().shutdown(Shutdown::Write));
    }

    pub fn head(&mut self, deadline: &Deadline) -> Result<Head, Ending> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Head::parse(self.take(at + 4)));
            }
            self.fill(deadline)?;
        }
    }

    /// The body as it was meant, without the framing of chunks.
    pub fn body(&mut self, framing: Body, deadline: &Deadline) -> Result<Vec<u8>, Ending> {
        match framing {
            Body::Exactly(length) => self.exactly(length, deadline).map_err(cut_off),
            Body::Chunked => self.chunks(deadline).map_err(cut_off),
            Body::ToTheEnd => self.to_the_end(deadline),
        }
    }

    /// Everything until the peer closes.
    pub fn to_the_end(&mut self, deadline: &Deadline) -> Result<Vec<u8>, Ending> {
        loop {
            match self.fill(deadline) {
                Ok(()) => {}
                Err(Ending::Closed | Ending::CutOff) => {
                    return Ok(std::mem::take(&mut self.buffer));
                }
                Err(ending) => return Err(ending),
            }
        }
    }

    /// What has come and was not taken: the beginning of a message that broke off.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    pub fn exactly(&mut self, length: usize, deadline: &Deadline) -> Result<Vec<u8>, Ending> {
        while self.buffer.len() < length {
            self.fill(deadline)?;
        }
        Ok(self.take(length))
    }

    fn chunks(&mut self, deadline: &Deadline) -> Result<Vec<u8>, Ending> {
        let mut body = Vec::new();
        loop {
            let line = self.line(deadline)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_not_a_size| Ending::Garbled)?;
            if size == 0 {
                while !self.line(deadline)?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size, deadline)?);
            if !self.line(deadline)?.is_empty() {
                return Err(Ending::Garbled);
            }
        }
    }

    fn line(&mut self, deadline: &Deadline) -> Result<String, Ending> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = self.take(at + 2);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.fill(deadline)?;
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }

    fn fill(&mut self, deadline: &Deadline) -> Result<(), Ending> {
        let mut chunk = [0; 16 * 1024];
        loop {
            let read = match &mut self.carrier {
                Carrier::Plain(stream) => stream.read(&mut chunk),
                Carrier::Secured(secured) => secured.read(&mut chunk),
            };
            match read {
                Ok(0) if self.buffer.is_empty() => return Err(Ending::Closed),
                Ok(0) => return Err(Ending::CutOff),
                Ok(read) => {
                    self.buffer
                        .extend_from_slice(chunk.get(..read).unwrap_or_default());
                    return if self.buffer.len() > LARGEST {
                        Err(Ending::Garbled)
                    } else {
                        Ok(())
                    };
                }
                Err(error) if is_quiet(&error) => {
                    if deadline.has_passed() {
                        return Err(Ending::TimedOut);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Inside TLS an end that was not announced; the socket is closed all the same.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(if self.buffer.is_empty() {
                        Ending::Closed
                    } else {
                        Ending::CutOff
                    });
                }
                Err(_reset) => return Err(Ending::Reset),
            }
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))
}

/// Nothing came for a tick.
fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Inside a body even an empty buffer is the middle of a message.
fn cut_off(ending: Ending) -> Ending {
    if ending == Ending::Closed {
        Ending::CutOff
    } else {
        ending
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
