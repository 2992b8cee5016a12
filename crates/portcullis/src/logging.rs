//! The operator's log: to standard error, as text on a terminal and as JSON lines elsewhere. `RUST_LOG` overrides the
//! level. Requests have their own access log; see the proxy's `observe`.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt};

/// Pingora logs an error for each request that fails; the access line and the metrics tell the same without a flood. sqlx
/// repeats what PostgreSQL says to every session.
const DEFAULT_FILTER: &str = "info,pingora_core=error,pingora_proxy=error,sqlx=warn";

/// Takes effect once for the process; a second call changes nothing.
pub(crate) fn start() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    let started = if io::stderr().is_terminal() {
        log.try_init()
    } else {
        log.json().with_ansi(false).try_init()
    };
    drop(started);
}
