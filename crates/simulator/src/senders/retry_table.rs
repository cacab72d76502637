//! Event Grid's retry table: the published rules of webhook delivery. They say which answers are a
//! success, which are never retried, how long Event Grid waits before the next attempt, and when it
//! drops an event. Where they are vague ("some time", "several hours", "randomized"), the numbers
//! are chosen here.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

/// Timeout of an answer.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of attempts, the first one included.
const MAX_ATTEMPTS: u32 = 30;
/// Maximum age of a delivery.
const TIME_TO_LIVE: Duration = Duration::from_hours(24);
/// Intervals after the first failed attempt, the second, and so on; the last one repeats.
const RETRY_INTERVALS: [Duration; 10] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(3),
    Duration::from_hours(6),
    Duration::from_hours(12),
];
/// Maximum relative prolongation of an interval; it is random, so that retries do not come all at
/// once.
const MAX_JITTER: f64 = 0.1;

/// Number of consecutive failures after which all deliveries to the endpoint are paused.
const FAILURES_UNTIL_PAUSE: u32 = 10;
/// First and maximum length of a pause; it doubles with each further series of failures.
const ENDPOINT_PAUSE: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(4));

/// The status of the answer to an attempt; `None`: no connection, or no answer in time.
pub(crate) type AttemptStatus = Option<u16>;

/// Whether the delivery succeeded. No other codes, not even other 2xx, are a success.
fn is_success(status: AttemptStatus) -> bool {
    matches!(status, Some(200..=204))
}

/// The outcome of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventGridOutcome {
    Delivered,
    /// The events are dropped, because the status code is never retried.
    DroppedForStatus(u16),
    /// Too old or attempted too often; the number of attempts.
    Expired(u32),
}

/// The attempts of one delivery so far, and its age in Event Grid's time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeliveryAttempts {
    pub made: u32,
    pub age: Duration,
}

impl DeliveryAttempts {
    /// Whether the next attempt may be made. Age is checked only when an attempt is due.
    #[must_use]
    pub(crate) fn may_begin(&self) -> bool {
        self.made < MAX_ATTEMPTS && self.age < TIME_TO_LIVE
    }

    /// The outcome of the delivery after an attempt, or the interval before the next attempt. `jitter`
    /// is between 0 and 1.
    pub(crate) fn decide(
        &mut self,
        status: AttemptStatus,
        jitter: f64,
    ) -> ControlFlow<EventGridOutcome, Duration> {
        self.made += 1;
        let min_interval = match status {
            status if is_success(status) => return Break(EventGridOutcome::Delivered),
            Some(status @ (400 | 401 | 403 | 413)) => {
                return Break(EventGridOutcome::DroppedForStatus(status));
            }
            _ if self.made >= MAX_ATTEMPTS => return Break(EventGridOutcome::Expired(self.made)),
            Some(408) => Duration::from_mins(2),
            Some(503) => Duration::from_secs(30),
            _ => Duration::from_secs(10),
        };
        let failed_before = usize::try_from(self.made - 1).unwrap_or(usize::MAX);
        let interval =
            RETRY_INTERVALS.get(failed_before).copied().unwrap_or(Duration::from_hours(12));
        Continue(interval.max(min_interval).mul_f64(1.0 + MAX_JITTER * jitter))
    }
}

/// The recent failures of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndpointHealth {
    pub consecutive_failures: u32,
}

impl EndpointHealth {
    /// Takes the result of an attempt into account. The returned pause holds for all deliveries,
    /// also for new ones.
    pub(crate) fn record(&mut self, status: AttemptStatus) -> Option<Duration> {
        if is_success(status) {
            self.consecutive_failures = 0;
            return None;
        }
        self.consecutive_failures += 1;
        if !self.consecutive_failures.is_multiple_of(FAILURES_UNTIL_PAUSE) {
            return None;
        }
        let doublings = (self.consecutive_failures / FAILURES_UNTIL_PAUSE - 1).min(16);
        let (first, longest) = ENDPOINT_PAUSE;
        Some((first * 2_u32.pow(doublings)).min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_treated_as_the_published_rules_say() {
        use EventGridOutcome::{Delivered, DroppedForStatus};
        for (answer, step) in [
            (Some(200), Break(Delivered)),
            (Some(202), Break(Delivered)),
            (Some(204), Break(Delivered)),
            (Some(205), Continue(Duration::from_secs(10))),
            (Some(301), Continue(Duration::from_secs(10))),
            (Some(400), Break(DroppedForStatus(400))),
            (Some(401), Break(DroppedForStatus(401))),
            (Some(403), Break(DroppedForStatus(403))),
            (Some(404), Continue(Duration::from_secs(10))),
            (Some(408), Continue(Duration::from_mins(2))),
            (Some(413), Break(DroppedForStatus(413))),
            (Some(429), Continue(Duration::from_secs(10))),
            (Some(500), Continue(Duration::from_secs(10))),
            (Some(503), Continue(Duration::from_secs(30))),
            (None, Continue(Duration::from_secs(10))),
        ] {
            assert_eq!(DeliveryAttempts::default().decide(answer, 0.0), step, "{answer:?}");
        }
    }

    #[test]
    fn intervals_grow_and_are_never_below_the_minimum_of_the_status_code() {
        let intervals_after = |status| {
            let mut attempts = DeliveryAttempts::default();
            let mut intervals = Vec::new();
            for _ in 0..11 {
                let Continue(interval) = attempts.decide(Some(status), 0.0) else {
                    panic!("it expired");
                };
                intervals.push(interval.as_secs());
            }
            intervals
        };
        let after = [10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200, 43200];
        assert_eq!(intervals_after(500), after);
        assert_eq!(intervals_after(503)[..3], [30, 30, 60]);
        assert_eq!(intervals_after(408)[..4], [120, 120, 120, 300]);
        let prolonged = DeliveryAttempts::default().decide(Some(500), 1.0);
        assert_eq!(prolonged, Continue(Duration::from_secs(11)));
    }

    #[test]
    fn a_delivery_lives_for_a_day_and_its_age_is_checked_when_it_is_due() {
        let mut attempts = DeliveryAttempts::default();
        while attempts.may_begin() {
            let Continue(interval) = attempts.decide(Some(503), 0.0) else {
                panic!("it expired");
            };
            attempts.age += interval;
        }
        // The tenth interval ends after 22 h 47 min, the eleventh after more than a day.
        assert_eq!(attempts.made, 11);
        assert!(attempts.age > TIME_TO_LIVE);
    }

    #[test]
    fn a_delivery_is_attempted_thirty_times_at_most() {
        let mut attempts = DeliveryAttempts::default();
        for _ in 1..MAX_ATTEMPTS {
            assert!(attempts.decide(None, 0.0).is_continue());
            assert!(attempts.may_begin());
        }
        let expired = EventGridOutcome::Expired(MAX_ATTEMPTS);
        assert_eq!(attempts.decide(None, 0.0), Break(expired));
        assert!(!attempts.may_begin());
    }

    #[test]
    fn an_endpoint_that_keeps_failing_is_paused_longer_and_longer() {
        let mut endpoint = EndpointHealth::default();
        let mut pauses = Vec::new();
        for failures in 1..=80 {
            if let Some(time) = endpoint.record(Some(503)) {
                pauses.push((failures, time.as_secs() / 60));
            }
        }
        let expected =
            [(10, 5), (20, 10), (30, 20), (40, 40), (50, 80), (60, 160), (70, 240), (80, 240)];
        assert_eq!(pauses, expected);
        assert_eq!(endpoint.record(Some(200)), None);
        assert_eq!(endpoint.consecutive_failures, 0);
    }
}
