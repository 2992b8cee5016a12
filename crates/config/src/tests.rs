//! The loader as an operator meets it: the shipped file, the defaults, and the wording of every mistake.

use std::path::Path;

use secrecy::SecretString;

use crate::{Reference, load};

fn no_secrets(_: &Reference) -> Result<SecretString, String> {
    Err("nothing is set here".to_owned())
}

#[test]
fn the_shipped_file_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gateway.yaml");
    let config = load(&path, &no_secrets).map_err(|mistakes| mistakes.to_string());
    let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(
        config.routes.len(),
        20,
        "three services, read and written, and the paths of sign-in"
    );
}
