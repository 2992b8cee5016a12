//! An identity provider that others wrote: `oidc-provider` of the npm registry, installed once in the target directory.

use std::{
    ffi::OsStr,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client::{Client, Request},
    ports::free_port,
    supervise::{Service, Supervised, log_of},
    wait,
};

const COMING_UP: Duration = Duration::from_secs(30);

/// What `npm ci` needs, and the program itself.
const FILES: [&str; 3] = ["package.json", "package-lock.json", "provider.mjs"];

/// Where it is installed.
pub struct Installed(PathBuf);

impl Installed {
    /// From the folder with its program and lock file into `target`. What is there already is used again. Of several that
    /// come at the same time one installs, and the others wait.
    pub fn into(source: &Path, target: &Path) -> anyhow::Result<Self> {
        let directory = target.join("identity_provider");
        fs::create_dir_all(&directory)?;
        let turn = File::create(directory.join("installing"))?;
        turn.lock()?;
        for file in FILES {
            fs::copy(source.join(file), directory.join(file)).with_context(|| file.to_owned())?;
        }
        if !directory.join("node_modules/oidc-provider").is_dir() {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(&directory)
                .stdin(Stdio::null());
            let output = npm
                .output()
                .context("starting npm (install it: apt-get install nodejs npm)")?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "npm ci: {said}");
        }
        Ok(Self(directory))
    }
}

/// Stopped when dropped.
pub struct IdentityProvider {
    address: SocketAddr,
    program: PathBuf,
    algorithms: Vec<String>,
    directory: TempDir,
    server: Supervised,
}

impl IdentityProvider {
    /// One that signs with any of these, each for its own resource.
    pub fn start(installed: &Installed, algorithms: &[&str]) -> anyhow::Result<Self> {
        let address = (Ipv4Addr::LOCALHOST, free_port()?).into();
        let program = installed.0.join("provider.mjs");
        let directory = tempfile::Builder::new().prefix("pc-idp-").tempdir()?;
        let algorithms: Vec<String> = algorithms.iter().map(ToString::to_string).collect();
        let provider = Self {
            server: launch(&program, address, &algorithms, directory.path())?,
            address,
            program,
            algorithms,
            directory,
        };
        provider.wait_for_answer()?;
        Ok(provider)
    }

    /// Again at the same address, with other keys and no memory of what it was asked.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.server.stop()?;
        self.directory = tempfile::Builder::new().prefix("pc-idp-").tempdir()?;
        let directory = self.directory.path();
        self.server = launch(&self.program, self.address, &self.algorithms, directory)?;
        self.wait_for_answer()
    }

    fn wait_for_answer(&self) -> anyhow::Result<()> {
        wait::until("an answer of the identity provider", COMING_UP, || {
            let answer = Client::of(self.address).get("/jwks").ok()?;
            (answer.status == 200).then_some(())
        })
        .with_context(|| log_of(self.directory.path()))
    }

    /// What stands as `iss`.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its pages are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An access token for the hotel, signed with this algorithm.
    pub fn token(&self, algorithm: &str) -> anyhow::Result<String> {
        let form = format!(
            "grant_type=client_credentials&client_id=desk&client_secret=a+secret+of+the+tests&scope=hotel:read&resource=urn:hotel:{algorithm}"
        );
        let request = Request::post("/token")
            .with("Content-Type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = Client::of(self.address).send(&request)?;
        let body = answer.json();
        let token = body.get("access_token").and_then(Value::as_str);
        token.map(str::to_owned).with_context(|| answer.text())
    }
}

fn launch(
    program: &Path,
    address: SocketAddr,
    algorithms: &[String],
    directory: &Path,
) -> anyhow::Result<Supervised> {
    let port = address.port().to_string();
    let mut arguments: Vec<&OsStr> = vec![program.as_ref(), port.as_ref()];
    arguments.extend(algorithms.iter().map(OsStr::new));
    Supervised::start(&Service {
        program: Path::new("node"),
        arguments,
        stop_signal: "TERM",
        directory,
        identity: None,
    })
}
