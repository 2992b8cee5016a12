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
    warn(format_args!("portcullis: {failure:#}"));
}

pub(crate) fn warn(line: impl Display) {
    // Nobody is left to be told when standard error is gone.
    drop(writeln!(io::stderr().lock(), "{line}"));
}
