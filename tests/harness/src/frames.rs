//! HTTP/2 frame by frame, for clients that do not keep the protocol (RFC 9113 section 4).

use std::{net::SocketAddr, time::Duration};

use tokio_rustls::rustls::ClientConfig;

use crate::{client::Socket, wait::Deadline, wire::Ending};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const FRAME_HEAD: usize = 9;

/// A connection over TLS on which any frames can be sent.
pub struct Frames {
    socket: Socket,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// A whole head, and with it a whole request.
    pub fn get(stream: u32, path: &str) -> Self {
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "a.test"),
            (":path", path),
        ];
        Self::new(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            fields_of(&fields),
        )
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// A header block of literals, nothing indexed, nothing compressed (RFC 7541 section 6.2.2).
pub fn fields_of(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn push_length(block: &mut Vec<u8>, length: usize) {
    const FULL: usize = 127;
    let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    if length < FULL {
        return block.push(byte(length));
    }
    block.push(byte(FULL));
    let mut rest = length - FULL;
    while rest >= 128 {
        block.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    block.push(byte(rest));
}

impl Frames {
    /// With the preface and empty settings sent.
    pub fn connect(to: SocketAddr, name: &str, config: ClientConfig) -> anyhow::Result<Self> {
        let mut frames = Self::silent(to, name, config)?;
        frames.socket.send(PREFACE);
        frames.send(&Frame::new(SETTINGS, 0, 0, []));
        Ok(frames)
    }

    /// With the handshake made and nothing sent.
    pub fn silent(to: SocketAddr, name: &str, config: ClientConfig) -> anyhow::Result<Self> {
        Ok(Self {
            socket: Socket::secure(to, name, config)?,
        })
    }

    /// Whether it could be sent.
    pub fn send(&mut self, frame: &Frame) -> bool {
        self.send_bytes(&frame.bytes())
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.socket.send(bytes)
    }

    pub fn next(&mut self, limit: Duration) -> Result<Frame, Ending> {
        let head = self.socket.bytes_within(FRAME_HEAD, limit)?;
        let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = head[..] else {
            return Err(Ending::Garbled);
        };
        let length = u32::from_be_bytes([0, l1, l2, l3]);
        let length = usize::try_from(length).map_err(|_too_long| Ending::Garbled)?;
        Ok(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([s1, s2, s3, s4]),
            payload: self.socket.bytes_within(length, limit)?,
        })
    }

    /// The first frame that satisfies; what comes before it is passed over.
    pub fn until(
        &mut self,
        limit: Duration,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Result<Frame, Ending> {
        let deadline = Deadline::within(limit);
        loop {
            let frame = self.next(deadline.remaining())?;
            if wanted(&frame) {
                return Ok(frame);
            }
        }
    }

    /// Whether the peer closes within this time, whatever it sends before.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        self.socket.closes_within(limit)
    }
}
