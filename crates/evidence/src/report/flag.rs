//! Flags: what an auditor must know about the facts of a report (`docs/evidence-rules.md`,
//! section 7).

use std::fmt;

use serde::{Serialize, Serializer};

/// One flag, written `CODE` or `CODE:detail`.
///
/// The variants are in the alphabetical order of their codes, so a sorted set of flags is also
/// sorted as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// Two facts of this id had different contents.
    Conflict(String),
    /// The end of the call is presumed: no fact states it.
    EndPresumed,
    /// This recording's files reach further beyond the provider's stop than `bridge`.
    FileOutlastsStop(String),
    /// This session is present by its own word alone, so its notice is not answered for until the
    /// platform names it.
    Outsider(String),
    /// Neither a start nor a join is known; the first fact counts as the start.
    StartInferred,
    /// The first state of this recording by the provider is inactive, with a start in the past: it
    /// went on before any source stated it, or was paused from its first moment.
    StartUnseen(String),
    /// The provider never stated that this recording stopped.
    StopInferred(String),
    /// The provider stated that this recording stopped, but neither that nor when it started.
    StopWithoutStart(String),
    /// A file shows a capture for which no participant of ours was shown or sent a notice. Its detail
    /// is `{type}@{start}` (start in Unix milliseconds), a text because flags are sorted as text.
    UnnoticedCapture(String),
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(fact) => write!(f, "CONFLICT:{fact}"),
            Self::EndPresumed => f.write_str("END_PRESUMED"),
            Self::FileOutlastsStop(recording) => write!(f, "FILE_OUTLASTS_STOP:{recording}"),
            Self::Outsider(session) => write!(f, "OUTSIDER:{session}"),
            Self::StartInferred => f.write_str("START_INFERRED"),
            Self::StartUnseen(recording) => write!(f, "START_UNSEEN:{recording}"),
            Self::StopInferred(recording) => write!(f, "STOP_INFERRED:{recording}"),
            Self::StopWithoutStart(recording) => write!(f, "STOP_WITHOUT_START:{recording}"),
            Self::UnnoticedCapture(capture) => write!(f, "UNNOTICED_CAPTURE:{capture}"),
        }
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_flags_are_sorted_as_text() {
        let flags = [
            Flag::Conflict("f1".to_owned()),
            Flag::Conflict("f10".to_owned()),
            Flag::EndPresumed,
            Flag::FileOutlastsStop("r1".to_owned()),
            Flag::Outsider("s1".to_owned()),
            Flag::StartInferred,
            Flag::StartUnseen("r1".to_owned()),
            Flag::StopInferred("r1".to_owned()),
            Flag::StopWithoutStart("r1".to_owned()),
            Flag::UnnoticedCapture("recording@100".to_owned()),
            Flag::UnnoticedCapture("recording@60".to_owned()),
        ];
        assert!(flags.is_sorted());
        assert!(flags.map(|flag| flag.to_string()).is_sorted());
    }
}
