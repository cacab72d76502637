//! `onrecord demo`: the whole product on this machine, with nothing configured and nothing left
//! behind.
//!
//! # Why
//!
//! *Everything that has to be undone is owned by one value* ([`ground::Ground`]), so that whatever
//! interrupts the demonstration, at whatever line, drops it. The first signal ends things in order,
//! the second at once; what a killed process cannot do, the parent-death signal of its servers does.

mod accounts;
mod commands;
mod comparison;
mod exhibit;
mod ground;
mod hearing;
mod screen;
mod signals;
mod statements;
mod summary;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::task::TaskTracker;

use super::simulate::{Manner, rate};
use crate::clock;
use crate::config::Settings;
use crate::lifecycle::Lifecycle;
use crate::simulator::{
    Access, Chance, Channels, Journal, Performance, Production, Reader, Run, Script, Sender,
};
use crate::telemetry;
use accounts::Accounts;
use comparison::Comparison;
use exhibit::Exhibits;
use ground::{Ground, Plan, Stage};
use hearing::Hearing;
use screen::Screen;
use signals::Signals;
use statements::Statements;

/// What `--once` plays unless told otherwise.
const CALLS_ONCE: u64 = 50;
/// Calls per second with `--once`: quickly done.
const RATE_ONCE: f64 = 10.0;
/// And without: slow enough to be read.
const RATE: f64 = 0.5;
/// What was heard of a call is judged so long after its last answer.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// What is shown.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// How many calls; without --once the server stays until Ctrl-C all the same.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    calls: Option<u64>,
    /// How many calls begin per second.
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Play so many calls, compare what was posted with what is entered and what was heard, and the
    /// stored report on each call with the one that its exported facts give; print a summary, and
    /// exit 0 only if nothing differs.
    #[arg(long)]
    once: bool,
    /// The sender keeps back so many events that it counts as posted, to show that the comparison
    /// finds them. They are such that no notice rests on them.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "once")]
    suppress: u64,
    /// Log what the server does, to standard error.
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    manner: Manner,
}

impl Options {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let production = self.manner.production(
            None,
            Channels {
                event_grid: true,
                call_automation: true,
                reports: true,
            },
        );
        let plan = Plan::new(Settings::load(config)?, &production.world, self.verbose)?;
        telemetry::start_logging(&plan.settings.log)?;
        let metrics = telemetry::start_metrics()?;
        // Waits for what cannot be interrupted (an archive that is being unpacked) when it ends.
        super::runtime::runtime()?.block_on(self.show(plan, production, metrics))
    }

    async fn show(
        self,
        plan: Plan,
        production: Production,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<ExitCode> {
        let lifecycle = Lifecycle::new();
        let signals = Signals::catch(&lifecycle)?;
        let screen = Screen::new(&signals);
        let prepared = tokio::select! {
            biased;
            () = signals.first() => return Ok(signals.exit_code()),
            prepared = Ground::prepare(plan, metrics, lifecycle, &screen) => prepared,
        };
        let ground = prepared?;
        let outcome = tokio::select! {
            biased;
            () = signals.first() => Ok(signals.exit_code()),
            why = Ground::fails(ground.failed.clone()) => Err(why),
            outcome = self.play(&ground, production, &screen) => outcome,
        };
        tokio::select! {
            () = ground.close() => {}
            // Dropped: its servers end at once.
            () = signals.second() => {}
        }
        outcome
    }

    async fn play(
        &self,
        ground: &Ground,
        production: Production,
        screen: &Screen,
    ) -> anyhow::Result<ExitCode> {
        ground.is_well().await?;
        let stage = &ground.stage;
        let seed = production.seed;
        let access = Access {
            url: stage.url.clone(),
            event_grid: Some(stage.event_grid.clone()),
            call_automation: Some(stage.call_automation.clone()),
            api_key: Some(stage.app_key.clone()),
            by_proxy: false,
        };
        let run = Run {
            sender: Sender::new(access)?,
            journal: Journal::default(),
            rate: self
                .rate
                .unwrap_or(if self.once { RATE_ONCE } else { RATE }),
            clock: clock::now,
            production,
        };
        screen.say(&format!("onrecord listens on {}", stage.url));
        if !self.once {
            screen.say(&commands::to_paste(
                stage,
                &run.production.world,
                &mut Chance::new(seed, "commands", 0),
            ));
        }
        let hearing = Hearing::begin(stage, run.journal.clone(), screen.clone()).await?;
        screen.say(&format!(
            "Simulated ACS–Teams calls begin, {} a second, seed {seed}.{}",
            run.rate,
            if self.once {
                ""
            } else {
                " Ctrl-C ends it all."
            }
        ));
        screen.say(&hearing::heading());
        if self.once {
            self.play_once(&run, &hearing, stage, screen).await
        } else {
            self.play_on(&run, stage, screen).await?;
            screen.say("All calls are over. The server stays until Ctrl-C.");
            std::future::pending().await
        }
    }

    /// Plays call after call, names what was not heard of each, and shows the evidence of a good one
    /// and of a bad one.
    async fn play_on(&self, run: &Run, stage: &Stage, screen: &Screen) -> anyhow::Result<()> {
        let exhibits = Arc::new(Exhibits::new(stage, screen)?);
        let going_on = RefCell::new(HashMap::new());
        let afterwards = TaskTracker::new();
        let begins = |script: &mut Script| {
            let statements = Statements::of(script, &stage.tenant);
            going_on.borrow_mut().insert(script.number, statements);
        };
        let over = |number, performance: Performance| {
            for (event, why) in &performance.not_taken {
                screen.say(&format!(
                    "not taken: {} {}: {}",
                    event.source_type, event.id, why.0
                ));
            }
            let statements = going_on.borrow_mut().remove(&number);
            let (journal, screen) = (run.journal.clone(), screen.clone());
            let exhibits = Arc::clone(&exhibits);
            afterwards.spawn(async move {
                tokio::time::sleep(HEARD_WITHIN).await;
                for difference in journal.close(number).differences {
                    screen.say(&difference);
                }
                if let Some(call) = statements {
                    let owed = call.owed(&performance);
                    exhibits.look_at(&call, &owed).await;
                }
            });
        };
        run.play(self.calls, begins, over).await;
        afterwards.close();
        afterwards.wait().await;
        for sort in exhibits.missing() {
            screen.say(&format!("No {sort} call was among them, whose evidence could be shown; play more of them with --calls."));
        }
        Ok(())
    }

    async fn play_once(
        &self,
        run: &Run,
        hearing: &Hearing,
        stage: &Stage,
        screen: &Screen,
    ) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let calls = self.calls.unwrap_or(CALLS_ONCE);
        let mut chance = Chance::new(run.production.seed, "keep back", 0);
        let mut comparison = Comparison::default();
        let mut accounts = Accounts::new(stage.tenant.clone());
        let mut kept_back = 0;
        {
            let comparison = RefCell::new(&mut comparison);
            let accounts = RefCell::new(&mut accounts);
            let edit = |script: &mut Script| {
                // Spread over the calls; one that has too few leaves the rest to the next.
                let due = self.suppress.saturating_mul(script.number + 1) / calls;
                let most = usize::try_from(due.saturating_sub(kept_back)).unwrap_or(usize::MAX);
                let names = script.keep_back(most, &mut chance);
                kept_back += names.len() as u64;
                comparison.borrow_mut().begin(script, names);
                accounts.borrow_mut().begin(script);
            };
            run.play(Some(calls), edit, |number, performance| {
                accounts.borrow_mut().posted(number, &performance);
                comparison.borrow_mut().posted(number, performance);
            })
            .await;
        }
        let reader = Reader::new(&stage.url, stage.admin_key.clone())?;
        comparison.read(&reader).await?;
        accounts.read(&reader).await?;
        comparison.hear(&run.journal, HEARD_WITHIN).await;
        let summary = summary::Summary {
            comparison: &comparison,
            accounts: &accounts,
            latencies: hearing.latencies(),
            stores: &stage.stores,
            seed: run.production.seed,
            kept_back,
            lasted: began.elapsed(),
        };
        screen.say(&summary.text());
        Ok(
            if comparison.is_equal() && accounts.differences.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            },
        )
    }
}
