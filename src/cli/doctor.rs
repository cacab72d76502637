//! `onrecord doctor`: checks a deployment and says what to do.
//!
//! # Why
//!
//! An operator has one command that says whether the settings, a store or a source is at fault. The
//! diagnostics of both stores are read first, concurrently and with a timeout; the checks are pure
//! functions over them (`checks.rs` lists them), in one file per subject. A store that is unavailable
//! takes seconds, and the other checks are still done.

pub(crate) mod checks;
pub(crate) mod finding;
pub(crate) mod kafka;
pub(crate) mod ledger;
pub(crate) mod postgres;
pub(crate) mod roles;
pub(crate) mod schema;
pub(crate) mod settings;
pub(crate) mod sources;
pub(crate) mod webhooks;

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use self::checks::{DoctorInputs, run_checks};
use self::finding::DoctorReport;
use crate::clock;
use crate::config::Settings;
use crate::kafka::{KafkaClientConfig, diagnose_kafka};
use crate::postgres::diagnose_postgres;

/// The options of `onrecord doctor`.
#[derive(Args)]
pub(super) struct DoctorOptions {
    /// Prints one JSON object, with stable codes.
    #[arg(long)]
    json: bool,
}

impl DoctorOptions {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let at = clock::now();
        let findings = match Settings::load(config) {
            Err(error) => vec![settings::unusable(&error)],
            Ok(settings) => run_checks(&super::runtime::runtime()?.block_on(read(settings))),
        };
        let report = DoctorReport::new(at, findings);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{}", report.text());
        }
        Ok(if report.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Reads the diagnostics of both stores.
async fn read(settings: Settings) -> DoctorInputs {
    let connection = KafkaClientConfig::new(&settings);
    // The ends of the log are read after what is known of them in Postgres: the log only grows.
    let postgres = diagnose_postgres(settings.database_url.expose()).await;
    let kafka = diagnose_kafka(&connection).await;
    DoctorInputs { settings, postgres, kafka }
}
