//! The load, on the second core with the upstream: keep-alive connections that each wait for their answer.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use portcullis_benches::{signing_key, token, upstream};

/// Serves in the background until the process ends.
pub(crate) fn start_upstream() -> anyhow::Result<SocketAddr> {
    pin_to_second_core();
    Ok(upstream::start()?)
}

/// Threads started from here on inherit it. Where it cannot be set, the figures are only noisier.
fn pin_to_second_core() {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(1);
    rustix::thread::sched_setaffinity(None, &cores).ok();
}

/// Requests ready to be sent, each with the token of another caller.
pub(crate) struct Load {
    connections: usize,
    requests: Arc<[Vec<u8>]>,
}

impl Load {
    pub(crate) fn new(connections: usize, callers: usize) -> anyhow::Result<Self> {
        let key = signing_key()?;
        let now = now();
        let requests = (0..callers).map(|caller| Ok(request(&token(&key, caller, now)?)));
        Ok(Self {
            connections,
            requests: requests.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Sends `count` requests and checks every answer.
    pub(crate) fn run(&self, to: SocketAddr, count: usize) -> anyhow::Result<Duration> {
        let sent = Arc::new(AtomicUsize::new(0));
        let started = clock();
        let workers: Vec<_> = (0..self.connections)
            .map(|_| {
                let (requests, sent) = (Arc::clone(&self.requests), Arc::clone(&sent));
                std::thread::spawn(move || ask_until(to, &requests, &sent, count))
            })
            .collect();
        for worker in workers {
            worker.join().ok().context("a worker panicked")??;
        }
        Ok(clock().saturating_duration_since(started))
    }
}

fn ask_until(
    to: SocketAddr,
    requests: &[Vec<u8>],
    sent: &AtomicUsize,
    count: usize,
) -> anyhow::Result<()> {
    let mut connection = TcpStream::connect(to)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = vec![0; 8192];
    loop {
        let turn = sent.fetch_add(1, Relaxed);
        if turn >= count {
            return Ok(());
        }
        let request = requests.get(turn % requests.len()).context("no requests")?;
        connection.write_all(request)?;
        read_answer(&mut connection, &mut buffer)?;
    }
}

fn read_answer(connection: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut held = 0;
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
                "not served: {}",
                String::from_utf8_lossy(answer)
            );
            return Ok(());
        }
    }
}

fn request(token: &str) -> Vec<u8> {
    format!(
        "GET /hotel-db/rooms/7?floor=2 HTTP/1.1\r\nhost: gateway.test\r\nuser-agent: bench/1.0\r\n\
         accept: */*\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn clock() -> Instant {
    Instant::now()
}
