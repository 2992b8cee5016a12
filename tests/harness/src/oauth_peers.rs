//! Libraries for tokens and for OAuth that others wrote, in other languages: installed once in the target directory, from
//! the registries of npm and Python, in the versions that are pinned beside the programs that use them.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, ensure};

const FILES: [&str; 7] = [
    "package.json",
    "package-lock.json",
    "requirements.txt",
    "verify.mjs",
    "verify.py",
    "client.mjs",
    "signing_client.mjs",
];

/// Tests run side by side, and the first of them installs.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Where they are installed.
pub struct OauthPeers(PathBuf);

impl OauthPeers {
    /// From the folder with the programs and the pinned versions into `target`. What is there already is used again.
    pub fn install(source: &Path, target: &Path) -> anyhow::Result<Self> {
        let _alone = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = target.join("oauth_peers");
        fs::create_dir_all(&directory)?;
        for file in FILES {
            fs::copy(source.join(file), directory.join(file)).with_context(|| file.to_owned())?;
        }
        let peers = Self(directory);
        let pinned = ["package-lock.json", "requirements.txt"]
            .map(|file| fs::read_to_string(peers.0.join(file)).unwrap_or_default())
            .concat();
        let installed = peers.0.join("installed");
        if fs::read_to_string(&installed).ok().as_deref() != Some(&pinned) {
            peers.fetch()?;
            fs::write(installed, pinned)?;
        }
        Ok(peers)
    }

    fn fetch(&self) -> anyhow::Result<()> {
        let npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        self.carry_out("npm", &npm)?;
        self.carry_out("python3", &["-m", "venv", "--clear", "python"])?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--requirement",
        ];
        let pip: Vec<&str> = pip.into_iter().chain(["requirements.txt"]).collect();
        self.carry_out(self.python(), &pip)
    }

    fn python(&self) -> PathBuf {
        self.0.join("python/bin/python")
    }

    fn carry_out(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.0);
        let output = command
            .stdin(Stdio::null())
            .output()
            .context("install them: apt-get install nodejs npm python3-venv")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(())
    }

    /// The verdicts of one library on these tokens, in their order: `good`, the algorithm and the subject, or `refused`.
    pub fn verdicts(
        &self,
        library: &str,
        issuer: &str,
        audience: &str,
        tokens: &[&str],
    ) -> anyhow::Result<Vec<String>> {
        let mut command = match library {
            "jose" => self.program("node", "verify.mjs"),
            _ => self.program(self.python(), "verify.py"),
        };
        if library != "jose" {
            command.arg(library);
        }
        command.args([issuer, audience]);
        let said = self.said(command, &tokens.join("\n"))?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    /// What the client of OAuth has done, a line each. An error where it met what it did not expect.
    pub fn client(&self, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut command = self.program("node", "client.mjs");
        command.args(arguments);
        let said = self.said(command, "")?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    /// As [`Self::client`], for one that signs for itself.
    pub fn signing_client(&self, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut command = self.program("node", "signing_client.mjs");
        command.args(arguments);
        let said = self.said(command, "")?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    fn program(&self, interpreter: impl AsRef<OsStr>, name: &str) -> Command {
        let mut command = Command::new(interpreter);
        command.arg(self.0.join(name));
        command
    }

    fn said(&self, mut command: Command, input: &str) -> anyhow::Result<String> {
        let directory = tempfile::tempdir()?;
        let asked = directory.path().join("input");
        File::create(&asked)?.write_all(input.as_bytes())?;
        let output = command.stdin(File::open(asked)?).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {complaint}");
        Ok(String::from_utf8(output.stdout)?)
    }
}
