//! Builds the messages of one call, each different message once.

use std::collections::{BTreeSet, HashMap};

use super::message::{CallLevel, StreamMessage};
use crate::live::attachment_owners::AttachmentOwners;
use crate::live::live_call::{LiveCall, PastChange};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::Indications;

/// The instants that a message carries.
#[derive(Clone, Copy)]
pub(crate) struct BuildInstant {
    /// The log time through which events were folded, ms.
    pub at: Millis,
    /// The server time, ms.
    pub now: Millis,
}

/// The aliases that a recipient may see: an attachment is named only to its owner.
#[derive(Clone, PartialEq, Eq, Hash)]
enum AliasList {
    All,
    /// All anchors that are no attachments, and the attachments of this person.
    OfPerson(Option<String>),
}

/// Builds messages for the current level of one call.
pub(crate) struct MessageBuilder<'d> {
    pub tenant: &'d Tenant,
    pub call: &'d Anchor,
    pub live: &'d LiveCall,
    /// All anchors of the call.
    pub members: &'d BTreeSet<Anchor>,
    pub owners: &'d AttachmentOwners,
    pub time: BuildInstant,
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
        Self {
            tenant,
            call,
            live,
            members,
            owners,
            time,
            built: HashMap::new(),
        }
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
        self.message(previous, aliases)
    }

    fn message(&mut self, previous: Option<Indications>, aliases: AliasList) -> StreamMessage {
        if let Some(built) = self.built.get(&(previous, aliases.clone())) {
            return built.clone();
        }
        let may_be_named = |member: &&Anchor| match (&aliases, self.owners.owner(member)) {
            (AliasList::All, _) | (_, None) => true,
            (AliasList::OfPerson(person), Some(owner)) => person.as_deref() == Some(owner),
        };
        let names: Vec<&str> = self
            .members
            .iter()
            .filter(may_be_named)
            .map(Anchor::as_str)
            .collect();
        let level = CallLevel {
            tenant: self.tenant,
            call: self.call,
            members: &names,
            level: self.live.level,
            view: &self.live.view,
            cause: self.live.cause,
        };
        let BuildInstant { at, now } = self.time;
        let message = match &previous {
            Some(previous) => StreamMessage::notice(&level, previous, at, now),
            None => StreamMessage::snapshot(&level, at, now),
        };
        self.built.insert((previous, aliases), message.clone());
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
    let names = members
        .iter()
        .filter(|member| owners.owner(member).is_none());
    let names: Vec<&str> = names.map(Anchor::as_str).collect();
    let level = CallLevel {
        tenant,
        call: &past.call,
        members: &names,
        level: past.level,
        view: &past.view,
        cause: past.cause,
    };
    match &past.previous {
        Some(previous) => StreamMessage::notice(&level, previous, past.at, past.now),
        None => StreamMessage::snapshot(&level, past.at, past.now),
    }
}
