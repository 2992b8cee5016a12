//! Where a new user's password comes from. On a terminal it is asked for, twice and without echo.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    os::fd::AsFd,
    path::Path,
};

use anyhow::{Context, bail};
use portcullis_auth::password::{MAX_PASSWORD_BYTES, Password};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::output;

pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Password> {
    let text = match file {
        Some(path) => {
            from(File::open(path).with_context(|| format!("cannot read {}", path.display()))?)?
        }
        None if io::stdin().is_terminal() => ask_twice()?,
        None => from(io::stdin().lock())?,
    };
    Ok(Password::parse(line(&text))?)
}

/// The whole input, which must be short: a password that was cut off would be another one.
fn from(source: impl Read) -> anyhow::Result<Zeroizing<String>> {
    let room = MAX_PASSWORD_BYTES + 2;
    let mut text = Zeroizing::new(String::with_capacity(room + 1));
    source
        .take(u64::try_from(room)? + 1)
        .read_to_string(&mut text)?;
    if text.len() > room {
        bail!("the password is longer than {MAX_PASSWORD_BYTES} bytes");
    }
    Ok(text)
}

/// Editors and `echo` end their output with a line break that is no part of the password.
fn line(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn ask_twice() -> anyhow::Result<Zeroizing<String>> {
    let _silence = Silence::begin()?;
    output::warn("Password (it is not shown):");
    let first = typed()?;
    output::warn("Again:");
    if *first != *typed()? {
        bail!("the two passwords differ");
    }
    Ok(first)
}

fn typed() -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(MAX_PASSWORD_BYTES + 2));
    io::stdin().read_line(&mut line)?;
    Ok(line)
}

/// Without echo as long as it lives.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Err(e) = tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &self.0) {
            output::warn(format_args!(
                "the terminal stays without echo ({e}): type `stty echo`"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_line_break_is_taken_off() {
        for (given, expected) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a b ", "a b "),
            ("a\n\n", "a\n"),
            ("", ""),
        ] {
            assert_eq!(line(given), expected, "{given:?}");
        }
    }

    #[test]
    fn a_password_is_never_cut_off() {
        assert!(from("x".repeat(MAX_PASSWORD_BYTES + 3).as_bytes()).is_err());
        assert_eq!(
            from("x".repeat(MAX_PASSWORD_BYTES).as_bytes())
                .unwrap()
                .len(),
            MAX_PASSWORD_BYTES
        );
    }
}
