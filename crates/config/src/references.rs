//! `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` inside any string of the file.
//!
//! What a reference stands for is read through a closure, so that nothing here touches the environment or the disk. It is
//! not searched for further references: an environment variable cannot pull in a file.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::names;

/// Something outside the file that a string in it refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// An environment variable. Its default is the loader's affair.
    Env(String),
    File(PathBuf),
    /// A list of hashes, of which only whether it can be searched is asked. The error is the rest of a sentence that
    /// begins with the path, and what is read is nothing.
    HashList(PathBuf),
}

/// Reads what a reference stands for, or says in a few words why it cannot ("the variable is not set").
pub type Secrets<'a> = &'a dyn Fn(&Reference) -> Result<SecretString, String>;

/// Longer than any key, certificate or URL by far.
const MAX_RESOLVED: usize = 64 * 1024;

/// A text in which every reference has been replaced.
pub(crate) struct Resolved {
    pub(crate) text: Zeroizing<String>,
    /// Something was replaced: the text may hold a secret and must not be shown.
    pub(crate) referenced: bool,
}

pub(crate) fn resolve(text: &str, secrets: Secrets<'_>) -> Result<Resolved, String> {
    let mut resolved = Resolved {
        text: Zeroizing::new(String::new()),
        referenced: false,
    };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((reference, following)) = after.split_once('}') else {
            return Err("a reference has no end: `${` needs a `}`".to_owned());
        };
        resolved.text.push_str(before);
        resolved.referenced = true;
        append(&mut resolved.text, reference, secrets)?;
        rest = following;
    }
    resolved.text.push_str(rest);
    Ok(resolved)
}

fn append(text: &mut String, reference: &str, secrets: Secrets<'_>) -> Result<(), String> {
    let value = match reference.split_once(':') {
        Some(("env", written)) => environment(written, secrets)?,
        Some(("file", path)) if !path.is_empty() => file(path, secrets)?,
        Some(("aws-secret", _)) => {
            return Err("`${aws-secret:…}` is not supported yet: use env or file".to_owned());
        }
        Some(_) | None => {
            return Err("is no reference that is known: write ${env:NAME}, ${env:NAME:-default} or ${file:/path}".to_owned());
        }
    };
    if text.len().saturating_add(value.expose_secret().len()) > MAX_RESOLVED {
        return Err(format!(
            "becomes longer than {MAX_RESOLVED} bytes once its references are read"
        ));
    }
    text.push_str(value.expose_secret());
    Ok(())
}

/// As in a shell, `:-` also replaces a variable that is set but empty.
fn environment(written: &str, secrets: Secrets<'_>) -> Result<SecretString, String> {
    let (name, default) = match written.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (written, None),
    };
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !named {
        return Err(
            "names no environment variable: write ${env:NAME} with letters, digits and `_`"
                .to_owned(),
        );
    }
    match (secrets(&Reference::Env(name.to_owned())), default) {
        (Ok(value), Some(default)) if value.expose_secret().is_empty() => {
            Ok(SecretString::from(default))
        }
        (Ok(value), _) => Ok(value),
        (Err(_unset), Some(default)) => Ok(SecretString::from(default)),
        (Err(reason), None) => Err(format!(
            "`${{env:{name}}}` does not resolve: {reason}; set it, or write ${{env:{name}:-default}}"
        )),
    }
}

/// The line end that editors and `echo` leave is not part of a secret.
fn file(path: &str, secrets: Secrets<'_>) -> Result<SecretString, String> {
    let value = secrets(&Reference::File(PathBuf::from(path))).map_err(|reason| {
        format!(
            "{} does not resolve: {reason}",
            names::quote(&format!("${{file:{path}}}"))
        )
    })?;
    Ok(SecretString::from(
        value.expose_secret().trim_end_matches(['\r', '\n']),
    ))
}
