//! Spares everybody the wait for a Kafka that does not answer.

use std::time::{Duration, Instant};

/// So many publications in a row without confirmation open the breaker.
const MISSES: u32 = 3;

/// While open, one publication in this time tries Kafka as well.
const PROBE_EVERY: Duration = Duration::from_millis(500);

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
}

#[derive(Debug)]
struct Open {
    /// Nobody missed anything yet: the client library said that no broker is reachable.
    unreachable: bool,
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

    /// Kafka confirmed something. Returns whether that closed the breaker.
    pub fn confirmed(&mut self) -> bool {
        self.misses = 0;
        self.open.take().is_some()
    }

    /// Kafka did not confirm in time. Returns whether that opened the breaker.
    pub fn missed(&mut self) -> bool {
        if let Some(open) = &mut self.open {
            open.probing = false;
            return false;
        }
        self.misses += 1;
        if self.misses < MISSES {
            return false;
        }
        self.open = Some(Open {
            unreachable: false,
            last_probe: None,
            probing: false,
        });
        true
    }

    /// The client library says that no broker is reachable: no need to find out three times.
    /// Returns whether that opened the breaker.
    pub fn all_brokers_down(&mut self) -> bool {
        if self.open.is_some() {
            return false;
        }
        self.misses = MISSES;
        self.open = Some(Open {
            unreachable: true,
            last_probe: None,
            probing: false,
        });
        true
    }

    /// A broker answers again. Returns whether that closed the breaker: it does if nothing but the
    /// want of a broker had opened it, and then one miss opens it again.
    pub fn reachable(&mut self) -> bool {
        if !self.open.as_ref().is_some_and(|open| open.unreachable) {
            return false;
        }
        self.open = None;
        self.misses = MISSES - 1;
        true
    }

    /// Whether publications go straight to the spool.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_misses_in_a_row_send_everybody_to_the_spool_with_one_probe_at_a_time() {
        let mut breaker = Breaker::default();
        let start = Instant::now();
        assert!(!breaker.missed());
        assert!(!breaker.confirmed());
        assert!(!breaker.missed() && !breaker.missed() && breaker.missed());
        assert_eq!(breaker.way(start), Way::SpoolAndProbe);
        assert_eq!(
            breaker.way(start + 2 * PROBE_EVERY),
            Way::Spool,
            "a probe is under way"
        );
        assert!(!breaker.missed());
        assert_eq!(
            breaker.way(start + PROBE_EVERY / 2),
            Way::Spool,
            "too soon after the last probe"
        );
        assert_eq!(breaker.way(start + 2 * PROBE_EVERY), Way::SpoolAndProbe);
        assert!(breaker.confirmed());
        assert_eq!(breaker.way(start), Way::Kafka);
    }

    #[test]
    fn an_unreachable_kafka_opens_at_once() {
        let mut breaker = Breaker::default();
        assert!(breaker.all_brokers_down());
        assert!(!breaker.all_brokers_down());
        assert!(breaker.is_open());
        assert!(breaker.reachable() && !breaker.is_open());
        assert!(breaker.missed(), "one miss opens it again");
        assert!(
            !breaker.reachable(),
            "and now only a confirmation closes it"
        );
    }
}
