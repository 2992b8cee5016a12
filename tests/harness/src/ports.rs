//! Ports nobody listens on.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context;

/// A TCP port that was free a moment ago. Another process may take it first, so whoever starts a server on it tries again
/// when that server does not come up.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding a free port")?;
    Ok(listener.local_addr()?.port())
}
