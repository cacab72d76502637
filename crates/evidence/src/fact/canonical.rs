//! The canonical JSON of a fact, by which the contents of two facts are compared
//! (`docs/evidence-rules.md`, section 1).

use std::cmp::Ordering;

use serde::{Serialize, Serializer};

use super::kinds::{Fact, FactKind};
use crate::event::instant::Millis;

impl Fact {
    /// Compares the contents of two facts with one id: their canonical JSON (keys sorted, no white
    /// space, UTF-8 bytes). Facts with equal contents are one fact.
    pub(crate) fn compare_contents(&self, other: &Self) -> Ordering {
        let both_constructed = self.original.is_none() && other.original.is_none();
        if both_constructed && self == other {
            return Ordering::Equal;
        }
        self.canonical_json().cmp(&other.canonical_json())
    }

    /// The canonical JSON. It depends on the sorted maps of `serde_json`, which its feature
    /// `preserve_order` would disable; a test checks the order.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        // The conversion to a value sorts the members; a derived serializer writes them in the order
        // of their declaration.
        serde_json::json!(self).to_string()
    }
}

impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.original {
            Some(object) => object.serialize(serializer),
            None => ConstructedFact {
                id: self.id(),
                at: self.at(),
                received_at: self.received_at(),
                kind: self.kind(),
            }
            .serialize(serializer),
        }
    }
}

/// The JSON of a fact that was constructed, not read. Absent members are omitted.
#[derive(Serialize)]
struct ConstructedFact<'f> {
    id: &'f str,
    at: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<Millis>,
    #[serde(flatten)]
    kind: &'f FactKind,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fact::kinds::{
        CaptureType, ConsentDecision, ConsentFact, FileFact, Identity, Level, NoticeFactKind,
        NoticeStep, ProviderState, ProviderStatement, ReportFact, ShownNotice, Witness,
    };

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn read(fact: Value) -> Fact {
        Fact::from_json(fact).unwrap()
    }

    #[test]
    fn canonical_json_has_sorted_keys_at_every_depth_no_white_space_and_utf_8() {
        let fact = read(json!({
            "at": 5, "kind": "call.started", "id": "ä", "zoo": {"b": [1, {"d": 1, "c": 2}], "a": 1},
        }));
        assert_eq!(
            fact.canonical_json(),
            r#"{"at":5,"id":"ä","kind":"call.started","zoo":{"a":1,"b":[1,{"c":2,"d":1}]}}"#
        );
    }

    #[test]
    fn unknown_members_make_different_contents() {
        let known = read(json!({"id": "f1", "kind": "call.started", "at": 5}));
        let more = read(json!({"id": "f1", "kind": "call.started", "at": 5, "zoo": 1}));
        assert_eq!(known.compare_contents(&known), Ordering::Equal);
        assert_ne!(known.compare_contents(&more), Ordering::Equal);
        let constructed = Fact::new("f1", 5, FactKind::CallStarted);
        assert_eq!(constructed.compare_contents(&known), Ordering::Equal);
        assert_eq!(constructed.compare_contents(&more), known.compare_contents(&more));
    }

    #[test]
    fn a_fact_that_was_read_is_written_unchanged() {
        let original = json!({"id": "f1", "kind": "whisper", "at": 5, "loud": null});
        assert_eq!(json!(read(original.clone())), original);
    }

    #[test]
    fn a_constructed_fact_is_read_back_as_it_was_written() {
        let report = ReportFact {
            session: text("a"),
            reporter: text("a1"),
            sequence: 3,
            recording: Some(Level::On),
            transcription: Some(Level::Paused),
            consent_required: vec![CaptureType::Recording],
            shown: vec![ShownNotice {
                capture_type: CaptureType::Recording,
                state: Level::On,
                elapsed_ms: Some(7),
            }],
            leaving: true,
            witness: Witness::Granted,
            unbroken: false,
        };
        let provider = ProviderStatement {
            capture_type: CaptureType::Transcription,
            recording: text("t1"),
            capture_kind: Some(text("acs")),
            state: ProviderState::Inactive,
            started_at: Some(-1),
        };
        let file = FileFact { recording: text("r1"), index: 2, started_at: 9, duration_ms: 11 };
        let notice = |step, elapsed_ms| {
            FactKind::Notice(NoticeFactKind {
                step,
                session: text("a"),
                capture_type: CaptureType::Recording,
                state: Level::Off,
                elapsed_ms,
            })
        };
        let consent = |decision| {
            FactKind::Consent(ConsentFact {
                decision,
                session: text("a"),
                capture_type: CaptureType::Transcription,
            })
        };
        let kinds = [
            FactKind::CallStarted,
            FactKind::CallEnded { presumed: false },
            FactKind::CallEnded { presumed: true },
            FactKind::SessionJoined { session: text("a"), identity: Some(Identity::TeamsCustom) },
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
            let constructed = Fact::new("f1", 5, kind);
            let back = read(serde_json::to_value(&constructed).unwrap());
            assert_eq!(back.kind(), constructed.kind());
            assert_eq!(back.canonical_json(), constructed.canonical_json());
        }
    }
}
