//! Event Grid as a sender: it retries by its retry table, on a clock that may run faster.
//!
//! # Why
//!
//! Only the intervals between attempts are shortened. The time that the server takes to answer
//! counts as it passes: an interval of an hour adds an hour to the age of the delivery, an answer
//! after a second adds a second.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::rng::SeededRng;
use crate::senders::retry_table::{
    AttemptStatus, DeliveryAttempts, EndpointHealth, EventGridOutcome,
};

/// Minimum interval between two attempts, however short the scale makes it: the server must have
/// time for other work.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// How much faster than real time the sender's clock runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeScale(f64);

impl TimeScale {
    /// `factor` seconds of the sender pass in one second; at least 1.
    #[must_use]
    pub fn new(factor: f64) -> Self {
        Self(factor.max(1.0))
    }

    /// The real length of an interval of the sender.
    #[must_use]
    pub fn shorten(self, interval: Duration) -> Duration {
        interval.div_f64(self.0).max(MIN_INTERVAL.min(interval))
    }
}

/// The outcomes of all events. The events of a delivery share its outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventGridCounts {
    pub delivered: u64,
    /// Delivered events that took more than one attempt.
    pub retried: u64,
    pub expired: u64,
    /// Dropped events by status code.
    pub dropped_for_status: BTreeMap<u16, u64>,
    pub in_flight: u64,
}

impl EventGridCounts {
    /// All events that were dropped because of a status code.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_for_status.values().sum()
    }
}

/// The sender of one subscription, to one endpoint.
#[derive(Clone)]
pub struct EventGridSender {
    scale: TimeScale,
    shared: Arc<Mutex<EventGridSenderState>>,
}

struct EventGridSenderState {
    endpoint: EndpointHealth,
    /// The end of the endpoint's pause, and its length on the sender's clock.
    pause: Option<(Instant, Duration)>,
    counts: EventGridCounts,
    rng: SeededRng,
}

impl EventGridSender {
    #[must_use]
    pub fn new(scale: TimeScale, seed: u64) -> Self {
        Self {
            scale,
            shared: Arc::new(Mutex::new(EventGridSenderState {
                endpoint: EndpointHealth::default(),
                pause: None,
                counts: EventGridCounts::default(),
                rng: SeededRng::new(seed, "event grid's retry intervals", 0),
            })),
        }
    }

    /// The outcomes of the events so far.
    #[must_use]
    pub fn counts(&self) -> EventGridCounts {
        self.lock().counts.clone()
    }

    /// Delivers this many events as one request. `attempt` posts the request; its argument is the
    /// number of earlier attempts, and it must not wait for an answer longer than
    /// [`crate::RESPONSE_TIMEOUT`].
    pub async fn deliver<A>(
        &self,
        events: u64,
        mut attempt: impl FnMut(u32) -> A,
    ) -> EventGridOutcome
    where
        A: Future<Output = AttemptStatus>,
    {
        self.lock().counts.in_flight += events;
        let mut attempts = DeliveryAttempts::default();
        let outcome = loop {
            self.wait_while_paused(&mut attempts).await;
            if !attempts.may_begin() {
                break EventGridOutcome::Expired(attempts.made);
            }
            let began = Instant::now();
            let status = attempt(attempts.made).await;
            attempts.age += began.elapsed();
            match self.decide(&mut attempts, status) {
                ControlFlow::Break(outcome) => break outcome,
                ControlFlow::Continue(interval) => {
                    tokio::time::sleep(self.scale.shorten(interval)).await;
                    attempts.age += interval;
                }
            }
        };
        self.count(events, attempts, outcome);
        outcome
    }

    /// Waits while the endpoint is paused, which holds for new deliveries too.
    async fn wait_while_paused(&self, attempts: &mut DeliveryAttempts) {
        let Some((until, length)) = self.lock().pause else {
            return;
        };
        let wait = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(wait).await;
        // A pause that could not be shortened as far as the scale says must not age the delivery by
        // more than its own length.
        attempts.age += wait.mul_f64(self.scale.0).min(length);
    }

    fn decide(
        &self,
        attempts: &mut DeliveryAttempts,
        status: AttemptStatus,
    ) -> ControlFlow<EventGridOutcome, Duration> {
        let mut shared = self.lock();
        if let Some(wait) = shared.endpoint.record(status) {
            shared.pause = Some((Instant::now() + self.scale.shorten(wait), wait));
        } else if shared.endpoint.consecutive_failures == 0 {
            shared.pause = None;
        }
        let jitter = shared.rng.random_fraction();
        attempts.decide(status, jitter)
    }

    fn count(&self, events: u64, attempts: DeliveryAttempts, outcome: EventGridOutcome) {
        let counts = &mut self.lock().counts;
        counts.in_flight -= events;
        match outcome {
            EventGridOutcome::Delivered => {
                counts.delivered += events;
                if attempts.made > 1 {
                    counts.retried += events;
                }
            }
            EventGridOutcome::DroppedForStatus(status) => {
                *counts.dropped_for_status.entry(status).or_default() += events;
            }
            EventGridOutcome::Expired(_) => counts.expired += events,
        }
    }

    fn lock(&self) -> MutexGuard<'_, EventGridSenderState> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(factor: f64) -> EventGridSender {
        EventGridSender::new(TimeScale::new(factor), 1)
    }

    #[test]
    fn a_shortened_interval_has_a_minimum() {
        let scale = TimeScale::new(1440.0);
        assert_eq!(scale.shorten(Duration::from_secs(12 * 3600)), Duration::from_secs(30));
        assert_eq!(scale.shorten(Duration::from_secs(10)), MIN_INTERVAL);
        assert_eq!(TimeScale::new(0.0).shorten(Duration::from_secs(10)), Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_batch_is_delivered_or_lost_as_a_whole() {
        let sender = sender(1e9);
        let mut answers = [None, Some(503), Some(200)].into_iter();
        let mut seen = Vec::new();
        let outcome = sender.deliver(7, |before| {
            seen.push(before);
            std::future::ready(answers.next().unwrap())
        });
        assert_eq!(outcome.await, EventGridOutcome::Delivered);
        assert_eq!(seen, [0, 1, 2]);
        let refused = sender.deliver(5, |_| std::future::ready(Some(401)));
        assert_eq!(refused.await, EventGridOutcome::DroppedForStatus(401));
        let counts = EventGridCounts {
            delivered: 7,
            retried: 7,
            dropped_for_status: BTreeMap::from([(401, 5)]),
            ..EventGridCounts::default()
        };
        assert_eq!(sender.counts(), counts);
        assert_eq!(counts.dropped(), 5);
    }

    #[tokio::test]
    async fn a_day_of_refusals_is_the_end_of_a_delivery() {
        let sender = sender(1e9);
        let outcome = sender.deliver(1, |_| std::future::ready(Some(503)));
        assert_eq!(outcome.await, EventGridOutcome::Expired(11));
        assert_eq!(sender.counts().expired, 1);
    }

    #[tokio::test]
    async fn a_new_delivery_waits_after_ten_failures_as_well() {
        let sender = sender(600.0);
        let began = Instant::now();
        for _ in 0..10 {
            // Given up after one attempt, which is enough for a failure.
            let once = sender.deliver(1, |_| std::future::ready(Some(500)));
            let _ = tokio::time::timeout(Duration::from_millis(1), once).await;
        }
        let outcome = sender.deliver(1, |_| std::future::ready(Some(200)));
        assert_eq!(outcome.await, EventGridOutcome::Delivered);
        // Five minutes on the sender's clock.
        assert!(began.elapsed() >= Duration::from_millis(500));
        assert_eq!(sender.lock().pause, None);
    }
}
