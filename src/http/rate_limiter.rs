//! The rate limit of clients: a burst, then one message per second.
//!
//! # Why
//!
//! A client reports every 30 s and on each change. A client that reports many times per second, by
//! a fault or on purpose, would delay the notices of all other clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use onrecord_evidence::event::ids::Digest;

/// Maximum number of messages at one time.
pub(crate) const MAX_BURST: u32 = 60;
/// Interval at which further messages are allowed.
pub(crate) const MESSAGE_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of clients in memory before those without recent reports are removed.
const MAX_CLIENTS: usize = 10_000;

/// The messages that one client may still send.
#[derive(Clone, Copy)]
pub(crate) struct RateBudget {
    /// Until when the allowed rate is used up; at most [`MAX_BURST`] intervals ahead.
    used_until: Instant,
}

impl RateBudget {
    /// A budget of which nothing is used.
    pub(crate) fn new(now: Instant) -> Self {
        Self { used_until: now }
    }

    /// Counts one message.
    ///
    /// # Errors
    ///
    /// The time until a message is allowed; the message is not counted.
    pub(crate) fn count(&mut self, now: Instant) -> Result<(), Duration> {
        let used_until = self.used_until.max(now) + MESSAGE_INTERVAL;
        let excess =
            used_until.saturating_duration_since(now).saturating_sub(MESSAGE_INTERVAL * MAX_BURST);
        if excess.is_zero() {
            self.used_until = used_until;
            Ok(())
        } else {
            Err(excess)
        }
    }
}

/// Counts the reports and acknowledgements of every client on this node.
#[derive(Clone, Default)]
pub(crate) struct RateLimiter {
    /// By tenant and participant.
    budgets: Arc<Mutex<HashMap<Digest, RateBudget>>>,
}

impl RateLimiter {
    /// Counts one message of a participant.
    ///
    /// # Errors
    ///
    /// The time until a message is allowed; the message is not counted.
    pub(crate) fn count(&self, tenant: &str, person: &str, now: Instant) -> Result<(), Duration> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        if budgets.len() >= MAX_CLIENTS {
            budgets.retain(|_, budget| budget.used_until > now);
        }
        budgets
            .entry(Digest::of_parts(&[tenant, person]))
            .or_insert_with(|| RateBudget::new(now))
            .count(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_send_a_burst_and_then_one_message_per_second() {
        let limiter = RateLimiter::default();
        let now = Instant::now();
        for _ in 0..MAX_BURST {
            assert_eq!(limiter.count("t", "anna", now), Ok(()));
        }
        assert_eq!(limiter.count("t", "anna", now), Err(MESSAGE_INTERVAL));
        assert_eq!(limiter.count("t", "ben", now), Ok(()));
        assert_eq!(limiter.count("u", "anna", now), Ok(()));
        assert_eq!(limiter.count("t", "anna", now + MESSAGE_INTERVAL), Ok(()));
        assert!(limiter.count("t", "anna", now + MESSAGE_INTERVAL).is_err());
        let later = now + MESSAGE_INTERVAL * MAX_BURST * 2;
        for _ in 0..MAX_BURST {
            assert_eq!(limiter.count("t", "anna", later), Ok(()));
        }
        assert!(limiter.count("t", "anna", later).is_err());
    }

    #[test]
    fn a_client_that_sends_no_more_is_removed() {
        let limiter = RateLimiter::default();
        let now = Instant::now();
        for person in 0..=MAX_CLIENTS {
            let _counted = limiter.count("t", &person.to_string(), now);
        }
        let _counted = limiter.count("t", "anna", now + MESSAGE_INTERVAL * 2);
        assert_eq!(limiter.budgets.lock().unwrap().len(), 1);
    }
}
