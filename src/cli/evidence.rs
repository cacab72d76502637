//! `onrecord evidence`: the rules by themselves, no store needed.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::fact_json::read_facts;
use crate::domain::fold::fold;
use crate::domain::instant::Millis;
use crate::domain::parameters::Parameters;

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
}

#[derive(Deserialize)]
struct Question {
    facts: Value,
    now: Millis,
}

impl Options {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let Command::Indications = self.command;
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let answer = answer(&line).with_context(|| format!("line {}", number + 1))?;
            writeln!(out, "{answer}")?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn answer(line: &str) -> anyhow::Result<String> {
    let question: Question =
        serde_json::from_str(line).context("a question is {\"facts\":[…],\"now\":ms}")?;
    let facts = read_facts(question.facts)?;
    Ok(serde_json::to_string(
        &fold(&facts, question.now, &Parameters::default()).indications,
    )?)
}
