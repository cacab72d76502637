//! A message of the log, read and judged before the transaction that enters it.

use chrono::{DateTime, Utc};

use crate::domain::alias::Naming;
use crate::domain::ids::Digest;
use crate::domain::instant;
use crate::store::SourceUse;
use crate::stream::{
    EventMessage, Incoming, NoticeFactsMessage, Provenance, QuarantineMessage, Topic, WireMessage,
};

/// What a message turned out to be.
pub(super) enum Content {
    Event(Box<PreparedEvent>),
    Notices(Box<NoticeFactsMessage>),
    Quarantine(Box<QuarantineMessage>),
    /// Not in our form. The log is ours, but so is the duty to keep what lies there.
    Foreign {
        reason: String,
    },
}

/// An event with everything that the transaction needs.
pub(super) struct PreparedEvent {
    pub message: EventMessage,
    pub key: Digest,
    pub naming: Naming,
    pub t: i64,
    pub clock: bool,
    /// The normalized event as it stands on the log.
    pub json: String,
}

/// A message with its place in the log.
pub(super) struct Prepared {
    pub partition: i32,
    pub offset: i64,
    pub broker_time: i64,
    pub wire: Option<WireMessage>,
    pub content: Content,
}

impl Prepared {
    /// Reads a message; never fails.
    pub fn of(topic: Topic, incoming: Incoming) -> Self {
        let content = match &incoming.wire {
            None => Content::Foreign {
                reason: "the message holds bytes that are no UTF-8".to_owned(),
            },
            Some(wire) => read(topic, wire).unwrap_or_else(|reason| Content::Foreign { reason }),
        };
        Self {
            partition: incoming.partition,
            offset: incoming.offset,
            broker_time: incoming.broker_time,
            wire: incoming.wire,
            content,
        }
    }

    /// Of the message as it stands there; a recreated topic is known by it.
    pub fn digest(&self) -> Digest {
        digest_of(self.wire.as_ref())
    }

    /// By what its source was believed, and when.
    pub fn used(&self) -> Option<(SourceUse<'_>, DateTime<Utc>)> {
        let (tenant, source, credential, received) = match &self.content {
            Content::Event(event) => {
                let EventMessage {
                    tenant,
                    source,
                    credential,
                    received,
                    ..
                } = &event.message;
                (tenant, source, credential, received)
            }
            Content::Quarantine(message) => {
                let QuarantineMessage {
                    tenant,
                    source,
                    credential,
                    received,
                    ..
                } = &**message;
                (tenant, source, credential, received)
            }
            Content::Notices(_) | Content::Foreign { .. } => return None,
        };
        let used = SourceUse {
            tenant: tenant.as_str(),
            source,
            credential: credential.as_deref()?,
        };
        Some((used, *received))
    }
}

/// The digest of a message as it stands on the log.
pub(super) fn digest_of(wire: Option<&WireMessage>) -> Digest {
    let Some(wire) = wire else {
        return Digest::of(b"");
    };
    let headers = wire
        .headers
        .iter()
        .flat_map(|(name, value)| [name.as_ref(), value.as_str()]);
    let parts: Vec<&str> = [wire.key.as_str(), wire.value.as_str()]
        .into_iter()
        .chain(headers)
        .collect();
    Digest::of_parts(&parts)
}

fn read(topic: Topic, wire: &WireMessage) -> Result<Content, String> {
    match topic {
        Topic::Events => {
            let message = EventMessage::from_wire(wire).map_err(|error| error.to_string())?;
            let source_time = message.source_time();
            Ok(Content::Event(Box::new(PreparedEvent {
                key: message.key(),
                naming: Naming::of(&message.event.ids),
                t: instant::effective(source_time, message.received),
                // What the sweeper presumes lies in the past, and is our own clock's.
                clock: message.provenance != Provenance::Sweeper
                    && instant::clock_differs(source_time, message.received),
                json: wire.value.clone(),
                message,
            })))
        }
        Topic::NoticeFacts => NoticeFactsMessage::from_wire(wire)
            .map(|message| Content::Notices(Box::new(message)))
            .map_err(|error| error.to_string()),
        Topic::Quarantine => QuarantineMessage::from_wire(wire)
            .map(|message| Content::Quarantine(Box::new(message)))
            .map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_message_is_kept_with_the_reason() {
        let wire = WireMessage {
            topic: Topic::Events,
            key: String::new(),
            headers: Vec::new(),
            value: "{}".to_owned(),
        };
        let incoming = Incoming {
            partition: 0,
            offset: 7,
            broker_time: 0,
            wire: Some(wire),
        };
        let Content::Foreign { reason } = Prepared::of(Topic::Events, incoming).content else {
            panic!("must be foreign")
        };
        assert_eq!(reason, "the header ce_tenant is missing");
    }
}
