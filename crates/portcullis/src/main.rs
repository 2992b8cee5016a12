//! The binary: command line, wiring, admin listener, stop and demo. One file a command; start with [`cli`], then
//! [`run`] for the order in which everything is put together.

mod accounts;
mod admin;
mod audit_writer;
mod auth_socket;
mod backup;
mod books;
mod breaker_handle;
mod check;
mod cli;
mod client;
mod clock;
mod configuration;
mod demo;
mod explain;
mod feeds;
mod healthcheck;
mod house;
mod housekeeping;
mod identity;
mod in_force;
mod issuer_keys;
mod key;
mod keys;
mod logging;
mod migrate;
mod output;
mod process_metrics;
mod readiness;
mod rehearse;
mod rehearsed_callers;
mod rehearsed_table;
mod reload;
mod revocation_feed;
mod role;
mod root_key;
mod run;
mod serve;
mod session;
mod shared_limits;
mod status;
mod stop;
mod traces;
mod user;
mod verification;
mod watch;

/// The system allocator keeps far more after a burst than it gives back, and costs more per header.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
