//! Plays a script in real time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{NotTaken, Sender};
use super::journal::Journal;
use super::script::{EventName, Script};
use crate::domain::instant::Millis;

/// What became of a call's deliveries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Performance {
    /// Requests that were taken, those that came again included.
    pub deliveries: u64,
    /// Those of them that had come before.
    pub repetitions: u64,
    /// Whose delivery was taken.
    pub taken: Vec<EventName>,
    /// What was not, and why.
    pub not_taken: Vec<(EventName, NotTaken)>,
}

/// A delivery that was answered.
struct Answered {
    index: usize,
    is_repetition: bool,
    outcome: Result<(), NotTaken>,
}

/// Posts everything at its time after `begin`, and waits for all the answers.
///
/// A slow server does not disturb the script: an act begins as much later as the one before it was
/// answered late.
pub async fn perform(
    script: Arc<Script>,
    begin: Instant,
    sender: Sender,
    journal: Journal,
) -> Performance {
    let tokens = match sender.draw_tokens(&script.deliveries).await {
        Ok(tokens) => Arc::new(tokens),
        Err(not_taken) => return nothing_taken(&script, &not_taken),
    };
    let mut answers = JoinSet::new();
    let mut late = Instant::now().saturating_duration_since(begin);
    let mut stage = Act::new(0);
    for (index, delivery) in script.deliveries.iter().enumerate() {
        if let Some(act) = delivery.act {
            if act > stage.number {
                let planned = begin + late + offset(stage.last_at);
                stage.answered().await;
                late += Instant::now().saturating_duration_since(planned);
                stage = Act::new(act);
            }
            stage.last_at = delivery.at;
        }
        let of_act = delivery.act.map(|_| stage.pending.clone());
        sleep_until(begin + late + offset(delivery.at)).await;
        let (script, tokens) = (Arc::clone(&script), Arc::clone(&tokens));
        let (sender, journal) = (sender.clone(), journal.clone());
        answers.spawn(async move {
            let mut answered = Vec::new();
            let Some(delivery) = script.deliveries.get(index) else {
                return answered;
            };
            journal.posting(script.number, delivery.id, std::time::Instant::now());
            let outcome = sender.post(delivery, &tokens).await;
            drop(of_act);
            let taken = outcome.is_ok();
            answered.push(Answered {
                index,
                is_repetition: false,
                outcome,
            });
            if let Some(again) = delivery.again.filter(|_| taken) {
                sleep(offset(again)).await;
                let outcome = sender.post(delivery, &tokens).await;
                answered.push(Answered {
                    index,
                    is_repetition: true,
                    outcome,
                });
            }
            answered
        });
    }
    let mut performance = Performance::default();
    for answered in answers.join_all().await.into_iter().flatten() {
        performance.note(&script, answered);
    }
    performance
}

/// The act that is going on. Its deliveries hold on to it until they are answered.
struct Act {
    number: u32,
    /// When its last delivery so far was planned, milliseconds after the beginning.
    last_at: Millis,
    pending: mpsc::Sender<Infallible>,
    let_go: mpsc::Receiver<Infallible>,
}

impl Act {
    fn new(number: u32) -> Self {
        let (pending, let_go) = mpsc::channel(1);
        Self {
            number,
            last_at: 0,
            pending,
            let_go,
        }
    }

    /// Waits until all its deliveries have let go.
    async fn answered(self) {
        let Self {
            pending,
            mut let_go,
            ..
        } = self;
        drop(pending);
        // Nothing is ever sent: what comes is the end.
        while let_go.recv().await.is_some() {}
    }
}

impl Performance {
    fn note(&mut self, script: &Script, answered: Answered) {
        let Some(delivery) = script.deliveries.get(answered.index) else {
            return;
        };
        let names = delivery
            .events
            .iter()
            .map(super::script::SimulatedEvent::name);
        match answered.outcome {
            Ok(()) => {
                self.deliveries += 1;
                self.repetitions += u64::from(answered.is_repetition);
                if !answered.is_repetition {
                    self.taken.extend(names);
                }
            }
            Err(why) => self.not_taken.extend(names.map(|name| (name, why.clone()))),
        }
    }
}

fn nothing_taken(script: &Script, why: &NotTaken) -> Performance {
    let events = script
        .deliveries
        .iter()
        .flat_map(|delivery| &delivery.events);
    Performance {
        not_taken: events.map(|event| (event.name(), why.clone())).collect(),
        ..Performance::default()
    }
}

fn offset(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
