//! The output of the demonstration.

use std::io::Write as _;

use super::signals::Signals;

/// Standard output. When it is closed, the demonstration stops.
#[derive(Clone)]
pub(super) struct Terminal {
    signals: Signals,
}

impl Terminal {
    pub(super) fn new(signals: &Signals) -> Self {
        Self { signals: signals.clone() }
    }

    /// Prints a text and a line feed.
    pub(super) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        if written.is_err() {
            self.signals.stop_once(1);
        }
    }
}
