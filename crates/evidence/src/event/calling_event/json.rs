//! Reads a calling event from its JSON.
//!
//! # Why
//!
//! *The text is read twice.* The member `type` determines which other members exist. Because it may
//! stand after them, a derived `Deserialize` for the tagged enum copies all members to memory
//! first, and that copy is most of the cost of reading a log. So the first pass reads the members
//! that all types have, and the second pass reads the members of the type.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::Error as _;

use super::{CallingEvent, FlaggedMember, Statement};
use crate::event::ids::Ids;

/// The members that every event has.
#[derive(Deserialize)]
struct CommonMembers<'t> {
    #[serde(rename = "type", borrow)]
    name: Cow<'t, str>,
    ids: Ids,
    source_type: String,
    generation: Option<String>,
    #[serde(default)]
    redacted: Vec<String>,
    #[serde(default)]
    flagged: Vec<FlaggedMember>,
}

impl CallingEvent {
    /// Reads a serialized event.
    ///
    /// # Errors
    ///
    /// The text is not JSON, has an unknown type, or lacks a member of its type.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let CommonMembers { name, ids, source_type, generation, redacted, flagged } =
            serde_json::from_str(text)?;
        Ok(Self {
            statement: Statement::from_json(&name, text)?,
            ids,
            source_type,
            generation,
            redacted,
            flagged,
        })
    }
}

impl Statement {
    /// Reads the statement of type `name` from the members of an event.
    fn from_json(name: &str, text: &str) -> Result<Self, serde_json::Error> {
        use serde_json::from_str as read;
        Ok(match name {
            "call.offered" => Self::CallOffered(read(text)?),
            "call.started" => Self::CallStarted(read(text)?),
            "call.ended" => Self::CallEnded(read(text)?),
            "session.joined" => Self::SessionJoined(read(text)?),
            "session.left" => Self::SessionLeft(read(text)?),
            "leg.connected" => Self::LegConnected(read(text)?),
            "leg.disconnected" => Self::LegDisconnected(read(text)?),
            "roster" => Self::Roster(read(text)?),
            "provider.state" => Self::ProviderState(read(text)?),
            "file" => Self::File(read(text)?),
            "participant.changed" => Self::ParticipantChanged(read(text)?),
            "operation.failed" => Self::OperationFailed(read(text)?),
            "media" => Self::Media(read(text)?),
            "report" => Self::Report(read(text)?),
            "unrecognized" => Self::Unrecognized(read(text)?),
            other => {
                let problem = format!("there is no event of the type {other:?}");
                return Err(serde_json::Error::custom(problem));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_event_of_each_type_is_read_back_as_it_was_written() {
        let person = json!({"raw_id": "8:acs:r_u", "kind": "communicationUser", "cloud": "public", "identity": "acs"});
        let statements = [
            json!({"type": "call.offered", "from": person, "to": person}),
            json!({"type": "call.started", "started_by": person, "is_two_party": true}),
            json!({"type": "call.ended", "reason": {"code": 0}, "duration_s": 1.5, "presumed": true}),
            json!({"type": "session.joined", "participant": person, "user_agent": "a \"b\""}),
            json!({"type": "session.left", "reason": {"sub_code": 7015}}),
            json!({"type": "leg.connected", "outcome": {"code": 200}}),
            json!({"type": "leg.disconnected"}),
            json!({"type": "roster", "sequence": 3, "participants": [person, person]}),
            json!({"type": "provider.state", "capture": "recording", "recording": "r", "state": "active", "started_at": 5}),
            json!({"type": "file", "recording": "r", "chunks": [{"index": 1}]}),
            json!({"type": "participant.changed", "operation": "AddParticipantSucceeded"}),
            json!({"type": "operation.failed", "operation": "CreateCallFailed"}),
            json!({"type": "media", "operation": "PlayCompleted", "status": "s"}),
            json!({"type": "report", "participant": person, "sequence": 1, "recording": "on", "leaving": true}),
            json!({"type": "unrecognized", "size": 9, "kept": false}),
        ];
        let ids = serde_json::to_value(Ids::default()).unwrap();
        for statement in statements {
            let mut value = statement.clone();
            value["ids"] = ids.clone();
            value["source_type"] = json!("x");
            value["redacted"] = json!(["/a"]);
            value["flagged"] = json!([{"pointer": "/b", "reason": "wrong_type"}]);
            let event = CallingEvent::from_json(&value.to_string()).unwrap();
            assert_eq!(statement["type"], event.statement.name());
            let written: Value = serde_json::to_value(&event).unwrap();
            assert_eq!(written, value);
        }
        let foreign = json!({"type": "call.guessed", "ids": ids, "source_type": "x"});
        let error = CallingEvent::from_json(&foreign.to_string()).unwrap_err();
        assert!(error.to_string().contains("call.guessed"), "{error}");
    }
}
