//! Plays a script in real time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use crate::call::script::{CallScript, SimulatedEvent, SimulatedEventId};
use crate::observe::observation_log::ObservationLog;
use crate::senders::http_sender::{HttpSender, NotAccepted};
use onrecord_evidence::event::instant::Millis;

/// The outcome of a call's deliveries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Playback {
    /// Accepted requests, repetitions included.
    pub deliveries: u64,
    /// Accepted repetitions.
    pub repetitions: u64,
    /// The events whose delivery was accepted.
    pub accepted: Vec<SimulatedEventId>,
    /// The events whose delivery was not accepted, and the reason.
    pub not_accepted: Vec<(SimulatedEventId, NotAccepted)>,
}

/// A delivery that has been answered.
struct AnsweredDelivery {
    index: usize,
    is_repetition: bool,
    outcome: Result<(), NotAccepted>,
}

/// Posts every delivery at its time after `start`, and waits for all answers.
///
/// A slow server does not change the script: a phase starts later by as much as the phase before it
/// was answered late.
pub async fn play_script(
    script: Arc<CallScript>,
    start: Instant,
    sender: HttpSender,
    observations: ObservationLog,
) -> Playback {
    let tokens = match sender.request_tokens(&script.deliveries).await {
        Ok(tokens) => Arc::new(tokens),
        Err(not_accepted) => return nothing_accepted(&script, &not_accepted),
    };
    let mut answers = JoinSet::new();
    let mut late = Instant::now().saturating_duration_since(start);
    let mut phase = PlaybackPhase::new(0);
    for (index, delivery) in script.deliveries.iter().enumerate() {
        if let Some(number) = delivery.phase {
            if number > phase.number {
                let planned = start + late + offset(phase.last_at);
                phase.answered().await;
                late += Instant::now().saturating_duration_since(planned);
                phase = PlaybackPhase::new(number);
            }
            phase.last_at = delivery.at;
        }
        let pending = delivery.phase.map(|_| phase.pending.token());
        sleep_until(start + late + offset(delivery.at)).await;
        let (script, tokens) = (Arc::clone(&script), Arc::clone(&tokens));
        let (sender, observations) = (sender.clone(), observations.clone());
        answers.spawn(async move {
            let mut answered = Vec::new();
            let Some(delivery) = script.deliveries.get(index) else {
                return answered;
            };
            observations.record_post(script.number, delivery.id, std::time::Instant::now());
            let outcome = sender.post(delivery, &tokens).await;
            drop(pending);
            let accepted = outcome.is_ok();
            answered.push(AnsweredDelivery {
                index,
                is_repetition: false,
                outcome,
            });
            if let Some(interval) = delivery.repeat_after.filter(|_| accepted) {
                sleep(offset(interval)).await;
                let outcome = sender.post(delivery, &tokens).await;
                answered.push(AnsweredDelivery {
                    index,
                    is_repetition: true,
                    outcome,
                });
            }
            answered
        });
    }
    let mut playback = Playback::default();
    for answered in answers.join_all().await.into_iter().flatten() {
        playback.add(&script, answered);
    }
    playback
}

/// The current phase.
struct PlaybackPhase {
    number: u32,
    /// When its last delivery so far was planned, milliseconds after the start.
    last_at: Millis,
    /// Each of its deliveries holds a token until it has been answered.
    pending: TaskTracker,
}

impl PlaybackPhase {
    fn new(number: u32) -> Self {
        Self {
            number,
            last_at: 0,
            pending: TaskTracker::new(),
        }
    }

    /// Waits until all its deliveries have been answered.
    async fn answered(self) {
        self.pending.close();
        self.pending.wait().await;
    }
}

impl Playback {
    fn add(&mut self, script: &CallScript, answered: AnsweredDelivery) {
        let Some(delivery) = script.deliveries.get(answered.index) else {
            return;
        };
        let events = delivery.events.iter().map(SimulatedEvent::event_id);
        match answered.outcome {
            Ok(()) => {
                self.deliveries += 1;
                self.repetitions += u64::from(answered.is_repetition);
                if !answered.is_repetition {
                    self.accepted.extend(events);
                }
            }
            Err(reason) => self
                .not_accepted
                .extend(events.map(|event| (event, reason.clone()))),
        }
    }
}

fn nothing_accepted(script: &CallScript, reason: &NotAccepted) -> Playback {
    let events = script
        .deliveries
        .iter()
        .flat_map(|delivery| &delivery.events);
    Playback {
        not_accepted: events
            .map(|event| (event.event_id(), reason.clone()))
            .collect(),
        ..Playback::default()
    }
}

fn offset(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
