//! What stands on `notice-facts.v1`: up to [`MOST_FACTS`] notice facts of one call.

use serde::{Deserialize, Serialize};

use super::message::{MessageError, Topic, WireMessage};
use crate::domain::alias::Anchor;
use crate::domain::ids::{Digest, Tenant};
use crate::domain::notice_fact::NoticeFact;

/// A message has so many facts at most.
pub const MOST_FACTS: usize = 500;

/// Notice facts on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeFactsMessage {
    pub tenant: Tenant,
    /// The call as it is called where they come from; for locality only: each fact has its own
    /// anchor.
    pub call: Anchor,
    pub facts: Vec<NoticeFact>,
}

#[derive(Serialize)]
struct BodyToWrite<'a> {
    facts: &'a [NoticeFact],
}

#[derive(Deserialize)]
struct Body {
    facts: Vec<NoticeFact>,
}

impl NoticeFactsMessage {
    /// Puts it into the form of the log.
    ///
    /// # Errors
    ///
    /// It cannot be serialized, which nothing of ours can cause.
    pub fn to_wire(&self) -> Result<WireMessage, MessageError> {
        let ids: Vec<String> = self.facts.iter().map(|fact| fact.id.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let headers = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_type", "onrecord.notice-facts".to_owned()),
            ("ce_source", "onrecord/notices".to_owned()),
            ("ce_id", Digest::of_parts(&ids).to_string()),
            ("ce_tenant", self.tenant.to_string()),
            ("ce_subject", self.call.to_string()),
            ("content-type", "application/json".to_owned()),
        ];
        Ok(WireMessage {
            topic: Topic::NoticeFacts,
            key: format!("{}/{}", self.tenant, self.call),
            headers: headers.map(|(name, value)| (name.into(), value)).into(),
            value: serde_json::to_string(&BodyToWrite { facts: &self.facts })?,
        })
    }

    /// Reads it from the log.
    ///
    /// # Errors
    ///
    /// [`MessageError`]; the message is not ours or of another version.
    pub fn from_wire(wire: &WireMessage) -> Result<Self, MessageError> {
        let required = |name: &'static str| wire.header(name).ok_or(MessageError::NoHeader(name));
        let tenant = Tenant::parse(required("ce_tenant")?)
            .map_err(|_| MessageError::BadHeader("ce_tenant"))?;
        let call = Anchor::from_stored(required("ce_subject")?.to_owned());
        let Body { facts } = serde_json::from_str(&wire.value)?;
        if let Some(fact) = facts
            .iter()
            .find(|fact| fact.kind.needs_state() && fact.state.is_none())
        {
            return Err(MessageError::NoState(fact.id));
        }
        Ok(Self {
            tenant,
            call,
            facts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fact::{CaptureType, Level};
    use crate::domain::notice_fact::{By, NoticeKind, Place, Transport};

    fn message() -> NoticeFactsMessage {
        let by = |place| By {
            raw_id: "8:acs:r_u".to_owned(),
            place,
        };
        let fact = |kind, by| NoticeFact {
            id: Digest::of(b"1"),
            t: 17,
            kind,
            capture: CaptureType::Recording,
            state: Some(Level::On),
            elapsed_ms: None,
            by,
            client_id: None,
            notice: Some("n".to_owned()),
            text: None,
            transport: Some(Transport::Sse),
        };
        NoticeFactsMessage {
            tenant: Tenant::parse("contoso").unwrap(),
            call: Anchor::attachment("a"),
            facts: vec![
                fact(
                    NoticeKind::Dispatched,
                    by(Place::Attachment("a".to_owned())),
                ),
                fact(NoticeKind::Delivered, by(Place::Call("s-1".to_owned()))),
            ],
        }
    }

    #[test]
    fn notice_facts_read_their_own_writing() {
        let wire = message().to_wire().unwrap();
        assert_eq!(NoticeFactsMessage::from_wire(&wire).unwrap(), message());
        let value: serde_json::Value = serde_json::from_str(&wire.value).unwrap();
        let first = &value["facts"][0];
        assert_eq!(first["kind"], "notice.dispatched");
        assert_eq!(
            first["by"],
            serde_json::json!({"raw_id":"8:acs:r_u","attachment":"a"})
        );
        assert_eq!(value["facts"][1]["by"]["call"], "s-1");
    }

    #[test]
    fn a_fact_without_its_level_is_refused() {
        let mut message = message();
        message.facts[1].state = None;
        let wire = message.to_wire().unwrap();
        assert!(matches!(
            NoticeFactsMessage::from_wire(&wire),
            Err(MessageError::NoState(_))
        ));
    }
}
