//! What the operator may say: `gateway.yaml` into values that are already valid.
//!
//! Start with [`load`], which reports every mistake at once with its place in the file; then read the sections in the
//! order of the file.
//!
//! Invariant: after [`load`] no value can be wrong. Names between sections are resolved into references that exist,
//! secrets are read through the closure handed in, and nothing downstream parses text again.

mod decode;
mod mistakes;
mod names;
mod reader;
mod references;
mod tree;

pub mod auth;
pub mod issuers;
pub mod limits;
pub mod routes;
pub mod server;
pub mod storage;
pub mod units;
pub mod upstreams;

use std::{cell::RefCell, fs::File, io::Read, path::Path, sync::Arc};

pub use mistakes::{Mistake, Mistakes};
use reader::{Loading, Value};
pub use references::{Reference, Secrets};
use tree::Place;

/// No sensible file comes near it, and the whole of it is held in memory several times over.
const LARGEST_FILE: u64 = 1 << 20;

pub struct Config {
    pub server: server::Server,
    pub storage: storage::Storage,
    /// Absent: only tokens of other issuers are accepted, and `builtin:auth` cannot be routed to.
    pub auth: Option<auth::Auth>,
    pub issuers: Vec<issuers::Issuer>,
    pub upstreams: Vec<Arc<upstreams::Upstream>>,
    pub rate_limits: Vec<Arc<limits::RateLimit>>,
    pub routes: Vec<routes::Route>,
    /// Whether audit events are kept: wherever `auth` is, and where `audit:` is written. With neither no database is
    /// opened.
    pub audit: bool,
}

impl Config {
    /// Whether anything must be kept: a read-only sidecar opens no database.
    pub fn needs_database(&self) -> bool {
        self.auth.is_some() || self.audit
    }
}

/// Reads the file at `path`. Secrets and other references are read through the closure, once.
pub fn load(path: &Path, secrets: Secrets<'_>) -> Result<Config, Mistakes> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(at(
            &name,
            Place { line: 0, column: 0 },
            format!("cannot be read: {error}"),
        ));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, &name, secrets),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let column = 1 + String::from_utf8_lossy(before)
                .chars()
                .rev()
                .take_while(|c| *c != '\n')
                .count();
            Err(at(
                &name,
                Place { line, column },
                "this is not UTF-8 text: save the file as UTF-8".to_owned(),
            ))
        }
    }
}

/// As [`load`], for a text that is already there; `file` is what mistakes call it.
pub fn parse(text: &str, file: &str, secrets: Secrets<'_>) -> Result<Config, Mistakes> {
    let start = Place { line: 1, column: 1 };
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > LARGEST_FILE {
        return Err(at(
            file,
            start,
            "the file is larger than 1MiB: this is no configuration".to_owned(),
        ));
    }
    let loading = Loading {
        file: Arc::from(file),
        secrets,
        mistakes: RefCell::default(),
    };
    let (root, flaws) = tree::parse(text);
    for flaw in flaws {
        loading.mistake(flaw.place, "", flaw.text);
    }
    let config = match &root {
        Some(root) => decode::config(&Value::root(root, &loading)),
        None => None,
    };
    let mistakes = loading.mistakes.into_inner();
    match config {
        Some(config) if mistakes.is_empty() => Ok(config),
        Some(_) | None if !mistakes.is_empty() => Err(Mistakes::new(mistakes)),
        Some(_) | None => Err(at(
            file,
            start,
            "the file is empty: begin with `version: 1` and name at least one route".to_owned(),
        )),
    }
}

fn at(file: &str, place: Place, text: String) -> Mistakes {
    let path = String::new();
    Mistakes::new(vec![Mistake {
        file: Arc::from(file),
        line: place.line,
        column: place.column,
        path,
        text,
    }])
}

#[cfg(test)]
mod tests;
