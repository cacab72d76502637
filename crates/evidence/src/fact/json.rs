//! Reads facts from JSON: one object for each fact, with `id`, `kind`, `at` and the members of its
//! kind.
//!
//! # Why
//!
//! *The kind is selected by hand-written code*; the rest is derived. A derived selection would treat a
//! known kind with a wrong member as an unknown kind, and its error would not name the member and the
//! fact.
//!
//! *The object itself is stored in the fact*, because unknown members take part in the comparison of
//! contents (`docs/evidence-rules.md`, section 1).

use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::kinds::{Fact, FactKind, Identity};
use crate::event::instant::Millis;

/// A JSON value is not a fact; the error names the member that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", self.place())]
pub struct FactError {
    /// The fact's id, where it could be read.
    pub id: Option<String>,
    /// The JSON pointer of the member within the fact; empty for the fact itself.
    pub pointer: String,
    /// What is wrong with the member.
    pub problem: String,
}

impl FactError {
    fn place(&self) -> String {
        let fact = self.id.iter().map(|id| format!("fact {id:?}: "));
        let member = (!self.pointer.is_empty()).then(|| format!("member {}: ", self.pointer));
        fact.chain(member).collect()
    }
}

/// A JSON value is not an array of facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The value is not an array.
    #[error("facts must be an array")]
    NotAnArray,
    /// An element is not a fact.
    #[error("facts at index {index}: {source}")]
    Fact {
        /// The index of the element.
        index: usize,
        /// What is wrong with the element.
        source: FactError,
    },
}

/// Reads an array of facts.
///
/// # Errors
/// The value is not an array, or an element is not a fact.
pub fn read_facts(facts: Value) -> Result<Vec<Fact>, FactsError> {
    let Value::Array(facts) = facts else {
        return Err(FactsError::NotAnArray);
    };
    facts
        .into_iter()
        .enumerate()
        .map(|(index, fact)| {
            Fact::from_json(fact).map_err(|source| FactsError::Fact { index, source })
        })
        .collect()
}

impl Fact {
    /// Reads a fact. A fact of an unknown kind needs only `id`, `kind` and `at`. Unknown members are
    /// stored. An optional member that is null is absent.
    ///
    /// # Errors
    /// A required member is missing, or a member has a wrong type.
    pub fn from_json(fact: Value) -> Result<Self, FactError> {
        let Value::Object(object) = fact else {
            let problem = "the fact must be an object".to_owned();
            return Err(FactError { id: None, pointer: String::new(), problem });
        };
        let FactHead { id, kind, at, received_at } = read(&object)?;
        let mut fact = Fact::new(id, at, read_kind(kind, &object)?).received(received_at);
        fact.original = Some(object);
        Ok(fact)
    }
}

/// The members that every fact has.
#[derive(Deserialize)]
struct FactHead {
    id: String,
    kind: String,
    at: Millis,
    received_at: Option<Millis>,
}

#[derive(Deserialize)]
struct EndedMembers {
    presumed: Option<bool>,
}

#[derive(Deserialize)]
struct JoinedMembers {
    session: String,
    identity: Option<Identity>,
}

#[derive(Deserialize)]
struct LeftMembers {
    session: String,
}

#[derive(Deserialize)]
struct LegMembers {
    leg: String,
}

fn read_kind(kind: String, fact: &Map<String, Value>) -> Result<FactKind, FactError> {
    Ok(match kind.as_str() {
        "call.started" => FactKind::CallStarted,
        "call.ended" => {
            FactKind::CallEnded { presumed: read::<EndedMembers>(fact)?.presumed.unwrap_or(false) }
        }
        "session.joined" => {
            let JoinedMembers { session, identity } = read(fact)?;
            FactKind::SessionJoined { session, identity }
        }
        "session.left" => FactKind::SessionLeft { session: read::<LeftMembers>(fact)?.session },
        "leg.connected" => FactKind::LegConnected { leg: read::<LegMembers>(fact)?.leg },
        "leg.disconnected" => FactKind::LegDisconnected { leg: read::<LegMembers>(fact)?.leg },
        "provider.state" => FactKind::ProviderState(read(fact)?),
        "report" => FactKind::Report(read(fact)?),
        "file" => FactKind::File(read(fact)?),
        "notice.displayed" | "notice.acknowledged" => FactKind::Notice(read(fact)?),
        "notice.dispatched" | "notice.delivered" | "notice.hidden" => {
            FactKind::Notice(read(&without(fact, "elapsed_ms"))?)
        }
        "consent.given" | "consent.declined" => FactKind::Consent(read(fact)?),
        _ => FactKind::Other { kind },
    })
}

/// The fact without a member that its kind does not have; the value of such a member is not checked.
fn without(fact: &Map<String, Value>, member: &str) -> Map<String, Value> {
    let mut others = fact.clone();
    others.remove(member);
    others
}

fn read<T: DeserializeOwned>(fact: &Map<String, Value>) -> Result<T, FactError> {
    serde_path_to_error::deserialize(fact).map_err(|error| FactError {
        id: fact.get("id").and_then(Value::as_str).map(str::to_owned),
        pointer: pointer(error.path()),
        problem: error.inner().to_string(),
    })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        // Writing to a string does not fail.
        let _ = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } => write!(pointer, "/{key}"),
            Segment::Enum { .. } | Segment::Unknown => Ok(()),
        };
    }
    pointer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fact::kinds::{CaptureType, Level, ReportFact, ShownNotice, Witness};

    fn error_text(fact: Value) -> String {
        Fact::from_json(fact).unwrap_err().to_string()
    }

    #[test]
    fn a_report_is_read_with_all_its_members() {
        let fact = Fact::from_json(json!({
            "id": "f1", "kind": "report", "at": 5, "session": "a", "reporter": "a1",
            "sequence": 3, "recording": "paused", "transcription": null,
            "consent_required": ["recording"],
            "shown": [{"type": "transcription", "state": "on", "elapsed_ms": 40}],
        }));
        let expected = ReportFact {
            session: "a".to_owned(),
            reporter: "a1".to_owned(),
            sequence: 3,
            recording: Some(Level::Paused),
            transcription: None,
            consent_required: vec![CaptureType::Recording],
            shown: vec![ShownNotice {
                capture_type: CaptureType::Transcription,
                state: Level::On,
                elapsed_ms: Some(40),
            }],
            leaving: false,
            witness: Witness::Platform,
            unbroken: false,
        };
        assert_eq!(fact.unwrap().kind(), &FactKind::Report(expected));
    }

    #[test]
    fn an_unknown_kind_needs_no_more_than_id_kind_and_time() {
        let fact = Fact::from_json(json!({"id": "f1", "kind": "whisper", "at": 5, "session": 7}));
        let kind = "whisper".to_owned();
        assert_eq!(fact.unwrap().kind(), &FactKind::Other { kind });
    }

    #[test]
    fn an_unlisted_identity_is_unknown() {
        let joined = json!({
            "id": "f1", "kind": "session.joined", "at": 5, "session": "a", "identity": "unlisted",
        });
        let expected =
            FactKind::SessionJoined { session: "a".to_owned(), identity: Some(Identity::Unknown) };
        assert_eq!(Fact::from_json(joined).unwrap().kind(), &expected);
    }

    #[test]
    fn an_error_names_the_fact_and_its_member() {
        assert_eq!(
            error_text(json!({"id": "f1", "kind": "call.started", "at": 1.5})),
            "fact \"f1\": member /at: invalid type: floating point `1.5`, expected i64"
        );
        assert_eq!(
            error_text(json!({"id": "f1", "kind": "session.left", "at": 1})),
            "fact \"f1\": missing field `session`"
        );
        assert_eq!(
            error_text(json!({"id": 1, "kind": "call.started", "at": 1})),
            "member /id: invalid type: integer `1`, expected a string"
        );
        assert_eq!(
            error_text(json!({
                "id": "f1", "kind": "report", "at": 1, "session": "a", "reporter": "a1",
                "sequence": 1, "shown": [{"type": "recording", "state": "visible"}],
            })),
            "fact \"f1\": member /shown/0/state: unknown variant `visible`, expected one of `on`, `paused`, `off`"
        );
        assert_eq!(error_text(json!(7)), "the fact must be an object");
    }

    #[test]
    fn an_error_about_several_facts_names_the_index() {
        let started = json!({"id": "f1", "kind": "call.started", "at": 1});
        let error = read_facts(json!([started, {"id": "f2", "at": 1}])).unwrap_err();
        assert_eq!(error.to_string(), "facts at index 1: fact \"f2\": missing field `kind`");
        assert_eq!(read_facts(started).unwrap_err(), FactsError::NotAnArray);
    }

    #[test]
    fn lengths_are_never_negative() {
        let file = json!({
            "id": "f1", "kind": "file", "at": 1, "recording": "r1", "index": 0, "started_at": 1,
            "duration_ms": -1,
        });
        assert_eq!(Fact::from_json(file).unwrap_err().pointer, "/duration_ms");
    }

    #[test]
    fn a_member_of_another_kind_is_not_checked() {
        let dispatched = json!({
            "id": "f1", "kind": "notice.dispatched", "at": 1, "session": "a", "type": "recording",
            "state": "on", "elapsed_ms": "long", "witness": 7,
        });
        let fact = Fact::from_json(dispatched.clone()).unwrap();
        assert!(matches!(fact.kind(), FactKind::Notice(notice) if notice.elapsed_ms.is_none()));
        assert_eq!(json!(fact), dispatched);
        let displayed = json!({
            "id": "f1", "kind": "notice.displayed", "at": 1, "session": "a", "type": "recording",
            "state": "on", "elapsed_ms": "long",
        });
        assert_eq!(Fact::from_json(displayed).unwrap_err().pointer, "/elapsed_ms");
    }

    #[test]
    fn the_witness_of_a_report_is_the_platform_unless_it_says_otherwise() {
        let witness = |stated: Value| {
            let fact = Fact::from_json(json!({
                "id": "f1", "kind": "report", "at": 1, "session": "a", "reporter": "a1",
                "sequence": 1, "witness": stated,
            }));
            match fact.map(|fact| fact.kind().clone()) {
                Ok(FactKind::Report(report)) => Some(report.witness),
                _ => None,
            }
        };
        for (stated, expected) in [
            (Value::Null, Some(Witness::Platform)),
            (json!("platform"), Some(Witness::Platform)),
            (json!("granted"), Some(Witness::Granted)),
            (json!("asserted"), Some(Witness::Asserted)),
            (json!("outsider"), Some(Witness::Outsider)),
            (json!("unlisted"), None),
        ] {
            assert_eq!(witness(stated), expected);
        }
    }
}
