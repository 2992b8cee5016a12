//! A PostgreSQL server of the test's own, with durability as it comes (`fsync` on).
//!
//! PostgreSQL refuses to run as root. Containers and CI machines do run as root, so the server then goes to another user.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    ports::free_port,
    supervise::{Identity, Service, Supervised, log_of},
    wait,
};

const ATTEMPTS: usize = 3;
const COMING_UP: Duration = Duration::from_secs(30);
const USER: &str = "portcullis";

/// Stopped when dropped; its files go with it.
pub struct Postgres {
    server: Supervised,
    programs: PathBuf,
    port: u16,
    databases: AtomicU32,
    directory: TempDir,
}

impl Postgres {
    /// Tries again on another port, because a free port may be taken before the server binds it.
    pub fn start() -> anyhow::Result<Self> {
        let programs =
            programs().context("no initdb found (install it: apt-get install postgresql)")?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match Self::start_once(&programs) {
                Ok(postgres) => return Ok(postgres),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error.context("starting postgresql")),
            None => bail!("postgresql was never tried"),
        }
    }

    fn start_once(programs: &Path) -> anyhow::Result<Self> {
        let identity = unprivileged()?;
        let directory = folder(identity)?;
        initialise(programs, directory.path(), identity)?;
        let port = free_port()?;
        let server = serve(programs, directory.path(), identity, port)?;
        let postgres = Self {
            server,
            programs: programs.to_owned(),
            port,
            databases: AtomicU32::new(0),
            directory,
        };
        postgres.wait_for_answer()?;
        Ok(postgres)
    }

    fn wait_for_answer(&self) -> anyhow::Result<()> {
        wait::until("an answer of postgres", COMING_UP, || {
            self.run("pg_isready", &["-q"]).ok()
        })
        .with_context(|| log_of(self.directory.path()))
    }

    /// The URL of a new, empty database: each test has one to itself, and they share the server.
    pub fn fresh_database(&self) -> anyhow::Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("createdb", &[&name])?;
        Ok(format!("postgres://{USER}@127.0.0.1:{}/{name}", self.port))
    }

    /// Runs SQL in a database of [`Self::fresh_database`], as somebody would who has the server.
    pub fn execute(&self, database: &str, sql: &str) -> anyhow::Result<()> {
        self.run(
            "psql",
            &["-q", "-v", "ON_ERROR_STOP=1", "-c", sql, database],
        )
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Ends the server now, for tests of what happens without it.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.server.stop()
    }

    /// As a crash does: nothing is written, every client is cut off.
    pub fn crash(&self) -> anyhow::Result<()> {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let id = id.context("postgres has an id")?;
        kill_process(id, Signal::QUIT).context("sending a signal")?;
        let process = format!("/proc/{}/exe", self.id());
        wait::until("the end of postgres", COMING_UP, || {
            // It stays for its parent to see, without a program.
            fs::read_link(&process).is_err().then_some(())
        })
    }

    /// Starts it again on the same port, after a crash. What was committed is there.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let identity = unprivileged()?;
        let directory = folder(identity)?;
        let data = |of: &TempDir| of.path().join("data");
        fs::rename(data(&self.directory), data(&directory)).context("keeping the files")?;
        // It takes its folder with it.
        self.server.stop()?;
        self.directory = directory;
        let directory = self.directory.path();
        self.server = serve(&self.programs, directory, identity, self.port)?;
        self.wait_for_answer()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(self.programs.join(program));
        command
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER])
            .args(arguments);
        finish(command)
    }
}

/// One that the server may write to.
fn folder(identity: Option<Identity>) -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("pc-pg-").tempdir()?;
    if let Some(Identity { uid, gid }) = identity {
        chown(folder.path(), Some(uid), Some(gid)).context("giving the directory away")?;
    }
    Ok(folder)
}

/// Where Debian puts the programs of the newest version, or wherever `PATH` has them.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .map(|version| version.path())
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .and_then(|name| name.parse::<u32>().ok())
        });
    newest.map(|path| path.join("bin")).or_else(|| {
        let found = Command::new("sh")
            .args(["-c", "command -v initdb"])
            .output()
            .ok()?;
        let path = String::from_utf8(found.stdout).ok()?;
        Path::new(path.trim())
            .parent()
            .filter(|folder| folder.join("initdb").exists())
            .map(Path::to_owned)
    })
}

/// The user to drop to when the tests run as root; `None` when they do not.
fn unprivileged() -> anyhow::Result<Option<Identity>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let identity = ["postgres", "nobody"]
        .iter()
        .find_map(|name| identity_of(&passwd, name));
    identity
        .map(Some)
        .context("running as root, and there is neither a user postgres nor a user nobody")
}

fn identity_of(passwd: &str, name: &str) -> Option<Identity> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2);
    Some(Identity {
        uid: numbers.next()?.parse().ok()?,
        gid: numbers.next()?.parse().ok()?,
    })
}

fn initialise(programs: &Path, directory: &Path, identity: Option<Identity>) -> anyhow::Result<()> {
    let mut command = Command::new(programs.join("initdb"));
    command.arg("-D").arg(directory.join("data"));
    command
        .args([
            "-U",
            USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ])
        .current_dir(directory);
    if let Some(identity) = identity {
        command.uid(identity.uid).gid(identity.gid);
    }
    finish(command)
}

fn serve(
    programs: &Path,
    directory: &Path,
    identity: Option<Identity>,
    port: u16,
) -> anyhow::Result<Supervised> {
    let (program, data, number) = (
        programs.join("postgres"),
        directory.join("data"),
        port.to_string(),
    );
    let word = OsStr::new;
    Supervised::start(&Service {
        program: &program,
        arguments: vec![
            word("-D"),
            data.as_os_str(),
            word("-h"),
            word("127.0.0.1"),
            word("-p"),
            word(&number),
            word("-k"),
            directory.as_os_str(),
        ],
        // The fast shutdown: TERM would wait for clients that a failed test has left connected.
        stop_signal: "INT",
        directory,
        identity,
    })
}

fn finish(mut command: Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn what_was_committed_before_a_crash_is_there_after_a_restart() {
        let mut postgres = Postgres::start().unwrap();
        postgres.fresh_database().unwrap();
        let table = "CREATE TABLE kept (id INT)";
        postgres.execute("test_0", table).unwrap();
        postgres.crash().unwrap();
        assert!(postgres.execute("test_0", "SELECT 1").is_err());
        postgres.restart().unwrap();
        postgres.execute("test_0", "SELECT id FROM kept").unwrap();
    }

    #[test]
    fn it_makes_databases_while_it_lives_and_is_gone_afterwards() {
        let postgres = Postgres::start().unwrap();
        let (first, second) = (
            postgres.fresh_database().unwrap(),
            postgres.fresh_database().unwrap(),
        );
        assert_ne!(first, second, "two tests must not share a database");
        let (port, process, directory) = (
            postgres.port(),
            postgres.id(),
            postgres.directory.path().to_owned(),
        );
        drop(postgres);
        assert!(
            TcpStream::connect(("127.0.0.1", port)).is_err(),
            "postgres still listens after the drop"
        );
        assert!(
            !Path::new(&format!("/proc/{process}")).exists(),
            "process {process} is still there"
        );
        assert!(
            !directory.exists(),
            "{} was left behind",
            directory.display()
        );
    }
}
