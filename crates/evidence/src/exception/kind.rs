//! The table of the kinds of exceptions: severity, origin, subject, sentence and remedy of each.

use serde::Serialize;
use serde_json::{Map, Value};

/// The kind of an exception. The order is that of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
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
    /// No notice was sent.
    NotSent,
    /// A call is over in which a capture could have been missed.
    ObservationLapse,
    /// Content that could not be parsed.
    Quarantine,
    /// Deliveries were refused because of their credentials.
    RefusedCredentials,
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
}

/// How serious an exception is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
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

/// One kind. `subject` and `sentence` are templates: `{name}` stands for the fact of that name.
struct KindRow {
    kind: ExceptionKind,
    code: &'static str,
    severity: Severity,
    origin: ExceptionOrigin,
    /// Distinguishes exceptions of this kind in one call, or in one tenant.
    subject: &'static str,
    /// What happened.
    sentence: &'static str,
    /// What to do about it.
    remedy: &'static str,
}

/// In the order of [`ExceptionKind`], which is an index into it.
const KINDS: [KindRow; 16] = [
    KindRow {
        kind: ExceptionKind::Clock,
        code: "CLOCK",
        severity: Severity::Minor,
        origin: ExceptionOrigin::Counted,
        subject: "{source} {call_or_day}",
        sentence: "The clock of {source} differed from ours by more than 5 minutes in {count} event(s), first at {first_at}.",
        remedy: "Correct the source's clock; its own times are kept verbatim, and where they lie ahead of ours the receipt counts. Then close this with what was found.",
    },
    KindRow {
        kind: ExceptionKind::ConflictingContent,
        code: "CONFLICTING_CONTENT",
        severity: Severity::Minor,
        origin: ExceptionOrigin::Call,
        subject: "{key}",
        sentence: "Events with different contents arrived under the key {key}.",
        remedy: "Compare the entries of this key in the call's timeline, and ask the sender why it used one id twice. The content that sorts first counts.",
    },
    KindRow {
        kind: ExceptionKind::ConflictingIdentity,
        code: "CONFLICTING_IDENTITY",
        severity: Severity::Minor,
        origin: ExceptionOrigin::Call,
        subject: "{id}",
        sentence: "The id {id} was seen with several calls: {calls}. It joins none of them.",
        remedy: "Find out by the timelines of the calls which of them the id belongs to: a client must use a new attachment for each leg of a call. Events that name this id alone belong to neither.",
    },
    KindRow {
        kind: ExceptionKind::ConsentDeclined,
        code: "CONSENT_DECLINED",
        severity: Severity::Major,
        origin: ExceptionOrigin::Call,
        subject: "{type} {session}",
        sentence: "{session} was captured ({type}) from {due_at} on, and declined.",
        remedy: "Stop the capture, or let the person leave the call, as your policy asks for it; then decide what happens to what was captured.",
    },
    KindRow {
        kind: ExceptionKind::ConsentOutstanding,
        code: "CONSENT_OUTSTANDING",
        severity: Severity::Minor,
        origin: ExceptionOrigin::Call,
        subject: "{type} {session}",
        sentence: "{session} was captured ({type}) from {due_at} on and was to be asked for consent; no answer is known.",
        remedy: "Ask the person, as your policy asks for it. Then find out why no answer arrived: the app did not ask, or does not acknowledge the answer.",
    },
    KindRow {
        kind: ExceptionKind::DisagreeingReporters,
        code: "DISAGREEING_REPORTERS",
        severity: Severity::Minor,
        origin: ExceptionOrigin::Call,
        subject: "{type}",
        sentence: "From {began_at} on clients stated different levels of the {type}: {reporters}.",
        remedy: "Compare the reports of the clients that are named with the provider's states; a client that reports a wrong level needs a newer version of the app or of its SDK.",
    },
    KindRow {
        kind: ExceptionKind::Late,
        code: "LATE",
        severity: Severity::Minor,
        origin: ExceptionOrigin::Call,
        subject: "{type} {session}",
        sentence: "{session} was captured ({type}) from {due_at} on, and the notice was shown only at {shown_at}.",
        remedy: "See the obligation in the call's evidence: was the client connected, did it show the notice at once, does it acknowledge at once? Inform the person if your policy asks for it.",
    },
    KindRow {
        kind: ExceptionKind::NotSent,
        code: "NOT_SENT",
        severity: Severity::Major,
        origin: ExceptionOrigin::Call,
        subject: "{type} {session}",
        sentence: "{session} was captured ({type}) from {due_at} on, and no notice was sent.",
        remedy: "Inform the person. Then find out why the client had no stream open: its token, its version, its network.",
    },
    KindRow {
        kind: ExceptionKind::ObservationLapse,
        code: "OBSERVATION_LAPSE",
        severity: Severity::Minor,
        origin: ExceptionOrigin::Call,
        subject: "",
        sentence: "Too little of this call was observed to know what was captured: {types}.",
        remedy: "Let the clients report levels of both types every 30 s from their connection on, or connect a Call Automation leg. For this call it cannot be shown that no capture was missed.",
    },
    KindRow {
        kind: ExceptionKind::Quarantine,
        code: "QUARANTINE",
        severity: Severity::Major,
        origin: ExceptionOrigin::Counted,
        subject: "{source} {reason}",
        sentence: "{count} message(s) of {source} could not be parsed ({reason}) and are in quarantine, the last since {last_at}.",
        remedy: "Look at GET /v1/quarantine with this source and reason: correct the sender, or install a newer version. Close this once it is reviewed.",
    },
    KindRow {
        kind: ExceptionKind::RefusedCredentials,
        code: "REFUSED_CREDENTIALS",
        severity: Severity::Major,
        origin: ExceptionOrigin::Source,
        subject: "{source} {reason}",
        sentence: "Deliveries of {source} are answered 503 ({reason}), since {began_at}.",
        remedy: "Give the sender the right key or token, or put its key's hash back into the settings and send SIGHUP. Event Grid gives a delivery up after a day.",
    },
    KindRow {
        kind: ExceptionKind::SilentSource,
        code: "SILENT_SOURCE",
        severity: Severity::Major,
        origin: ExceptionOrigin::Source,
        subject: "{source}",
        sentence: "No event of {source} has arrived since {last_at}.",
        remedy: "Make a test call. Does the subscription exist, and is its endpoint right? See `onrecord doctor`.",
    },
    KindRow {
        kind: ExceptionKind::StreamGap,
        code: "STREAM_GAP",
        severity: Severity::Major,
        origin: ExceptionOrigin::Logged,
        subject: "{topic}/{partition}",
        sentence: "{count} gap(s) in {topic} partition {partition}, the last noticed at {last_at}: {reason}.",
        remedy: "Find out who deleted or truncated the topic, and replay what the senders still have (dead letters). Then close this with what was found.",
    },
    KindRow {
        kind: ExceptionKind::Unconfirmed,
        code: "UNCONFIRMED",
        severity: Severity::Major,
        origin: ExceptionOrigin::Call,
        subject: "{type} {session}",
        sentence: "{session} was captured ({type}) from {due_at} on; the notice arrived, and no client reported that it was shown.",
        remedy: "Ask whether the notice was on the screen, and let the app acknowledge what it shows.",
    },
    KindRow {
        kind: ExceptionKind::Undelivered,
        code: "UNDELIVERED",
        severity: Severity::Major,
        origin: ExceptionOrigin::Call,
        subject: "{type} {session}",
        sentence: "{session} was captured ({type}) from {due_at} on; a notice was sent, and no client reported that it arrived.",
        remedy: "Inform the person. Then find out why the client did not receive the notice: it was disconnected, or does not return receipts.",
    },
    KindRow {
        kind: ExceptionKind::UnnoticedCapture,
        code: "UNNOTICED_CAPTURE",
        severity: Severity::Critical,
        origin: ExceptionOrigin::Call,
        subject: "{type}",
        sentence: "From {started_at} on a {type} went on that is known only from its file, and no participant of ours received a notice.",
        remedy: "Inform the participants of the call, as your policy asks for it, and find out who recorded: neither a client nor Call Automation reported it.",
    },
];

impl Severity {
    /// The names, most serious first.
    pub const NAMES: [&str; 3] = ["critical", "major", "minor"];

    /// The name in the store and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
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
    /// The names of all kinds, sorted.
    pub const CODES: [&str; KINDS.len()] = {
        let mut codes = [""; KINDS.len()];
        let mut index = 0;
        while index < KINDS.len() {
            codes[index] = KINDS[index].code;
            index += 1;
        }
        codes
    };

    /// All kinds, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|row| row.kind)
    }

    fn row(self) -> &'static KindRow {
        &KINDS[self as usize]
    }

    /// The name in the store, in answers and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().code
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::all().find(|kind| kind.as_str() == text)
    }

    /// How serious an exception of this kind is.
    #[must_use]
    pub fn severity(self) -> Severity {
        self.row().severity
    }

    /// How exceptions of this kind come about.
    #[must_use]
    pub fn origin(self) -> ExceptionOrigin {
        self.row().origin
    }

    /// What to do about an exception of this kind.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        self.row().remedy
    }

    /// What distinguishes an exception with these facts from others of its kind.
    #[must_use]
    pub fn subject(self, facts: &Map<String, Value>) -> String {
        fill(self.row().subject, facts)
    }

    /// What happened, by these facts.
    #[must_use]
    pub fn sentence(self, facts: &Map<String, Value>) -> String {
        fill(self.row().sentence, facts)
    }
}

fn fill(template: &str, facts: &Map<String, Value>) -> String {
    let mut text = String::new();
    for piece in template.split_inclusive('}') {
        match piece.split_once('{') {
            Some((before, name)) => {
                text += before;
                text += &fact_text(facts.get(name.trim_end_matches('}')));
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
            let texts = texts.iter().filter_map(Value::as_str);
            texts.collect::<Vec<_>>().join(", ")
        }
        Some(Value::Number(number)) => number.to_string(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_has_its_own_row_and_is_found_by_its_name() {
        assert!(ExceptionKind::all().is_sorted_by(|one, next| one < next));
        assert!(ExceptionKind::CODES.is_sorted_by(|one, next| one < next));
        for kind in ExceptionKind::all() {
            assert_eq!(kind.row().kind, kind);
            assert_eq!(ExceptionKind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            let severity = kind.severity();
            assert_eq!(Severity::parse(severity.as_str()), Some(severity));
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
        for kind in ExceptionKind::all() {
            let sentence = kind.sentence(&Map::new());
            assert!(
                sentence.ends_with('.') && !sentence.contains(['{', '}']),
                "{sentence}"
            );
            assert!(kind.remedy().ends_with('.'));
        }
    }
}
