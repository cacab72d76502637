//! Decides when a client that fails for long is opened again.
//!
//! # Why
//!
//! librdkafka recovers from most outages by itself. But a broker that was paused for longer than its session
//! answers for a moment that the cluster has no brokers: then the client removes every broker that it has, and
//! some clients never connect again, while others of the same process work. Therefore a client that has
//! failed for a while is replaced by a new one, at the same positions.

use std::time::{Duration, Instant};

use metrics::counter;

use crate::telemetry::names;

/// Minimum time for which a client has failed when it is opened again: most outages are shorter.
const MIN_FAILURE: Duration = Duration::from_secs(10);
/// Maximum interval between two attempts; each is twice as long as the one before.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// For how long a client has failed.
#[derive(Debug, Default)]
pub(crate) struct ClientFailure(Option<Failing>);

#[derive(Debug)]
struct Failing {
    since: Instant,
    reopen_at: Instant,
    interval: Duration,
}

impl ClientFailure {
    /// The client works.
    pub(crate) fn ended(&mut self) {
        self.0 = None;
    }

    /// The client fails. Returns for how long, if it is to be opened again now.
    pub(crate) fn continues(&mut self, now: Instant) -> Option<Duration> {
        let failing = self.0.get_or_insert(Failing {
            since: now,
            reopen_at: now + MIN_FAILURE,
            interval: MIN_FAILURE,
        });
        if now < failing.reopen_at {
            return None;
        }
        failing.interval = (2 * failing.interval).min(MAX_INTERVAL);
        failing.reopen_at = now + failing.interval;
        Some(now.saturating_duration_since(failing.since))
    }
}

/// Counts and logs that a client was opened again.
pub(crate) fn report_reopened(client: &'static str, failed_for: Duration) {
    counter!(names::KAFKA_CLIENTS_REOPENED, "client" => client).increment(1);
    tracing::warn!(
        client.name = client,
        failure.seconds = failed_for.as_secs(),
        "the kafka client of {client} has failed for {} s and is opened again",
        failed_for.as_secs()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_opened_again_after_ten_seconds_of_failure_and_then_ever_more_rarely() {
        let began = Instant::now();
        let mut failure = ClientFailure::default();
        let mut reopened_at = Vec::new();
        for second in 0..300 {
            if let Some(failed_for) = failure.continues(began + Duration::from_secs(second)) {
                assert_eq!(failed_for.as_secs(), second);
                reopened_at.push(second);
            }
        }
        assert_eq!(reopened_at, [10, 30, 70, 130, 190, 250]);
    }

    #[test]
    fn a_client_that_worked_meanwhile_fails_anew() {
        let began = Instant::now();
        let mut failure = ClientFailure::default();
        assert_eq!(failure.continues(began), None);
        failure.ended();
        assert_eq!(failure.continues(began + MIN_FAILURE), None);
        assert_eq!(failure.continues(began + 2 * MIN_FAILURE), Some(MIN_FAILURE));
    }
}
