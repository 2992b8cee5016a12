//! The file at the root of the repository, which `demo` runs and the documentation quotes.

use std::path::Path;

use super::{nothing_set, valid};
use crate::{
    Config, load,
    routes::{Access, Target},
};

fn shipped() -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gateway.yaml");
    load(&path, &nothing_set).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn the_shipped_file_loads_without_any_secret_set() {
    assert_eq!(
        shipped().routes.len(),
        31,
        "three services, read and written, the ways to the auth service and its pages"
    );
}

#[test]
fn the_shipped_file_leaves_only_the_auth_service_open() {
    for route in shipped().routes {
        let open = matches!(route.access, Access::Public);
        let auth = matches!(route.target, Target::Auth);
        assert_eq!(
            open, auth,
            "{}: a service behind the gateway is never public, the auth service always",
            route.name
        );
    }
}

/// It writes the defaults out so that a reader sees them; they must not drift apart.
#[test]
fn what_the_shipped_file_shows_under_server_is_the_default() {
    let shown = format!("{:?}", shipped().server);
    assert_eq!(shown, format!("{:?}", valid("").server));
}
