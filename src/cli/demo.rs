//! `onrecord demo`: the whole product on this machine, without configuration, and removed at the
//! end.
//!
//! # Why
//!
//! *One value owns everything that has to be removed* (`environment::DemoEnvironment`), so that any
//! interruption of the demonstration, at any line, drops it. The first signal stops everything in
//! order, the second at once; for a killed process, the parent-death signal of its servers does it.

pub(crate) mod acknowledgements;
pub(crate) mod commands;
pub(crate) mod environment;
pub(crate) mod event_comparison;
pub(crate) mod evidence_examples;
pub(crate) mod page;
pub(crate) mod report_comparison;
pub(crate) mod signals;
pub(crate) mod stream_monitor;
pub(crate) mod summary;
pub(crate) mod terminal;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::task::TaskTracker;

use super::simulate::{ScenarioOptions, rate};
use crate::clock;
use crate::config::Settings;
use crate::lifecycle::Lifecycle;
use crate::telemetry;
use acknowledgements::CallAcknowledgements;
use environment::{DemoEnvironment, DemoPlan, DemoServer};
use event_comparison::EventComparison;
use evidence_examples::EvidenceExamples;
use onrecord_simulator::{
    ApiReader, CallScript, EnabledTargets, HttpSender, ObservationLog, Playback, ScenarioConfig,
    SeededRng, SimulationRun,
};
use report_comparison::ReportComparison;
use signals::Signals;
use stream_monitor::StreamMonitor;
use terminal::Terminal;

/// Number of calls with `--once`, unless `--calls` says otherwise.
const CALLS_ONCE: u64 = 50;
/// Calls per second with `--once`.
const RATE_ONCE: f64 = 10.0;
/// Calls per second without `--once`: slow enough to read along.
const RATE: f64 = 0.5;
/// Timeout of the notices of a call after its last delivery was answered.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of `onrecord demo`.
#[derive(Args, Debug)]
pub(super) struct DemoOptions {
    /// The number of calls. Without --once, the server runs until Ctrl-C all the same.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    calls: Option<u64>,
    /// How many calls start per second.
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Play a number of calls; compare the posted events with the ledger, the received notices with
    /// the scripts of the calls, and the stored report of each call with the one that its exported
    /// facts give; print a summary, and exit 0 only if nothing differs.
    #[arg(long)]
    once: bool,
    /// Withhold this many events that count as posted, to show that the comparison finds them. No
    /// notice depends on them.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "once")]
    suppress: u64,
    /// Log what the server does to standard error.
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    scenario: ScenarioOptions,
}

impl DemoOptions {
    pub(super) fn run(self, settings_file: Option<&Path>) -> anyhow::Result<ExitCode> {
        let config = self.scenario.config(
            None,
            EnabledTargets { event_grid: true, call_automation: true, reports: true },
        );
        let settings = Settings::load(settings_file)?;
        let plan = DemoPlan::new(settings, config.seed, config.resource.clone(), self.verbose)?;
        telemetry::start_logging(&plan.settings.log)?;
        let metrics = telemetry::start_metrics()?;
        // At its end, the runtime waits for what cannot be interrupted, such as the unpacking of an
        // archive.
        super::runtime::runtime()?.block_on(self.show(plan, config, metrics))
    }

    async fn show(
        self,
        plan: DemoPlan,
        config: ScenarioConfig,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<ExitCode> {
        let lifecycle = Lifecycle::new();
        let signals = Signals::catch(&lifecycle)?;
        let terminal = Terminal::new(&signals);
        let started = tokio::select! {
            biased;
            () = signals.first.cancelled() => return Ok(signals.exit_code()),
            started = DemoEnvironment::start(plan, metrics, lifecycle, &terminal) => started,
        };
        let environment = started?;
        let outcome = tokio::select! {
            biased;
            () = signals.first.cancelled() => Ok(signals.exit_code()),
            reason = DemoEnvironment::failure(environment.failed.clone()) => Err(reason),
            outcome = self.play(&environment, config, &terminal) => outcome,
        };
        tokio::select! {
            () = environment.close() => {}
            // Dropping it stops its servers at once.
            () = signals.second.cancelled() => {}
        }
        outcome
    }

    async fn play(
        &self,
        environment: &DemoEnvironment,
        config: ScenarioConfig,
        terminal: &Terminal,
    ) -> anyhow::Result<ExitCode> {
        environment.until_ready().await?;
        let server = &environment.server;
        let seed = config.seed;
        let default_rate = if self.once { RATE_ONCE } else { RATE };
        let run = SimulationRun {
            sender: HttpSender::new(server.access(), None)?,
            observations: ObservationLog::default(),
            rate: self.rate.unwrap_or(default_rate),
            clock: clock::now,
            config,
        };
        terminal.print(&format!("onrecord listens on {}", server.url));
        terminal.print(&format!("A call to try in a browser: {}/demo/", server.url));
        terminal
            .print(&format!("The console, signed in by one click: {}/console/demo", server.url));
        if !self.once {
            terminal.print(&commands::manual_call(
                server,
                &run.config.resource,
                &mut SeededRng::new(seed, "commands", 0),
            ));
        }
        let monitor =
            StreamMonitor::start(server, run.observations.clone(), terminal.clone()).await?;
        let end = if self.once { "" } else { " Press Ctrl-C to stop." };
        terminal.print(&format!(
            "Starting simulated ACS–Teams calls, {} per second, seed {seed}.{end}",
            run.rate,
        ));
        terminal.print(&stream_monitor::heading());
        if self.once {
            self.play_once(&run, &monitor, server, terminal).await
        } else {
            self.play_on(&run, server, terminal).await?;
            terminal.print("All calls are over. The server runs until Ctrl-C.");
            std::future::pending().await
        }
    }

    /// Plays the calls, prints the differences of each, and shows the evidence of one good and one
    /// bad call.
    async fn play_on(
        &self,
        run: &SimulationRun,
        server: &DemoServer,
        terminal: &Terminal,
    ) -> anyhow::Result<()> {
        let examples = Arc::new(EvidenceExamples::new(server, terminal)?);
        let in_progress = RefCell::new(HashMap::new());
        let checks = TaskTracker::new();
        let on_start = |script: &mut CallScript| {
            let acknowledgements = CallAcknowledgements::of(script, &server.tenant);
            in_progress.borrow_mut().insert(script.number, acknowledgements);
        };
        let on_end = |number, playback: Playback| {
            for (event, reason) in &playback.not_accepted {
                terminal.print(&format!(
                    "not accepted: {} {}: {}",
                    event.source_type, event.id, reason.0
                ));
            }
            let acknowledgements: Option<CallAcknowledgements> =
                in_progress.borrow_mut().remove(&number);
            let (observations, terminal) = (run.observations.clone(), terminal.clone());
            let examples = Arc::clone(&examples);
            checks.spawn(async move {
                tokio::time::sleep(NOTICE_TIMEOUT).await;
                for difference in observations.close(number).differences {
                    terminal.print(&difference);
                }
                if let Some(mut call) = acknowledgements {
                    call.add_playback(&playback);
                    examples.consider(&call).await;
                }
            });
        };
        run.play(self.calls, on_start, on_end).await;
        checks.close();
        checks.wait().await;
        for kind in examples.missing() {
            terminal.print(&format!(
                "None of the calls was a {kind} one whose evidence could be shown; play more of them with --calls."
            ));
        }
        Ok(())
    }

    async fn play_once(
        &self,
        run: &SimulationRun,
        monitor: &StreamMonitor,
        server: &DemoServer,
        terminal: &Terminal,
    ) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let calls = self.calls.unwrap_or(CALLS_ONCE);
        let mut rng = SeededRng::new(run.config.seed, "withheld events", 0);
        let events = RefCell::new(EventComparison::default());
        let reports = RefCell::new(ReportComparison::new(server.tenant.clone()));
        let mut withheld = 0;
        let on_start = |script: &mut CallScript| {
            // Spread over the calls; one that has too few leaves the rest to the next.
            let due = self.suppress.saturating_mul(script.number + 1) / calls;
            let most = usize::try_from(due.saturating_sub(withheld)).unwrap_or(usize::MAX);
            let ids = script.withhold(most, &mut rng);
            withheld += ids.len() as u64;
            events.borrow_mut().begin(script, ids);
            reports.borrow_mut().begin(script);
        };
        run.play(Some(calls), on_start, |number, playback| {
            reports.borrow_mut().add_playback(number, &playback);
            events.borrow_mut().add_playback(number, playback);
        })
        .await;
        let (mut events, mut reports) = (events.into_inner(), reports.into_inner());
        let reader = ApiReader::new(&server.url, server.admin_key.clone())?;
        events.read_ledger(&reader).await?;
        reports.read_facts(&reader).await?;
        events.check_notices(&run.observations, NOTICE_TIMEOUT).await;
        let summary = summary::DemoSummary {
            events: &events,
            reports: &reports,
            latencies: monitor.latencies(),
            stores: &server.stores,
            seed: run.config.seed,
            withheld,
            duration: began.elapsed(),
        };
        terminal.print(&summary.text());
        Ok(if events.differences().is_empty() && reports.differences.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
