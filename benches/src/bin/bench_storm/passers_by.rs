//! Those who only want to be let through: a few connections that ask at a steady pace, well below what the gateway can.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use portcullis_benches::upstream;

use crate::clock;

const CONNECTIONS: usize = 4;
/// Between two requests of a connection, as they are due: one that was answered late is no excuse for the next.
const PACE: Duration = Duration::from_millis(5);
const REQUEST: &[u8] = b"GET /open/x HTTP/1.1\r\nhost: gateway.test\r\n\r\n";

/// As many requests under way at the same time as there will be sign-ins, so that what a connection costs is not taken
/// for the cost of a sign-in. The upstream waits for more than the body they send, and they leave.
pub(crate) fn crowd(to: SocketAddr, clients: u16) -> anyhow::Result<()> {
    let connections: Vec<_> = (0..clients)
        .map(|_| {
            let mut connection = TcpStream::connect(to)?;
            connection.write_all(
                b"POST /open/x HTTP/1.1\r\nhost: gateway.test\r\ncontent-length: 2\r\n\r\n{}",
            )?;
            // One after the other: the upstream has 128 places for those that it has not accepted yet, and its breaker
            // takes a connection that found none for a failure.
            thread::sleep(Duration::from_millis(1));
            Ok(connection)
        })
        .collect::<anyhow::Result<_>>()?;
    thread::sleep(Duration::from_secs(2));
    drop(connections);
    Ok(())
}

#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// The time that `percent` of all requests took no longer than.
    pub(crate) fn quantile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    }
}

pub(crate) fn ask(to: SocketAddr, length: Duration) -> anyhow::Result<Latencies> {
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| thread::spawn(move || ask_steadily(to, length)))
        .collect();
    let mut all = Latencies::default();
    for connection in connections {
        all.extend(connection.join().ok().context("a connection panicked")??);
    }
    Ok(all)
}

/// Measured from when each request was due, so that a gateway that stalls is not asked less for it.
fn ask_steadily(to: SocketAddr, length: Duration) -> anyhow::Result<Latencies> {
    let mut connection = TcpStream::connect(to)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    let (started, mut latencies) = (clock(), Vec::new());
    let mut due = started;
    while due.saturating_duration_since(started) < length {
        thread::sleep(due.saturating_duration_since(clock()));
        connection.write_all(REQUEST)?;
        read_answer(&mut connection)?;
        latencies.push(clock().saturating_duration_since(due));
        due += PACE;
    }
    Ok(Latencies(latencies))
}

fn read_answer(connection: &mut TcpStream) -> anyhow::Result<()> {
    let (mut buffer, mut held) = ([0; 8192], 0);
    loop {
        let read = connection.read(buffer.get_mut(held..).unwrap_or_default())?;
        ensure!(
            read > 0,
            "the connection was closed before the answer was whole"
        );
        held += read;
        let answer = buffer.get(..held).unwrap_or_default();
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some_and(|head| held >= head + 4 + upstream::BODY) {
            ensure!(
                answer.starts_with(b"HTTP/1.1 200"),
                "a proxied request was refused: {}",
                String::from_utf8_lossy(answer)
            );
            return Ok(());
        }
    }
}
