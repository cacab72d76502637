//! `onrecord export`: writes rows of the schema `reading` as files into a folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::Args;

use crate::config::Settings;
use crate::export::local_export::export_to_folder;
use crate::postgres::{ExportFilter, ExportFormat, ExportRequest, ExportedView, Postgres};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::parse_source_time;

/// The options of `onrecord export`.
#[derive(Args)]
pub(crate) struct ExportOptions {
    /// The tenant whose rows are exported.
    #[arg(long, value_name = "T")]
    tenant: String,
    /// The views, separated by commas; all of them are of one instant.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    what: Vec<ExportedView>,
    /// The instant from which rows are exported, in RFC 3339: calls by their start, obligations by due_at, events
    /// by their receipt (docs/export.md).
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    from: DateTime<Utc>,
    /// The instant before which rows are exported.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    to: DateTime<Utc>,
    /// The format of the files.
    #[arg(long, value_enum)]
    format: ExportFormat,
    /// The folder of the files, which does not exist or is empty. It appears when they are complete.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only rows of these client apps.
    #[arg(long, value_delimiter = ',')]
    app: Vec<String>,
    /// Only calls with these verdicts.
    #[arg(long, value_delimiter = ',')]
    verdict: Vec<String>,
    /// Only rows of these kinds.
    #[arg(long, value_delimiter = ',')]
    kind: Vec<String>,
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let parsed = parse_source_time(text);
    parsed.ok_or_else(|| "an instant in RFC 3339, for example 2026-11-23T18:00:00Z".to_owned())
}

impl ExportOptions {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let Self { tenant, what, from, to, format, out, app, verdict, kind } = self;
        let tenant = Tenant::parse(&tenant)?;
        let filter = ExportFilter { app, verdict, kind };
        let request = ExportRequest { what, from, to, filter, format };
        let settings = Settings::load(config)?;
        super::runtime::runtime()?.block_on(async {
            let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
            let exporting = export_to_folder(&store, &tenant, &request, &settings.exports, &out);
            let files = tokio::select! {
                files = exporting => files.context("nothing is exported")?,
                // What was written is deleted.
                stopped = tokio::signal::ctrl_c() => {
                    stopped?;
                    anyhow::bail!("stopped; nothing is exported");
                }
            };
            for file in &files {
                println!(
                    "{}  {}  {} rows, {} bytes",
                    file.sha256, file.name, file.rows, file.bytes
                );
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
