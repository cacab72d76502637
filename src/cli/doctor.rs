//! `onrecord doctor`: checks a deployment and says what to do.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::clock;
use crate::config::Settings;
use crate::doctor::checks::run_checks;
use crate::doctor::examination::examine;
use crate::doctor::finding::DoctorReport;
use crate::doctor::settings::unusable;

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
            Err(error) => vec![unusable(&error)],
            Ok(settings) => run_checks(&super::runtime::runtime()?.block_on(examine(settings))),
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
