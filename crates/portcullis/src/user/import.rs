//! `portcullis user import FILE`: users of another system, with the hashes of their passwords.
//!
//! The file is read twice. First everything in it is looked at, and with a single mistake nobody is taken in, so that a
//! file is never half right. Then each user is a change of its own, with its audit row: what was interrupted is gone on
//! with by the same command, which passes over those that are there.

mod csv;
mod records;

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use portcullis_audit::Action;
use portcullis_auth::{Arrival, NotImported, import_user, password::ImportBounds};
use portcullis_store::StoreError;
use serde_json::json;

use super::check_tenant;
use crate::{accounts::event, cli::Output, output, user::Users};

/// Of a file that is wrong throughout, nobody reads every line.
const MOST_MISTAKES: usize = 100;
/// How often the count on the terminal changes.
const SHOWN_EVERY: usize = 64;

#[derive(Args)]
pub(crate) struct Import {
    /// One user a line in JSON, or CSV with a header line if it ends in .csv
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// What is wrong with a line, or was already so.
struct Told {
    line: usize,
    text: String,
}

impl Users<'_> {
    pub(super) async fn import(&self, import: &Import) -> anyhow::Result<ExitCode> {
        let mistakes = self.look_through(&import.file).await?;
        if !mistakes.is_empty() {
            tell(import, 0, &mistakes);
            return Ok(ExitCode::FAILURE);
        }
        let (taken_in, passed_over) = self.take_in(&import.file).await?;
        tell(import, taken_in, &passed_over);
        Ok(if passed_over.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Every mistake of the file, up to a hundred.
    async fn look_through(&self, file: &Path) -> anyhow::Result<Vec<Told>> {
        let mut mistakes = Vec::new();
        let (mut keys, mut roles) = (HashSet::new(), BTreeMap::new());
        for record in records::open(file)? {
            let (line, read) = record.with_context(|| cannot_read(file))?;
            let checked = match read.and_then(|user| self.checked(user)) {
                Ok(arrival) => self.known(&arrival, &mut keys, &mut roles).await?,
                Err(mistake) => Err(mistake),
            };
            if let Err(text) = checked {
                mistakes.push(Told { line, text });
            }
            if mistakes.len() == MOST_MISTAKES {
                break;
            }
        }
        Ok(mistakes)
    }

    fn checked(&self, user: records::ImportedUser) -> Result<Arrival, String> {
        let bounds = ImportBounds::of(&self.0.auth.password);
        user.check(bounds).map_err(|mistake| mistake.to_string())
    }

    /// What only the rest of the file and the database can tell.
    async fn known(
        &self,
        arrival: &Arrival,
        keys: &mut HashSet<String>,
        roles: &mut BTreeMap<String, bool>,
    ) -> anyhow::Result<Result<(), String>> {
        if let Some(key) = arrival.keys().find(|key| !keys.insert((*key).to_owned())) {
            return Ok(Err(format!("{key:?} is in the file twice")));
        }
        if let Some(Err(error)) = arrival.tenant().map(check_tenant) {
            return Ok(Err(error.to_string()));
        }
        for role in arrival.roles().unwrap_or_default() {
            let is_known = match roles.get(role) {
                Some(is_known) => *is_known,
                None => self.is_role(role).await?,
            };
            roles.insert(role.clone(), is_known);
            if !is_known {
                return Ok(Err(format!("there is no role {role:?}")));
            }
        }
        Ok(Ok(()))
    }

    async fn take_in(&self, file: &Path) -> anyhow::Result<(usize, Vec<Told>)> {
        let (mut taken_in, mut passed_over) = (0, Vec::new());
        let mut progress = Progress::begin();
        for record in records::open(file)? {
            let (line, read) = record.with_context(|| cannot_read(file))?;
            let arrival = read.and_then(|user| self.checked(user));
            let arrival = arrival.map_err(|text| {
                anyhow::anyhow!("line {line}: {text}; the file was changed meanwhile")
            })?;
            match self.take_in_one(&arrival).await {
                Ok(()) => taken_in += 1,
                Err(NotImported::Store(StoreError::Taken)) => passed_over.push(Told {
                    line,
                    text: "the name or the address is taken".to_owned(),
                }),
                Err(error) => return Err(error).context(format!("line {line}")),
            }
            progress.show(taken_in + passed_over.len());
        }
        progress.end();
        Ok((taken_in, passed_over))
    }

    async fn take_in_one(&self, arrival: &Arrival) -> Result<(), NotImported> {
        let default = self.0.auth.default_role.as_slice();
        let roles = arrival.roles().unwrap_or(default);
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let created = event(Action::UserCreated);
        import_user(self.0.store(), arrival, &roles, created).await?;
        Ok(())
    }
}

fn cannot_read(file: &Path) -> String {
    format!("cannot read {}", file.display())
}

fn tell(import: &Import, taken_in: usize, told: &[Told]) {
    if import.output.json {
        let lines: Vec<_> = told
            .iter()
            .map(|told| json!({ "line": told.line, "text": told.text }))
            .collect();
        return output::say_json(&json!({ "imported": taken_in, "not_imported": lines }));
    }
    let file = import.file.display();
    for told in told {
        output::warn(format_args!("{file}:{}: {}", told.line, told.text));
    }
    let not = match told.len() {
        0 => String::new(),
        count => format!(", not imported: {count}"),
    };
    output::say(format_args!("imported: {taken_in}{not}"));
}

/// A count on the terminal, where there is one.
struct Progress {
    is_shown: bool,
}

impl Progress {
    fn begin() -> Self {
        Self {
            is_shown: io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, count: usize) {
        if self.is_shown && count.is_multiple_of(SHOWN_EVERY) {
            let shown = write!(io::stderr(), "\r{count} users").is_ok();
            self.is_shown = shown;
        }
    }

    fn end(self) {
        if self.is_shown {
            // Nobody is left to be told when standard error is gone.
            drop(write!(io::stderr(), "\r             \r"));
        }
    }
}
