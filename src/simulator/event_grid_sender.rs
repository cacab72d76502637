//! Event Grid as a sender: delivers as its retry table says, on a clock that may run faster.
//!
//! # Why
//!
//! Only the waits are shortened. How long the server takes to answer is what it is, so an answer's
//! time counts as it passes: an hour's wait is an hour of the delivery's age, and a second's answer
//! is a second.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::retry_table::{Answer, Attempts, Endpoint, Step};

/// No wait is shortened below this: the server must have a chance to do something else.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// How much faster than ours the sender's clock runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeScale(f64);

impl TimeScale {
    /// `factor` of the sender's seconds pass in one of ours; at least 1.
    #[must_use]
    pub fn new(factor: f64) -> Self {
        Self(factor.max(1.0))
    }

    /// How long we wait for one of the sender's waits.
    #[must_use]
    pub fn shorten(self, wait: Duration) -> Duration {
        wait.div_f64(self.0).max(LEAST_WAIT.min(wait))
    }

    fn lengthen(self, wait: Duration) -> Duration {
        wait.mul_f64(self.0)
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Delivered,
    LostToStatus(u16),
    /// Too old or tried too often; the number of attempts.
    Expired(u32),
}

/// What became of all events. A delivery's events share its fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    pub delivered: u64,
    /// Of the delivered ones, those that took more than one attempt.
    pub retried: u64,
    pub expired: u64,
    /// By status code.
    pub lost_to_status: BTreeMap<u16, u64>,
    pub on_the_way: u64,
}

impl Fates {
    /// All those that the sender dropped because of a status code.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_to_status.values().sum()
    }
}

/// The sender of one subscription, to one endpoint.
#[derive(Clone)]
pub struct EventGridSender {
    scale: TimeScale,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    endpoint: Endpoint,
    spared_until: Option<Instant>,
    /// By Event Grid's own clock.
    spared_for: Duration,
    fates: Fates,
    chance: Chance,
}

impl EventGridSender {
    #[must_use]
    pub fn new(scale: TimeScale, seed: u64) -> Self {
        Self {
            scale,
            shared: Arc::new(Mutex::new(Shared {
                endpoint: Endpoint::default(),
                spared_until: None,
                spared_for: Duration::ZERO,
                fates: Fates::default(),
                chance: Chance::new(seed, "event grid's waits", 0),
            })),
        }
    }

    /// What became of the events so far.
    #[must_use]
    pub fn fates(&self) -> Fates {
        self.lock().fates.clone()
    }

    /// Delivers so many events as one request. `attempt` posts it, and is told how many attempts
    /// there were before; it must wait for the answer no longer than
    /// [`PATIENCE`](super::retry_table::PATIENCE).
    pub async fn deliver<A>(&self, events: u64, mut attempt: impl FnMut(u32) -> A) -> Fate
    where
        A: Future<Output = Answer>,
    {
        self.lock().fates.on_the_way += events;
        let mut attempts = Attempts::default();
        let fate = loop {
            self.wait_while_spared(&mut attempts).await;
            if !attempts.may_begin() {
                break Fate::Expired(attempts.made());
            }
            let began = Instant::now();
            let answer = attempt(attempts.made()).await;
            attempts.grow_older(began.elapsed());
            match self.judge(&mut attempts, answer) {
                Step::Delivered => break Fate::Delivered,
                Step::LostToStatus(status) => break Fate::LostToStatus(status),
                Step::Expired => break Fate::Expired(attempts.made()),
                Step::Again(wait) => {
                    tokio::time::sleep(self.scale.shorten(wait)).await;
                    attempts.grow_older(wait);
                }
            }
        };
        self.note(events, attempts, fate);
        fate
    }

    /// New deliveries too wait for an endpoint that failed too often.
    async fn wait_while_spared(&self, attempts: &mut Attempts) {
        let spared_until = self.lock().spared_until;
        let Some(wait) = spared_until.map(|until| until.saturating_duration_since(Instant::now()))
        else {
            return;
        };
        tokio::time::sleep(wait).await;
        // A wait that could not be shortened as far as the scale says ages nothing by more.
        let aged = self.scale.lengthen(wait).min(self.lock().spared_for);
        attempts.grow_older(aged);
    }

    fn judge(&self, attempts: &mut Attempts, answer: Answer) -> Step {
        let mut shared = self.lock();
        if let Some(wait) = shared.endpoint.learn(answer) {
            shared.spared_until = Some(Instant::now() + self.scale.shorten(wait));
            shared.spared_for = wait;
        } else if shared.endpoint.is_well() {
            shared.spared_until = None;
        }
        let chance = shared.chance.share();
        attempts.judge(answer, chance)
    }

    fn note(&self, events: u64, attempts: Attempts, fate: Fate) {
        let fates = &mut self.lock().fates;
        fates.on_the_way -= events;
        match fate {
            Fate::Delivered => {
                fates.delivered += events;
                if attempts.made() > 1 {
                    fates.retried += events;
                }
            }
            Fate::LostToStatus(status) => {
                *fates.lost_to_status.entry(status).or_default() += events;
            }
            Fate::Expired(_) => fates.expired += events,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
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
    fn a_shortened_wait_is_still_a_wait() {
        let scale = TimeScale::new(1440.0);
        assert_eq!(
            scale.shorten(Duration::from_secs(12 * 3600)),
            Duration::from_secs(30)
        );
        assert_eq!(scale.shorten(Duration::from_secs(10)), LEAST_WAIT);
        assert_eq!(
            TimeScale::new(0.0).shorten(Duration::from_secs(10)),
            Duration::from_secs(10)
        );
    }

    #[tokio::test]
    async fn a_batch_is_delivered_or_lost_as_a_whole() {
        let sender = sender(1e9);
        let mut answers = [Answer::Nothing, Answer::Status(503), Answer::Status(200)].into_iter();
        let mut seen = Vec::new();
        let fate = sender.deliver(7, |before| {
            seen.push(before);
            std::future::ready(answers.next().unwrap())
        });
        assert_eq!(fate.await, Fate::Delivered);
        assert_eq!(seen, [0, 1, 2]);
        let refused = sender.deliver(5, |_| std::future::ready(Answer::Status(401)));
        assert_eq!(refused.await, Fate::LostToStatus(401));
        let fates = Fates {
            delivered: 7,
            retried: 7,
            lost_to_status: BTreeMap::from([(401, 5)]),
            ..Fates::default()
        };
        assert_eq!(sender.fates(), fates);
        assert_eq!(fates.lost(), 5);
    }

    #[tokio::test]
    async fn a_day_of_refusals_is_the_end_of_a_delivery() {
        let sender = sender(1e9);
        let fate = sender.deliver(1, |_| std::future::ready(Answer::Status(503)));
        assert_eq!(fate.await, Fate::Expired(11));
        assert_eq!(sender.fates().expired, 1);
    }

    #[tokio::test]
    async fn after_ten_failures_a_new_delivery_waits_as_well() {
        let sender = sender(600.0);
        let began = Instant::now();
        for _ in 0..10 {
            // Given up by us after one attempt, which is enough to be a failure.
            let once = sender.deliver(1, |_| std::future::ready(Answer::Status(500)));
            let _ = tokio::time::timeout(Duration::from_millis(1), once).await;
        }
        let fate = sender.deliver(1, |_| std::future::ready(Answer::Status(200)));
        assert_eq!(fate.await, Fate::Delivered);
        // Five minutes of the sender's.
        assert!(began.elapsed() >= Duration::from_millis(500));
        assert_eq!(sender.lock().spared_until, None);
    }
}
