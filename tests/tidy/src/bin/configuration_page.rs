//! Prints `docs/configuration.md`, for whoever has changed the schema.

use portcullis_config::schema::JSON_SCHEMA;
use portcullis_tidy::configuration_page::render;

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn main() -> Result<(), String> {
    print!("{}", render(JSON_SCHEMA)?);
    Ok(())
}
