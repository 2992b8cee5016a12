//! A server process that never outlives the test process.
//!
//! A shell stands between the two and reads from a pipe that only the test process holds. Whatever ends the tests (a return, a
//! panic, `kill -9`) closes the pipe, and the shell then stops the server and removes its directory. A `Drop` alone would not
//! do: servers shared by many tests live in statics, and statics are never dropped.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;

use crate::wait;

const SCRIPT: &str = r#"
signal=$1 directory=$2; shift 2
"$@" >"$directory/log" 2>&1 &
server=$!
echo "$server"
read -r _
kill -s "$signal" "$server" 2>/dev/null
wait "$server"
rm -rf -- "$directory"
"#;

const STOPPING: Duration = Duration::from_secs(20);

/// Who a server runs as.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
}

/// How to start a server, and how to ask it to end.
pub struct Service<'a> {
    pub program: &'a Path,
    pub arguments: Vec<&'a OsStr>,
    /// As `kill -s` takes it: `TERM`, `INT`.
    pub stop_signal: &'static str,
    /// The server's own; its output goes to `log` in it, and it is removed at the end.
    pub directory: &'a Path,
    /// `None`: as the tests run themselves.
    pub identity: Option<Identity>,
}

/// A running server. Dropping it stops the server and waits until it is gone.
pub struct Supervised {
    shell: Child,
    server: u32,
}

impl Supervised {
    pub fn start(service: &Service<'_>) -> anyhow::Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "sh", service.stop_signal])
            .arg(service.directory);
        command.arg(service.program).args(&service.arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .current_dir(service.directory);
        if let Some(identity) = service.identity {
            command.uid(identity.uid).gid(identity.gid);
        }
        let mut shell = command.spawn().context("starting a shell")?;
        let mut first_line = String::new();
        let stdout = shell
            .stdout
            .take()
            .context("the shell has no standard output")?;
        BufReader::new(stdout)
            .read_line(&mut first_line)
            .context("reading the server's process id")?;
        let server = first_line
            .trim()
            .parse()
            .context("the shell told no process id")?;
        Ok(Self { shell, server })
    }

    /// The process id of the server itself, not of the shell.
    pub fn id(&self) -> u32 {
        self.server
    }

    /// Stops the server and waits until it has ended. A second call does nothing.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        drop(self.shell.stdin.take());
        wait::until("the end of a server", STOPPING, || {
            self.shell.try_wait().ok().flatten()
        })?;
        Ok(())
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("process {} may still run: {error:#}", self.server);
        }
    }
}

/// What a server has written so far, for the message when it does not come up.
pub fn log_of(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("log"))
        .unwrap_or_else(|error| format!("no log: {error}"))
}
