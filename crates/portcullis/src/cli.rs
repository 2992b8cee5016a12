//! What may be typed, and which file carries it out. Exit codes: 0 well, 1 the check or the command failed, 2 wrong use.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use portcullis_config::schema::JSON_SCHEMA;

use crate::{
    backup, check, client, demo, explain, healthcheck, key, migrate, output, rehearsed_table, role,
    run, session, user,
};

const DEFAULT_CONFIG: &str = "gateway.yaml";

/// An access gateway: decides who may pass, how often, and whether the service behind is fit to answer.
#[derive(Parser)]
#[command(
    name = "portcullis",
    version,
    after_help = "Example:\n  portcullis demo"
)]
struct Cli {
    /// The configuration file [default: gateway.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway in the foreground until SIGTERM or SIGINT
    #[command(after_help = "Example:\n  portcullis run --config gateway.yaml")]
    Run,
    /// Read the configuration and report every mistake at once
    #[command(after_help = "Example:\n  portcullis check --config gateway.yaml")]
    Check(Output),
    /// Tell what the gateway would do with one request, step by step; exit code 0 if it would let it through
    #[command(
        after_help = "Example:\n  portcullis explain GET /hotel-db/rooms --ip 203.0.113.7 --token - < token.txt"
    )]
    Explain(explain::Question),
    /// Compare a table of requests with what the gateway would do; exit code 0 if all are as expected
    #[command(after_help = "Example:\n  portcullis test policy-tests.yaml")]
    Test(rehearsed_table::Table),
    /// Print the JSON Schema of the configuration, for editors and other programs
    #[command(after_help = "Example:\n  portcullis schema")]
    Schema,
    /// Run the shipped configuration on 127.0.0.1 with three sample backends and two users
    #[command(after_help = "Example:\n  portcullis demo --port 8080 --admin-port 9090")]
    Demo(demo::Options),
    /// Bring the database to the schema of this version
    #[command(after_help = "Example:\n  portcullis migrate --config gateway.yaml")]
    Migrate(Output),
    /// Write a consistent copy of the SQLite database while the gateway runs
    #[command(after_help = "Example:\n  portcullis backup /backup/portcullis.db")]
    Backup {
        /// Where the copy goes; the file must not exist yet
        file: PathBuf,
    },
    /// Ask a running gateway whether it is ready; exit code 0 if so
    #[command(
        after_help = "Example:\n  portcullis healthcheck --config /etc/portcullis/gateway.yaml"
    )]
    Healthcheck(Output),
    /// Add, list, disable and enable users; grant and revoke their roles
    #[command(after_help = "Example:\n  portcullis user list", subcommand)]
    User(user::Command),
    /// List, add, set and remove roles of the database
    #[command(after_help = "Example:\n  portcullis role list", subcommand)]
    Role(role::Command),
    /// List the sessions of a user, and end them
    #[command(after_help = "Example:\n  portcullis session list saad", subcommand)]
    Session(session::Command),
    /// Add, list, change, disable and delete clients: programs that get tokens with a secret or a key
    #[command(after_help = "Example:\n  portcullis client list", subcommand)]
    Client(client::Command),
    /// List, rotate and take back the keys that sign tokens
    #[command(after_help = "Example:\n  portcullis key list", subcommand)]
    Key(key::Command),
}

/// Output is for people unless a program asks.
#[derive(Args, Clone, Copy)]
pub(crate) struct Output {
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses the arguments (clap ends the process with 2 on wrong use) and carries out the command.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = carry_out(cli);
    done.unwrap_or_else(|failure| {
        output::complain(&failure);
        ExitCode::FAILURE
    })
}

fn carry_out(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = cli.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
    match cli.command {
        Command::Run => run::run(config),
        Command::Check(output) => check::check(config, output),
        Command::Explain(question) => explain::explain(config, &question),
        Command::Test(table) => rehearsed_table::test(config, &table),
        Command::Schema => Ok(schema()),
        Command::Demo(options) => demo::demo(cli.config.as_deref(), &options),
        Command::Migrate(output) => migrate::migrate(config, output),
        Command::Backup { file } => backup::backup(config, &file),
        Command::Healthcheck(output) => healthcheck::healthcheck(config, output),
        Command::User(command) => user::user(config, command),
        Command::Role(command) => role::role(config, command),
        Command::Session(command) => session::session(config, command),
        Command::Client(command) => client::client(config, command),
        Command::Key(command) => key::key(config, command),
    }
}

fn schema() -> ExitCode {
    output::say(JSON_SCHEMA.trim_end());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn each_command(command: &clap::Command, visit: &mut dyn FnMut(&clap::Command)) {
        visit(command);
        command
            .get_subcommands()
            .for_each(|inner| each_command(inner, visit));
    }

    #[test]
    fn every_command_has_an_example_that_parses() {
        each_command(&Cli::command(), &mut |command| {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let examples = help
                .strip_prefix("Example:\n")
                .or(help.strip_prefix("Examples:\n"));
            let examples = examples
                .unwrap_or_else(|| panic!("no example in the help of `{}`", command.get_name()));
            for example in examples.lines() {
                let typed = example.split(" < ").next().unwrap_or_default();
                assert!(
                    Cli::try_parse_from(typed.split_whitespace()).is_ok(),
                    "the example does not parse: {example}"
                );
            }
        });
    }

    #[test]
    fn a_key_id_may_begin_with_a_hyphen() {
        for words in [["-kid", "--json"], ["--json", "-kid"]] {
            let typed = ["portcullis", "key", "retire"].iter().chain(&words);
            let cli = Cli::try_parse_from(typed).expect("a kid and a flag");
            let Command::Key(key::Command::Retire(named)) = cli.command else {
                panic!("another command");
            };
            assert!(named.kid == "-kid" && named.output.json, "{words:?}");
        }
    }

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_takes_a_configuration() {
        for words in [
            ["check"].as_slice(),
            &["user", "list"],
            &["role", "list"],
            &["session", "list", "saad"],
            &["client", "list"],
            &["key", "list"],
            &["healthcheck"],
            &["demo"],
            &["migrate"],
        ] {
            let typed = ["portcullis"]
                .iter()
                .chain(words)
                .chain(&["--config", "other.yaml"]);
            let cli = Cli::try_parse_from(typed).expect("--config is known everywhere");
            assert_eq!(cli.config.as_deref(), Some(Path::new("other.yaml")));
        }
    }
}
