//! `onrecord simulate`: realistic calls for a running server.

mod history;
mod history_calls;

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Subcommand};

use crate::clock;
use onrecord_evidence::event::instant::Millis;
use onrecord_simulator::{
    AnswerCounts, EnabledTargets, EventGridCounts, EventGridGeneration, EventGridSender,
    HttpSender, ObservationLog, Playback, ScenarioConfig, ServerAccess, SimulatedResource,
    SimulationRun, SourceAccess, TimeScale,
};

/// Maximum number of events that are printed when they were not accepted.
const MAX_PRINTED: usize = 20;

/// The options of `onrecord simulate`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct SimulateOptions {
    #[command(subcommand)]
    command: Option<SimulateCommand>,
    #[command(flatten)]
    calls: Option<PostedCallOptions>,
}

#[derive(Debug, Subcommand)]
enum SimulateCommand {
    /// Writes the record of many past calls straight into an empty store.
    History(history::HistoryOptions),
}

/// The options for calls that are posted to a running server.
#[derive(Args, Debug)]
struct PostedCallOptions {
    /// The base URL of the server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A source of kind event-grid in the server's settings.
    #[arg(long, value_name = "NAME", required_unless_present = "call_automation_source")]
    event_grid_source: Option<String>,
    /// A source of kind call-automation in the server's settings.
    #[arg(long, value_name = "NAME")]
    call_automation_source: Option<String>,
    /// The key of the sources; `onrecord key source` creates one.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// The key of the call-automation source, if it has another one.
    #[arg(long, value_name = "KEY")]
    call_automation_key: Option<String>,
    /// An API key of role app. With it, the clients of the calls report what they see, and
    /// acknowledge notices.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// The number of calls.
    #[arg(long, default_value_t = 10, value_name = "N")]
    calls: u64,
    /// How many calls start per second.
    #[arg(long, default_value_t = 2.0, value_name = "R", value_parser = rate)]
    rate: f64,
    /// The immutable id of the ACS resource whose users call; random unless given. Use the one in
    /// the source's resource_ids, if it has any.
    #[arg(long, value_name = "GUID")]
    resource_id: Option<String>,
    /// Retry Event Grid's deliveries as Event Grid does (after 10 s, 30 s, 1 min … 12 h, for a day;
    /// never after 400, 401, 403 or 413), with intervals divided by this factor: with 1440, its day
    /// takes a minute. Without it, a rejected delivery is soon retried.
    #[arg(long, value_name = "F", value_parser = time_scale)]
    time_scale: Option<f64>,
    #[command(flatten)]
    scenario: ScenarioOptions,
}

/// The options for what the calls are like.
#[derive(Args, Clone, Debug)]
pub(super) struct ScenarioOptions {
    /// The seed of all random choices. The same seed gives the same calls with the same ids, so a
    /// database that has them already records duplicates and conflicts.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// The probability, 0 to 1, that a delivery is late, so that later ones may arrive before it.
    #[arg(long, default_value_t = 0.3, value_name = "F", value_parser = fraction)]
    disorder: f64,
    /// The probability, 0 to 1, that a delivery is repeated.
    #[arg(long, default_value_t = 0.1, value_name = "F", value_parser = fraction)]
    duplicates: f64,
    /// The generations of Event Grid's calling events.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["2021", "2022", "2025"], value_name = "YEARS")]
    generations: Vec<EventGridGeneration>,
    /// The length of a call. A call in which clients report the end of a recording is longer,
    /// because that takes effect only after 5 s.
    #[arg(long, default_value_t = 6, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(2..=600))]
    call_seconds: u32,
}

impl ScenarioOptions {
    /// The configuration of a run; the seed is random unless given.
    pub(super) fn config(
        &self,
        resource_id: Option<String>,
        targets: EnabledTargets,
    ) -> ScenarioConfig {
        // Short enough to be typed.
        let seed = self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
        ScenarioConfig {
            seed,
            resource: SimulatedResource::new(seed, resource_id),
            targets,
            generations: self.generations.clone(),
            call_length: Millis::from(self.call_seconds) * 1000,
            disorder: self.disorder,
            duplicates: self.duplicates,
            people: None,
        }
    }
}

fn within(range: RangeInclusive<f64>, text: &str, what: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("write {what} {} to {}", range.start(), range.end()))
}

fn time_scale(text: &str) -> Result<f64, String> {
    within(1.0..=100_000.0, text, "a number from")
}

fn fraction(text: &str) -> Result<f64, String> {
    within(0.0..=1.0, text, "a number from")
}

/// Parses a number of calls per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    within(0.001..=1000.0, text, "calls per second, from")
}

impl SimulateOptions {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        match (self.command, self.calls) {
            (Some(SimulateCommand::History(options)), _) => options.run(config),
            (None, Some(calls)) => super::runtime::runtime()?.block_on(calls.post()),
            (None, None) => anyhow::bail!("name a source and its --key, or the command history"),
        }
    }
}

impl PostedCallOptions {
    async fn post(self) -> anyhow::Result<ExitCode> {
        let source = |name: &Option<String>, key: &String| {
            name.clone().map(|name| SourceAccess { name, key: key.clone() })
        };
        let access = ServerAccess {
            url: self.url.clone(),
            event_grid: source(&self.event_grid_source, &self.key),
            call_automation: source(
                &self.call_automation_source,
                self.call_automation_key.as_ref().unwrap_or(&self.key),
            ),
            api_key: self.api_key.clone(),
            by_proxy: true,
        };
        let targets = EnabledTargets {
            event_grid: access.event_grid.is_some(),
            call_automation: access.call_automation.is_some(),
            reports: access.api_key.is_some(),
        };
        let config = self.scenario.config(self.resource_id.clone(), targets);
        println!("seed {}: --seed {} posts the same calls again", config.seed, config.seed);
        println!("{} calls to {}, {} per second", self.calls, self.url, self.rate);
        if !targets.reports {
            println!("clients do not report, because that needs an --api-key");
        }
        let event_grid =
            self.time_scale.map(|factor| EventGridSender::new(TimeScale::new(factor), config.seed));
        let sender = HttpSender::new(access, event_grid.clone())?;
        let run = SimulationRun {
            config,
            sender: sender.clone(),
            observations: ObservationLog::default(),
            rate: self.rate,
            clock: clock::now,
        };
        let began = Instant::now();
        let (mut calls, mut total) = (0, Playback::default());
        let interrupted = {
            let observations = run.observations.clone();
            let on_end = |number, playback: Playback| {
                // No notices are received, so there is nothing to compare.
                let _not_observed = observations.close(number);
                calls += 1;
                total.deliveries += playback.deliveries;
                total.repetitions += playback.repetitions;
                total.accepted.extend(playback.accepted);
                total.not_accepted.extend(playback.not_accepted);
            };
            tokio::select! {
                () = run.play(Some(self.calls), |_| {}, on_end) => false,
                caught = tokio::signal::ctrl_c() => { caught?; true }
            }
        };
        println!();
        print_answers(&sender.answers());
        if let Some(event_grid) = &event_grid {
            println!();
            let counts = event_grid.counts();
            let EventGridCounts { delivered, retried, expired, .. } = &counts;
            println!(
                "event grid: {delivered} events delivered, {retried} of them retried, {expired} expired, {} dropped for status codes",
                counts.dropped()
            );
        }
        println!();
        println!(
            "{calls} calls posted: {} events in {} deliveries, {} of them repetitions, in {:.1} s",
            total.accepted.len(),
            total.deliveries,
            total.repetitions,
            began.elapsed().as_secs_f64(),
        );
        for (event, reason) in total.not_accepted.iter().take(MAX_PRINTED) {
            println!("not accepted: {} {}: {}", event.source_type, event.id, reason.0);
        }
        if total.not_accepted.len() > MAX_PRINTED {
            println!("not accepted: {} more", total.not_accepted.len() - MAX_PRINTED);
        }
        Ok(match (interrupted, total.not_accepted.is_empty()) {
            (true, _) => ExitCode::from(130),
            (false, true) => ExitCode::SUCCESS,
            (false, false) => ExitCode::FAILURE,
        })
    }
}

fn print_answers(answers: &AnswerCounts) {
    println!("{:<18} {:<10} {:>8}", "endpoint", "answer", "times");
    for ((target, status), times) in answers {
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        println!("{target:<18} {status:<10} {times:>8}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_rates_have_bounds() {
        assert_eq!(fraction("0.25"), Ok(0.25));
        for wrong in ["-0.1", "1.1", "NaN", "x", ""] {
            assert!(fraction(wrong).is_err(), "{wrong}");
        }
        assert_eq!(time_scale("1440"), Ok(1440.0));
        assert!(time_scale("0.5").is_err() && time_scale("x").is_err());
        assert_eq!(rate("20"), Ok(20.0));
        for wrong in ["0", "-1", "inf", "NaN"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
