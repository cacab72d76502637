//! Exceptions: what somebody must look at, in a sentence that says what happened and one that says
//! what to do.
//!
//! [`settle`] compares what is known of exceptions with what is called for now.
//!
//! # Why
//!
//! *An exception is not a log line.* It is opened once, stays until it is cured or closed by
//! somebody who says why, and everything that became of it is a line of its story. So what calls
//! for one is stated anew at each look, as a set, and compared with what is there: a late fact that
//! cures it closes it, and one that moves it changes it.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::disagreement::Disagreement;
use super::instant::{self, Millis};

mod account;
mod settle;

pub use account::{called_for_by, statuses};
pub use settle::{Known, Standing, Step, settle};

/// What kind of matter it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExceptionKind {
    /// A source's clock is off by minutes.
    Clock,
    /// Two events came under one key.
    ConflictingContent,
    /// One id was seen with two calls.
    ConflictingIdentity,
    /// Two clients of a call stated different levels for longer than clients flap.
    DisagreeingReporters,
    /// Somebody was told, but late.
    Late,
    /// Somebody was told of nothing.
    NotSent,
    /// A call in which a capture could have gone unseen.
    ObservationLapse,
    /// What came and was not understood.
    Quarantine,
    /// Deliveries were refused for what they showed.
    RefusedCredentials,
    /// A source that spoke has fallen silent.
    SilentSource,
    /// A stretch of the log is gone, or was read anew.
    StreamGap,
    /// The notice arrived, and nobody states that it was shown.
    Unconfirmed,
    /// The notice was sent, and nobody states that it arrived.
    Undelivered,
    /// A capture that came to light by its file only, while nobody was told.
    UnnoticedCapture,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody was captured in secret.
    Critical,
    /// Somebody may not have been told, or events may be missing.
    Major,
    /// An account is weaker than it could be.
    Minor,
}

impl Severity {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Major => "major",
            Self::Minor => "minor",
        }
    }

    /// The severity of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Critical, Self::Major, Self::Minor]
            .into_iter()
            .find(|severity| severity.as_str() == text)
    }
}

impl ExceptionKind {
    /// All of them, by name.
    pub const ALL: [Self; 14] = [
        Self::Clock,
        Self::ConflictingContent,
        Self::ConflictingIdentity,
        Self::DisagreeingReporters,
        Self::Late,
        Self::NotSent,
        Self::ObservationLapse,
        Self::Quarantine,
        Self::RefusedCredentials,
        Self::SilentSource,
        Self::StreamGap,
        Self::Unconfirmed,
        Self::Undelivered,
        Self::UnnoticedCapture,
    ];

    /// Those that a call's account calls for, each time anew. The others are noted when they
    /// happen, or when the sources are looked at.
    #[must_use]
    pub fn is_judged(self) -> bool {
        match self {
            Self::ConflictingContent
            | Self::ConflictingIdentity
            | Self::DisagreeingReporters
            | Self::Late
            | Self::NotSent
            | Self::ObservationLapse
            | Self::Unconfirmed
            | Self::Undelivered
            | Self::UnnoticedCapture => true,
            Self::Clock
            | Self::Quarantine
            | Self::RefusedCredentials
            | Self::SilentSource
            | Self::StreamGap => false,
        }
    }

    /// As it is stored, and stands in answers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "CLOCK",
            Self::ConflictingContent => "CONFLICTING_CONTENT",
            Self::ConflictingIdentity => "CONFLICTING_IDENTITY",
            Self::DisagreeingReporters => "DISAGREEING_REPORTERS",
            Self::Late => "LATE",
            Self::NotSent => "NOT_SENT",
            Self::ObservationLapse => "OBSERVATION_LAPSE",
            Self::Quarantine => "QUARANTINE",
            Self::RefusedCredentials => "REFUSED_CREDENTIALS",
            Self::SilentSource => "SILENT_SOURCE",
            Self::StreamGap => "STREAM_GAP",
            Self::Unconfirmed => "UNCONFIRMED",
            Self::Undelivered => "UNDELIVERED",
            Self::UnnoticedCapture => "UNNOTICED_CAPTURE",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// How bad one of this kind is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::UnnoticedCapture => Severity::Critical,
            Self::NotSent
            | Self::Undelivered
            | Self::Unconfirmed
            | Self::Quarantine
            | Self::RefusedCredentials
            | Self::SilentSource
            | Self::StreamGap => Severity::Major,
            Self::Clock
            | Self::ConflictingContent
            | Self::ConflictingIdentity
            | Self::DisagreeingReporters
            | Self::Late
            | Self::ObservationLapse => Severity::Minor,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Clock => {
                "Set the source's clock right; its own times are kept verbatim, and where they lie ahead of ours the receipt counts. Then close this with what was found."
            }
            Self::ConflictingContent => {
                "Compare the entries of this key in the call's timeline, and ask the sender why it used one id twice. The content that sorts first counts."
            }
            Self::ConflictingIdentity => {
                "Find out by the timelines of the calls which of them the id belongs to: a client must use a new attachment for each leg of a call. Events that name this id alone belong to neither."
            }
            Self::DisagreeingReporters => {
                "Compare the reports of the clients that are named with the provider's states; a client that reports a wrong level needs a newer version of the app or of its SDK."
            }
            Self::Late => {
                "See the obligation in the call's evidence: was the client connected, did it show the notice at once, does it acknowledge at once? Tell the person if your policy asks for it."
            }
            Self::NotSent => {
                "Tell the person. Then find out why the client had no stream open: its token, its version, its network."
            }
            Self::ObservationLapse => {
                "Let the clients report levels of both types every 30 s from their connection on, or connect a Call Automation leg. Of this call it cannot be shown that nothing went unseen."
            }
            Self::Quarantine => {
                "Look at GET /v1/quarantine with this source and reason: mend the sender, or take a newer version. Close this once it is reviewed."
            }
            Self::RefusedCredentials => {
                "Give the sender the right key or token, or put its key's hash back into the settings and send SIGHUP. Event Grid gives a delivery up after a day."
            }
            Self::SilentSource => {
                "Make a test call. Is the subscription there, and its endpoint right? `onrecord doctor` says more."
            }
            Self::StreamGap => {
                "Find out who deleted or truncated the topic, and replay what the senders still have (dead letters). Then close this with what was found."
            }
            Self::Unconfirmed => {
                "Ask whether the notice was on the screen, and let the app acknowledge what it shows."
            }
            Self::Undelivered => {
                "Tell the person. Then find out why the client did not take the notice: it was cut off, or does not return receipts."
            }
            Self::UnnoticedCapture => {
                "Tell the persons of the call, as your policy asks for it, and find out who recorded: neither a client nor Call Automation saw it."
            }
        }
    }
}

/// Something that calls for an exception now.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    pub kind: ExceptionKind,
    /// What tells it from others of its kind in the same call, or of the same source.
    pub subject: String,
    /// When the matter began (Unix milliseconds), where one subject may have several.
    pub at: Option<Millis>,
    /// What it rests on, and nothing that moves with time alone: another content is a change.
    pub facts: Map<String, Value>,
}

impl Called {
    /// What happened.
    #[must_use]
    pub fn sentence(&self) -> String {
        sentence(self.kind, &self.facts)
    }

    /// Under one key different contents came.
    #[must_use]
    pub fn conflicting(key: &str) -> Self {
        Self {
            kind: ExceptionKind::ConflictingContent,
            subject: key.to_owned(),
            at: None,
            facts: facts(json!({ "key": key })),
        }
    }

    /// One id was seen with several calls.
    #[must_use]
    pub fn ambiguous(id: &str, calls: &[String]) -> Self {
        Self {
            kind: ExceptionKind::ConflictingIdentity,
            subject: id.to_owned(),
            at: None,
            facts: facts(json!({ "id": id, "calls": calls })),
        }
    }

    /// Clients disagreed.
    #[must_use]
    pub fn disagreeing(disagreement: &Disagreement) -> Self {
        Self {
            kind: ExceptionKind::DisagreeingReporters,
            subject: disagreement.capture.as_str().to_owned(),
            at: Some(disagreement.from),
            facts: facts(json!({
                "type": disagreement.capture.as_str(), "from": disagreement.from, "reporters": disagreement.stated,
            })),
        }
    }
}

fn facts(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// What happened, out of what an exception rests on.
#[must_use]
pub fn sentence(kind: ExceptionKind, facts: &Map<String, Value>) -> String {
    let text = |name: &str| match facts.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(texts)) => {
            let texts = texts.iter().filter_map(Value::as_str);
            texts.collect::<Vec<_>>().join(", ")
        }
        Some(Value::Number(number)) => number.to_string(),
        _ => "unknown".to_owned(),
    };
    let time = |name: &str| {
        let at = facts.get(name).and_then(Value::as_i64);
        at.and_then(instant::text)
            .unwrap_or_else(|| "an unknown instant".to_owned())
    };
    let captured = || {
        format!(
            "{} was captured ({}) from {} on",
            text("session"),
            text("type"),
            time("due")
        )
    };
    match kind {
        ExceptionKind::Clock => format!(
            "The clock of {} differed from ours by more than 5 minutes in {} event(s), first at {}.",
            text("source"),
            text("count"),
            text("first")
        ),
        ExceptionKind::ConflictingContent => format!(
            "Under the key {} events with different contents came.",
            text("key")
        ),
        ExceptionKind::ConflictingIdentity => format!(
            "The id {} was seen with several calls: {}. It joins none of them.",
            text("id"),
            text("calls")
        ),
        ExceptionKind::DisagreeingReporters => format!(
            "From {} on clients stated different levels of the {}: {}.",
            time("from"),
            text("type"),
            text("reporters")
        ),
        ExceptionKind::Late => format!("{}, and was told only at {}.", captured(), time("told")),
        ExceptionKind::NotSent => format!("{}, and no notice was sent.", captured()),
        ExceptionKind::ObservationLapse => format!(
            "Not enough of this call was observed to tell what went on: {}.",
            text("types")
        ),
        ExceptionKind::Quarantine => format!(
            "{} thing(s) of {} could not be understood ({}) and are in quarantine, the last since {}.",
            text("count"),
            text("source"),
            text("reason"),
            text("last")
        ),
        ExceptionKind::RefusedCredentials => format!(
            "Deliveries of {} are answered 503 ({}), since {}.",
            text("source"),
            text("reason"),
            text("since")
        ),
        ExceptionKind::SilentSource => format!(
            "Nothing has come from {} since {}.",
            text("source"),
            text("last")
        ),
        ExceptionKind::StreamGap => format!(
            "{} gap(s) in {} partition {}, the last noticed at {}: {}.",
            text("count"),
            text("topic"),
            text("partition"),
            text("last"),
            text("reason")
        ),
        ExceptionKind::Unconfirmed => {
            format!(
                "{}; the notice arrived, and nobody states that it was shown.",
                captured()
            )
        }
        ExceptionKind::Undelivered => {
            format!(
                "{}; a notice was sent, and nobody states that it arrived.",
                captured()
            )
        }
        ExceptionKind::UnnoticedCapture => format!(
            "From {} on a {} went on that only its file tells of, and nobody of ours was told.",
            time("start"),
            text("type")
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_by_which_it_is_found() {
        assert!(ExceptionKind::ALL.is_sorted());
        assert!(
            ExceptionKind::ALL
                .map(ExceptionKind::as_str)
                .is_sorted_by(|one, next| one < next)
        );
        for kind in ExceptionKind::ALL {
            assert_eq!(ExceptionKind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(
                Severity::parse(kind.severity().as_str()),
                Some(kind.severity())
            );
        }
    }

    #[test]
    fn a_sentence_says_who_what_and_when() {
        let facts = json!({"session": "a", "type": "recording", "due": 1_000, "told": 9_000});
        let facts = facts.as_object().unwrap();
        assert_eq!(
            sentence(ExceptionKind::Late, facts),
            "a was captured (recording) from 1970-01-01T00:00:01.000Z on, and was told only at 1970-01-01T00:00:09.000Z."
        );
        for kind in ExceptionKind::ALL {
            assert!(sentence(kind, &Map::new()).ends_with('.'));
            assert!(kind.remedy().ends_with('.'));
        }
    }
}
