//! The real binary, with a configuration, ports and a directory of its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    client::{Client, Response},
    metrics::Metrics,
    ports::free_port,
    process::Process,
    wait::{self, PATIENCE},
};

const ATTEMPTS: usize = 3;

/// For a command, and for a start: both may hash passwords, and on a machine full of tests hashing has the last turn.
const COMING_UP: Duration = Duration::from_secs(180);

/// Where a gateway of a test lives. What starts it writes these into its configuration.
#[derive(Clone, Debug)]
pub struct Places {
    pub listener: SocketAddr,
    pub admin: SocketAddr,
    /// Its working directory; relative paths of the configuration are taken from here.
    pub directory: PathBuf,
}

/// A program and a directory in which its commands are run.
pub struct House {
    program: PathBuf,
    places: Places,
    directory: TempDir,
    environment: Vec<(&'static str, PathBuf)>,
}

impl House {
    /// Writes `gateway.yaml`; starts nothing.
    pub fn build(
        program: &Path,
        configuration: impl FnOnce(&Places) -> String,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("pc-").tempdir()?;
        let places = Places {
            listener: (Ipv4Addr::LOCALHOST, free_port()?).into(),
            admin: (Ipv4Addr::LOCALHOST, free_port()?).into(),
            directory: directory.path().to_owned(),
        };
        fs::write(
            directory.path().join("gateway.yaml"),
            configuration(&places),
        )?;
        Ok(Self {
            program: program.to_owned(),
            places,
            directory,
            environment: Vec::new(),
        })
    }

    /// With a path in the environment of everything that is started here.
    #[must_use]
    pub fn with_environment(mut self, name: &'static str, path: PathBuf) -> Self {
        self.environment.push((name, path));
        self
    }

    pub fn places(&self) -> &Places {
        &self.places
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command to its end, with something to read on its standard input.
    pub fn command_with_input(&self, arguments: &[&str], input: &str) -> anyhow::Result<Output> {
        fs::write(self.path("stdin"), input)?;
        let mut command = self.program();
        command
            .args(arguments)
            .stdin(File::open(self.path("stdin"))?);
        let stdout = File::create(self.path("command.out"))?;
        let stderr = File::create(self.path("command.err"))?;
        let mut process = command.stdout(stdout).stderr(stderr).spawn()?;
        let status = wait::until("the end of a command", COMING_UP, || {
            process.try_wait().ok().flatten()
        });
        if status.is_err() {
            process.kill()?;
        }
        let status = status.with_context(|| format!("portcullis {}", arguments.join(" ")))?;
        Ok(Output {
            status,
            stdout: fs::read(self.path("command.out"))?,
            stderr: fs::read(self.path("command.err"))?,
        })
    }

    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.command_with_input(arguments, "")
    }

    /// Starts the gateway without waiting for it.
    pub fn launch(self, arguments: &[&str]) -> anyhow::Result<Gateway> {
        let mut command = self.program();
        command.args(arguments);
        command
            .stdout(File::create(self.path("stdout"))?)
            .stderr(File::create(self.path("stderr"))?);
        let process = Process::start(&mut command, self.directory.path())?;
        Ok(Gateway {
            process,
            house: self,
        })
    }

    fn program(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Its own socket directory must go with it when it is killed.
        command
            .current_dir(self.directory.path())
            .env("TMPDIR", self.directory.path())
            .envs(self.environment.iter().map(|(name, path)| (name, path)))
            .stdin(Stdio::null());
        command
    }
}

/// A running gateway. Dropping it kills it; [`Gateway::stop`] asks it.
pub struct Gateway {
    process: Process,
    house: House,
}

impl Gateway {
    /// Starts `portcullis run` and waits until it is ready. Tries again on other ports, because a free port may be
    /// taken before the gateway binds it.
    pub fn start(
        program: &Path,
        configuration: impl Fn(&Places) -> String,
    ) -> anyhow::Result<Self> {
        for _ in 1..ATTEMPTS {
            let gateway = Self::start_once(program, &configuration);
            match gateway {
                Err(error) if format!("{error:#}").contains("cannot listen on") => {}
                outcome => return outcome,
            }
        }
        Self::start_once(program, &configuration)
    }

    fn start_once(
        program: &Path,
        configuration: impl Fn(&Places) -> String,
    ) -> anyhow::Result<Self> {
        let mut gateway = House::build(program, configuration)?.launch(&["run"])?;
        gateway.wait_ready()?;
        Ok(gateway)
    }

    /// Returns once `/readyz` says yes.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let ready = wait::until("a ready gateway", COMING_UP, || {
            match self.process.ended() {
                Some(status) => Some(Err(status)),
                None => (self.readiness() == Some(200)).then_some(Ok(())),
            }
        });
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("the gateway ended with {status}: {}", self.stderr()),
            Err(error) => Err(error.context(self.stderr())),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.house.places.listener
    }

    pub fn admin(&self) -> SocketAddr {
        self.house.places.admin
    }

    /// For its commands, run while it runs.
    pub fn house(&self) -> &House {
        &self.house
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn client(&self) -> Client {
        Client::of(self.address())
    }

    /// A client at another address of the loopback network.
    pub fn client_at(&self, last: u8) -> Client {
        Client::from_address(Ipv4Addr::new(127, 0, 0, last), self.address())
    }

    /// An answer of the admin listener.
    pub fn ask_admin(&self, path: &str) -> anyhow::Result<Response> {
        Client::of(self.admin()).get(path)
    }

    /// The status of `/readyz`; `None` where nobody answers.
    pub fn readiness(&self) -> Option<u16> {
        self.ask_admin("/readyz").ok().map(|answer| answer.status)
    }

    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        let answer = self.ask_admin("/metrics")?;
        ensure!(answer.status == 200, "/metrics: {}", answer.status);
        Ok(Metrics::new(answer.text()))
    }

    /// What it has said on standard error so far: the log.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.house.path("stderr")).unwrap_or_default()
    }

    /// What it has said on standard output so far: the access log.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.house.path("stdout")).unwrap_or_default()
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    pub fn wait_for_end(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.process.wait(limit)
    }

    /// SIGTERM, and an end with exit code 0.
    pub fn stop(self) -> anyhow::Result<()> {
        self.stop_and_keep().map(drop)
    }

    /// The directory of one that has ended by itself or by a signal, for another start.
    pub fn keep(self) -> House {
        self.house
    }

    /// As [`Gateway::stop`], with the directory kept for another start.
    pub fn stop_and_keep(mut self) -> anyhow::Result<House> {
        self.signal(Signal::TERM)?;
        let status = self.wait_for_end(PATIENCE)?;
        ensure!(
            status.success(),
            "the gateway ended with {status}: {}",
            self.stderr()
        );
        Ok(self.house)
    }
}
