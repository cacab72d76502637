//! Plays the calls of a run: they start one after the other, and are played concurrently.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::call::script::CallScript;
use crate::observe::observation_log::ObservationLog;
use crate::playback::{Playback, play_script};
use crate::scenario::scenario_config::ScenarioConfig;
use crate::senders::http_sender::HttpSender;

/// The configuration of a run, and what it posts with.
#[derive(Clone)]
pub struct SimulationRun {
    pub config: ScenarioConfig,
    pub sender: HttpSender,
    pub observations: ObservationLog,
    /// Calls that start per second.
    pub rate: f64,
    /// Gives the start time of each call.
    pub clock: fn() -> DateTime<Utc>,
}

impl SimulationRun {
    /// Plays this many calls (`None`: without end). `on_start` may change a script before its call
    /// starts; `on_end` gets the outcome when all deliveries of a call have been answered. The
    /// future can be dropped to stop earlier.
    pub async fn play(
        &self,
        calls: Option<u64>,
        mut on_start: impl FnMut(&mut CallScript),
        mut on_end: impl FnMut(u64, Playback),
    ) {
        let began = Instant::now();
        let mut playing = JoinSet::new();
        let mut next = 0;
        loop {
            let due = began + Duration::from_secs_f64(next as f64 / self.rate);
            tokio::select! {
                () = sleep_until(due), if calls.is_none_or(|calls| next < calls) => {
                    let mut script = self.config.script(next, (self.clock)());
                    on_start(&mut script);
                    self.observations.open(&script);
                    let (sender, observations) = (self.sender.clone(), self.observations.clone());
                    playing.spawn(async move {
                        let number = script.number;
                        let script = Arc::new(script);
                        (number, play_script(script, Instant::now(), sender, observations).await)
                    });
                    next += 1;
                }
                Some(played) = playing.join_next(), if !playing.is_empty() => {
                    // These tasks are never aborted, and do not panic.
                    if let Ok((number, playback)) = played {
                        on_end(number, playback);
                    }
                }
                else => return,
            }
        }
    }
}
