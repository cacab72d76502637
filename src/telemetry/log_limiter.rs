//! A limit on log lines that repeat.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Allows a log line at most once per interval and key. The callers bound the number of keys.
#[derive(Debug)]
pub struct LogLimiter<K> {
    interval: Duration,
    logged_at: Mutex<BTreeMap<K, Instant>>,
}

impl<K: Ord> LogLimiter<K> {
    /// Allows one line of each key per interval.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, logged_at: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Instant>> {
        self.logged_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a line of this key may be logged now. If so, it counts as logged.
    #[must_use]
    pub fn allows(&self, key: K, now: Instant) -> bool {
        let mut logged_at = self.lock();
        let last = logged_at.get(&key);
        if last.is_some_and(|last| now.saturating_duration_since(*last) < self.interval) {
            return false;
        }
        logged_at.insert(key, now);
        true
    }

    /// Allows the next line of this key at once, because the situation has changed.
    pub fn reset(&self, key: &K) {
        self.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_each_key_is_allowed_once_per_interval_and_at_once_after_a_reset() {
        let limiter = LogLimiter::new(Duration::from_secs(10));
        let start = Instant::now();
        let after = |second| start + Duration::from_secs(second);
        assert!(limiter.allows("a", start));
        assert!(!limiter.allows("a", after(9)));
        assert!(limiter.allows("b", after(9)));
        assert!(limiter.allows("a", after(10)));
        assert!(!limiter.allows("a", after(19)));
        limiter.reset(&"a");
        assert!(limiter.allows("a", after(19)));
    }
}
