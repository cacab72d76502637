//! The command line, which bounds a run.

use std::path::PathBuf;

use clap::Parser;

/// Measures the service beside bare baselines. Needs two free cores, Java 17 and Maven.
#[derive(Parser, Debug)]
pub struct Arguments {
    /// Runs; each figure is the median of them.
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// How long one thing is measured; each has its own time unless this is given.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Events, where a number of them is measured and not a time.
    #[arg(long)]
    pub events: Option<u64>,
    /// Calls of a history, where one is queried.
    #[arg(long)]
    pub calls: Option<u64>,
    /// The URL of a database with a history, which is queried and kept; `query` then writes none.
    #[arg(long)]
    pub history: Option<String>,
    /// Subscribers, where many are measured.
    #[arg(long)]
    pub clients: Option<usize>,
    /// Measures these only; an unknown name lists them all.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Writes all figures of all runs as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Cargo passes it to a benchmark.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Arguments {
    /// Which of these parts are wanted.
    pub fn wanted(&self, parts: &[&'static str]) -> anyhow::Result<Vec<&'static str>> {
        if let Some(unknown) = self.only.iter().find(|it| !parts.contains(&it.as_str())) {
            anyhow::bail!("there is no {unknown}; --only takes {}", parts.join(", "));
        }
        let is_wanted = |part: &&str| self.only.is_empty() || self.only.iter().any(|it| it == part);
        Ok(parts.iter().copied().filter(is_wanted).collect())
    }
}
