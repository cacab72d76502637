//! `onrecord simulate`: realistic calls for a running server.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use crate::clock;
use crate::domain::instant::Millis;
use crate::simulator::{
    Access, Channels, EventGridSender, Fates, Generation, Journal, Performance, Production, Run,
    Sender, SourceAccess, Tally, TimeScale, World,
};

/// So many of what was not taken are named.
const NAMED: usize = 20;

/// Where to post, and what.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Where the server listens.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A source of kind event-grid, as in the server's settings.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "call_automation_source"
    )]
    event_grid_source: Option<String>,
    /// A source of kind call-automation, as in the server's settings.
    #[arg(long, value_name = "NAME")]
    call_automation_source: Option<String>,
    /// The key of the sources; `onrecord key source` makes one.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// The key of the call-automation source, if it is another one.
    #[arg(long, value_name = "KEY")]
    call_automation_key: Option<String>,
    /// An API key of role app; with it, the calls' clients report what they see and acknowledge notices.
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
    /// How many calls.
    #[arg(long, default_value_t = 10, value_name = "N")]
    calls: u64,
    /// How many calls begin per second.
    #[arg(long, default_value_t = 2.0, value_name = "R", value_parser = rate)]
    rate: f64,
    /// The immutable id of the ACS resource whose users call; drawn from the seed unless given.
    /// Name the one in the source's resource_ids, if it has any.
    #[arg(long, value_name = "GUID")]
    resource_id: Option<String>,
    /// Retries Event Grid's deliveries as Event Grid does (10 s, 30 s, 1 min … 12 h, for a day;
    /// never after 400, 401, 403 or 413), with waits that are so much shorter: with 1440 its day
    /// passes in a minute. Without it, what is refused is soon tried again.
    #[arg(long, value_name = "F", value_parser = time_scale)]
    time_scale: Option<f64>,
    #[command(flatten)]
    manner: Manner,
}

/// What the calls are like.
#[derive(Args, Clone, Debug)]
pub(super) struct Manner {
    /// Everything is drawn from it. The same one gives the same calls with the same ids, so a
    /// database that has them already keeps them as duplicates and conflicts.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How probable it is, 0 to 1, that a delivery is late and may be overtaken.
    #[arg(long, default_value_t = 0.3, value_name = "F", value_parser = share)]
    disorder: f64,
    /// How probable it is, 0 to 1, that a delivery comes twice.
    #[arg(long, default_value_t = 0.1, value_name = "F", value_parser = share)]
    duplicates: f64,
    /// Which generations of Event Grid's calling events.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["2021", "2022", "2025"], value_name = "YEARS")]
    generations: Vec<Generation>,
    /// How long a call lasts. One in which clients report an end of recording lasts longer,
    /// because that is believed after 5 s only.
    #[arg(long, default_value_t = 6, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(2..=600))]
    call_seconds: u32,
}

impl Manner {
    /// What the calls of a run are like; a seed is drawn if none was given.
    pub(super) fn production(&self, resource_id: Option<String>, channels: Channels) -> Production {
        // Short enough to be typed.
        let seed = self
            .seed
            .unwrap_or_else(|| u64::from(rand::random::<u32>()));
        Production {
            seed,
            world: World::new(seed, resource_id),
            channels,
            generations: self.generations.clone(),
            call_length: Millis::from(self.call_seconds) * 1000,
            disorder: self.disorder,
            duplicates: self.duplicates,
        }
    }
}

fn time_scale(text: &str) -> Result<f64, String> {
    let factor = text
        .parse()
        .ok()
        .filter(|factor| (1.0..=100_000.0).contains(factor));
    factor.ok_or_else(|| "write a number from 1 to 100000".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a number from 0 to 1".to_owned())
}

/// A number of calls per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .parse()
        .ok()
        .filter(|rate| (0.001..=1000.0).contains(rate));
    rate.ok_or_else(|| "write calls per second, from 0.001 to 1000".to_owned())
}

/// What a run came to.
#[derive(Debug, Default)]
struct Outcome {
    calls: u64,
    whole: Performance,
}

impl Outcome {
    fn add(&mut self, performance: Performance) {
        self.calls += 1;
        self.whole.deliveries += performance.deliveries;
        self.whole.repetitions += performance.repetitions;
        self.whole.taken.extend(performance.taken);
        self.whole.not_taken.extend(performance.not_taken);
    }
}

impl Options {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        super::runtime::runtime()?.block_on(self.post())
    }

    async fn post(self) -> anyhow::Result<ExitCode> {
        let source = |name: &Option<String>, key: &String| {
            name.clone().map(|name| SourceAccess {
                name,
                key: key.clone(),
            })
        };
        let access = Access {
            url: self.url.clone(),
            event_grid: source(&self.event_grid_source, &self.key),
            call_automation: source(
                &self.call_automation_source,
                self.call_automation_key.as_ref().unwrap_or(&self.key),
            ),
            api_key: self.api_key.clone(),
            by_proxy: true,
        };
        let channels = Channels {
            event_grid: access.event_grid.is_some(),
            call_automation: access.call_automation.is_some(),
            reports: access.api_key.is_some(),
        };
        let production = self.manner.production(self.resource_id.clone(), channels);
        println!(
            "seed {}: --seed {} posts the same calls again",
            production.seed, production.seed
        );
        println!(
            "{} calls to {}, {} a second",
            self.calls, self.url, self.rate
        );
        if !channels.reports {
            println!("no client reports, because that takes an --api-key");
        }
        let mut sender = Sender::new(access)?;
        let event_grid = self
            .time_scale
            .map(|factor| EventGridSender::new(TimeScale::new(factor), production.seed));
        if let Some(event_grid) = &event_grid {
            sender = sender.delivering_as(event_grid.clone());
        }
        let run = Run {
            production,
            sender: sender.clone(),
            journal: Journal::default(),
            rate: self.rate,
            clock: clock::now,
        };
        let began = Instant::now();
        let mut outcome = Outcome::default();
        let interrupted = {
            let journal = run.journal.clone();
            let over = |number, performance| {
                let _nobody_listened = journal.close(number);
                outcome.add(performance);
            };
            tokio::select! {
                () = run.play(Some(self.calls), |_| {}, over) => false,
                caught = tokio::signal::ctrl_c() => { caught?; true }
            }
        };
        println!();
        print_tally(&sender.tally());
        if let Some(event_grid) = &event_grid {
            println!();
            println!("event grid: {}", in_words(&event_grid.fates()));
        }
        let Outcome { calls, whole } = &outcome;
        println!();
        println!(
            "{calls} calls posted whole: {} events in {} deliveries, {} of them repeated, in {:.1} s",
            whole.taken.len(),
            whole.deliveries,
            whole.repetitions,
            began.elapsed().as_secs_f64(),
        );
        for (event, why) in whole.not_taken.iter().take(NAMED) {
            println!("not taken: {} {}: {}", event.source_type, event.id, why.0);
        }
        if whole.not_taken.len() > NAMED {
            println!("not taken: {} more", whole.not_taken.len() - NAMED);
        }
        Ok(match (interrupted, whole.not_taken.is_empty()) {
            (true, _) => ExitCode::from(130),
            (false, true) => ExitCode::SUCCESS,
            (false, false) => ExitCode::FAILURE,
        })
    }
}

/// What became of Event Grid's events.
fn in_words(fates: &Fates) -> String {
    let Fates {
        delivered,
        retried,
        expired,
        ..
    } = fates;
    let lost = fates.lost();
    format!(
        "{delivered} events delivered, {retried} of them retried, {expired} expired, {lost} lost to status codes"
    )
}

fn print_tally(tally: &Tally) {
    println!("{:<18} {:<10} {:>8}", "door", "answer", "times");
    for ((door, status), times) in tally {
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        println!("{door:<18} {status:<10} {times:>8}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_rates_have_bounds() {
        assert_eq!(share("0.25"), Ok(0.25));
        for wrong in ["-0.1", "1.1", "NaN", "x", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        assert_eq!(time_scale("1440"), Ok(1440.0));
        assert!(time_scale("0.5").is_err() && time_scale("x").is_err());
        assert_eq!(rate("20"), Ok(20.0));
        for wrong in ["0", "-1", "inf", "NaN"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
