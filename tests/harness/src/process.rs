//! A program under test that can be signalled and timed, and that never outlives the test process.
//!
//! Unlike [`crate::supervise`], which stands between us and servers that are only tools, this starts the program as a
//! child of our own, so that its exit code is seen. Beside it runs a shell that reads from a pipe which only the test
//! process holds: whatever ends the tests closes the pipe, and the shell then kills the program and removes its
//! directory.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

const GUARD: &str = r#"
read -r _ && exit 0
kill -s KILL "$1" 2>/dev/null
rm -rf -- "$2"
"#;

/// A started program. Dropping it kills it.
pub struct Process {
    child: Child,
    /// Absent only while the two are being started.
    guard: Option<Child>,
}

impl Process {
    /// `directory` is removed if the tests end without stopping the program.
    pub fn start(command: &mut Command, directory: &Path) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let mut process = Self { child, guard: None };
        let mut guard = Command::new("sh");
        guard
            .args(["-c", GUARD, "sh", &process.id().to_string()])
            .arg(directory);
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        process.guard = Some(guard.context("starting the guard of a program")?);
        Ok(process)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("the process has an id")?, signal).context("sending a signal")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        wait::until("the end of the program", limit, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // Gone by itself in this moment is as good as killed.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        let Some(guard) = &mut self.guard else { return };
        if let Some(mut pipe) = guard.stdin.take() {
            drop(pipe.write_all(b"done\n"));
        }
        drop(guard.wait());
    }
}
