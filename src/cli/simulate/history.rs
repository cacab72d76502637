//! `onrecord simulate history`: writes the record of many past calls straight into the store.
//!
//! # Why
//!
//! Queries of years of calls need such a record, and the log and the ledger take hours to make it. The rows are
//! those that the ledger would have written (`src/ledger/known_calls.rs`); nothing is on the log, so no stream and
//! no topic has these calls.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::history_calls::HistoryCalls;
use crate::clock;
use crate::config::Settings;
use crate::postgres::{HistoryStore, Postgres};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::parse_source_time;

/// Maximum number of calls of one transaction.
const MAX_CALLS_OF_PART: u64 = 400;
/// How many parts are written at the same time, each on a connection of its own.
const WRITERS: usize = 3;
/// Interval between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum and maximum number of days.
const DAYS: std::ops::RangeInclusive<i64> = 1..=3660;

/// The options of `onrecord simulate history`.
#[derive(Args, Debug)]
pub(super) struct HistoryOptions {
    /// The number of calls, of some 20 events each.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    calls: u64,
    /// The tenants, separated by commas, which take turns. Each must have no calls and no events yet.
    #[arg(long, default_value = "contoso", value_delimiter = ',', value_name = "T")]
    tenant: Vec<String>,
    /// The number of days before --until over which the calls are spread.
    #[arg(long, default_value_t = 90, value_name = "N", value_parser = days)]
    days: i64,
    /// The instant at which the history ends, in RFC 3339; now unless given. With the same seed and the same
    /// instant, the history is the same.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    until: Option<DateTime<Utc>>,
    /// The seed of all random choices.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
}

fn days(text: &str) -> Result<i64, String> {
    let days = text.parse().ok().filter(|days| DAYS.contains(days));
    days.ok_or_else(|| format!("write a number of days from {} to {}", DAYS.start(), DAYS.end()))
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let parsed = parse_source_time(text);
    parsed.ok_or_else(|| "an instant in RFC 3339, for example 2026-11-23T18:00:00Z".to_owned())
}

impl HistoryOptions {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let settings = Settings::load(config)?;
        crate::cli::runtime::runtime()?.block_on(async {
            tokio::select! {
                written = self.write(&settings) => written.map(|()| ExitCode::SUCCESS),
                stopped = tokio::signal::ctrl_c() => {
                    stopped?;
                    bail!("stopped; the calls written so far stay");
                }
            }
        })
    }

    async fn write(self, settings: &Settings) -> anyhow::Result<()> {
        let began = Instant::now();
        let tenants = self.tenant.iter().map(|name| Tenant::parse(name));
        let tenants: Vec<Tenant> = tenants.collect::<Result<_, _>>()?;
        let until = self.until.unwrap_or_else(clock::now);
        ensure!(until <= clock::now(), "--until is in the future");
        let from = until - TimeDelta::days(self.days);
        let store = Postgres::new(settings.database_url.expose(), 1)?;
        store.migrate(clock::now()).await.context("the schema was not migrated")?;
        let writers = u32::try_from(WRITERS).unwrap_or(1);
        let history = HistoryStore::connect(&store, writers).await?;
        for tenant in &tenants {
            if history.has_rows(tenant).await? {
                bail!(
                    "the tenant {tenant} has calls or events already: use an empty database, or name another tenant"
                );
            }
        }
        history.create_partitions(from, until).await?;
        let calls = Arc::new(HistoryCalls::new(
            self.seed,
            tenants,
            self.calls,
            from..until,
            (clock::now() - settings.ledger.dedup_retention).date_naive(),
            TimeDelta::from_std(settings.ledger.presume_end_after)?,
        ));
        println!(
            "{} calls from {} to {}, seed {}",
            self.calls,
            from.format("%Y-%m-%d"),
            until.format("%Y-%m-%d"),
            self.seed
        );
        let mut progress = Progress { began, last: began, calls: 0, of: self.calls, entries: 0 };
        let parts = calls.parts(MAX_CALLS_OF_PART);
        let generators = std::thread::available_parallelism().map_or(1, usize::from);
        let written = stream::iter(parts)
            .map(|part| {
                let calls = Arc::clone(&calls);
                async move {
                    let count = part.end - part.start;
                    // Computed on a thread of its own: it takes a second.
                    let rows = tokio::task::spawn_blocking(move || calls.rows(part)).await??;
                    anyhow::Ok((rows, count))
                }
            })
            .buffered(generators)
            .map(|made| async {
                let (rows, count) = made?;
                let mut entries = 0;
                for rows in rows {
                    entries += rows.entry_count;
                    history.write(rows).await.context("a part was not written")?;
                }
                anyhow::Ok((count, entries))
            })
            .buffer_unordered(WRITERS);
        futures_util::pin_mut!(written);
        while let Some((calls, entries)) = written.try_next().await? {
            progress.add(calls, entries);
        }
        println!(
            "reading the tables once, for the planner of the database and the roll-ups of statistics"
        );
        history.analyze().await?;
        history.make_rollups(until.duration_trunc(TimeDelta::hours(1))?).await?;
        history.analyze_rollups().await?;
        history.close().await;
        store.close().await;
        println!(
            "{} calls with {} events were written in {:.0} s",
            progress.calls,
            progress.entries,
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

/// How much is written.
struct Progress {
    began: Instant,
    last: Instant,
    calls: u64,
    of: u64,
    entries: u64,
}

impl Progress {
    fn add(&mut self, calls: u64, entries: u64) {
        self.calls += calls;
        self.entries += entries;
        if self.last.elapsed() >= PROGRESS_INTERVAL {
            self.last = Instant::now();
            let seconds = self.began.elapsed().as_secs_f64();
            println!(
                "{} of {} calls, {} events, {seconds:.0} s",
                self.calls, self.of, self.entries
            );
        }
    }
}
