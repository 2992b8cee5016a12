//! `portcullis check`: every mistake of the file at once.

use std::{path::Path, process::ExitCode};

use portcullis_config::{Mistake, Mistakes};
use serde_json::{Value, json};

use crate::{cli::Output, configuration, output};

pub(crate) fn check(path: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let read = configuration::read(path);
    if output.json {
        output::say_json(&verdict(read.as_ref().err()));
    } else {
        match &read {
            Ok(_) => output::say(format_args!("{}: well", path.display())),
            Err(mistakes) => output::say(mistakes),
        }
    }
    Ok(if read.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn verdict(mistakes: Option<&Mistakes>) -> Value {
    let listed: Vec<Value> = mistakes
        .map(|all| all.iter().map(listing).collect())
        .unwrap_or_default();
    json!({ "valid": mistakes.is_none(), "mistakes": listed })
}

fn listing(mistake: &Mistake) -> Value {
    json!({
        "file": &*mistake.file,
        "line": mistake.line,
        "column": mistake.column,
        "path": mistake.path,
        "text": mistake.text,
    })
}
