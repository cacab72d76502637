//! Event Grid's retry table: the published rules of webhook delivery. They say which answers are a
//! success, which are never retried, how long Event Grid waits before the next attempt, and when it
//! drops an event. Where they are vague ("some time", "several hours", "randomized"), the numbers
//! are chosen here.

use std::time::Duration;

/// Timeout of an answer.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of attempts, the first one included.
const MAX_ATTEMPTS: u32 = 30;
/// Maximum age of a delivery.
const TIME_TO_LIVE: Duration = hours(24);
/// Intervals after the first failed attempt, the second, and so on; the last one repeats.
const RETRY_INTERVALS: [Duration; 10] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    minutes(1),
    minutes(5),
    minutes(10),
    minutes(30),
    hours(1),
    hours(3),
    hours(6),
    hours(12),
];
/// Maximum relative prolongation of an interval; it is random, so that retries do not come all at
/// once.
const MAX_JITTER: f64 = 0.1;

/// Number of consecutive failures after which all deliveries to the endpoint are paused.
const FAILURES_UNTIL_PAUSE: u32 = 10;
/// First and maximum length of a pause; it doubles with each further series of failures.
const ENDPOINT_PAUSE: (Duration, Duration) = (minutes(5), hours(4));

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

const fn hours(number: u64) -> Duration {
    minutes(60 * number)
}

/// The result of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    Status(u16),
    /// No connection, or no answer in time.
    NoResponse,
}

impl AttemptResult {
    /// Whether the delivery succeeded. No other codes, not even other 2xx, are a success.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Status(200..=204))
    }

    /// Minimum interval before the next attempt; `None`: the event is never retried.
    fn min_interval(self) -> Option<Duration> {
        match self {
            Self::Status(400 | 401 | 403 | 413) => None,
            Self::Status(408) => Some(minutes(2)),
            Self::Status(503) => Some(Duration::from_secs(30)),
            Self::Status(_) | Self::NoResponse => Some(Duration::from_secs(10)),
        }
    }
}

/// What follows for a delivery from the result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryDecision {
    Delivered,
    /// The event is dropped, because its status code is never retried.
    DroppedForStatus(u16),
    /// There is no further attempt.
    Expired,
    /// The next attempt is due after this interval.
    Retry(Duration),
}

/// The attempts of one delivery so far, and its age in Event Grid's time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeliveryAttempts {
    made: u32,
    age: Duration,
}

impl DeliveryAttempts {
    /// The number of attempts.
    #[must_use]
    pub(crate) fn made(&self) -> u32 {
        self.made
    }

    /// Adds to the age of the delivery.
    pub(crate) fn add_age(&mut self, time: Duration) {
        self.age += time;
    }

    /// Whether the next attempt may be made. Age is checked only when an attempt is due.
    #[must_use]
    pub(crate) fn may_begin(&self) -> bool {
        self.made < MAX_ATTEMPTS && self.age < TIME_TO_LIVE
    }

    /// The decision after an attempt. `jitter` is between 0 and 1.
    pub(crate) fn decide(&mut self, result: AttemptResult, jitter: f64) -> RetryDecision {
        self.made += 1;
        if result.is_success() {
            return RetryDecision::Delivered;
        }
        let Some(min_interval) = result.min_interval() else {
            let AttemptResult::Status(status) = result else {
                return RetryDecision::Expired;
            };
            return RetryDecision::DroppedForStatus(status);
        };
        if self.made >= MAX_ATTEMPTS {
            return RetryDecision::Expired;
        }
        let failed_before = usize::try_from(self.made - 1).unwrap_or(usize::MAX);
        let interval = RETRY_INTERVALS
            .get(failed_before)
            .copied()
            .unwrap_or(hours(12));
        RetryDecision::Retry(
            interval
                .max(min_interval)
                .mul_f64(1.0 + MAX_JITTER * jitter),
        )
    }
}

/// The recent failures of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndpointHealth {
    consecutive_failures: u32,
}

impl EndpointHealth {
    /// Takes the result of an attempt into account. The returned pause holds for all deliveries,
    /// also for new ones.
    pub(crate) fn record(&mut self, result: AttemptResult) -> Option<Duration> {
        if result.is_success() {
            self.consecutive_failures = 0;
            return None;
        }
        self.consecutive_failures += 1;
        if !self
            .consecutive_failures
            .is_multiple_of(FAILURES_UNTIL_PAUSE)
        {
            return None;
        }
        let doublings = (self.consecutive_failures / FAILURES_UNTIL_PAUSE - 1).min(16);
        let (first, longest) = ENDPOINT_PAUSE;
        Some((first * 2_u32.pow(doublings)).min(longest))
    }

    /// Whether no attempt has failed since the last success.
    #[must_use]
    pub(crate) fn is_healthy(&self) -> bool {
        self.consecutive_failures == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_treated_as_the_published_rules_say() {
        use AttemptResult::{NoResponse, Status};
        for (answer, step) in [
            (Status(200), RetryDecision::Delivered),
            (Status(202), RetryDecision::Delivered),
            (Status(204), RetryDecision::Delivered),
            (Status(205), RetryDecision::Retry(Duration::from_secs(10))),
            (Status(301), RetryDecision::Retry(Duration::from_secs(10))),
            (Status(400), RetryDecision::DroppedForStatus(400)),
            (Status(401), RetryDecision::DroppedForStatus(401)),
            (Status(403), RetryDecision::DroppedForStatus(403)),
            (Status(404), RetryDecision::Retry(Duration::from_secs(10))),
            (Status(408), RetryDecision::Retry(minutes(2))),
            (Status(413), RetryDecision::DroppedForStatus(413)),
            (Status(429), RetryDecision::Retry(Duration::from_secs(10))),
            (Status(500), RetryDecision::Retry(Duration::from_secs(10))),
            (Status(503), RetryDecision::Retry(Duration::from_secs(30))),
            (NoResponse, RetryDecision::Retry(Duration::from_secs(10))),
        ] {
            assert_eq!(
                DeliveryAttempts::default().decide(answer, 0.0),
                step,
                "{answer:?}"
            );
        }
    }

    #[test]
    fn intervals_grow_and_are_never_below_the_minimum_of_the_status_code() {
        let intervals_after = |status| {
            let mut attempts = DeliveryAttempts::default();
            let mut intervals = Vec::new();
            for _ in 0..11 {
                let RetryDecision::Retry(interval) =
                    attempts.decide(AttemptResult::Status(status), 0.0)
                else {
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
        let prolonged = DeliveryAttempts::default().decide(AttemptResult::Status(500), 1.0);
        assert_eq!(prolonged, RetryDecision::Retry(Duration::from_secs(11)));
    }

    #[test]
    fn a_delivery_lives_for_a_day_and_its_age_is_checked_when_it_is_due() {
        let mut attempts = DeliveryAttempts::default();
        while attempts.may_begin() {
            let RetryDecision::Retry(interval) = attempts.decide(AttemptResult::Status(503), 0.0)
            else {
                panic!("it expired");
            };
            attempts.add_age(interval);
        }
        // The tenth interval ends after 22 h 47 min, the eleventh after more than a day.
        assert_eq!(attempts.made(), 11);
        assert!(attempts.age > TIME_TO_LIVE);
    }

    #[test]
    fn a_delivery_is_attempted_thirty_times_at_most() {
        let mut attempts = DeliveryAttempts::default();
        for _ in 1..MAX_ATTEMPTS {
            assert!(matches!(
                attempts.decide(AttemptResult::NoResponse, 0.0),
                RetryDecision::Retry(_)
            ));
            assert!(attempts.may_begin());
        }
        assert_eq!(
            attempts.decide(AttemptResult::NoResponse, 0.0),
            RetryDecision::Expired
        );
        assert!(!attempts.may_begin());
    }

    #[test]
    fn an_endpoint_that_keeps_failing_is_paused_longer_and_longer() {
        let mut endpoint = EndpointHealth::default();
        let mut pauses = Vec::new();
        for failures in 1..=80 {
            if let Some(time) = endpoint.record(AttemptResult::Status(503)) {
                pauses.push((failures, time.as_secs() / 60));
            }
        }
        let expected = [
            (10, 5),
            (20, 10),
            (30, 20),
            (40, 40),
            (50, 80),
            (60, 160),
            (70, 240),
            (80, 240),
        ];
        assert_eq!(pauses, expected);
        assert_eq!(endpoint.record(AttemptResult::Status(200)), None);
        assert!(endpoint.is_healthy());
    }
}
