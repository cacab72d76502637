//! How Event Grid tries again: a table, and nothing else.
//!
//! The published rules of webhook delivery: what is a success, what is never tried again, how long
//! it waits before the next attempt, and when it gives up. Where they are vague ("some time",
//! "several hours", "randomized") the numbers here are ours.

use std::time::Duration;

/// It waits so long for an answer.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// So many attempts, the first included.
const MOST_ATTEMPTS: u32 = 30;
const TIME_TO_LIVE: Duration = hours(24);
/// The wait after the first failed attempt, the second, and so on; the last one for ever.
const WAITS: [Duration; 10] = [
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
/// Waits are longer by up to this share, so that not all come back at one time.
const SPREAD: f64 = 0.1;

/// After so many failures in a row the endpoint is spared.
const FAILURES_IN_A_ROW: u32 = 10;
/// For so long at first, doubled with as many failures again, at most so long.
const SPARED: (Duration, Duration) = (minutes(5), hours(4));

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

const fn hours(number: u64) -> Duration {
    minutes(60 * number)
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// No connection, or no answer in time.
    Nothing,
}

impl Answer {
    /// Of all codes, also of the 2xx, these are the only ones.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Status(200..=204))
    }

    /// The least wait before the next attempt; `None`: there is none, ever.
    fn least_wait(self) -> Option<Duration> {
        match self {
            Self::Status(400 | 401 | 403 | 413) => None,
            Self::Status(408) => Some(minutes(2)),
            Self::Status(503) => Some(Duration::from_secs(30)),
            Self::Status(_) | Self::Nothing => Some(Duration::from_secs(10)),
        }
    }
}

/// What an answer means for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Delivered,
    /// Dropped, because the code says that another attempt is no use.
    LostToStatus(u16),
    /// There will be no further attempt.
    Expired,
    /// The next attempt is due after this time.
    Again(Duration),
}

/// One delivery on its way: how often it was tried and how old it is, in Event Grid's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempts {
    made: u32,
    age: Duration,
}

impl Attempts {
    /// How many were made.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Time passes.
    pub fn grow_older(&mut self, time: Duration) {
        self.age += time;
    }

    /// Whether the next attempt may still be made. Age is looked at only now, when it is due.
    #[must_use]
    pub fn may_begin(&self) -> bool {
        self.made < MOST_ATTEMPTS && self.age < TIME_TO_LIVE
    }

    /// Judges the answer to an attempt. `chance` is between 0 and 1.
    pub fn judge(&mut self, answer: Answer, chance: f64) -> Step {
        self.made += 1;
        if answer.is_success() {
            return Step::Delivered;
        }
        let Some(least) = answer.least_wait() else {
            let Answer::Status(status) = answer else {
                return Step::Expired;
            };
            return Step::LostToStatus(status);
        };
        if self.made >= MOST_ATTEMPTS {
            return Step::Expired;
        }
        let failed_before = usize::try_from(self.made - 1).unwrap_or(usize::MAX);
        let wait = WAITS.get(failed_before).copied().unwrap_or(hours(12));
        Step::Again(wait.max(least).mul_f64(1.0 + SPREAD * chance))
    }
}

/// How the endpoint has fared lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Endpoint {
    failures_in_a_row: u32,
}

impl Endpoint {
    /// Learns how an attempt ended. From now on all deliveries, new ones too, wait for so long.
    pub fn learn(&mut self, answer: Answer) -> Option<Duration> {
        if answer.is_success() {
            self.failures_in_a_row = 0;
            return None;
        }
        self.failures_in_a_row += 1;
        if !self.failures_in_a_row.is_multiple_of(FAILURES_IN_A_ROW) {
            return None;
        }
        let doublings = (self.failures_in_a_row / FAILURES_IN_A_ROW - 1).min(16);
        let (first, longest) = SPARED;
        Some((first * 2_u32.pow(doublings)).min(longest))
    }

    /// Whether nothing has failed since the last success.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.failures_in_a_row == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_means_what_the_published_rules_say() {
        use Answer::{Nothing, Status};
        for (answer, step) in [
            (Status(200), Step::Delivered),
            (Status(202), Step::Delivered),
            (Status(204), Step::Delivered),
            (Status(205), Step::Again(Duration::from_secs(10))),
            (Status(301), Step::Again(Duration::from_secs(10))),
            (Status(400), Step::LostToStatus(400)),
            (Status(401), Step::LostToStatus(401)),
            (Status(403), Step::LostToStatus(403)),
            (Status(404), Step::Again(Duration::from_secs(10))),
            (Status(408), Step::Again(minutes(2))),
            (Status(413), Step::LostToStatus(413)),
            (Status(429), Step::Again(Duration::from_secs(10))),
            (Status(500), Step::Again(Duration::from_secs(10))),
            (Status(503), Step::Again(Duration::from_secs(30))),
            (Nothing, Step::Again(Duration::from_secs(10))),
        ] {
            assert_eq!(Attempts::default().judge(answer, 0.0), step, "{answer:?}");
        }
    }

    #[test]
    fn the_waits_grow_and_are_never_below_what_the_code_asks_for() {
        let waits_after = |status| {
            let mut attempts = Attempts::default();
            let mut waits = Vec::new();
            for _ in 0..11 {
                let Step::Again(wait) = attempts.judge(Answer::Status(status), 0.0) else {
                    panic!("it gave up");
                };
                waits.push(wait.as_secs());
            }
            waits
        };
        let after = [10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200, 43200];
        assert_eq!(waits_after(500), after);
        assert_eq!(waits_after(503)[..3], [30, 30, 60]);
        assert_eq!(waits_after(408)[..4], [120, 120, 120, 300]);
        let spread = Attempts::default().judge(Answer::Status(500), 1.0);
        assert_eq!(spread, Step::Again(Duration::from_secs(11)));
    }

    #[test]
    fn a_delivery_lives_for_a_day_and_that_is_looked_at_when_it_is_due() {
        let mut attempts = Attempts::default();
        while attempts.may_begin() {
            let Step::Again(wait) = attempts.judge(Answer::Status(503), 0.0) else {
                panic!("it gave up");
            };
            attempts.grow_older(wait);
        }
        // The tenth wait leads to 22 h 47 min, the eleventh past the day.
        assert_eq!(attempts.made(), 11);
        assert!(attempts.age > TIME_TO_LIVE);
    }

    #[test]
    fn a_delivery_is_tried_thirty_times_at_most() {
        let mut attempts = Attempts::default();
        for _ in 1..MOST_ATTEMPTS {
            assert!(matches!(
                attempts.judge(Answer::Nothing, 0.0),
                Step::Again(_)
            ));
            assert!(attempts.may_begin());
        }
        assert_eq!(attempts.judge(Answer::Nothing, 0.0), Step::Expired);
        assert!(!attempts.may_begin());
    }

    #[test]
    fn an_endpoint_that_fails_ten_times_in_a_row_is_spared_longer_and_longer() {
        let mut endpoint = Endpoint::default();
        let mut spared = Vec::new();
        for failures in 1..=80 {
            if let Some(time) = endpoint.learn(Answer::Status(503)) {
                spared.push((failures, time.as_secs() / 60));
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
        assert_eq!(spared, expected);
        assert_eq!(endpoint.learn(Answer::Status(200)), None);
        assert!(endpoint.is_well());
    }
}
