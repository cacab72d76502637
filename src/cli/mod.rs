//! The command line: one file or folder for each command.

#[cfg(feature = "demo")]
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod evidence;
pub(crate) mod export;
pub mod key;
pub(crate) mod migrate;
pub(crate) mod openapi;
pub(crate) mod quarantine;
pub(crate) mod reader;
pub(crate) mod runtime;
pub mod serve;
#[cfg(feature = "demo")]
pub(crate) mod simulate;
pub(crate) mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Records ACS–Teams calling events and notifies client apps when recording or transcription starts.
#[derive(Parser)]
#[command(name = "onrecord", version, about)]
pub struct Arguments {
    /// The settings file; by default $ONRECORD_CONFIG, else ./onrecord.toml if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the service: all roles in one process, or those of --roles.
    Serve(serve::ServeOptions),
    /// Migrates the database schema and creates the topics. Completes a database that was restored from
    /// a dump.
    Migrate(migrate::MigrateOptions),
    /// Checks settings, stores and sources, and says what to do.
    ///
    /// Changes nothing. Exits 0 if there is no error (a warning is none), else 1. A store that is
    /// unavailable takes a few seconds, and the other checks are still done.
    Doctor(doctor::DoctorOptions),
    /// Manages API keys and source keys.
    Key(key::KeyOptions),
    /// Shows the whole product on this machine, with nothing configured.
    ///
    /// Starts a private PostgreSQL, an in-process broker (or uses the Kafka that
    /// ONRECORD_KAFKA_BROKERS names), the server, simulated ACS–Teams calls, and a client that
    /// listens; ends and removes all of it at Ctrl-C.
    #[cfg(feature = "demo")]
    Demo(demo::DemoOptions),
    /// Posts realistic calls to a running server, as Azure and client apps would; with `history`, writes past
    /// calls straight into the store.
    #[cfg(feature = "demo")]
    Simulate(simulate::SimulateOptions),
    /// Writes the history of a tenant as files: CSV, JSON lines or Parquet.
    Export(export::ExportOptions),
    /// Manages outbound webhooks, and sends messages again.
    Webhook(webhook::WebhookOptions),
    /// Makes logins for SQL clients.
    Reader(reader::ReaderOptions),
    /// Generates the keys of the quarantine, and opens what was sealed.
    Quarantine(quarantine::QuarantineOptions),
    /// Prints the description of the HTTP interface, OpenAPI 3.2.
    Openapi,
    /// Applies the rules of evidence to facts.
    Evidence(evidence::EvidenceOptions),
}

/// Runs a command to its end.
///
/// # Errors
///
/// A sentence for the user of the command line.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.config.as_deref();
    match arguments.command {
        Command::Serve(options) => options.run(config),
        Command::Migrate(options) => migrate::run(&options, config),
        Command::Doctor(options) => options.run(config),
        Command::Key(options) => options.run(config),
        #[cfg(feature = "demo")]
        Command::Demo(options) => options.run(config),
        #[cfg(feature = "demo")]
        Command::Simulate(options) => options.run(config),
        Command::Export(options) => options.run(config),
        Command::Webhook(options) => options.run(config),
        Command::Reader(options) => options.run(config),
        Command::Quarantine(options) => options.run(),
        Command::Openapi => openapi::run(),
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
