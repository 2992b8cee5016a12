//! `portcullis backup FILE`: a consistent copy of the SQLite database, taken while the gateway runs.

use std::{path::Path, process::ExitCode};

use portcullis_config::storage::Database;

use crate::{configuration, house::Tool, output};

pub(crate) fn backup(config: &Path, file: &Path) -> anyhow::Result<ExitCode> {
    let tool = Tool::open(configuration::load(config)?)?;
    tool.block_on(async { Ok(tool.store.backup(file).await?) })?;
    output::say(format_args!("wrote {}", file.display()));
    if let (Database::Sqlite(_), None) = (&tool.config.storage.database, &tool.config.storage.key) {
        output::warn(
            "the root key is not in the copy: keep portcullis.key from beside the database, and keep it apart",
        );
    }
    Ok(ExitCode::SUCCESS)
}
