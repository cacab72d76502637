//! Plays a script in real time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use crate::call::script::{CallScript, SimulatedDelivery, SimulatedEvent, SimulatedEventId};
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
        Err(reason) => {
            let mut playback = Playback::default();
            for delivery in &script.deliveries {
                playback.add(delivery, vec![Err(reason.clone())]);
            }
            return playback;
        }
    };
    let mut answers = JoinSet::new();
    let mut late = Instant::now().saturating_duration_since(start);
    let mut phase = PlaybackPhase::default();
    for (index, delivery) in script.deliveries.iter().enumerate() {
        if let Some(number) = delivery.phase {
            if number > phase.number {
                let planned = start + late + offset(phase.last_at);
                phase.pending.close();
                phase.pending.wait().await;
                late += Instant::now().saturating_duration_since(planned);
                phase = PlaybackPhase { number, ..PlaybackPhase::default() };
            }
            phase.last_at = delivery.at;
        }
        let pending = delivery.phase.map(|_| phase.pending.token());
        sleep_until(start + late + offset(delivery.at)).await;
        let (script, tokens) = (Arc::clone(&script), Arc::clone(&tokens));
        let (sender, observations) = (sender.clone(), observations.clone());
        answers.spawn(async move {
            let delivery = &script.deliveries[index];
            observations.record_post(script.number, delivery.id, std::time::Instant::now());
            let outcome = sender.post(delivery, &tokens).await;
            drop(pending);
            let mut outcomes = vec![outcome];
            if let Some(interval) = delivery.repeat_after.filter(|_| outcomes[0].is_ok()) {
                sleep(offset(interval)).await;
                outcomes.push(sender.post(delivery, &tokens).await);
            }
            (index, outcomes)
        });
    }
    let mut playback = Playback::default();
    for (index, outcomes) in answers.join_all().await {
        playback.add(&script.deliveries[index], outcomes);
    }
    playback
}

/// The current phase.
#[derive(Default)]
struct PlaybackPhase {
    number: u32,
    /// When its last delivery so far was planned, milliseconds after the start.
    last_at: Millis,
    /// Each of its deliveries holds a token until it has been answered.
    pending: TaskTracker,
}

impl Playback {
    /// Adds the outcomes of a delivery and of its repetition, if it was repeated.
    fn add(&mut self, delivery: &SimulatedDelivery, outcomes: Vec<Result<(), NotAccepted>>) {
        for (repetitions, outcome) in (0..).zip(outcomes) {
            let events = delivery.events.iter().map(SimulatedEvent::event_id);
            match outcome {
                Ok(()) => {
                    self.deliveries += 1;
                    self.repetitions += repetitions;
                    if repetitions == 0 {
                        self.accepted.extend(events);
                    }
                }
                Err(reason) => {
                    self.not_accepted.extend(events.map(|event| (event, reason.clone())));
                }
            }
        }
    }
}

fn offset(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
