//! A process under measurement, pinned to the first core.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use portcullis_benches::{Headers, Places, whole_policy};
use tempfile::TempDir;

pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    process: Child,
    /// Holds its configuration and database while it runs.
    _folder: Option<TempDir>,
}

impl Subject {
    pub(crate) fn bare(here: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = pinned(here);
        command.args(["bare", &address.to_string(), &upstream.to_string()]);
        Self {
            name: "bare Pingora proxy",
            address,
            process: command.spawn()?,
            _folder: None,
        }
        .ready()
    }

    pub(crate) fn gateway(
        program: &Path,
        headers: Headers,
        upstream: SocketAddr,
    ) -> anyhow::Result<Self> {
        ensure!(
            program.exists(),
            "{} is not built: cargo build --release",
            program.display()
        );
        let folder = tempfile::tempdir()?;
        let (address, admin) = (free_address()?, free_address()?);
        let text = whole_policy(
            headers,
            &Places {
                listen: &address.to_string(),
                admin: &admin.to_string(),
                upstream: &upstream.to_string(),
                database: &folder.path().join("bench.db").to_string_lossy(),
            },
        );
        let file = folder.path().join("gateway.yaml");
        fs::write(&file, text)?;
        let mut command = pinned(program);
        command.arg("run").arg("--config").arg(&file);
        let name = match headers {
            Headers::Lean => "gateway, whole policy, lean headers",
            Headers::Full => "gateway, whole policy, full headers",
        };
        Self {
            name,
            address,
            process: command.spawn()?,
            _folder: Some(folder),
        }
        .ready()
    }

    /// User and system time of all its threads.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id()))?;
        let mut nanos = 0;
        for thread in threads {
            // The first field is the time on a processor, in nanoseconds; `stat` counts in hundredths of a second.
            let line = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            let spent = line
                .split_ascii_whitespace()
                .next()
                .and_then(|field| field.parse().ok());
            nanos += spent.unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    fn ready(self) -> anyhow::Result<Self> {
        for _ in 0..500 {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(self);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("{} does not listen on {}", self.name, self.address)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(program)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
