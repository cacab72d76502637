//! Sends messages directly to the spool while Kafka does not confirm.
//!
//! # Why
//!
//! Without it, every delivery would wait for a Kafka that does not answer.
//!
//! Only a confirmation within the timeout closes the circuit: with a Kafka that confirms later than
//! that, every delivery would wait in vain again. A late confirmation is remembered, because the drain
//! can wait for it.
//!
//! A circuit that timeouts opened closes for a trial when a broker answers and no message timed out for
//! a while: without traffic nothing else would close it, and a node that reports itself unhealthy
//! receives no traffic.

use std::time::{Duration, Instant};

/// Number of publications in a row without confirmation that opens the circuit.
const MAX_TIMEOUTS: u32 = 3;

/// Minimum interval between publications that try Kafka as well while the circuit is open.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Minimum time without a timeout until the answer of a broker closes the circuit for a trial. Under
/// traffic, probes time out or are confirmed more often than that.
const QUIET_PERIOD: Duration = Duration::from_secs(10);

/// Where a publication goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishRoute {
    /// To Kafka; the caller waits for the delivery report.
    Kafka,
    /// To the spool at once; Kafka is tried in the background.
    SpoolAndProbe,
    /// To the spool at once.
    Spool,
}

/// Closed (Kafka is tried and waited for) or open (straight to the spool, one probe at a time).
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    timeouts: u32,
    open: Option<OpenCircuit>,
    /// Whether the last final report of a message that timed out was a confirmation.
    confirms_late: bool,
}

#[derive(Debug)]
struct OpenCircuit {
    /// When the last publication timed out; `None` if none did, because the client library reported
    /// that no broker is reachable.
    last_timeout: Option<Instant>,
    last_probe: Option<Instant>,
    probing: bool,
}

impl CircuitBreaker {
    /// Decides for the next publication.
    pub fn next_route(&mut self, now: Instant) -> PublishRoute {
        let Some(open) = &mut self.open else {
            return PublishRoute::Kafka;
        };
        let due = open
            .last_probe
            .is_none_or(|last| now.saturating_duration_since(last) >= PROBE_INTERVAL);
        if open.probing || !due {
            return PublishRoute::Spool;
        }
        open.probing = true;
        open.last_probe = Some(now);
        PublishRoute::SpoolAndProbe
    }

    /// Kafka confirmed a message in time. Returns whether that closed the circuit.
    pub fn confirmed(&mut self) -> bool {
        self.timeouts = 0;
        self.open.take().is_some()
    }

    /// Kafka did not confirm a message in time. Returns whether that opened the circuit.
    pub fn timed_out(&mut self, now: Instant) -> bool {
        if let Some(open) = &mut self.open {
            open.probing = false;
            open.last_timeout = Some(now);
            return false;
        }
        self.timeouts += 1;
        if self.timeouts < MAX_TIMEOUTS {
            return false;
        }
        self.open(Some(now));
        true
    }

    /// A publication ended without information about Kafka.
    pub fn inconclusive(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// The final report of a message that timed out: whether Kafka confirmed it after all.
    pub fn late_report(&mut self, confirmed: bool) {
        self.confirms_late = confirmed;
    }

    /// The client library reports that no broker is reachable, which opens the circuit at once. Returns
    /// whether that opened it.
    pub fn all_brokers_down(&mut self) -> bool {
        if self.open.is_some() {
            self.confirms_late = false;
            return false;
        }
        self.timeouts = MAX_TIMEOUTS;
        self.open(None);
        true
    }

    /// A broker answers. Returns whether that closed the circuit. It does if the lack of a broker alone
    /// had opened it, or if no message timed out for 10 s; the next timeout opens it again.
    pub fn reachable(&mut self, now: Instant) -> bool {
        let may_try = self.open.as_ref().is_some_and(|open| {
            open.last_timeout.is_none_or(|last| now.saturating_duration_since(last) >= QUIET_PERIOD)
        });
        if may_try {
            self.open = None;
            self.timeouts = MAX_TIMEOUTS - 1;
        }
        may_try
    }

    /// Whether publications go straight to the spool.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether Kafka confirms, as far as is known, even if later than the timeout.
    #[must_use]
    pub fn is_confirming(&self) -> bool {
        self.open.is_none() || self.confirms_late
    }

    fn open(&mut self, last_timeout: Option<Instant>) {
        self.confirms_late = false;
        self.open = Some(OpenCircuit { last_timeout, last_probe: None, probing: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_timeouts_in_a_row_route_to_the_spool_with_one_probe_at_a_time() {
        let mut breaker = CircuitBreaker::default();
        let start = Instant::now();
        assert!(!breaker.timed_out(start));
        assert!(!breaker.confirmed());
        assert!(!breaker.timed_out(start) && !breaker.timed_out(start) && breaker.timed_out(start));
        assert_eq!(breaker.next_route(start), PublishRoute::SpoolAndProbe);
        assert_eq!(
            breaker.next_route(start + 2 * PROBE_INTERVAL),
            PublishRoute::Spool,
            "a probe is under way"
        );
        assert!(!breaker.timed_out(start));
        assert_eq!(
            breaker.next_route(start + PROBE_INTERVAL / 2),
            PublishRoute::Spool,
            "too soon after the last probe"
        );
        assert_eq!(breaker.next_route(start + 2 * PROBE_INTERVAL), PublishRoute::SpoolAndProbe);
        breaker.inconclusive();
        assert!(breaker.is_open());
        assert_eq!(breaker.next_route(start + 3 * PROBE_INTERVAL), PublishRoute::SpoolAndProbe);
        assert!(breaker.confirmed());
        assert_eq!(breaker.next_route(start), PublishRoute::Kafka);
    }

    #[test]
    fn an_unreachable_kafka_opens_at_once() {
        let mut breaker = CircuitBreaker::default();
        let now = Instant::now();
        assert!(breaker.all_brokers_down());
        assert!(!breaker.all_brokers_down());
        assert!(breaker.is_open());
        assert!(breaker.reachable(now) && !breaker.is_open());
        assert!(breaker.timed_out(now), "one timeout opens it again");
        assert!(!breaker.reachable(now), "a message timed out just now");
    }

    #[test]
    fn without_traffic_an_answering_broker_is_tried_again_and_one_timeout_opens() {
        let mut breaker = CircuitBreaker::default();
        let start = Instant::now();
        while !breaker.timed_out(start) {}
        assert!(!breaker.reachable(start + QUIET_PERIOD / 2));
        assert!(breaker.reachable(start + QUIET_PERIOD));
        assert_eq!(breaker.next_route(start + QUIET_PERIOD), PublishRoute::Kafka);
        assert!(breaker.timed_out(start + QUIET_PERIOD));
        assert!(!breaker.reachable(start + QUIET_PERIOD + QUIET_PERIOD / 2));
    }

    #[test]
    fn a_late_confirmation_keeps_the_circuit_open_and_lets_the_drain_continue() {
        let mut breaker = CircuitBreaker::default();
        assert!(breaker.is_confirming());
        while !breaker.timed_out(Instant::now()) {}
        assert!(!breaker.is_confirming());
        breaker.late_report(true);
        assert!(breaker.is_open() && breaker.is_confirming());
        breaker.late_report(false);
        assert!(!breaker.is_confirming());
    }
}
