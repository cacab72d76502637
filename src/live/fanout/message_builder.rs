//! Builds the messages of one call, each different message once.

use std::collections::{BTreeSet, HashMap};

use super::message::{BuildInstant, StreamMessage};
use crate::live::attachment_owners::AttachmentOwners;
use crate::live::live_call::{LiveCall, PastChange};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::Indications;

/// The aliases that a recipient may see: an attachment is named only to its owner.
#[derive(Clone, PartialEq, Eq, Hash)]
enum AliasList {
    All,
    /// All anchors that are no attachments, and the attachments of this person.
    OfPerson(Option<String>),
}

/// Builds messages for the current level of one call.
pub(crate) struct MessageBuilder<'d> {
    tenant: &'d Tenant,
    call: &'d Anchor,
    live: &'d LiveCall,
    /// All anchors of the call.
    members: &'d BTreeSet<Anchor>,
    owners: &'d AttachmentOwners,
    time: BuildInstant,
    built: HashMap<(Option<Indications>, AliasList), StreamMessage>,
}

impl<'d> MessageBuilder<'d> {
    pub(crate) fn new(
        tenant: &'d Tenant,
        call: &'d Anchor,
        live: &'d LiveCall,
        members: &'d BTreeSet<Anchor>,
        owners: &'d AttachmentOwners,
        time: BuildInstant,
    ) -> Self {
        Self { tenant, call, live, members, owners, time, built: HashMap::new() }
    }

    /// The message for one recipient: a notice of the change from `previous`, or a snapshot without
    /// it. `person` is the recipient; `None`: an API key.
    pub(crate) fn level(
        &mut self,
        previous: Option<Indications>,
        person: Option<&str>,
    ) -> StreamMessage {
        let aliases = match person {
            None => AliasList::All,
            Some(person) => {
                let is_participant = self
                    .owners
                    .attachments(person)
                    .any(|attachment| self.members.contains(attachment));
                AliasList::OfPerson(is_participant.then(|| person.to_owned()))
            }
        };
        let key = (previous, aliases);
        if let Some(built) = self.built.get(&key) {
            return built.clone();
        }
        let may_be_named = |member: &&Anchor| match (&key.1, self.owners.owner(member)) {
            (AliasList::All, _) | (_, None) => true,
            (AliasList::OfPerson(person), Some(owner)) => person.as_deref() == Some(owner),
        };
        let names: Vec<&str> =
            self.members.iter().filter(may_be_named).map(Anchor::as_str).collect();
        let current = &self.live.current;
        let previous = key.0.as_ref();
        let message =
            StreamMessage::level(self.tenant, self.call, &names, current, previous, self.time);
        self.built.insert(key, message.clone());
        message
    }
}

/// Rebuilds the message of a past change, for any recipient: it names no attachments.
pub(crate) fn rebuild(
    tenant: &Tenant,
    past: &PastChange,
    members: &BTreeSet<Anchor>,
    owners: &AttachmentOwners,
) -> StreamMessage {
    let names = members.iter().filter(|member| owners.owner(member).is_none());
    let names: Vec<&str> = names.map(Anchor::as_str).collect();
    StreamMessage::level(
        tenant,
        &past.call,
        &names,
        &past.changed_to,
        past.previous.as_ref(),
        past.time,
    )
}
