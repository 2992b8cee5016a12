//! A Redis server of the test's own.

mod several;

use std::{
    ffi::OsStr,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    certificates::Certified,
    ports::free_port,
    supervise::{Service, Supervised, log_of},
    wait,
};

pub use several::{Cluster, Sentinels};

const ATTEMPTS: usize = 3;
const COMING_UP: Duration = Duration::from_secs(30);

/// Stopped when dropped. Keeps nothing on disk: tests that want persistence ask for it with `CONFIG SET`.
pub struct Redis {
    server: Supervised,
    address: SocketAddr,
    more: Vec<String>,
    directory: TempDir,
    /// Outlives a restart.
    _files: Option<TempDir>,
}

impl Drop for Redis {
    /// A paused server does not hear that it should end.
    fn drop(&mut self) {
        self.resume().ok();
    }
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
        Self::start_on(free_port()?, &[])
    }

    /// With an append-only file, in which a restart finds everything again.
    pub fn start_appending() -> anyhow::Result<Self> {
        let files = tempfile::Builder::new()
            .prefix("pc-redis-files-")
            .tempdir()?;
        let folder = files.path().display().to_string();
        let more = ["--appendonly", "yes", "--appendfsync", "always"];
        let more = [&more[..], &["--dir", &folder]].concat();
        let mut redis = Self::start_on(free_port()?, &more)?;
        redis._files = Some(files);
        Ok(redis)
    }

    /// With a password, and with TLS on a port of its own beside the plain one. Returns that port as well.
    pub fn start_secured(password: &str, shown: &Certified) -> anyhow::Result<(Self, u16)> {
        let port = free_port()?;
        let (number, certificate, key) = (
            port.to_string(),
            shown.certificate.display().to_string(),
            shown.key.display().to_string(),
        );
        let mut more = vec!["--requirepass", password, "--tls-port", &number];
        more.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
        more.extend([
            "--tls-ca-cert-file",
            &certificate,
            "--tls-auth-clients",
            "no",
        ]);
        Ok((Self::start_on(free_port()?, &more)?, port))
    }

    /// `more` are further arguments of the server.
    pub(crate) fn start_on(port: u16, more: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("pc-redis-").tempdir()?;
        let server = launch(port, more, directory.path())?;
        let redis = Self {
            server,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            more: more.iter().map(ToString::to_string).collect(),
            directory,
            _files: None,
        };
        redis.wait_for_answer()?;
        Ok(redis)
    }

    fn wait_for_answer(&self) -> anyhow::Result<()> {
        wait::until("an answer of redis-server", COMING_UP, || {
            ping(self.address).ok()
        })
        .with_context(|| log_of(self.directory.path()))
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

    /// As a crash does: nothing is written, nothing is closed in order.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        wait::until("the end of redis-server", COMING_UP, || {
            TcpStream::connect(self.address).is_err().then_some(())
        })
    }

    /// Starts it again on the same port, after a kill. It has forgotten everything, unless it keeps files.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.server.stop()?;
        let more: Vec<&str> = self.more.iter().map(String::as_str).collect();
        self.directory = tempfile::Builder::new().prefix("pc-redis-").tempdir()?;
        self.server = launch(self.address.port(), &more, self.directory.path())?;
        self.wait_for_answer()
    }

    /// Until [`Redis::resume`] it takes connections and answers nothing.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("redis-server has an id")?, signal).context("sending a signal")
    }

    /// The answer to one command, as the protocol writes it.
    pub fn ask(&self, command: &[&str]) -> anyhow::Result<String> {
        ask(self.address, command)
    }

    /// Ends the server now, for tests of what happens without it.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.server.stop()
    }
}

fn launch(port: u16, more: &[&str], directory: &Path) -> anyhow::Result<Supervised> {
    let port = port.to_string();
    let mut arguments = vec!["--port", &port, "--bind", "127.0.0.1"];
    arguments.extend(["--save", "", "--appendonly", "no"]);
    arguments.extend(more);
    Supervised::start(&Service {
        program: Path::new("redis-server"),
        arguments: arguments.into_iter().map(OsStr::new).collect(),
        stop_signal: "TERM",
        directory,
        identity: None,
    })
}

/// Enough for answers that come in one piece.
fn ask(address: SocketAddr, command: &[&str]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(COMING_UP))?;
    let mut bytes = format!("*{}\r\n", command.len());
    for word in command {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(bytes.as_bytes())?;
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn ping(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    // One that wants a password is there as well.
    if &answer != b"+PONG\r\n" && &answer != b"-NOAUTH" {
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
