//! Reading facts from JSON: one object per fact, with `id`, `kind`, `t` and the members of its
//! kind. [`super::fact_contents`] writes them.
//!
//! # Why by hand
//! Whoever feeds facts to the command line must learn *which* member of *which* fact is
//! wrong, and members that we do not know must survive, because they take part in the
//! comparison of contents. A derived reader does neither.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::fact::{
    ConsentDecision, Fact, FactKind, NoticeFact, NoticeStep, ProviderStatement, RecordingFile,
    Report, Showing,
};

const TEXT: &str = "a string";
const WHOLE_NUMBER: &str = "a whole number of at most 64 bits";
const INSTANT: &str = "a whole number of Unix milliseconds";
const LENGTH: &str = "a whole number of milliseconds, not negative";
const YES_OR_NO: &str = "true or false";
const CAPTURE_TYPE: &str = "\"recording\" or \"transcription\"";
const LEVEL: &str = "\"on\", \"paused\" or \"off\"";
const PROVIDER_STATE: &str = "\"active\" or \"inactive\"";
const OBJECT: &str = "an object";
const ARRAY: &str = "an array";

/// A JSON value that is no fact. Mend the named member and try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{} must be {expected}", self.whose(), self.what())]
pub struct FactError {
    /// The fact's id, where it could be read.
    pub id: Option<String>,
    /// JSON pointer to the member, from the fact; empty for the fact itself.
    pub pointer: String,
    /// What should stand there.
    pub expected: &'static str,
}

impl FactError {
    fn whose(&self) -> String {
        match &self.id {
            Some(id) => format!("fact {id:?}: "),
            None => String::new(),
        }
    }

    fn what(&self) -> String {
        if self.pointer.is_empty() {
            return "the fact".to_owned();
        }
        format!("member {}", self.pointer)
    }
}

/// A JSON value that is no array of facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    #[error("facts must be an array")]
    NotAnArray,
    #[error("facts at index {index}: {source}")]
    Fact { index: usize, source: FactError },
}

/// Reads an array of facts.
///
/// # Errors
/// The first element that is no fact, by its index.
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
    /// Reads a fact. A kind that we do not know needs `id`, `kind` and `t` only; members
    /// that we do not know are kept; an optional member that is null is absent.
    ///
    /// # Errors
    /// A needed member is missing, or a member is not of its type.
    pub fn from_json(fact: Value) -> Result<Self, FactError> {
        let Value::Object(object) = fact else {
            return Err(FactError {
                id: None,
                pointer: String::new(),
                expected: OBJECT,
            });
        };
        let members = Members::of_fact(&object);
        let id = members.text("id")?;
        let t = members.instant("t")?;
        let kind = read_kind(&members)?;
        let mut fact = Fact::new(id, t, kind);
        fact.read_from = Some(object);
        Ok(fact)
    }
}

fn read_kind(members: &Members<'_>) -> Result<FactKind, FactError> {
    let kind = members.text("kind")?;
    Ok(match kind.as_str() {
        "call.started" => FactKind::CallStarted,
        "call.ended" => FactKind::CallEnded {
            presumed: members.yes("presumed")?,
        },
        "session.joined" => FactKind::SessionJoined {
            session: members.text("session")?,
            identity: members.optional_word("identity", TEXT)?,
        },
        "session.left" => FactKind::SessionLeft {
            session: members.text("session")?,
        },
        "leg.connected" => FactKind::LegConnected {
            leg: members.text("leg")?,
        },
        "leg.disconnected" => FactKind::LegDisconnected {
            leg: members.text("leg")?,
        },
        "provider.state" => FactKind::ProviderState(ProviderStatement {
            capture: members.word("type", CAPTURE_TYPE)?,
            recording: members.text("recording")?,
            capture_kind: members.optional_word("capture_kind", TEXT)?,
            state: members.word("state", PROVIDER_STATE)?,
            start: members.optional("start", INSTANT, Value::as_i64)?,
        }),
        "report" => FactKind::Report(read_report(members)?),
        "file" => FactKind::File(RecordingFile {
            recording: members.text("recording")?,
            index: members.needed("index", WHOLE_NUMBER, Value::as_i64)?,
            start: members.instant("start")?,
            duration: members.needed("duration", LENGTH, Value::as_u64)?,
        }),
        "notice.dispatched" => read_notice(members, NoticeStep::Dispatched)?,
        "notice.delivered" => read_notice(members, NoticeStep::Delivered)?,
        "notice.displayed" => read_notice(members, NoticeStep::Displayed)?,
        "notice.hidden" => read_notice(members, NoticeStep::Hidden)?,
        "notice.acknowledged" => read_notice(members, NoticeStep::Acknowledged)?,
        "consent.given" => read_consent(members, ConsentDecision::Given)?,
        "consent.declined" => read_consent(members, ConsentDecision::Declined)?,
        _ => FactKind::Other { kind },
    })
}

fn read_report(members: &Members<'_>) -> Result<Report, FactError> {
    Ok(Report {
        session: members.text("session")?,
        reporter: members.text("reporter")?,
        sequence: members.needed("sequence", WHOLE_NUMBER, Value::as_i64)?,
        recording: members.optional_word("recording", LEVEL)?,
        transcription: members.optional_word("transcription", LEVEL)?,
        consent_required: members.list("consent_required", |pointer, item| {
            decoded(item).ok_or_else(|| members.wrong(pointer, CAPTURE_TYPE))
        })?,
        shown: members.list("shown", |pointer, item| {
            let Value::Object(object) = item else {
                return Err(members.wrong(pointer, OBJECT));
            };
            let showing = Members {
                id: members.id,
                within: pointer,
                object,
            };
            Ok(Showing {
                capture: showing.word("type", CAPTURE_TYPE)?,
                state: showing.word("state", LEVEL)?,
                elapsed: showing.optional("elapsed", LENGTH, Value::as_u64)?,
            })
        })?,
        leaving: members.yes("leaving")?,
        unbroken: false,
    })
}

fn read_notice(members: &Members<'_>, step: NoticeStep) -> Result<FactKind, FactError> {
    let elapsed = match step {
        NoticeStep::Displayed | NoticeStep::Acknowledged => {
            members.optional("elapsed", LENGTH, Value::as_u64)?
        }
        NoticeStep::Dispatched | NoticeStep::Delivered | NoticeStep::Hidden => None,
    };
    Ok(FactKind::Notice(NoticeFact {
        step,
        session: members.text("session")?,
        capture: members.word("type", CAPTURE_TYPE)?,
        state: members.word("state", LEVEL)?,
        elapsed,
    }))
}

fn read_consent(members: &Members<'_>, decision: ConsentDecision) -> Result<FactKind, FactError> {
    Ok(FactKind::Consent {
        decision,
        session: members.text("session")?,
        capture: members.word("type", CAPTURE_TYPE)?,
    })
}

/// The members of one object, and where it stands.
struct Members<'v> {
    id: Option<&'v str>,
    /// JSON pointer from the fact to this object.
    within: String,
    object: &'v Map<String, Value>,
}

impl<'v> Members<'v> {
    fn of_fact(object: &'v Map<String, Value>) -> Self {
        Self {
            id: object.get("id").and_then(Value::as_str),
            within: String::new(),
            object,
        }
    }

    fn wrong(&self, pointer: String, expected: &'static str) -> FactError {
        FactError {
            id: self.id.map(str::to_owned),
            pointer,
            expected,
        }
    }

    fn pointer(&self, member: &str) -> String {
        format!("{}/{member}", self.within)
    }

    fn optional<T>(
        &self,
        member: &str,
        expected: &'static str,
        decode: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Result<Option<T>, FactError> {
        match self.object.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match decode(value) {
                Some(decoded) => Ok(Some(decoded)),
                None => Err(self.wrong(self.pointer(member), expected)),
            },
        }
    }

    fn needed<T>(
        &self,
        member: &str,
        expected: &'static str,
        decode: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Result<T, FactError> {
        self.optional(member, expected, decode)?
            .ok_or_else(|| self.wrong(self.pointer(member), expected))
    }

    fn text(&self, member: &str) -> Result<String, FactError> {
        self.word(member, TEXT)
    }

    fn instant(&self, member: &str) -> Result<i64, FactError> {
        self.needed(member, INSTANT, Value::as_i64)
    }

    fn yes(&self, member: &str) -> Result<bool, FactError> {
        let stated = self.optional(member, YES_OR_NO, Value::as_bool)?;
        Ok(stated.unwrap_or(false))
    }

    fn word<T: DeserializeOwned>(
        &self,
        member: &str,
        expected: &'static str,
    ) -> Result<T, FactError> {
        self.needed(member, expected, decoded)
    }

    fn optional_word<T: DeserializeOwned>(
        &self,
        member: &str,
        expected: &'static str,
    ) -> Result<Option<T>, FactError> {
        self.optional(member, expected, decoded)
    }

    /// The items of an optional array, each read by `read` with its pointer.
    fn list<T>(
        &self,
        member: &str,
        read: impl Fn(String, &'v Value) -> Result<T, FactError>,
    ) -> Result<Vec<T>, FactError> {
        let items = self.optional(member, ARRAY, Value::as_array)?;
        items
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(index, item)| read(format!("{}/{index}", self.pointer(member)), item))
            .collect()
    }
}

fn decoded<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::fact::{CaptureType, Identity, Level};

    fn complaint(fact: Value) -> String {
        Fact::from_json(fact).unwrap_err().to_string()
    }

    #[test]
    fn a_report_is_read_with_everything_in_it() {
        let fact = Fact::from_json(json!({
            "id": "f1", "kind": "report", "t": 5, "session": "a", "reporter": "a1",
            "sequence": 3, "recording": "paused", "transcription": null,
            "consent_required": ["recording"],
            "shown": [{"type": "transcription", "state": "on", "elapsed": 40}],
        }));
        let expected = Report {
            session: "a".to_owned(),
            reporter: "a1".to_owned(),
            sequence: 3,
            recording: Some(Level::Paused),
            transcription: None,
            consent_required: vec![CaptureType::Recording],
            shown: vec![Showing {
                capture: CaptureType::Transcription,
                state: Level::On,
                elapsed: Some(40),
            }],
            leaving: false,
            unbroken: false,
        };
        assert_eq!(fact.unwrap().kind(), &FactKind::Report(expected));
    }

    #[test]
    fn an_unknown_kind_needs_no_more_than_id_kind_and_time() {
        let fact = Fact::from_json(json!({"id": "f1", "kind": "whisper", "t": 5, "session": 7}));
        let kind = "whisper".to_owned();
        assert_eq!(fact.unwrap().kind(), &FactKind::Other { kind });
    }

    #[test]
    fn a_claim_outside_the_list_is_a_claim_of_unknown() {
        let joined = json!({
            "id": "f1", "kind": "session.joined", "t": 5, "session": "a", "identity": "butler",
        });
        let expected = FactKind::SessionJoined {
            session: "a".to_owned(),
            identity: Some(Identity::Unknown),
        };
        assert_eq!(Fact::from_json(joined).unwrap().kind(), &expected);
    }

    #[test]
    fn a_complaint_names_the_fact_and_its_member() {
        assert_eq!(
            complaint(json!({"id": "f1", "kind": "call.started", "t": 1.5})),
            "fact \"f1\": member /t must be a whole number of Unix milliseconds"
        );
        assert_eq!(
            complaint(json!({"id": "f1", "kind": "session.left", "t": 1})),
            "fact \"f1\": member /session must be a string"
        );
        assert_eq!(
            complaint(json!({"id": 1, "kind": "call.started", "t": 1})),
            "member /id must be a string"
        );
        assert_eq!(
            complaint(json!({
                "id": "f1", "kind": "report", "t": 1, "session": "a", "reporter": "a1",
                "sequence": 1, "shown": [{"type": "recording", "state": "visible"}],
            })),
            "fact \"f1\": member /shown/0/state must be \"on\", \"paused\" or \"off\""
        );
        assert_eq!(complaint(json!(7)), "the fact must be an object");
    }

    #[test]
    fn a_complaint_about_several_facts_names_the_index() {
        let started = json!({"id": "f1", "kind": "call.started", "t": 1});
        let error = read_facts(json!([started, {"id": "f2", "t": 1}])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "facts at index 1: fact \"f2\": member /kind must be a string"
        );
        assert_eq!(read_facts(started).unwrap_err(), FactsError::NotAnArray);
    }

    #[test]
    fn lengths_are_never_negative() {
        let file = json!({
            "id": "f1", "kind": "file", "t": 1, "recording": "r1", "index": 0, "start": 1,
            "duration": -1,
        });
        assert_eq!(Fact::from_json(file).unwrap_err().pointer, "/duration");
    }
}
