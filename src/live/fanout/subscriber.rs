//! One subscriber: its scope, its queue, and the levels stated to it last.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::message::{SeenLevel, StreamMessage};
use super::queue::{NotQueued, Receiver, Sender, queue};
use crate::config::ClientPolicy;
use crate::http::subscriber_token::token_subject::TokenSubject;
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::Indications;

/// Identifies a subscriber within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SubscriberId(pub u64);

/// The calls that a subscriber or a request may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionScope {
    /// The call of a person's own attachment.
    Attachment { attachment: Arc<str>, subject: Arc<TokenSubject> },
    /// The call of the first of these anchors that belongs to a known call: a serverCallId named by
    /// a client, or with an API key every anchor that an id may stand for.
    Call {
        anchors: Vec<Anchor>,
        /// The subject of the token; `None`: an API key.
        subject: Option<Arc<TokenSubject>>,
    },
    /// All calls of a person's attachments; where a grant is required, those of them that the token
    /// covers.
    Person { subject: Arc<TokenSubject>, clients: ClientPolicy },
    /// Every call of the tenant.
    Everything,
}

impl SubscriptionScope {
    /// The digest that cursors are bound to.
    #[must_use]
    pub(crate) fn digest(&self, tenant: &str) -> Digest {
        match self {
            Self::Attachment { attachment, subject } => {
                Digest::of_parts(&[tenant, "attachment", attachment, &subject.raw_id])
            }
            Self::Call { anchors, subject } => {
                let of = match subject {
                    Some(subject) => ["call of", &subject.raw_id],
                    None => ["call", ""],
                };
                let anchors = anchors.iter().map(Anchor::as_str);
                let parts: Vec<&str> = [tenant].into_iter().chain(of).chain(anchors).collect();
                Digest::of_parts(&parts)
            }
            Self::Person { subject, .. } => Digest::of_parts(&[tenant, "person", &subject.raw_id]),
            Self::Everything => Digest::of_parts(&[tenant, "everything"]),
        }
    }

    /// The subject of the token; `None`: an API key.
    #[must_use]
    pub(crate) fn subject(&self) -> Option<&Arc<TokenSubject>> {
        match self {
            Self::Attachment { subject, .. } | Self::Person { subject, .. } => Some(subject),
            Self::Call { subject, .. } => subject.as_ref(),
            Self::Everything => None,
        }
    }

    /// The same scope for another token of the same participant.
    #[must_use]
    pub(crate) fn renewed(&self, subject: Arc<TokenSubject>, clients: ClientPolicy) -> Self {
        match self {
            Self::Attachment { attachment, .. } => {
                Self::Attachment { attachment: Arc::clone(attachment), subject }
            }
            Self::Call { anchors, .. } => {
                Self::Call { anchors: anchors.clone(), subject: Some(subject) }
            }
            Self::Person { .. } => Self::Person { subject, clients },
            Self::Everything => Self::Everything,
        }
    }

    /// The attachment, if the scope is that of one attachment.
    #[must_use]
    pub(crate) fn attachment(&self) -> Option<&Arc<str>> {
        match self {
            Self::Attachment { attachment, .. } => Some(attachment),
            Self::Call { .. } | Self::Person { .. } | Self::Everything => None,
        }
    }

    /// The anchors that name the one call of the scope; `None`: the scope covers many calls.
    #[must_use]
    pub(crate) fn one_call(&self) -> Option<Vec<Anchor>> {
        match self {
            Self::Attachment { attachment, .. } => Some(vec![Anchor::attachment(attachment)]),
            Self::Call { anchors, .. } => Some(anchors.clone()),
            Self::Person { .. } | Self::Everything => None,
        }
    }
}

/// Timeout of a slow subscriber, ms: it is dropped when more messages than its limit have been
/// waiting for longer. A burst of the log brings many messages at one instant, which alone is no
/// slowness.
const SLOW_SUBSCRIBER_TIMEOUT: Millis = 2_000;

/// The levels stated last.
enum LastStated {
    /// Of the one call of the scope, whichever anchor names it.
    One(SeenLevel),
    /// Of each call.
    #[expect(
        clippy::box_collection,
        reason = "nearly all subscribers are of one call, and are smaller by it"
    )]
    Each(Box<HashMap<Anchor, StatedLevel>>),
}

/// The level of a call that was stated last.
pub(crate) struct StatedLevel {
    pub level: SeenLevel,
    /// The name of the call that the subscriber was told.
    pub told: Anchor,
}

pub(crate) struct StreamSubscriber {
    pub scope: SubscriptionScope,
    sender: Sender,
    /// Maximum number of waiting messages, besides those that the subscription opened with.
    queue_limit: usize,
    /// Since when more messages are waiting, ms.
    behind_since: Option<Millis>,
    stated: LastStated,
}

impl StreamSubscriber {
    pub(crate) fn new(scope: SubscriptionScope, queue_limit: usize) -> (Self, Receiver) {
        let (sender, receiver) = queue();
        let stated = if scope.one_call().is_some() {
            LastStated::One(SeenLevel::default())
        } else {
            LastStated::Each(Box::default())
        };
        let subscriber = Self { scope, sender, queue_limit, behind_since: None, stated };
        (subscriber, receiver)
    }

    /// Excludes the messages that the subscription opened with from the limit.
    pub(crate) fn exclude_opening(&mut self) {
        self.queue_limit += self.sender.len();
    }

    /// The level last stated of a call; unknown if none was.
    pub(crate) fn stated(&self, call: &Anchor) -> SeenLevel {
        match &self.stated {
            LastStated::One(level) => *level,
            LastStated::Each(levels) => levels.get(call).map(|it| it.level).unwrap_or_default(),
        }
    }

    /// Whether this level of a call differs from what was stated. What is unknown needs not be stated to
    /// a subscriber of many calls, whatever the reason.
    pub(crate) fn differs(&self, call: &Anchor, level: SeenLevel) -> bool {
        match &self.stated {
            LastStated::One(stated) => *stated != level,
            LastStated::Each(levels) => match levels.get(call) {
                Some(stated) => stated.level != level,
                None => level.level != Indications::default(),
            },
        }
    }

    /// The level last stated to a subscriber of one call.
    pub(crate) fn stated_single(&self) -> Option<SeenLevel> {
        match self.stated {
            LastStated::One(level) => Some(level),
            LastStated::Each(_) => None,
        }
    }

    /// The calls, other than these, of which a level was stated to a subscriber of many calls.
    pub(crate) fn stated_of_others(&self, calls: &BTreeSet<Anchor>) -> BTreeSet<Anchor> {
        match &self.stated {
            LastStated::One(_) => BTreeSet::new(),
            LastStated::Each(levels) => {
                levels.keys().filter(|call| !calls.contains(call)).cloned().collect()
            }
        }
    }

    /// Removes and returns what was stated of a call to a subscriber of many calls.
    pub(crate) fn take_stated(&mut self, call: &Anchor) -> Option<StatedLevel> {
        match &mut self.stated {
            LastStated::One(_) => None,
            LastStated::Each(levels) => levels.remove(call),
        }
    }

    pub(crate) fn has_stated(&self, call: &Anchor) -> bool {
        match &self.stated {
            LastStated::One(_) => true,
            LastStated::Each(levels) => levels.contains_key(call),
        }
    }

    /// Keeps the level stated last. A subscriber of many calls gets levels of known calls only.
    pub(crate) fn set_stated(
        &mut self,
        call: Option<&Anchor>,
        told: Option<&Anchor>,
        level: SeenLevel,
    ) {
        match &mut self.stated {
            LastStated::One(stated) => *stated = level,
            LastStated::Each(levels) => {
                if let (Some(call), Some(told)) = (call, told) {
                    levels.insert(call.clone(), StatedLevel { level, told: told.clone() });
                }
            }
        }
    }

    /// Moves the stated level of a call to the call that absorbed it.
    pub(crate) fn move_stated(&mut self, absorbed: &Anchor, into: &Anchor) {
        if let LastStated::Each(levels) = &mut self.stated
            && let Some(level) = levels.remove(absorbed)
        {
            levels.entry(into.clone()).or_insert(level);
        }
        if self.sender.has_level(absorbed) {
            self.sender.send_levels(BTreeSet::from([into.clone()]));
        }
    }

    /// Queues the levels of these calls, to be stated when the stream takes them.
    pub(crate) fn state_later(&self, calls: BTreeSet<Anchor>) {
        self.sender.send_levels(calls);
    }

    /// Whether the level of a call is still to be stated.
    pub(crate) fn is_to_be_stated(&self, call: &Anchor) -> bool {
        self.sender.has_level(call)
    }

    /// Puts a message into the queue. After an error the subscriber is to be removed.
    pub(crate) fn send(&mut self, message: StreamMessage, now: Millis) -> Result<(), NotQueued> {
        if self.sender.len() <= self.queue_limit {
            self.behind_since = None;
        } else if now - *self.behind_since.get_or_insert(now) > SLOW_SUBSCRIBER_TIMEOUT {
            return Err(NotQueued::Full);
        }
        self.sender.send(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::fanout::message::{BuildInstant, MessageKind};

    fn send(subscriber: &mut StreamSubscriber, now: Millis) -> Result<(), NotQueued> {
        let time = BuildInstant { at: 0, now };
        subscriber.send(StreamMessage::reason(MessageKind::Gap, "", time), now)
    }

    #[test]
    fn a_backlog_makes_a_subscriber_slow_and_a_burst_does_not() {
        let (mut subscriber, mut receiver) =
            StreamSubscriber::new(SubscriptionScope::Everything, 4);
        for _ in 0..10_000 {
            assert_eq!(send(&mut subscriber, 1_000), Ok(()));
        }
        assert_eq!(send(&mut subscriber, 3_000), Ok(()));
        while receiver.try_next().is_some() {}
        assert_eq!(send(&mut subscriber, 60_000), Ok(()));
        for _ in 0..10 {
            assert_eq!(send(&mut subscriber, 60_000), Ok(()));
        }
        assert_eq!(send(&mut subscriber, 62_001), Err(NotQueued::Full));
    }

    #[test]
    fn the_opening_messages_are_no_backlog() {
        let (mut subscriber, _receiver) = StreamSubscriber::new(SubscriptionScope::Everything, 4);
        for _ in 0..1_000 {
            assert_eq!(send(&mut subscriber, 0), Ok(()));
        }
        subscriber.exclude_opening();
        assert_eq!(send(&mut subscriber, 10_000), Ok(()));
        assert_eq!(send(&mut subscriber, 20_000), Ok(()));
    }

    #[test]
    fn a_closed_stream_is_dropped_and_does_not_count_as_slow() {
        let (mut subscriber, receiver) = StreamSubscriber::new(SubscriptionScope::Everything, 4);
        drop(receiver);
        assert_eq!(send(&mut subscriber, 0), Err(NotQueued::Closed));
    }
}
