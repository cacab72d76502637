//! Spares everybody the wait for a Kafka that does not answer.
//!
//! # Why
//!
//! Only a confirmation within the patience closes it: behind a Kafka that confirms later than
//! that, everybody at the door would wait in vain again. A late one is remembered all the same,
//! because the drain can wait for it. What misses opened closes for a try when a broker answers
//! and nothing was missed for a while: without traffic nothing else would ever close it, and a node
//! that calls itself unwell gets no traffic.

use std::time::{Duration, Instant};

/// So many publications in a row without confirmation open the breaker.
const MISSES: u32 = 3;

/// While open, one publication in this time tries Kafka as well.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// After so long without a miss, the answer of a broker is reason enough for a try. Under traffic
/// probes miss or confirm more often than that.
const QUIET: Duration = Duration::from_secs(10);

/// Which way a publication takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Kafka, and wait for it.
    Kafka,
    /// The spool at once; Kafka is tried beside it, and nobody waits for that.
    SpoolAndProbe,
    /// The spool at once.
    Spool,
}

/// Closed (Kafka is tried and waited for) or open (straight to the spool, one probe at a time).
#[derive(Debug, Default)]
pub struct Breaker {
    misses: u32,
    open: Option<Open>,
    /// The last word about a message that missed: it was confirmed after all.
    confirms_late: bool,
}

#[derive(Debug)]
struct Open {
    /// The last publication that missed; none if nobody missed anything yet, because the client
    /// library said that no broker is reachable.
    last_miss: Option<Instant>,
    last_probe: Option<Instant>,
    probing: bool,
}

impl Breaker {
    /// Decides for the next publication.
    pub fn way(&mut self, now: Instant) -> Way {
        let Some(open) = &mut self.open else {
            return Way::Kafka;
        };
        let due = open
            .last_probe
            .is_none_or(|last| now.saturating_duration_since(last) >= PROBE_EVERY);
        if open.probing || !due {
            return Way::Spool;
        }
        open.probing = true;
        open.last_probe = Some(now);
        Way::SpoolAndProbe
    }

    /// Kafka confirmed something in time. Returns whether that closed the breaker.
    pub fn confirmed(&mut self) -> bool {
        self.misses = 0;
        self.open.take().is_some()
    }

    /// Kafka did not confirm in time. Returns whether that opened the breaker.
    pub fn missed(&mut self, now: Instant) -> bool {
        if let Some(open) = &mut self.open {
            open.probing = false;
            open.last_miss = Some(now);
            return false;
        }
        self.misses += 1;
        if self.misses < MISSES {
            return false;
        }
        self.open(Some(now));
        true
    }

    /// A publication ended that says nothing about Kafka.
    pub fn learnt_nothing(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// The last word about messages that missed: whether Kafka confirmed them after all.
    pub fn heard_late(&mut self, confirmed: bool) {
        self.confirms_late = confirmed;
    }

    /// The client library says that no broker is reachable: no need to find out three times.
    /// Returns whether that opened the breaker.
    pub fn all_brokers_down(&mut self) -> bool {
        if self.open.is_some() {
            self.confirms_late = false;
            return false;
        }
        self.misses = MISSES;
        self.open(None);
        true
    }

    /// A broker answers. Returns whether that closed the breaker: it does if nothing but the want
    /// of a broker had opened it, or if nothing was missed for a while; then one miss opens it
    /// again.
    pub fn reachable(&mut self, now: Instant) -> bool {
        let may_try = self.open.as_ref().is_some_and(|open| {
            open.last_miss
                .is_none_or(|last| now.saturating_duration_since(last) >= QUIET)
        });
        if may_try {
            self.open = None;
            self.misses = MISSES - 1;
        }
        may_try
    }

    /// Whether publications go straight to the spool.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether Kafka confirms, as far as is known, be it later than the door waits.
    #[must_use]
    pub fn is_confirming(&self) -> bool {
        self.open.is_none() || self.confirms_late
    }

    fn open(&mut self, last_miss: Option<Instant>) {
        self.confirms_late = false;
        self.open = Some(Open {
            last_miss,
            last_probe: None,
            probing: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_misses_in_a_row_send_everybody_to_the_spool_with_one_probe_at_a_time() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        assert!(!breaker.missed(start));
        assert!(!breaker.confirmed());
        assert!(!breaker.missed(start) && !breaker.missed(start) && breaker.missed(start));
        assert_eq!(breaker.way(start), Way::SpoolAndProbe);
        assert_eq!(
            breaker.way(start + 2 * PROBE_EVERY),
            Way::Spool,
            "a probe is under way"
        );
        assert!(!breaker.missed(start));
        assert_eq!(
            breaker.way(start + PROBE_EVERY / 2),
            Way::Spool,
            "too soon after the last probe"
        );
        assert_eq!(breaker.way(start + 2 * PROBE_EVERY), Way::SpoolAndProbe);
        breaker.learnt_nothing();
        assert!(breaker.is_open());
        assert_eq!(breaker.way(start + 3 * PROBE_EVERY), Way::SpoolAndProbe);
        assert!(breaker.confirmed());
        assert_eq!(breaker.way(start), Way::Kafka);
    }

    #[test]
    fn an_unreachable_kafka_opens_at_once() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        assert!(breaker.all_brokers_down());
        assert!(!breaker.all_brokers_down());
        assert!(breaker.is_open());
        assert!(breaker.reachable(now) && !breaker.is_open());
        assert!(breaker.missed(now), "one miss opens it again");
        assert!(!breaker.reachable(now), "it was missed just now");
    }

    #[test]
    fn without_traffic_an_answering_broker_is_tried_again_and_one_miss_opens() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        while !breaker.missed(start) {}
        assert!(!breaker.reachable(start + QUIET / 2));
        assert!(breaker.reachable(start + QUIET));
        assert_eq!(breaker.way(start + QUIET), Way::Kafka);
        assert!(breaker.missed(start + QUIET));
        assert!(!breaker.reachable(start + QUIET + QUIET / 2));
    }

    #[test]
    fn a_late_confirmation_spares_nobody_the_wait_and_lets_the_drain_go_on() {
        let mut breaker = Breaker::default();
        assert!(breaker.is_confirming());
        while !breaker.missed(Instant::now()) {}
        assert!(!breaker.is_confirming());
        breaker.heard_late(true);
        assert!(breaker.is_open() && breaker.is_confirming());
        breaker.heard_late(false);
        assert!(!breaker.is_confirming());
    }
}
