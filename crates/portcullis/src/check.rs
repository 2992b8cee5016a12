//! `portcullis check`: every mistake of the file at once.

use std::{path::Path, process::ExitCode};

use portcullis_config::{Mistake, Mistakes};
use serde_json::{Value, json};

use crate::{cli::Output, configuration, output, verification};

pub(crate) fn check(path: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let mistakes = match configuration::read(path) {
        Ok(config) => Found::Unusable(verification::unusable_issuers(&config)),
        Err(mistakes) => Found::Mistakes(mistakes),
    };
    if output.json {
        output::say_json(&mistakes.listed(path));
    } else {
        mistakes.tell(path);
    }
    Ok(if mistakes.is_nothing() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is wrong with the file, or with the files of keys that it names: these are looked at once it is itself in order.
enum Found {
    Mistakes(Mistakes),
    Unusable(Vec<anyhow::Error>),
}

impl Found {
    fn is_nothing(&self) -> bool {
        match self {
            Self::Mistakes(_) => false,
            Self::Unusable(issuers) => issuers.is_empty(),
        }
    }

    fn tell(&self, path: &Path) {
        let path = path.display();
        match self {
            Self::Mistakes(mistakes) => output::say(mistakes),
            Self::Unusable(issuers) if issuers.is_empty() => {
                output::say(format_args!("{path}: well"));
            }
            Self::Unusable(issuers) => issuers.iter().for_each(|issuer| {
                output::say(format_args!("{path}: {}", output::sentence(issuer)));
            }),
        }
    }

    fn listed(&self, path: &Path) -> Value {
        let listed: Vec<Value> = match self {
            Self::Mistakes(mistakes) => mistakes.iter().map(listing).collect(),
            Self::Unusable(issuers) => {
                let issuers = issuers.iter();
                issuers.map(|issuer| unplaced(path, issuer)).collect()
            }
        };
        json!({ "valid": self.is_nothing(), "mistakes": listed })
    }
}

fn unplaced(path: &Path, issuer: &anyhow::Error) -> Value {
    json!({
        "file": path.display().to_string(),
        "line": 0,
        "column": 0,
        "path": "issuers",
        "text": output::sentence(issuer),
    })
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
