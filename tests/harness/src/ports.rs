//! Ports nobody listens on.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::bail;

/// Below the range from which the kernel takes the local ports of outgoing connections: thousands of those come and go
/// during a run, and each would be a port that was free a moment ago.
const FIRST: u32 = 15_000;
const COUNT: u32 = 16_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A TCP port that was free a moment ago, and that this process is not given twice. Another process may still take it
/// first, so whoever starts a server on it tries again when that server does not come up.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // Test processes that run side by side start far apart.
        let port = FIRST + process::id().wrapping_mul(1_009).wrapping_add(step) % COUNT;
        let port = u16::try_from(port)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {FIRST} to {} is free", FIRST + COUNT - 1)
}
