//! The gateway in the storm: a public route, and the auth service with the budget for hashing that ships.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

pub(crate) const HASHING_MEBIBYTES: u32 = 76;

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    process: Child,
    /// Holds its configuration and database while it runs.
    _folder: TempDir,
}

impl Gateway {
    pub(crate) fn start(program: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        ensure!(
            program.exists(),
            "{} is not built: cargo build --release",
            program.display()
        );
        let folder = tempfile::tempdir()?;
        let (address, admin) = (free_address()?, free_address()?);
        let file = folder.path().join("gateway.yaml");
        let database = folder.path().join("storm.db");
        fs::write(
            &file,
            configuration(address, admin, upstream, &database.to_string_lossy()),
        )?;
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let gateway = Self {
            address,
            process: command.spawn()?,
            _folder: folder,
        };
        gateway.wait_until_it_listens()?;
        Ok(gateway)
    }

    fn wait_until_it_listens(&self) -> anyhow::Result<()> {
        for _ in 0..500 {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the gateway does not listen on {}", self.address)
    }

    /// The most memory that was ever resident, in KiB.
    pub(crate) fn most_resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let figure = line.and_then(|line| line.split_ascii_whitespace().next());
        Ok(figure.context("no such line in /proc")?.parse()?)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The throttles are out of the way: what is measured is hashing.
fn configuration(
    address: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
    database: &str,
) -> String {
    format!(
        "
version: 1
server:
  listeners: [{{ address: {address} }}]
  admin: {admin}
  access_log: none
storage: {{ database: \"sqlite://{database}\" }}
auth:
  resources: {{ hotel: {{ scopes: [hotel:read] }} }}
  roles: {{ guest: [hotel:read] }}
  password: {{ hashing_memory: {HASHING_MEBIBYTES}MiB }}
  throttle: {{ address: 1000000/1m, account: 1000000/1m }}
upstreams:
  hotel: {{ endpoints: [{upstream}] }}
routes:
  - {{ name: open, match: {{ path: /open/** }}, upstream: hotel, auth: public }}
  - {{ name: auth, match: {{ path: /v1/** }}, upstream: builtin:auth, auth: public }}
"
    )
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
