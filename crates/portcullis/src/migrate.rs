//! `portcullis migrate`: for operators who want the schema changed before, not by, the next start.

use std::{path::Path, process::ExitCode};

use serde_json::json;

use crate::{cli::Output, configuration, house::Tool, output};

pub(crate) fn migrate(config: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let tool = Tool::open(configuration::load(config)?)?;
    let applied = tool.block_on(async { Ok(tool.store.migrate().await?) })?;
    if output.json {
        output::say_json(&json!({ "applied": applied }));
    } else if applied.is_empty() {
        output::say("nothing to do: the database has the schema of this version");
    } else {
        applied
            .iter()
            .for_each(|name| output::say(format_args!("applied {name}")));
    }
    Ok(ExitCode::SUCCESS)
}
