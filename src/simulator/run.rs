//! A run: one call after the other begins, and all of them are played side by side.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::client::Sender;
use super::journal::Journal;
use super::performance::{Performance, perform};
use super::production::Production;
use super::script::Script;

/// Everything that a run needs.
#[derive(Clone)]
pub struct Run {
    pub production: Production,
    pub sender: Sender,
    pub journal: Journal,
    /// Calls that begin per second.
    pub rate: f64,
    /// What time it is when a call begins.
    pub clock: fn() -> DateTime<Utc>,
}

impl Run {
    /// Plays so many calls (`None`: without end). `edit` is asked before a call begins, `over` when
    /// all of it has been answered. It is to be dropped to end it otherwise.
    pub async fn play(
        &self,
        calls: Option<u64>,
        mut edit: impl FnMut(&mut Script),
        mut over: impl FnMut(u64, Performance),
    ) {
        let began = Instant::now();
        let mut playing = JoinSet::new();
        let mut next = 0;
        loop {
            let due = began + Duration::from_secs_f64(next as f64 / self.rate);
            tokio::select! {
                () = sleep_until(due), if calls.is_none_or(|calls| next < calls) => {
                    let mut script = self.production.script(next, (self.clock)());
                    edit(&mut script);
                    self.journal.open(&script);
                    let (sender, journal) = (self.sender.clone(), self.journal.clone());
                    playing.spawn(async move {
                        let number = script.number;
                        (number, perform(Arc::new(script), Instant::now(), sender, journal).await)
                    });
                    next += 1;
                }
                Some(played) = playing.join_next(), if !playing.is_empty() => {
                    // A task of ours is never aborted, and does not panic.
                    if let Ok((number, performance)) = played {
                        over(number, performance);
                    }
                }
                else => return,
            }
        }
    }
}
