//! What the person sees.

use std::io::Write as _;

use super::signals::Signals;

/// Standard output. When nobody reads it any more, the demonstration ends.
#[derive(Clone)]
pub(super) struct Screen {
    signals: Signals,
}

impl Screen {
    pub fn new(signals: &Signals) -> Self {
        Self {
            signals: signals.clone(),
        }
    }

    /// Shows lines.
    pub fn say(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let said = writeln!(out, "{text}").and_then(|()| out.flush());
        if said.is_err() {
            self.signals.stop_once(1);
        }
    }
}
