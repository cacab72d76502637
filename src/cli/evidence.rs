//! `onrecord evidence`: applies the rules to facts of standard input, recomputes stored reports, and
//! shows the evidence of a call.

pub(crate) mod display_zone;
mod entry_check;
mod evidence_html;
pub(crate) mod evidence_table;
pub(crate) mod exported_report;
mod show;
pub(crate) mod stored;

use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::call::snapshot::call_snapshot;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::json::read_facts;
use onrecord_evidence::fact::kinds::Fact;
use onrecord_evidence::report::evidence_report::evidence;

use exported_report::{ExportedReport, compare};

/// The options of `onrecord evidence`.
#[derive(Args)]
pub(super) struct EvidenceOptions {
    #[command(subcommand)]
    command: EvidenceCommand,
}

#[derive(Subcommand)]
enum EvidenceCommand {
    /// Reads one `{"facts":[…],"now":ms}` per line, and writes one answer per line: the indications
    /// at `now`.
    Indications,
    /// Reads one `{"facts":[…],"now":ms}` per line, and writes one report per line: which notice
    /// each participant had to be shown, and whether it was shown in time.
    Report,
    /// Recomputes stored reports from their facts, and compares them. With a database, compares each fact
    /// with its entry too.
    ///
    /// Exits 0 if both are equal, 1 if they are not (every difference is explained), 2 if they
    /// cannot be read.
    Recompute(RecomputeOptions),
    /// Shows the evidence of a call in the database of the settings as a table: who had to be notified
    /// of what, when, and why the result is as it is.
    Show(show::ShowOptions),
}

#[derive(Args)]
struct RecomputeOptions {
    /// A response of `GET /v1/calls/{call}/facts`; `-` is standard input.
    #[arg(required_unless_present_any = ["call", "all"], conflicts_with_all = ["call", "all"])]
    file: Option<PathBuf>,
    /// Looks for the facts of the file in the database of the settings too.
    #[arg(long, requires = "file")]
    entries: bool,
    /// Any id of a call: its latest report in the database of the settings.
    #[arg(long, value_name = "ID", requires = "tenant")]
    call: Option<String>,
    /// The version of the report, instead of the latest.
    #[arg(long, value_name = "N", requires = "call")]
    version: Option<i32>,
    /// All versions of all reports in the database of the settings.
    #[arg(long, requires = "tenant", conflicts_with = "call")]
    all: bool,
    /// The tenant of the calls.
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
}

/// One line of standard input.
#[derive(Deserialize)]
struct InputLine {
    facts: Value,
    now: Millis,
}

impl EvidenceOptions {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        match self.command {
            EvidenceCommand::Indications => line_by_line(|facts, now| {
                let snapshot = call_snapshot(facts, now, &Parameters::default());
                Ok(serde_json::to_string(&snapshot.indications)?)
            }),
            EvidenceCommand::Report => line_by_line(|facts, now| {
                Ok(serde_json::to_string(&evidence(facts, now, &Parameters::default())?)?)
            }),
            EvidenceCommand::Show(options) => {
                let text = super::runtime::runtime()?.block_on(show::show(options, config))?;
                std::io::stdout().write_all(text.as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            EvidenceCommand::Recompute(options) => Ok(match compare_selected(options, config) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::from(1),
                Err(error) => {
                    eprintln!("onrecord: {error:#}");
                    ExitCode::from(2)
                }
            }),
        }
    }
}

/// Answers each line of standard input with one line.
fn line_by_line(answer: fn(&[Fact], Millis) -> anyhow::Result<String>) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answered = read_line(&line).and_then(|(facts, now)| answer(&facts, now));
        let answer = answered.with_context(|| format!("line {}", number + 1))?;
        writeln!(out, "{answer}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn read_line(line: &str) -> anyhow::Result<(Vec<Fact>, Millis)> {
    let input: InputLine =
        serde_json::from_str(line).context("a line is {\"facts\":[…],\"now\":ms}")?;
    Ok((read_facts(input.facts)?, input.now))
}

fn compare_selected(options: RecomputeOptions, config: Option<&Path>) -> anyhow::Result<bool> {
    let mut out = std::io::stdout();
    let RecomputeOptions { file, entries, call, version, tenant, .. } = options;
    let equal = if let Some(file) = file {
        let exported = read(&file).with_context(|| file.display().to_string())?;
        let equal = compare(&exported, &mut out)?;
        let found = if entries {
            let found = stored::find_entries(config, &exported, &mut out);
            super::runtime::runtime()?.block_on(found)?
        } else {
            writeln!(out, "entries: not looked for; name a database with --entries")?;
            true
        };
        equal && found
    } else {
        let tenant = Tenant::parse(&tenant.unwrap_or_default())?;
        let reports = stored::recompute(config, &tenant, call.as_deref(), version, &mut out);
        super::runtime::runtime()?.block_on(reports)?
    };
    out.flush()?;
    Ok(equal)
}

fn read(file: &Path) -> anyhow::Result<ExportedReport> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file)?;
    }
    ExportedReport::read(&text)
}
