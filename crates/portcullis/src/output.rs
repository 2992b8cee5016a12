//! What the commands print. Results go to standard output, everything else to standard error.

use std::{
    fmt::Display,
    io::{self, Write},
    process,
};

/// One line of result. A reader that has gone away (`| head`) ends the command quietly, as it ends `cat`.
pub(crate) fn say(line: impl Display) {
    if writeln!(io::stdout().lock(), "{line}").is_err() {
        process::exit(0);
    }
}

/// A whole JSON document, on one line.
pub(crate) fn say_json(document: &serde_json::Value) {
    say(document);
}

/// One sentence, with its causes behind colons.
pub(crate) fn complain(failure: &anyhow::Error) {
    warn(format_args!("portcullis: {}", sentence(failure)));
}

/// Many errors end with their cause already, and it is not said twice.
pub(crate) fn sentence(failure: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in failure.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.ends_with(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

pub(crate) fn warn(line: impl Display) {
    // Nobody is left to be told when standard error is gone.
    drop(writeln!(io::stderr().lock(), "{line}"));
}

#[cfg(test)]
mod tests {
    use portcullis_auth::{BadName, ClientError};

    use super::*;

    #[test]
    fn a_cause_that_an_error_tells_itself_is_not_said_twice() {
        let refused = ClientError::from(BadName);
        let told = refused.to_string();
        let failure = anyhow::Error::from(refused).context("nothing was changed");
        assert_eq!(sentence(&failure), format!("nothing was changed: {told}"));
        let io = io::Error::other("disk full");
        let failure = anyhow::Error::from(io)
            .context("no copy")
            .context("no backup");
        assert_eq!(sentence(&failure), "no backup: no copy: disk full");
    }
}
