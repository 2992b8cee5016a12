//! The ways in: a file or a text becomes a configuration, or the list of everything that is wrong with it.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
    sync::Arc,
};

use crate::{
    Config, decode,
    mistakes::{Mistake, Mistakes},
    reader::{Loading, Value},
    references::Secrets,
    tree::{self, Place},
};

/// No sensible file comes near it, and the whole of it is held in memory several times over.
const LARGEST_FILE: u64 = 1 << 20;

const START: Place = Place { line: 1, column: 1 };

/// Reads the file at `path`. What its references stand for is read through the closure.
pub fn load(path: &Path, secrets: Secrets<'_>) -> Result<Config, Mistakes> {
    parse_bytes(&read(path)?, &path.display().to_string(), secrets)
}

/// The bytes of the file at `path`, for whoever wants to know them beside what they mean.
pub fn read(path: &Path) -> Result<Vec<u8>, Mistakes> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that a file that is too large is told from one that just fits.
    let read =
        File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
    match read {
        Ok(_length) => Ok(bytes),
        Err(error) => {
            let nowhere = Place { line: 0, column: 0 };
            let name = path.display().to_string();
            let is_absent = error.kind() == ErrorKind::NotFound;
            let remedy = if is_absent {
                "; name the configuration with `--config FILE`"
            } else {
                ""
            };
            let mistake = format!("cannot be read: {error}{remedy}");
            Err(single(&name, nowhere, &mistake))
        }
    }
}

/// As [`load`], for a text that is already there; `file` is what mistakes call it.
pub fn parse(text: &str, file: &str, secrets: Secrets<'_>) -> Result<Config, Mistakes> {
    parse_bytes(text.as_bytes(), file, secrets)
}

/// As [`parse`], for bytes that need not even be text.
pub fn parse_bytes(bytes: &[u8], file: &str, secrets: Secrets<'_>) -> Result<Config, Mistakes> {
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST_FILE {
        return Err(single(
            file,
            START,
            "the file is larger than 1MiB: this is no configuration",
        ));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse_text(text, file, secrets),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let place = end_of(&String::from_utf8_lossy(valid));
            Err(single(
                file,
                place,
                "this is not UTF-8 text: save the file as UTF-8",
            ))
        }
    }
}

fn parse_text(text: &str, file: &str, secrets: Secrets<'_>) -> Result<Config, Mistakes> {
    read_text(text, &Loading::new(file, secrets))
}

pub(crate) fn read_text(text: &str, loading: &Loading<'_>) -> Result<Config, Mistakes> {
    let (root, flaws) = tree::parse(text);
    for flaw in flaws {
        loading.mistake(flaw.place, "", flaw.text);
    }
    let config = root
        .as_ref()
        .and_then(|root| decode::config(&Value::root(root, loading)));
    let mistakes = loading.mistakes.take();
    match config {
        Some(config) if mistakes.is_empty() => Ok(config),
        None if mistakes.is_empty() => Err(single(
            &loading.file,
            START,
            "the file is empty: begin with `version: 1` and name at least one route",
        )),
        Some(_) | None => Err(Mistakes::new(mistakes)),
    }
}

fn end_of(text: &str) -> Place {
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    Place {
        line: 1 + text.matches('\n').count(),
        column: 1 + last_line.chars().count(),
    }
}

fn single(file: &str, place: Place, text: &str) -> Mistakes {
    let Place { line, column } = place;
    Mistakes::new(vec![Mistake {
        file: Arc::from(file),
        line,
        column,
        path: String::new(),
        text: text.to_owned(),
    }])
}
