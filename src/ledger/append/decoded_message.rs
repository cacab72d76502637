//! Decodes messages of the log, before the transaction that appends them.

use std::collections::HashSet;
use std::hash::Hash;

use chrono::{DateTime, Utc};

use super::refusal::{self, RefusalReason};
use crate::kafka::{
    ConsumedMessage, EventMessage, MessageError, NoticeFactsMessage, Provenance, QuarantineMessage,
    Topic, WireMessage,
};
use crate::postgres::SourceUse;
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant;
use onrecord_evidence::identity::alias_graph::{Anchor, CallIds};

/// The decoded content of a message.
pub(crate) enum DecodedContent {
    Event(Box<DecodedEvent>),
    Notices(Box<NoticeFactsMessage>),
    Quarantine(Box<QuarantineMessage>),
    /// A message without the form of this service; it goes to quarantine (`NOTHING_LOST`).
    Foreign {
        reason: String,
    },
}

/// An event with what the transaction needs.
pub(crate) struct DecodedEvent {
    pub message: EventMessage,
    pub key: Digest,
    pub call_ids: CallIds,
    /// The instant that the rules of evidence use, ms.
    pub at_ms: i64,
    /// Whether the clock of the source differs from the clock of the service.
    pub clock_differs: bool,
    /// The normalized event as it is in the log.
    pub json: String,
}

/// A message with its position in the log.
pub(crate) struct DecodedMessage {
    pub partition: i32,
    pub offset: i64,
    pub broker_time: i64,
    pub wire: Option<WireMessage>,
    pub content: DecodedContent,
    /// Why PostgreSQL cannot store the content, as far as that shows before.
    pub refusal: Option<RefusalReason>,
}

impl DecodedMessage {
    /// Decodes a message; what cannot be decoded is [`DecodedContent::Foreign`].
    pub(crate) fn of(topic: Topic, consumed: ConsumedMessage) -> Self {
        let content = match &consumed.wire {
            None => DecodedContent::Foreign {
                reason: "the message has bytes that are not UTF-8".to_owned(),
            },
            Some(wire) => decode(topic, wire)
                .unwrap_or_else(|error| DecodedContent::Foreign { reason: error.to_string() }),
        };
        let value = consumed.wire.as_ref().map_or("", |wire| wire.value.as_str());
        let refusal = match &content {
            DecodedContent::Event(event) => refusal::of_event(&event.message, value),
            DecodedContent::Notices(facts) => refusal::of_notices(facts, value),
            DecodedContent::Quarantine(_) | DecodedContent::Foreign { .. } => None,
        };
        Self {
            refusal,
            partition: consumed.partition,
            offset: consumed.offset,
            broker_time: consumed.broker_time,
            wire: consumed.wire,
            content,
        }
    }

    /// The digest of the message as it is in the log, by which a recreated topic is detected.
    pub(crate) fn digest(&self) -> Digest {
        digest_of(self.wire.as_ref())
    }

    /// The ids that the transaction locks which appends the message, each with its tenant.
    fn ids(&self) -> Vec<(&Tenant, Anchor)> {
        match &self.content {
            DecodedContent::Event(event) => {
                let CallIds { anchor, links } = &event.call_ids;
                let linked = links.iter().flat_map(|link| [&link.lower, &link.upper]);
                let ids = anchor.iter().chain(linked);
                ids.map(|id| (&event.message.tenant, id.clone())).collect()
            }
            DecodedContent::Notices(message) => {
                let ids = message.facts.iter().map(|fact| fact.by.anchor());
                ids.map(|id| (&message.tenant, id)).collect()
            }
            DecodedContent::Quarantine(_) | DecodedContent::Foreign { .. } => Vec::new(),
        }
    }

    /// By which credential its source was authenticated, and when.
    pub(crate) fn source_use(&self) -> Option<(SourceUse<'_>, DateTime<Utc>)> {
        let (tenant, source, credential, received) = match &self.content {
            DecodedContent::Event(event) => {
                let EventMessage { tenant, source, credential, received, .. } = &event.message;
                (tenant, source, credential, received)
            }
            DecodedContent::Quarantine(message) => {
                let QuarantineMessage { tenant, source, credential, received, .. } = &**message;
                (tenant, source, credential, received)
            }
            DecodedContent::Notices(_) | DecodedContent::Foreign { .. } => return None,
        };
        let source_use =
            SourceUse { tenant: tenant.as_str(), source, credential: credential.as_deref()? };
        Some((source_use, *received))
    }
}

/// How many of these messages, from the first one on, name together at most this number of different ids; one at
/// least.
pub(crate) fn first_by_ids(messages: &[DecodedMessage], max: usize) -> usize {
    first_within(messages.iter().map(DecodedMessage::ids), max)
}

/// How many elements, from the first one on, have together at most `max` different ids; one at least.
fn first_within<I: Eq + Hash>(elements: impl Iterator<Item = Vec<I>>, max: usize) -> usize {
    let mut length = 0;
    let mut ids: HashSet<I> = HashSet::new();
    for element in elements {
        ids.extend(element);
        if length > 0 && ids.len() > max {
            break;
        }
        length += 1;
    }
    length
}

/// The digest of a message as it is in the log.
pub(crate) fn digest_of(wire: Option<&WireMessage>) -> Digest {
    let Some(wire) = wire else {
        return Digest::of(b"");
    };
    let headers = wire.headers.iter().flat_map(|(name, value)| [name.as_ref(), value.as_str()]);
    let parts: Vec<&str> =
        [wire.key.as_str(), wire.value.as_str()].into_iter().chain(headers).collect();
    Digest::of_parts(&parts)
}

fn decode(topic: Topic, wire: &WireMessage) -> Result<DecodedContent, MessageError> {
    Ok(match topic {
        Topic::Events => {
            let message = EventMessage::from_wire(wire)?;
            let source_time = message.source_time();
            DecodedContent::Event(Box::new(DecodedEvent {
                key: message.key(),
                call_ids: CallIds::of(&message.event.ids),
                at_ms: instant::event_time(source_time, message.received),
                // A presumed end is in the past, by the clock of the service itself.
                clock_differs: message.provenance != Provenance::Maintenance
                    && instant::clock_differs(source_time, message.received),
                json: wire.value.clone(),
                message,
            }))
        }
        Topic::NoticeFacts => {
            DecodedContent::Notices(Box::new(NoticeFactsMessage::from_wire(wire)?))
        }
        Topic::Quarantine => {
            DecodedContent::Quarantine(Box::new(QuarantineMessage::from_wire(wire)?))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_until_their_different_ids_are_too_many() {
        let of =
            |elements: &[&[u32]], max| first_within(elements.iter().map(|ids| ids.to_vec()), max);
        assert_eq!(of(&[&[1, 2], &[1, 2], &[2, 3], &[1, 3]], 3), 4);
        assert_eq!(of(&[&[1, 2], &[3], &[4], &[1], &[]], 3), 2);
        assert_eq!(of(&[&[1, 2, 3, 4], &[5]], 3), 1);
        assert_eq!(of(&[], 3), 0);
    }

    #[test]
    fn a_foreign_message_is_kept_with_its_reason() {
        let wire = WireMessage {
            topic: Topic::Events,
            key: String::new(),
            headers: Vec::new(),
            value: "{}".to_owned(),
        };
        let consumed =
            ConsumedMessage { partition: 0, offset: 7, broker_time: 0, wire: Some(wire) };
        let DecodedContent::Foreign { reason } =
            DecodedMessage::of(Topic::Events, consumed).content
        else {
            panic!("must be foreign")
        };
        assert_eq!(reason, "the header ce_tenant is missing");
    }
}
