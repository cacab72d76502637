//! `onrecord evidence`: the rules by themselves, no store needed; and what is stored, recomputed.

mod stored;

use std::collections::BTreeSet;
use std::io::{BufRead as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::difference::{Change, difference};
use crate::domain::evidence::{Evidence, RULES, evidence};
use crate::domain::fact::Fact;
use crate::domain::fact_json::read_facts;
use crate::domain::fold::fold;
use crate::domain::ids::Tenant;
use crate::domain::instant::{self, Millis};
use crate::domain::parameters::Parameters;
use stored::Wanted;

#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads one `{"facts":[…],"now":ms}` per line, writes one answer per line: what must be
    /// visible at `now`.
    Indications,
    /// Reads one `{"facts":[…],"now":ms}` per line, writes one report per line: who had to be told
    /// of what, and whether they were in time.
    Report,
    /// Recomputes stored reports from their facts, and compares.
    ///
    /// Exits 0 if both are equal, 1 if they are not (every difference is explained), 2 if they
    /// cannot be read.
    Recompute(Recompute),
}

#[derive(Args)]
struct Recompute {
    /// What `GET /v1/calls/{call}/facts` answers; `-` is standard input.
    #[arg(required_unless_present_any = ["call", "all"], conflicts_with_all = ["call", "all"])]
    file: Option<PathBuf>,
    /// Any id of a call: its latest report, out of the database of the settings.
    #[arg(long, value_name = "ID", requires = "tenant")]
    call: Option<String>,
    /// That version of its report.
    #[arg(long, value_name = "N", requires = "call")]
    version: Option<i32>,
    /// Every version of every call, out of the database of the settings.
    #[arg(long, requires = "tenant", conflicts_with = "call")]
    all: bool,
    /// Whose calls.
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
}

#[derive(Deserialize)]
struct Question {
    facts: Value,
    now: Millis,
}

/// A stored report with all that it rests on.
#[derive(Deserialize)]
pub(super) struct Exported {
    call: String,
    tenant: String,
    rules: String,
    #[serde(default)]
    parameters: Parameters,
    facts: Value,
    now: Millis,
    pub report: Value,
}

impl Options {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Indications => line_by_line(indications),
            Command::Report => line_by_line(report),
            Command::Recompute(wanted) => Ok(recompute(wanted, config)),
        }
    }
}

fn line_by_line(answer: fn(&[Fact], Millis) -> anyhow::Result<String>) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answered = question(&line).and_then(|(facts, now)| answer(&facts, now));
        let answer = answered.with_context(|| format!("line {}", number + 1))?;
        writeln!(out, "{answer}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn question(line: &str) -> anyhow::Result<(Vec<Fact>, Millis)> {
    let question: Question =
        serde_json::from_str(line).context("a question is {\"facts\":[…],\"now\":ms}")?;
    Ok((read_facts(question.facts)?, question.now))
}

fn indications(facts: &[Fact], now: Millis) -> anyhow::Result<String> {
    let picture = fold(facts, now, &Parameters::default());
    Ok(serde_json::to_string(&picture.indications)?)
}

fn report(facts: &[Fact], now: Millis) -> anyhow::Result<String> {
    let report = evidence(facts, now, &Parameters::default())?;
    Ok(serde_json::to_string(&report)?)
}

fn recompute(wanted: Recompute, config: Option<&Path>) -> ExitCode {
    match compared(wanted, config) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("onrecord: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn compared(wanted: Recompute, config: Option<&Path>) -> anyhow::Result<bool> {
    let mut out = std::io::stdout();
    let equal = match (wanted.file, wanted.tenant) {
        (Some(file), _) => {
            let exported = read(&file).with_context(|| file.display().to_string())?;
            compare(exported, &mut out)?
        }
        (None, tenant) => {
            let wanted = Wanted {
                tenant: Tenant::parse(&tenant.unwrap_or_default())?,
                call: wanted.call,
                version: wanted.version,
            };
            let runtime = super::runtime::runtime()?;
            runtime.block_on(stored::recompute(config, wanted, &mut out))?
        }
    };
    out.flush()?;
    Ok(equal)
}

fn read(file: &Path) -> anyhow::Result<Exported> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file)?;
    }
    Exported::read(&text)
}

impl Exported {
    /// Reads what `GET /v1/calls/{call}/facts` answers.
    ///
    /// # Errors
    ///
    /// It is none, or of other rules.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let exported: Self = serde_json::from_str(text)
            .context("not what GET /v1/calls/{call}/facts answers; export it once more")?;
        anyhow::ensure!(
            exported.rules == RULES,
            "the report was made by version {:?} of the rules, and this program knows version {RULES:?}; \
             take the program that made it",
            exported.rules
        );
        Ok(exported)
    }

    /// Whether the facts give the report that is stored; empty: they do.
    ///
    /// # Errors
    ///
    /// The facts cannot be read, or give no report.
    pub(super) fn differences(&self) -> anyhow::Result<Vec<Change>> {
        let facts = read_facts(self.facts.clone())?;
        let recomputed = evidence(&facts, self.now, &self.parameters)?;
        Ok(difference(
            &self.report,
            &serde_json::to_value(&recomputed)?,
        ))
    }

    pub(super) fn fact_ids(&self) -> BTreeSet<String> {
        let facts = self.facts.as_array().into_iter().flatten();
        facts
            .filter_map(|fact| fact["id"].as_str().map(str::to_owned))
            .collect()
    }

    /// That of the stored report.
    pub(super) fn verdict(&self) -> String {
        self.report["verdict"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// Writes whether the stored report is what its facts come to, and what is different.
fn compare(exported: Exported, out: &mut impl Write) -> anyhow::Result<bool> {
    let facts = read_facts(exported.facts)?;
    let recomputed = Evidence::at(&facts, exported.now, &exported.parameters)?;
    let changes = difference(&exported.report, &serde_json::to_value(&recomputed.report)?);
    writeln!(
        out,
        "call {} of tenant {} as of {}, {} facts, rules {RULES}",
        exported.call,
        exported.tenant,
        instant::text(exported.now).unwrap_or_else(|| exported.now.to_string()),
        facts.len()
    )?;
    if changes.is_empty() {
        let verdict = serde_json::to_value(recomputed.report.verdict)?;
        writeln!(out, "equal: the facts give the stored report, {verdict}")?;
        return Ok(true);
    }
    writeln!(
        out,
        "different: what the stored report says was, and what the facts give is, in {} places",
        changes.len()
    )?;
    for change in &changes {
        writeln!(out, "  {change}")?;
    }
    explain(&recomputed, &changes, out)?;
    Ok(false)
}

/// Writes why each obligation that is different stands as the facts have it.
fn explain(
    recomputed: &Evidence<'_>,
    changes: &[Change],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for obligation in &recomputed.report.obligations {
        if changes.iter().any(|change| change.is_about(obligation))
            && let Some(why) = recomputed.why(obligation)
        {
            writeln!(
                out,
                "why {} is as it is with the {} due at {}:",
                obligation.session,
                obligation.capture.as_str(),
                obligation.due
            )?;
            writeln!(out, "  {} {}", why.rule, why.would_change)?;
            writeln!(out, "  facts: {}", why.facts.join(", "))?;
        }
    }
    Ok(())
}
