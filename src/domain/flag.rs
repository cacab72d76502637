//! Flags: what an auditor must know about how an answer came about.

use std::fmt;

use serde::{Serialize, Serializer};

/// One oddity of a set of facts, written `CODE` or `CODE:detail`.
///
/// The variants stand in the alphabetical order of their codes, so that a sorted set of
/// flags is also sorted as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// Two facts of this id had different contents.
    Conflict(String),
    /// The call's end was taken for granted, nobody stated it.
    EndPresumed,
    /// This recording's files reach further beyond the provider's stop than `bridge`.
    FileOutlastsStop(String),
    /// Neither a call start nor a joining is known; the first fact stands in.
    StartInferred,
    /// The provider never said that this recording stopped.
    StopInferred(String),
    /// The provider said that this recording stopped, but never that it started.
    StopWithoutStart(String),
    /// A file shows a capture of which nobody of ours was told, and for which no notice was sent.
    /// Its detail is `{type}@{start}`, kept as text because flags are sorted as text.
    UnnoticedCapture(String),
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(fact) => write!(f, "CONFLICT:{fact}"),
            Self::EndPresumed => f.write_str("END_PRESUMED"),
            Self::FileOutlastsStop(recording) => write!(f, "FILE_OUTLASTS_STOP:{recording}"),
            Self::StartInferred => f.write_str("START_INFERRED"),
            Self::StopInferred(recording) => write!(f, "STOP_INFERRED:{recording}"),
            Self::StopWithoutStart(recording) => write!(f, "STOP_WITHOUT_START:{recording}"),
            Self::UnnoticedCapture(stretch) => write!(f, "UNNOTICED_CAPTURE:{stretch}"),
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
            Flag::StartInferred,
            Flag::StopInferred("r1".to_owned()),
            Flag::StopWithoutStart("r1".to_owned()),
            Flag::UnnoticedCapture("recording@100".to_owned()),
            Flag::UnnoticedCapture("recording@60".to_owned()),
        ];
        assert!(flags.is_sorted());
        assert!(flags.map(|flag| flag.to_string()).is_sorted());
    }
}
