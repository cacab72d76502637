//! The front desk: the command line.

mod demo;
mod doctor;
mod evidence;
pub mod key;
mod migrate;
mod runtime;
pub mod serve;
mod simulate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Records ACS–Teams calling events and tells client apps when recording or transcription starts.
#[derive(Parser)]
#[command(name = "onrecord", version, about)]
pub struct Arguments {
    /// Settings file; else $ONRECORD_CONFIG, else ./onrecord.toml if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves: door, ledger, board and reading room in one process.
    Serve(serve::Options),
    /// Brings the database schema and the topics up to this version.
    Migrate,
    /// Looks at settings, stores and sources, and says what to do.
    ///
    /// Changes nothing. Exits 0 if there is no error (a warning is none), else 1. A store that is
    /// away costs a few seconds, and the rest is looked at all the same.
    Doctor(doctor::Options),
    /// API keys and source keys.
    Key(key::Options),
    /// Shows the whole product on this machine, with nothing configured.
    ///
    /// Starts a private PostgreSQL, an in-process broker (or uses the Kafka that
    /// ONRECORD_KAFKA_BROKERS names), the server, simulated ACS–Teams calls, and a client that
    /// listens; ends and removes all of it at Ctrl-C.
    Demo(demo::Options),
    /// Posts realistic calls to a running server, as Azure and client apps would.
    Simulate(simulate::Options),
    /// Folds facts by the rules of evidence.
    Evidence(evidence::Options),
}

/// Runs a command to its end.
///
/// # Errors
///
/// A sentence for the one who typed it.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.config.as_deref();
    match arguments.command {
        Command::Serve(options) => options.run(config),
        Command::Migrate => migrate::run(config),
        Command::Doctor(options) => options.run(config),
        Command::Key(options) => options.run(config),
        Command::Demo(options) => options.run(config),
        Command::Simulate(options) => options.run(),
        Command::Evidence(options) => options.run(config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
