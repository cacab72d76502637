//! The messages of `notice-facts.v1`: up to [`MAX_FACTS_PER_MESSAGE`] notice facts of one call.

use serde::{Deserialize, Serialize};

use super::message::{MessageError, Topic, WireMessage};
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::notice_fact::{NoticeFact, SharedNoticeFact};

/// Maximum facts of a message.
pub const MAX_FACTS_PER_MESSAGE: usize = 500;

/// A message of notice facts, as read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeFactsMessage {
    pub tenant: Tenant,
    /// An id of the call, for locality only: each fact has its own anchor.
    pub call: Anchor,
    pub facts: Vec<NoticeFact>,
}

/// Notice facts to publish: single ones, and shared ones with many recipients.
#[derive(Serialize)]
pub struct NoticeFactsToWrite<'a> {
    #[serde(skip)]
    pub tenant: &'a Tenant,
    /// An id of the call.
    #[serde(skip)]
    pub call: &'a Anchor,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub facts: &'a [NoticeFact],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub shared: &'a [SharedNoticeFact],
}

#[derive(Deserialize)]
struct NoticeFactsBody {
    #[serde(default)]
    facts: Vec<NoticeFact>,
    #[serde(default)]
    shared: Vec<SharedNoticeFact>,
}

impl NoticeFactsToWrite<'_> {
    /// Makes the message of the log.
    ///
    /// # Errors
    ///
    /// The facts cannot be serialized, which no fact of this service causes.
    pub fn to_wire(&self) -> Result<WireMessage, MessageError> {
        let value = serde_json::to_string(self)?;
        let headers = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_type", "onrecord.notice-facts".to_owned()),
            ("ce_source", "onrecord/notices".to_owned()),
            ("ce_id", Digest::of(value.as_bytes()).to_string()),
            ("ce_tenant", self.tenant.to_string()),
            ("ce_subject", self.call.to_string()),
            ("content-type", "application/json".to_owned()),
        ];
        Ok(WireMessage {
            topic: Topic::NoticeFacts,
            key: format!("{}/{}", self.tenant, self.call),
            headers: headers.map(|(name, value)| (name.into(), value)).into(),
            value,
        })
    }
}

impl NoticeFactsMessage {
    /// Reads a message of the log; shared facts become single ones.
    ///
    /// # Errors
    ///
    /// [`MessageError`]; the message has another form or version.
    pub fn from_wire(wire: &WireMessage) -> Result<Self, MessageError> {
        let tenant = wire.tenant()?;
        let call = Anchor::from_stored(wire.required_header("ce_subject")?.to_owned());
        let NoticeFactsBody { mut facts, shared } = serde_json::from_str(&wire.value)?;
        facts.extend(shared.iter().flat_map(|shared| shared.facts(&tenant)));
        let lacks_state = |fact: &&NoticeFact| fact.kind.needs_state() && fact.state.is_none();
        if let Some(fact) = facts.iter().find(lacks_state) {
            return Err(MessageError::NoState(fact.id));
        }
        Ok(Self { tenant, call, facts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onrecord_evidence::fact::kinds::{CaptureType, Level};
    use onrecord_evidence::notice::notice_fact::{
        NoticeKind, NoticePlace, SharedRecipient, StatedBy, Transport,
    };

    fn by(place: NoticePlace) -> StatedBy {
        StatedBy { raw_id: "8:acs:r_u".to_owned(), place }
    }

    fn wire_of(message: &NoticeFactsMessage, shared: &[SharedNoticeFact]) -> WireMessage {
        let to_write = NoticeFactsToWrite {
            tenant: &message.tenant,
            call: &message.call,
            facts: &message.facts,
            shared,
        };
        to_write.to_wire().unwrap()
    }

    fn message() -> NoticeFactsMessage {
        let fact = |kind, by| NoticeFact {
            id: Digest::of(b"1"),
            at: 17,
            kind,
            capture_type: CaptureType::Recording,
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
                fact(NoticeKind::Dispatched, by(NoticePlace::Attachment("a".to_owned()))),
                fact(NoticeKind::Delivered, by(NoticePlace::Call("s-1".to_owned()))),
            ],
        }
    }

    #[test]
    fn written_notice_facts_are_read_back() {
        let wire = wire_of(&message(), &[]);
        assert_eq!(NoticeFactsMessage::from_wire(&wire).unwrap(), message());
        let value: serde_json::Value = serde_json::from_str(&wire.value).unwrap();
        let first = &value["facts"][0];
        assert_eq!(first["kind"], "notice.dispatched");
        assert_eq!(first["by"], serde_json::json!({"raw_id":"8:acs:r_u","attachment":"a"}));
        assert_eq!(value["facts"][1]["by"]["call"], "s-1");
    }

    #[test]
    fn a_fact_without_its_level_is_refused() {
        let mut message = message();
        message.facts[1].state = None;
        let wire = wire_of(&message, &[]);
        assert!(matches!(NoticeFactsMessage::from_wire(&wire), Err(MessageError::NoState(_))));
    }

    #[test]
    fn shared_facts_are_read_one_by_one() {
        let recipient = |place, after_ms| SharedRecipient { by: by(place), after_ms };
        let shared = SharedNoticeFact {
            at: 17,
            kind: NoticeKind::Dispatched,
            capture_type: CaptureType::Recording,
            state: Level::On,
            capture_started_at: Some(5),
            notice: Some("n".to_owned()),
            transport: Transport::Sse,
            recipients: vec![
                recipient(NoticePlace::Attachment("a".to_owned()), 0),
                recipient(NoticePlace::Call("s-1".to_owned()), 3),
            ],
        };
        let message = message();
        let wire = wire_of(&message, std::slice::from_ref(&shared));
        let read = NoticeFactsMessage::from_wire(&wire).unwrap();
        assert_eq!(read.facts[..2], message.facts);
        let rest: Vec<NoticeFact> = shared.facts(&message.tenant).collect();
        assert_eq!(read.facts[2..], rest);
        assert_eq!(rest[0].by, message.facts[0].by);
        assert_eq!((rest[0].at, rest[1].at), (17, 20));
        assert_ne!(rest[0].id, rest[1].id);
        let value: serde_json::Value = serde_json::from_str(&wire.value).unwrap();
        assert_eq!(
            value["shared"][0]["recipients"],
            serde_json::json!([
                {"raw_id":"8:acs:r_u","attachment":"a"},
                {"raw_id":"8:acs:r_u","call":"s-1","after_ms":3},
            ])
        );
    }
}
