//! The numbers that the evidence rules leave open.

use super::instant::Millis;

/// What the operator may set of the rules; the defaults are those of the rules' version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Gaps of a capture up to this length are no gaps: it absorbs clients that flap.
    pub bridge: Millis,
    /// For how long after its last report a client is believed without another one.
    pub stale: Millis,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            bridge: 5_000,
            stale: 90_000,
        }
    }
}
