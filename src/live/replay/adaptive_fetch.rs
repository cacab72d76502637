//! Chooses how the log is fetched: each message at once, or in small batches.
//!
//! # Why
//!
//! A consumer that asks for each message at once wakes up to once per message. At low traffic that
//! makes a notice quick. At a thousand messages per second it costs more than everything else that
//! the live state does with them. The reader therefore waits 2 ms to coalesce messages while
//! traffic is high; the delay is too small to be seen by a reader of notices.

use crate::kafka::FetchMode;
use onrecord_evidence::event::instant::Millis;

/// Interval over which messages are counted, ms.
const WINDOW: Millis = 1_000;
/// Minimum number of messages in a window that switches to batches.
const MIN_BUSY_MESSAGES: usize = 800;
/// Maximum number of messages in a calm window.
const MAX_CALM_MESSAGES: usize = 400;
/// Minimum number of calm windows in a row that switches back.
const MIN_CALM_WINDOWS: u32 = 10;

/// The current fetch mode and the counts that decide it.
pub(crate) struct AdaptiveFetch {
    mode: FetchMode,
    /// When the current window began, ms.
    window_started_at: Millis,
    messages: usize,
    /// Number of calm windows in a row.
    calm_windows: u32,
}

impl AdaptiveFetch {
    pub(crate) fn new(now: Millis) -> Self {
        Self { mode: FetchMode::Immediate, window_started_at: now, messages: 0, calm_windows: 0 }
    }

    /// Counts messages that were read.
    pub(crate) fn count(&mut self, messages: usize) {
        self.messages += messages;
    }

    /// The fetch mode to switch to, if it is another one. To be called repeatedly.
    pub(crate) fn wanted(&mut self, now: Millis) -> Option<FetchMode> {
        if (0..WINDOW).contains(&(now - self.window_started_at)) {
            return None;
        }
        let messages = std::mem::take(&mut self.messages);
        self.window_started_at = now;
        self.calm_windows = if messages <= MAX_CALM_MESSAGES { self.calm_windows + 1 } else { 0 };
        match self.mode {
            FetchMode::Immediate if messages >= MIN_BUSY_MESSAGES => Some(FetchMode::Coalesced),
            FetchMode::Coalesced if self.calm_windows >= MIN_CALM_WINDOWS => {
                Some(FetchMode::Immediate)
            }
            _ => None,
        }
    }

    /// Records that the log is fetched in this mode now.
    pub(crate) fn set_mode(&mut self, mode: FetchMode) {
        self.mode = mode;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_traffic_is_fetched_in_batches_until_it_has_been_calm_for_a_while() {
        let mut fetch = AdaptiveFetch::new(0);
        let mut second = 0;
        let mut after = |messages: usize| {
            second += 1;
            fetch.count(messages);
            let wanted = fetch.wanted(second * WINDOW);
            wanted.into_iter().for_each(|mode| fetch.set_mode(mode));
            wanted
        };
        assert_eq!(after(MIN_BUSY_MESSAGES - 1), None);
        assert_eq!(after(MIN_BUSY_MESSAGES), Some(FetchMode::Coalesced));
        assert_eq!(after(2 * MIN_BUSY_MESSAGES), None);
        for _ in 1..MIN_CALM_WINDOWS {
            assert_eq!(after(MAX_CALM_MESSAGES), None);
        }
        assert_eq!(after(MAX_CALM_MESSAGES + 1), None, "it was not calm_windows for long enough");
        for _ in 1..MIN_CALM_WINDOWS {
            assert_eq!(after(0), None);
        }
        assert_eq!(after(0), Some(FetchMode::Immediate));
    }

    #[test]
    fn the_mode_is_decided_at_the_end_of_a_window() {
        let mut fetch = AdaptiveFetch::new(0);
        fetch.count(MIN_BUSY_MESSAGES);
        assert_eq!(fetch.wanted(WINDOW - 1), None);
        assert_eq!(fetch.wanted(WINDOW), Some(FetchMode::Coalesced));
        // The switch failed: it is wanted again.
        fetch.count(MIN_BUSY_MESSAGES);
        assert_eq!(fetch.wanted(2 * WINDOW), Some(FetchMode::Coalesced));
    }
}
