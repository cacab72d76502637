//! Who listens, to what, and what they were told last.

use std::collections::HashMap;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::message::Message;
use crate::domain::alias::Anchor;
use crate::domain::ids::Digest;
use crate::domain::indication::Indications;

/// A listener of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(u64);

impl ListenerId {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// Which calls a listener or a question may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The call of a person's own attachment.
    Attachment { attachment: String, person: String },
    /// The call of this anchor: a serverCallId that a client names, or any id with an API key.
    Call(Anchor),
    /// All calls of a person's attachments.
    Person(String),
    /// Every call of the tenant.
    Everything,
}

impl Reach {
    /// Whether it is about one call only.
    #[must_use]
    pub fn is_one_call(&self) -> bool {
        matches!(self, Self::Attachment { .. } | Self::Call(_))
    }

    /// What a cursor is bound to.
    #[must_use]
    pub fn digest(&self, tenant: &str) -> Digest {
        match self {
            Self::Attachment { attachment, person } => {
                Digest::of_parts(&[tenant, "attachment", attachment, person])
            }
            Self::Call(anchor) => Digest::of_parts(&[tenant, "call", anchor.as_str()]),
            Self::Person(person) => Digest::of_parts(&[tenant, "person", person]),
            Self::Everything => Digest::of_parts(&[tenant, "everything"]),
        }
    }
}

/// Whether a message reached a listener's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Told {
    Queued,
    /// It reads too slowly, or is gone: drop it.
    Dropped {
        slow: bool,
    },
}

pub(super) struct Listener {
    pub reach: Reach,
    /// Bounded: a slow reader is dropped, never a burden to others.
    queue: mpsc::Sender<Message>,
    /// The level last stated, per call.
    pub stated: HashMap<Anchor, Indications>,
}

impl Listener {
    pub fn new(reach: Reach, queue: mpsc::Sender<Message>) -> Self {
        Self {
            reach,
            queue,
            stated: HashMap::new(),
        }
    }

    pub fn tell(&self, message: Message) -> Told {
        match self.queue.try_send(message) {
            Ok(()) => Told::Queued,
            Err(TrySendError::Full(_)) => Told::Dropped { slow: true },
            Err(TrySendError::Closed(_)) => Told::Dropped { slow: false },
        }
    }
}
