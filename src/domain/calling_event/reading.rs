//! Reads a calling event from its JSON.
//!
//! # Why
//!
//! *Twice over the text.* Which members there are says the member `type`. Where it may stand behind
//! them, serde first makes a copy of all of them in memory, piece by piece, which is most of what
//! it costs to read a log. So the frame is read first, and then, from the same text, what the frame
//! says is there.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::Error as _;

use super::{CallingEvent, Statement};
use crate::domain::ids::Ids;

/// What every event has.
#[derive(Deserialize)]
struct Frame<'t> {
    #[serde(rename = "type", borrow)]
    name: Cow<'t, str>,
    ids: Ids,
    source_type: String,
    generation: Option<String>,
    #[serde(default)]
    redacted: Vec<String>,
}

impl CallingEvent {
    /// Reads what was serialized.
    ///
    /// # Errors
    ///
    /// It is no event of ours.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let Frame {
            name,
            ids,
            source_type,
            generation,
            redacted,
        } = serde_json::from_str(text)?;
        Ok(Self {
            statement: Statement::from_json(&name, text)?,
            ids,
            source_type,
            generation,
            redacted,
        })
    }
}

impl Statement {
    /// Reads one of this name from among the members of an event.
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
                let why = format!("there is no event of the type {other:?}");
                return Err(serde_json::Error::custom(why));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_event_of_each_type_reads_its_own_writing() {
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
            json!({"type": "provider.state", "capture": "recording", "recording": "r", "state": "active", "start": 5}),
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
