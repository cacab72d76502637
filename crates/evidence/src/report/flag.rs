//! Flags: what an auditor must know about the facts of a report (`docs/evidence-rules.md`,
//! section 7).

use serde::{Serialize, Serializer};

/// One flag, written `CODE` or `CODE:detail`.
///
/// The variants are in the alphabetical order of their codes, so a sorted set of flags is also
/// sorted as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Flag {
    /// Two facts of this id had different contents.
    #[strum(to_string = "CONFLICT:{0}")]
    Conflict(String),
    /// The end of the call is presumed: no fact states it.
    EndPresumed,
    /// This recording's files reach further beyond the provider's stop than `bridge`.
    #[strum(to_string = "FILE_OUTLASTS_STOP:{0}")]
    FileOutlastsStop(String),
    /// This session is present by its own word alone, so its notice is not answered for until the
    /// platform names it.
    #[strum(to_string = "OUTSIDER:{0}")]
    Outsider(String),
    /// This recording is stated to have started before the call: its capture begins with the call.
    #[strum(to_string = "START_CUT:{0}")]
    StartCut(String),
    /// Neither a start nor a join is known; the first fact counts as the start.
    StartInferred,
    /// The first state of this recording by the provider is inactive, with a start in the past: it
    /// went on before any source stated it, or was paused from its first moment.
    #[strum(to_string = "START_UNSEEN:{0}")]
    StartUnseen(String),
    /// The provider never stated that this recording stopped.
    #[strum(to_string = "STOP_INFERRED:{0}")]
    StopInferred(String),
    /// The provider stated that this recording stopped, but neither that nor when it started.
    #[strum(to_string = "STOP_WITHOUT_START:{0}")]
    StopWithoutStart(String),
    /// A file shows a capture for which no participant of ours was shown or sent a notice. Its detail
    /// is `{type}@{start}` (start in Unix milliseconds), a text because flags are sorted as text.
    #[strum(to_string = "UNNOTICED_CAPTURE:{0}")]
    UnnoticedCapture(String),
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
            Flag::StartCut("r1".to_owned()),
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
