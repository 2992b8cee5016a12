//! Programs of the Python registry (`PyPI`), each in an environment of its own in the target directory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

/// An environment with what a list of requirements names.
pub struct Python(PathBuf);

impl Python {
    /// `requirements` is a file that names every package with its version. What is there already is used again.
    pub fn with(requirements: &Path, target: &Path) -> anyhow::Result<Self> {
        let wanted =
            fs::read_to_string(requirements).with_context(|| requirements.display().to_string())?;
        let name = requirements.parent().and_then(Path::file_name);
        let directory = target
            .join("python")
            .join(name.context("requirements lie in a folder")?);
        fs::create_dir_all(&directory)?;
        // Tests of several processes may want it at the same time. Beside it, because it is made anew.
        let lock = File::create(directory.with_extension("lock"))?;
        lock.lock()?;
        let installed = directory.with_extension("installed");
        if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted) {
            install(requirements, &directory)?;
            fs::write(&installed, &wanted)?;
        }
        Ok(Self(directory))
    }

    /// One of the programs that its packages brought; `python` among them.
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }
}

fn install(requirements: &Path, directory: &Path) -> anyhow::Result<()> {
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv", "--clear"]).arg(directory);
    run(&mut environment).context("making an environment (apt-get install python3-venv)")?;
    let mut pip = Command::new(directory.join("bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--requirement",
    ])
    .arg(requirements);
    run(&mut pip)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
