//! A fact's contents: the JSON object that stands for it, and which of two comes first.

use std::cmp::Ordering;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::fact::{Fact, FactKind, Report, Showing};

impl Fact {
    /// Orders two facts of one id by their contents: by canonical JSON (keys sorted, no
    /// blanks, UTF-8 bytes). Equal means that they are one fact.
    #[must_use]
    pub fn compare_contents(&self, other: &Self) -> Ordering {
        let both_ours = self.read_from.is_none() && other.read_from.is_none();
        if both_ours && self == other {
            return Ordering::Equal;
        }
        self.canonical_json().cmp(&other.canonical_json())
    }

    /// The canonical JSON. It rests on `serde_json`'s maps being sorted, which a test holds
    /// on to (the crate's feature `preserve_order` would end it).
    #[must_use]
    pub fn canonical_json(&self) -> String {
        Value::Object(self.contents()).to_string()
    }

    fn contents(&self) -> Map<String, Value> {
        match &self.read_from {
            Some(object) => object.clone(),
            None => written(self),
        }
    }
}

impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.read_from {
            Some(object) => object.serialize(serializer),
            None => written(self).serialize(serializer),
        }
    }
}

/// The object that stands for a fact of our own making: absent members are left out.
fn written(fact: &Fact) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |member: &str, value: Value| {
        object.insert(member.to_owned(), value);
    };
    put("id", fact.id().into());
    put("kind", fact.kind().name().into());
    put("t", fact.t().into());
    match fact.kind() {
        FactKind::CallStarted | FactKind::Other { .. } => {}
        FactKind::CallEnded { presumed } => {
            if *presumed {
                put("presumed", true.into());
            }
        }
        FactKind::SessionJoined { session, identity } => {
            put("session", session.as_str().into());
            if let Some(identity) = identity {
                put("identity", identity.as_str().into());
            }
        }
        FactKind::SessionLeft { session } => put("session", session.as_str().into()),
        FactKind::LegConnected { leg } | FactKind::LegDisconnected { leg } => {
            put("leg", leg.as_str().into());
        }
        FactKind::ProviderState(statement) => {
            put("type", statement.capture.as_str().into());
            put("recording", statement.recording.as_str().into());
            if let Some(capture_kind) = &statement.capture_kind {
                put("capture_kind", capture_kind.as_str().into());
            }
            put("state", statement.state.as_str().into());
            if let Some(start) = statement.start {
                put("start", start.into());
            }
        }
        FactKind::Report(report) => write_report(report, &mut put),
        FactKind::File(file) => {
            put("recording", file.recording.as_str().into());
            put("index", file.index.into());
            put("start", file.start.into());
            put("duration", file.duration.into());
        }
        FactKind::Notice(notice) => {
            put("session", notice.session.as_str().into());
            put("type", notice.capture.as_str().into());
            put("state", notice.state.as_str().into());
            if let Some(elapsed) = notice.elapsed {
                put("elapsed", elapsed.into());
            }
        }
        FactKind::Consent {
            session, capture, ..
        } => {
            put("session", session.as_str().into());
            put("type", capture.as_str().into());
        }
    }
    object
}

fn write_report(report: &Report, put: &mut impl FnMut(&str, Value)) {
    put("session", report.session.as_str().into());
    put("reporter", report.reporter.as_str().into());
    put("sequence", report.sequence.into());
    if let Some(level) = report.recording {
        put("recording", level.as_str().into());
    }
    if let Some(level) = report.transcription {
        put("transcription", level.as_str().into());
    }
    if !report.consent_required.is_empty() {
        let types = report.consent_required.iter().map(|it| it.as_str());
        put("consent_required", types.collect());
    }
    if !report.shown.is_empty() {
        put("shown", report.shown.iter().map(write_showing).collect());
    }
    if report.leaving {
        put("leaving", true.into());
    }
}

fn write_showing(showing: &Showing) -> Value {
    let mut object = Map::new();
    object.insert("type".to_owned(), showing.capture.as_str().into());
    object.insert("state".to_owned(), showing.state.as_str().into());
    if let Some(elapsed) = showing.elapsed {
        object.insert("elapsed".to_owned(), elapsed.into());
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::fact::{
        CaptureType, ConsentDecision, Identity, Level, NoticeFact, NoticeStep, ProviderState,
        ProviderStatement, RecordingFile,
    };

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn read(fact: Value) -> Fact {
        Fact::from_json(fact).unwrap()
    }

    #[test]
    fn canonical_json_has_sorted_keys_at_every_depth_no_blanks_and_plain_utf_8() {
        let fact = read(json!({
            "t": 5, "kind": "call.started", "id": "ä", "zoo": {"b": [1, {"d": 1, "c": 2}], "a": 1},
        }));
        assert_eq!(
            fact.canonical_json(),
            r#"{"id":"ä","kind":"call.started","t":5,"zoo":{"a":1,"b":[1,{"c":2,"d":1}]}}"#
        );
    }

    #[test]
    fn members_that_nobody_knows_make_other_contents() {
        let known = read(json!({"id": "f1", "kind": "call.started", "t": 5}));
        let more = read(json!({"id": "f1", "kind": "call.started", "t": 5, "zoo": 1}));
        assert_eq!(known.compare_contents(&known), Ordering::Equal);
        assert_ne!(known.compare_contents(&more), Ordering::Equal);
        let ours = Fact::new("f1", 5, FactKind::CallStarted);
        assert_eq!(ours.compare_contents(&known), Ordering::Equal);
        assert_eq!(ours.compare_contents(&more), known.compare_contents(&more));
    }

    #[test]
    fn a_fact_that_was_read_is_written_as_it_was() {
        let original = json!({"id": "f1", "kind": "whisper", "t": 5, "loud": null});
        assert_eq!(json!(read(original.clone())), original);
    }

    #[test]
    fn a_fact_of_our_own_making_is_read_back_as_it_was_written() {
        let report = Report {
            session: text("a"),
            reporter: text("a1"),
            sequence: 3,
            recording: Some(Level::On),
            transcription: Some(Level::Paused),
            consent_required: vec![CaptureType::Recording],
            shown: vec![Showing {
                capture: CaptureType::Recording,
                state: Level::On,
                elapsed: Some(7),
            }],
            leaving: true,
            unbroken: false,
        };
        let provider = ProviderStatement {
            capture: CaptureType::Transcription,
            recording: text("t1"),
            capture_kind: Some(text("acs")),
            state: ProviderState::Inactive,
            start: Some(-1),
        };
        let file = RecordingFile {
            recording: text("r1"),
            index: 2,
            start: 9,
            duration: 11,
        };
        let notice = |step, elapsed| {
            FactKind::Notice(NoticeFact {
                step,
                session: text("a"),
                capture: CaptureType::Recording,
                state: Level::Off,
                elapsed,
            })
        };
        let consent = |decision| FactKind::Consent {
            decision,
            session: text("a"),
            capture: CaptureType::Transcription,
        };
        let kinds = [
            FactKind::CallStarted,
            FactKind::CallEnded { presumed: false },
            FactKind::CallEnded { presumed: true },
            FactKind::SessionJoined {
                session: text("a"),
                identity: Some(Identity::TeamsCustom),
            },
            FactKind::SessionLeft { session: text("a") },
            FactKind::LegConnected { leg: text("l") },
            FactKind::LegDisconnected { leg: text("l") },
            FactKind::ProviderState(provider),
            FactKind::Report(report),
            FactKind::File(file),
            notice(NoticeStep::Dispatched, None),
            notice(NoticeStep::Delivered, None),
            notice(NoticeStep::Displayed, Some(3)),
            notice(NoticeStep::Hidden, None),
            notice(NoticeStep::Acknowledged, Some(4)),
            consent(ConsentDecision::Given),
            consent(ConsentDecision::Declined),
        ];
        for kind in kinds {
            let ours = Fact::new("f1", 5, kind);
            let back = read(serde_json::to_value(&ours).unwrap());
            assert_eq!(back.kind(), ours.kind());
            assert_eq!(back.canonical_json(), ours.canonical_json());
        }
    }
}
