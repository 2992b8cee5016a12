//! A Redis server of the test's own.

use std::{
    ffi::OsStr,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{
    ports::free_port,
    supervise::{Service, Supervised, log_of},
    wait,
};

const ATTEMPTS: usize = 3;
const COMING_UP: Duration = Duration::from_secs(10);

/// Stopped when dropped. Keeps nothing on disk: tests that want persistence ask for it with `CONFIG SET`.
pub struct Redis {
    server: Supervised,
    address: SocketAddr,
    directory: TempDir,
}

impl Redis {
    /// Tries again on another port, because a free port may be taken before the server binds it.
    pub fn start() -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match Self::start_once() {
                Ok(redis) => return Ok(redis),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => {
                Err(error
                    .context("starting redis-server (install it: apt-get install redis-server)"))
            }
            None => bail!("redis-server was never tried"),
        }
    }

    fn start_once() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("pc-redis-").tempdir()?;
        let port = free_port()?;
        let number = port.to_string();
        let arguments = [
            "--port",
            &number,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        let server = Supervised::start(&Service {
            program: Path::new("redis-server"),
            arguments: arguments.iter().map(OsStr::new).collect(),
            stop_signal: "TERM",
            directory: directory.path(),
            identity: None,
        })?;
        let redis = Self {
            server,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            directory,
        };
        wait::until("an answer of redis-server", COMING_UP, || {
            ping(redis.address).ok()
        })
        .with_context(|| log_of(redis.directory.path()))?;
        Ok(redis)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Ends the server now, for tests of what happens without it.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.server.stop()
    }
}

fn ping(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    if &answer != b"+PONG\r\n" {
        bail!("something else listens on {address}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_while_it_lives_and_is_gone_afterwards() {
        let redis = Redis::start().unwrap();
        let (address, process) = (redis.address(), redis.id());
        ping(address).unwrap();
        drop(redis);
        assert!(
            TcpStream::connect(address).is_err(),
            "redis-server still listens after the drop"
        );
        assert!(
            !Path::new(&format!("/proc/{process}")).exists(),
            "process {process} is still there"
        );
    }
}
