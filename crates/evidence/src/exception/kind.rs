//! The table of the kinds of exceptions: severity, origin, subject, sentence and remedy of each.

use serde::Serialize;
use serde_json::{Map, Value};

/// The fact that names the person of the session.
pub(super) const PERSON: &str = "person";
/// The fact that names the persons of the reporters, each with what it stated.
pub(super) const PERSONS: &str = "persons";
/// The fact that is the start of the call.
pub(super) const CALL_STARTED_AT: &str = "call_started_at";

/// The kind of an exception. The order is that of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[derive(strum::EnumIter, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ExceptionKind {
    /// The clock of a source is off by minutes.
    Clock,
    /// Two events with different contents have one key.
    ConflictingContent,
    /// One id appears in two calls.
    ConflictingIdentity,
    /// A participant was captured and declined.
    ConsentDeclined,
    /// A call is over in which a participant was captured, was to be asked, and did not answer.
    ConsentOutstanding,
    /// Two clients of a call reported different levels for longer than a level may flap.
    DisagreeingReporters,
    /// The notice was shown after its due time.
    Late,
    /// The ledger could not evaluate a call.
    NotEvaluated,
    /// No notice was sent.
    NotSent,
    /// A call is over in which a capture could have been missed.
    ObservationLapse,
    /// Content that could not be parsed.
    Quarantine,
    /// Deliveries were refused because of their credentials.
    RejectedCredentials,
    /// A source that sent events before sends none.
    SilentSource,
    /// A part of the log is missing, or was read again.
    StreamGap,
    /// The notice was delivered, and no client reported that it was shown.
    Unconfirmed,
    /// The notice was sent, and no client reported that it arrived.
    Undelivered,
    /// A capture is known only from its file, and no notice was sent.
    UnnoticedCapture,
    /// The service sends nothing more to a receiver of outbound webhooks.
    WebhookDisabled,
}

/// How serious an exception is. The most serious is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Severity {
    /// A person was captured without a notice.
    Critical,
    /// A notice, a consent or events may be missing.
    Major,
    /// The evidence is weaker than it could be.
    Minor,
}

/// How exceptions of a kind come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionOrigin {
    /// Each evaluation of a call computes the expected exceptions.
    Call,
    /// Each check of the sources computes the expected exceptions.
    Source,
    /// They are recorded when they occur; repetitions are counted.
    Counted,
    /// They are recorded when they occur; each repetition is also a line of the history.
    Logged,
}

/// The properties of a kind. `subject` and `sentence` are templates: `{name}` stands for the fact of
/// that name.
pub struct KindRow {
    /// How serious an exception of this kind is.
    pub severity: Severity,
    /// How exceptions of this kind come about.
    pub origin: ExceptionOrigin,
    /// Distinguishes exceptions of this kind in one call, or in one tenant.
    subject: &'static str,
    /// What happened.
    sentence: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl ExceptionKind {
    /// The properties of this kind.
    #[must_use]
    pub fn row(self) -> KindRow {
        match self {
            Self::Clock => KindRow {
                severity: Severity::Minor,
                origin: ExceptionOrigin::Counted,
                subject: "{source} {call_or_day}",
                sentence: "The clock of {source} differed from ours by more than 5 minutes in {count} event(s), first at {first_at}.",
                remedy: "Correct the source's clock; its own times are kept verbatim, and where they lie ahead of ours the receipt counts. Then close this with what was found.",
            },
            Self::ConflictingContent => KindRow {
                severity: Severity::Minor,
                origin: ExceptionOrigin::Call,
                subject: "{key}",
                sentence: "Events with different contents arrived under the key {key}.",
                remedy: "Compare the entries of this key in the call's timeline, and ask the sender why it used one id twice. The content that sorts first counts.",
            },
            Self::ConflictingIdentity => KindRow {
                severity: Severity::Minor,
                origin: ExceptionOrigin::Call,
                subject: "{id}",
                sentence: "The id {id} was seen with several calls, among them {calls}. It joins none of them.",
                remedy: "Find out by the timelines of the calls which of them the id belongs to: a client must use a new attachment for each leg of a call. Events that name this id alone belong to neither.",
            },
            Self::ConsentDeclined => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Call,
                subject: "{type} {session}",
                sentence: "{person} was captured ({type}) from {due_at} on, and declined.",
                remedy: "Stop the capture, or let the person leave the call, as your policy asks for it; then decide what happens to what was captured.",
            },
            Self::ConsentOutstanding => KindRow {
                severity: Severity::Minor,
                origin: ExceptionOrigin::Call,
                subject: "{type} {session}",
                sentence: "{person} was captured ({type}) from {due_at} on and was to be asked for consent; no answer is known.",
                remedy: "Ask the person, as your policy asks for it. Then find out why no answer arrived: the app did not ask, or does not acknowledge the answer.",
            },
            Self::DisagreeingReporters => KindRow {
                severity: Severity::Minor,
                origin: ExceptionOrigin::Call,
                subject: "{type}",
                sentence: "From {started_at} on clients stated different levels of the {type}: {persons}.",
                remedy: "Compare the reports of the clients that are named with the provider's states; a client that reports a wrong level needs a newer version of the app or of its SDK.",
            },
            Self::Late => KindRow {
                severity: Severity::Minor,
                origin: ExceptionOrigin::Call,
                subject: "{type} {session}",
                sentence: "{person} was captured ({type}) from {due_at} on, and the notice was shown only at {shown_at}.",
                remedy: "See the obligation in the call's evidence: was the client connected, did it show the notice at once, does it acknowledge at once? Inform the person if your policy asks for it.",
            },
            Self::NotEvaluated => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Call,
                subject: "{call}",
                sentence: "The call {call} could not be evaluated in {count} attempt(s), the last at {last_at}: {reason}.",
                remedy: "The events of the call are stored, and its rows and its verdict are those of its last evaluation. See the log of the ledger and `onrecord doctor`; the call is tried again every minute, and this ends with the first success.",
            },
            Self::NotSent => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Call,
                subject: "{type} {session}",
                sentence: "{person} was captured ({type}) from {due_at} on, and no notice was sent.",
                remedy: "Inform the person. Then find out why the client had no stream open: its token, its version, its network.",
            },
            Self::ObservationLapse => KindRow {
                severity: Severity::Minor,
                origin: ExceptionOrigin::Call,
                subject: "",
                sentence: "Too little of this call was observed to know what was captured: {types}.",
                remedy: "Let the clients report levels of both types every 30 s from their connection on, or connect a Call Automation leg. For this call it cannot be shown that no capture was missed.",
            },
            Self::Quarantine => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Counted,
                subject: "{source} {reason}",
                sentence: "{count} message(s) of {source} could not be parsed ({reason}) and are in quarantine, the last since {last_at}.",
                remedy: "Look at GET /v1/quarantine with this source and reason: correct the sender, or install a newer version. Close this once it is reviewed.",
            },
            Self::RejectedCredentials => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Source,
                subject: "{source} {reason}",
                sentence: "Deliveries of {source} are answered 503 ({reason}) and none is accepted, since {started_at}.",
                remedy: "Give the sender the right key or token, or put its key's hash back into the settings and send SIGHUP. Event Grid gives a delivery up after a day.",
            },
            Self::SilentSource => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Source,
                subject: "{source}",
                sentence: "No event of {source} has arrived since {last_at}.",
                remedy: "Make a test call. Does the subscription exist, and is its endpoint right? See `onrecord doctor`.",
            },
            Self::StreamGap => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Logged,
                subject: "{topic}/{partition}",
                sentence: "{count} gap(s) in {topic} partition {partition}, the last noticed at {last_at}: {reason}.",
                remedy: "Find out who deleted or truncated the topic, and replay what the senders still have (dead letters). Then close this with what was found.",
            },
            Self::Unconfirmed => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Call,
                subject: "{type} {session}",
                sentence: "{person} was captured ({type}) from {due_at} on; the notice arrived, and no client reported that it was shown.",
                remedy: "Ask whether the notice was on the screen, and let the app acknowledge what it shows.",
            },
            Self::Undelivered => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Call,
                subject: "{type} {session}",
                sentence: "{person} was captured ({type}) from {due_at} on; a notice was sent, and no client reported that it arrived.",
                remedy: "Inform the person. Then find out why the client did not receive the notice: it was disconnected, or does not return receipts.",
            },
            Self::UnnoticedCapture => KindRow {
                severity: Severity::Critical,
                origin: ExceptionOrigin::Call,
                subject: "{type}",
                sentence: "From {started_at} on a {type} went on that is known only from its file, and no participant of ours received a notice.",
                remedy: "Inform the participants of the call, as your policy asks for it, and find out who recorded: neither a client nor Call Automation reported it.",
            },
            Self::WebhookDisabled => KindRow {
                severity: Severity::Major,
                origin: ExceptionOrigin::Logged,
                subject: "{webhook}",
                sentence: "The webhook {webhook} to {url} was disabled {count} time(s), the last one at {last_at}: {reason}.",
                remedy: "Repair the receiver and resume the webhook: its messages have waited, and are sent then. Then close this with what was found.",
            },
        }
    }

    /// What distinguishes an exception with these facts from others of its kind.
    #[must_use]
    pub fn subject(self, facts: &Map<String, Value>) -> String {
        fill(self.row().subject, facts)
    }

    /// What happened, by these facts; if they describe the call, with its time.
    #[must_use]
    pub fn sentence(self, facts: &Map<String, Value>) -> String {
        let sentence = fill(self.row().sentence, facts);
        match facts.get(CALL_STARTED_AT).and_then(Value::as_str) {
            Some(started_at) => format!("In the call of {started_at}: {sentence}"),
            None => sentence,
        }
    }
}

fn fill(template: &str, facts: &Map<String, Value>) -> String {
    let mut text = String::new();
    for piece in template.split_inclusive('}') {
        match piece.split_once('{') {
            Some((before, name)) => {
                text += before;
                let name = name.trim_end_matches('}');
                // What is not described is named by its id.
                let undescribed = match name {
                    PERSON => Some("session"),
                    PERSONS => Some("reporters"),
                    _ => None,
                };
                let fact = facts.get(name);
                text += &fact_text(fact.or_else(|| facts.get(undescribed?)));
            }
            None => text += piece,
        }
    }
    text
}

fn fact_text(fact: Option<&Value>) -> String {
    match fact {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(texts)) => {
            texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Some(Value::Number(number)) => number.to_string(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strum::{IntoEnumIterator as _, VariantNames as _};

    use super::*;
    use crate::fact::kinds::JsonWord as _;

    #[test]
    fn every_kind_is_found_by_its_name() {
        assert!(ExceptionKind::iter().is_sorted());
        assert!(ExceptionKind::VARIANTS.is_sorted());
        for kind in ExceptionKind::iter() {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            let severity = kind.row().severity;
            assert_eq!(severity.as_str().parse(), Ok(severity));
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.as_str());
        }
    }

    #[test]
    fn a_sentence_is_filled_from_the_facts() {
        let facts = json!({"session": "a", "type": "recording", "due_at": "1970-01-01T00:00:01.000Z", "shown_at": "1970-01-01T00:00:09.000Z"});
        let facts = facts.as_object().unwrap();
        assert_eq!(
            ExceptionKind::Late.sentence(facts),
            "a was captured (recording) from 1970-01-01T00:00:01.000Z on, and the notice was shown only at 1970-01-01T00:00:09.000Z."
        );
        assert_eq!(ExceptionKind::Late.subject(facts), "recording a");
        for kind in ExceptionKind::iter() {
            let sentence = kind.sentence(&Map::new());
            assert!(sentence.ends_with('.') && !sentence.contains(['{', '}']), "{sentence}");
            assert!(kind.row().remedy.ends_with('.'));
        }
    }
}
