//! A mail server that others wrote: `aiosmtpd` of the Python registry, which keeps what it is given.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    certificates::Certified,
    ports::free_port,
    python::Python,
    supervise::{Service, Supervised, log_of},
    wait,
};

const COMING_UP: Duration = Duration::from_secs(30);
/// What could not be handed in is tried again after a minute at the latest.
const ARRIVING: Duration = Duration::from_secs(120);

/// A server that is running. Stopped when dropped; another may be started at the same address.
pub struct MailServer {
    address: SocketAddr,
    letters: PathBuf,
    directory: TempDir,
    _server: Supervised,
}

/// What a letter was, and how it came.
#[derive(Clone, Debug)]
pub struct Taken {
    pub to: Vec<String>,
    /// With its header lines.
    pub text: String,
    pub by_tls: bool,
    pub with_login: bool,
}

/// No letter is taken without a login.
pub struct Guarded<'a> {
    pub door: Door,
    pub pair: &'a Certified,
    pub user: &'a str,
    pub password: &'a str,
}

/// Where the server takes a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    StartTls,
    /// TLS from the first byte.
    Wrapped,
    /// In the clear, as if somebody on the way had taken STARTTLS out.
    Stripped,
}

impl MailServer {
    /// `source` is the folder with the program, `target` where its packages are kept.
    pub fn start(
        source: &Path,
        target: &Path,
        guarded: Option<&Guarded<'_>>,
    ) -> anyhow::Result<Self> {
        Self::start_at(free_port()?, source, target, guarded)
    }

    pub fn start_at(
        port: u16,
        source: &Path,
        target: &Path,
        guarded: Option<&Guarded<'_>>,
    ) -> anyhow::Result<Self> {
        let python = Python::with(&source.join("requirements.txt"), target)?;
        let directory = tempfile::Builder::new().prefix("pc-mail-").tempdir()?;
        let letters = directory.path().join("letters.jsonl");
        let (interpreter, program) = (python.program("python"), source.join("server.py"));
        let written = port.to_string();
        let mut arguments: Vec<&OsStr> = vec![program.as_ref(), written.as_ref(), letters.as_ref()];
        if let Some(guarded) = guarded {
            let pair = guarded.pair;
            arguments.push(OsStr::new(guarded.door.word()));
            arguments.extend([pair.certificate.as_os_str(), pair.key.as_os_str()]);
            arguments.extend([guarded.user, guarded.password].map(OsStr::new));
        }
        let service = Service {
            program: &interpreter,
            arguments,
            stop_signal: "TERM",
            directory: directory.path(),
            identity: None,
        };
        let server = Self {
            _server: Supervised::start(&service)?,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            letters,
            directory,
        };
        wait::until("the mail server", COMING_UP, || {
            TcpStream::connect(server.address).ok().map(drop)
        })
        .with_context(|| log_of(server.directory.path()))?;
        Ok(server)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything so far.
    pub fn letters(&self) -> Vec<Taken> {
        let written = fs::read_to_string(&self.letters).unwrap_or_default();
        let whole = written
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        whole.map(|letter: Value| Taken::of(&letter)).collect()
    }

    /// Attempts, good or bad.
    pub fn logins(&self) -> usize {
        let written = fs::read_to_string(self.letters.with_extension("jsonl.logins"));
        written.unwrap_or_default().lines().count()
    }

    /// Once there are as many.
    pub fn wait_for(&self, count: usize) -> anyhow::Result<Vec<Taken>> {
        wait::until(&format!("{count} letters"), ARRIVING, || {
            let letters = self.letters();
            (letters.len() >= count).then_some(letters)
        })
    }
}

impl Door {
    fn word(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Wrapped => "wrapped",
            Self::Stripped => "stripped",
        }
    }
}

impl Taken {
    fn of(letter: &Value) -> Self {
        let field = |name| letter.get(name);
        let to = field("to").and_then(Value::as_array).cloned();
        let is = |name| field(name).and_then(Value::as_bool).unwrap_or(false);
        Self {
            to: to
                .unwrap_or_default()
                .iter()
                .filter_map(|to| to.as_str().map(str::to_owned))
                .collect(),
            text: field("text")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            by_tls: is("tls"),
            with_login: is("login"),
        }
    }

    /// What stands behind the last `#` of the text.
    pub fn code(&self) -> Option<&str> {
        let (_, rest) = self.text.rsplit_once('#')?;
        rest.split_whitespace().next()
    }
}
