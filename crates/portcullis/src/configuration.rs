//! The configuration file as the commands read it, and where its secrets come from.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    env::VarError,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::bail;
use portcullis_auth::password::BreachedList;
use portcullis_config::{Config, Mistakes, Reference};
use secrecy::SecretString;

use crate::{output, status::Origin};

/// A secret is a word, a key or at most all the authorities that a system trusts; not a disk image.
const LARGEST_SECRET: u64 = 1 << 20;

/// The configuration, or every mistake on standard error and a failure.
pub(crate) fn load(path: &Path) -> anyhow::Result<Config> {
    usable(read(path))
}

pub(crate) fn usable(config: Result<Config, Mistakes>) -> anyhow::Result<Config> {
    match config {
        Ok(config) => Ok(config),
        Err(mistakes) => {
            output::warn(&mistakes);
            bail!("the configuration is not usable")
        }
    }
}

/// The file as it was read for the gateway itself, which may read it again.
pub(crate) struct Reading {
    pub(crate) config: Result<Config, Mistakes>,
    pub(crate) origin: Origin,
    /// Everything that was read or would be: when one of these changes, the next reading may come out differently.
    pub(crate) files: BTreeSet<PathBuf>,
}

impl Reading {
    pub(crate) fn of(path: &Path) -> Self {
        let name = path.display().to_string();
        let files = RefCell::new(BTreeSet::from([path.to_owned()]));
        let noting = |reference: &Reference| {
            if let Reference::File(path) = reference {
                files.borrow_mut().insert(path.clone());
            }
            secret(reference)
        };
        let bytes = portcullis_config::read(path);
        let origin = Origin::of_text(&name, bytes.as_deref().unwrap_or_default());
        let config = bytes.and_then(|bytes| portcullis_config::parse_bytes(&bytes, &name, &noting));
        let mut files = files.into_inner();
        if let Ok(config) = &config {
            files.extend(config.files().map(Path::to_owned));
        }
        Self {
            config,
            origin,
            files,
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<Config, Mistakes> {
    portcullis_config::load(path, &secret)
}

/// Resolves `${env:NAME}` and `${file:PATH}`, and looks into lists of hashes. The error is a reason alone: the loader names the source.
pub(crate) fn secret(reference: &Reference) -> Result<SecretString, String> {
    match reference {
        Reference::Env(name) => from_environment(name),
        Reference::File(path) => from_file(path).map_err(|e| e.to_string()),
        Reference::HashList(path) => match BreachedList::open(path) {
            Ok(_list) => Ok(SecretString::default()),
            Err(error) => Err(error.to_string()),
        },
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
            "the file is larger than 1MiB, which no secret is",
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
        fs::write(&path, vec![b'a'; (1 << 20) + 1]).unwrap();
        let refused = secret(&Reference::File(path)).expect_err("it is too large");
        assert!(refused.contains("1MiB"), "{refused}");
    }

    #[test]
    fn every_file_that_was_read_is_known_even_where_the_configuration_is_no_use() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (
            folder.path().join("gateway.yaml"),
            folder.path().join("key"),
        );
        let text = format!(
            "version: 1\nstorage: {{ key: \"${{file:{}}}\" }}",
            key.display()
        );
        fs::write(&path, text).unwrap();
        let reading = Reading::of(&path);
        assert!(reading.config.is_err());
        assert_eq!(reading.files, BTreeSet::from([path, key]));
    }

    #[test]
    fn an_unset_variable_is_a_reason_not_a_value() {
        let unset =
            secret(&Reference::Env("PORTCULLIS_UNSET_IN_TESTS".into())).expect_err("it is not set");
        assert_eq!(unset, "the variable is not set");
    }
}
