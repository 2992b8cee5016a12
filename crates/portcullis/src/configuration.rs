//! The configuration file as the commands read it, and where its secrets come from.

use std::{
    env::VarError,
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::bail;
use portcullis_config::{Config, Mistakes, Reference};
use secrecy::SecretString;

use crate::output;

/// A secret is a word or a key, not a disk image.
const LARGEST_SECRET: u64 = 64 * 1024;

/// The configuration, or every mistake on standard error and a failure.
pub(crate) fn load(path: &Path) -> anyhow::Result<Config> {
    match read(path) {
        Ok(config) => Ok(config),
        Err(mistakes) => {
            output::warn(&mistakes);
            bail!("the configuration is not usable, nothing was started")
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<Config, Mistakes> {
    portcullis_config::load(path, &secret)
}

/// Resolves `${env:NAME}` and `${file:PATH}`. The error is a reason alone: the loader names the source.
pub(crate) fn secret(reference: &Reference) -> Result<SecretString, String> {
    match reference {
        Reference::Env(name) => from_environment(name),
        Reference::File(path) => from_file(path).map_err(|e| e.to_string()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the closure the loader reads the environment through"
)]
fn from_environment(name: &str) -> Result<SecretString, String> {
    std::env::var(name)
        .map(SecretString::from)
        .map_err(|e| match e {
            VarError::NotPresent => "the variable is not set".to_owned(),
            VarError::NotUnicode(_) => "the variable is not valid UTF-8".to_owned(),
        })
}

fn from_file(path: &Path) -> io::Result<SecretString> {
    let file = File::open(path)?;
    if file.metadata()?.len() > LARGEST_SECRET {
        return Err(io::Error::other(
            "the file is larger than 64KiB, which no secret is",
        ));
    }
    let mut text = String::new();
    file.take(LARGEST_SECRET).read_to_string(&mut text)?;
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_file_is_read_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "two words").unwrap();
        assert_eq!(
            secret(&Reference::File(path)).unwrap().expose_secret(),
            "two words"
        );
    }

    #[test]
    fn a_file_that_is_no_secret_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        fs::write(&path, vec![b'a'; 64 * 1024 + 1]).unwrap();
        let refused = secret(&Reference::File(path)).expect_err("it is too large");
        assert!(refused.contains("64KiB"), "{refused}");
    }

    #[test]
    fn an_unset_variable_is_a_reason_not_a_value() {
        let unset =
            secret(&Reference::Env("PORTCULLIS_UNSET_IN_TESTS".into())).expect_err("it is not set");
        assert_eq!(unset, "the variable is not set");
    }
}
