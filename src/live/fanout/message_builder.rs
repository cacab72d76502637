//! Builds the messages of one call, each different message once.
//!
//! # Why
//!
//! *Who is told which ids.* A holder of a subscriber token may have got the serverCallId of a call in
//! which it is not. It is told the level, because an honest participant may be named late. It is told
//! the ids of the call only if the platform or a grant proves that it belongs to the call; else it is
//! told the ids that it brought. An attachment is named only to its owner.
//!
//! *The id of a message* is a hash that contains the call as the recipient is told it. So it reveals no
//! other id.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use super::message::{BuildInstant, CallLevel, StreamMessage};
use super::subscriber::SubscriptionScope;
use crate::http::subscriber_token::token_subject::TokenSubject;
use crate::live::attachment_owners::AttachmentOwners;
use crate::live::live_call::{LiveCall, PastChange};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::fact::kinds::Witness;
use onrecord_evidence::identity::alias_graph::{AliasGraph, Anchor};
use onrecord_evidence::notice::indication::Indications;

/// The ids of a call that a recipient is told.
#[derive(Clone, PartialEq, Eq, Hash)]
enum ToldIds {
    /// All anchors: an API key.
    All,
    /// All anchors that are no attachments, and these attachments of the recipient, sorted.
    Participant(Vec<Anchor>),
    /// Only these anchors, by which the recipient names the call. The first one is the name of the
    /// call.
    Brought(Vec<Anchor>),
}

/// The anchors of a call that messages list, each list computed once.
#[derive(Default)]
pub(crate) struct CallNames {
    /// All anchors, sorted.
    members: OnceCell<BTreeSet<Anchor>>,
    /// Those that are no attachments, sorted.
    shared: OnceCell<BTreeSet<Anchor>>,
}

/// Builds messages for the level of one call.
pub(crate) struct MessageBuilder<'d> {
    tenant: &'d Tenant,
    call: &'d Anchor,
    live: &'d LiveCall,
    aliases: &'d AliasGraph,
    owners: &'d AttachmentOwners,
    time: BuildInstant,
    names: CallNames,
    built: HashMap<(Option<Indications>, ToldIds), StreamMessage>,
}

impl<'d> MessageBuilder<'d> {
    pub(crate) fn new(
        tenant: &'d Tenant,
        call: &'d Anchor,
        live: &'d LiveCall,
        aliases: &'d AliasGraph,
        owners: &'d AttachmentOwners,
        time: BuildInstant,
    ) -> Self {
        let names = CallNames::default();
        Self { tenant, call, live, aliases, owners, time, names, built: HashMap::new() }
    }

    /// Uses these names of the call, which another builder of its messages has computed.
    pub(crate) fn with_names(self, names: CallNames) -> Self {
        Self { names, ..self }
    }

    /// The names of the call, for the next builder of its messages.
    pub(crate) fn into_names(self) -> CallNames {
        self.names
    }

    /// The message of the present level for one recipient: a notice of the change from `previous`, or a
    /// snapshot without it.
    pub(crate) fn level(
        &mut self,
        previous: Option<Indications>,
        scope: &SubscriptionScope,
    ) -> StreamMessage {
        let told = self.told_ids(scope);
        if let Some(seen) = self.live.seen_by_outsider(scope) {
            return self.message(&told, self.call, &seen, previous.as_ref(), self.time);
        }
        let key = (previous, told);
        if let Some(built) = self.built.get(&key) {
            return built.clone();
        }
        let message =
            self.message(&key.1, self.call, &self.live.current, previous.as_ref(), self.time);
        self.built.insert(key, message.clone());
        message
    }

    /// Rebuilds the message of a past change. `None`: the recipient saw no change, because what its own
    /// client observes was stronger.
    pub(crate) fn past(
        &self,
        past: &PastChange,
        scope: &SubscriptionScope,
    ) -> Option<StreamMessage> {
        let told = self.told_ids(scope);
        let own = self.live.own_level(scope);
        let seen = past.changed_to.strongest(own.as_ref());
        let with_own =
            |level: Indications| own.as_ref().map_or(level, |own| level.strongest(own.level));
        let previous = past.previous.map(with_own);
        if previous == Some(seen.level) {
            return None;
        }
        Some(self.message(&told, &past.call, &seen, previous.as_ref(), past.time))
    }

    /// The name of the call that the recipient is told.
    pub(crate) fn told_call(&self, scope: &SubscriptionScope) -> Anchor {
        told_call(&self.told_ids(scope), self.call).clone()
    }

    fn message(
        &self,
        told: &ToldIds,
        call: &Anchor,
        level: &CallLevel,
        previous: Option<&Indications>,
        time: BuildInstant,
    ) -> StreamMessage {
        let aliases = match told {
            ToldIds::All => self.members().iter().map(Anchor::as_str).collect(),
            ToldIds::Participant(own) => {
                let mut names: Vec<&str> =
                    self.shared().iter().chain(own).map(Anchor::as_str).collect();
                names.sort_unstable();
                names
            }
            ToldIds::Brought(anchors) => anchors.iter().map(Anchor::as_str).collect::<Vec<_>>(),
        };
        let call = told_call(told, call);
        let reason = self.live.unknown_reason(level.level);
        StreamMessage::level(self.tenant, call, &aliases, level, previous, reason, time)
    }

    fn told_ids(&self, scope: &SubscriptionScope) -> ToldIds {
        let Some(subject) = scope.subject() else {
            return ToldIds::All;
        };
        let own: Vec<&Anchor> =
            self.owners.attachments(&subject.raw_id).filter(|it| self.is_member(it)).collect();
        let brought = self.brought(scope, &own);
        match self.witness(subject, &brought) {
            Witness::Platform | Witness::Granted => {
                ToldIds::Participant(own.into_iter().cloned().collect())
            }
            Witness::Asserted | Witness::Outsider => ToldIds::Brought(brought),
        }
    }

    /// The anchors of the call that a recipient brought: those that it names, its own attachments in
    /// the call, and the serverCallIds of their reports. A serverCallId comes before an attachment.
    fn brought(&self, scope: &SubscriptionScope, own: &[&Anchor]) -> Vec<Anchor> {
        let named = scope.one_call().unwrap_or_default();
        let stated = own.iter().flat_map(|attachment| self.owners.anchors(attachment));
        let mut brought: Vec<Anchor> = named
            .into_iter()
            .chain(own.iter().copied().chain(stated).cloned())
            .filter(|anchor| self.is_member(anchor))
            .collect();
        brought.sort_unstable_by(|one, other| other.cmp(one));
        brought.dedup();
        brought
    }

    fn witness(&self, subject: &TokenSubject, brought: &[Anchor]) -> Witness {
        let named = brought.iter().filter(|anchor| anchor.is_server_call_id());
        let named = named.map(Anchor::as_str);
        self.live.trust.witness_of(subject.persons(), &subject.grant, named)
    }

    fn is_member(&self, anchor: &Anchor) -> bool {
        self.aliases.call_of(anchor) == *self.call
    }

    fn members(&self) -> &BTreeSet<Anchor> {
        self.names.members.get_or_init(|| self.aliases.members(self.call))
    }

    fn shared(&self) -> &BTreeSet<Anchor> {
        self.names.shared.get_or_init(|| {
            // Nearly all anchors of a call of very many legs are attachments, so the cheaper check is
            // the first one.
            let below = self.aliases.walk(self.call, None).map(|place| place.anchor);
            let all = below.chain([self.call]);
            let shared = all.filter(|it| self.owners.owner(it).is_none() && self.is_member(it));
            shared.cloned().collect()
        })
    }
}

/// The name of a call that a recipient is told.
fn told_call<'a>(told: &'a ToldIds, call: &'a Anchor) -> &'a Anchor {
    match told {
        ToldIds::All | ToldIds::Participant(_) => call,
        // Every recipient names the call, so there is a first one.
        ToldIds::Brought(brought) => brought.first().unwrap_or(call),
    }
}
