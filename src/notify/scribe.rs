//! Writes what is to be said of one call, each thing once.

use std::collections::{BTreeSet, HashMap};

use super::call::{LiveCall, Past};
use super::message::{Level, Message};
use super::owners::Owners;
use crate::domain::alias::Anchor;
use crate::domain::ids::Tenant;
use crate::domain::indication::Indications;
use crate::domain::instant::Millis;

/// When something is said.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// What has been told through, by the log's clock, ms.
    pub at: Millis,
    /// ms.
    pub now: Millis,
}

/// Who hears which aliases: a client's attachment is its own affair.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Aliases {
    All,
    /// No attachments but those of this person.
    OfPerson(Option<String>),
}

/// Writes about one call as it is now.
pub(super) struct Scribe<'d> {
    pub tenant: &'d Tenant,
    pub call: &'d Anchor,
    pub live: &'d LiveCall,
    /// All its anchors.
    pub members: &'d BTreeSet<Anchor>,
    pub owners: &'d Owners,
    pub moment: Moment,
    written: HashMap<(Option<Indications>, Aliases), Message>,
}

impl<'d> Scribe<'d> {
    pub fn new(
        tenant: &'d Tenant,
        call: &'d Anchor,
        live: &'d LiveCall,
        members: &'d BTreeSet<Anchor>,
        owners: &'d Owners,
        moment: Moment,
    ) -> Self {
        Self {
            tenant,
            call,
            live,
            members,
            owners,
            moment,
            written: HashMap::new(),
        }
    }

    /// The level: as a change of `previous`, or without one as it is. For this person, or for
    /// somebody with an API key.
    pub fn level(&mut self, previous: Option<Indications>, person: Option<&str>) -> Message {
        let aliases = match person {
            None => Aliases::All,
            Some(person) => {
                let takes_part = self
                    .owners
                    .attachments(person)
                    .any(|attachment| self.members.contains(attachment));
                Aliases::OfPerson(takes_part.then(|| person.to_owned()))
            }
        };
        self.message(previous, aliases)
    }

    fn message(&mut self, previous: Option<Indications>, aliases: Aliases) -> Message {
        if let Some(written) = self.written.get(&(previous, aliases.clone())) {
            return written.clone();
        }
        let may_be_named = |member: &&Anchor| match (&aliases, self.owners.person(member)) {
            (Aliases::All, _) | (_, None) => true,
            (Aliases::OfPerson(person), Some(owner)) => person.as_deref() == Some(owner),
        };
        let names: Vec<&str> = self
            .members
            .iter()
            .filter(may_be_named)
            .map(Anchor::as_str)
            .collect();
        let level = Level {
            tenant: self.tenant,
            call: self.call,
            members: &names,
            level: self.live.level,
            view: &self.live.view,
            cause: self.live.cause,
        };
        let Moment { at, now } = self.moment;
        let message = match &previous {
            Some(previous) => Message::notice(&level, previous, at, now),
            None => Message::snapshot(&level, at, now),
        };
        self.written.insert((previous, aliases), message.clone());
        message
    }
}

/// What was told of a call with these members, once more, for anybody.
pub(super) fn again(
    tenant: &Tenant,
    past: &Past,
    members: &BTreeSet<Anchor>,
    owners: &Owners,
) -> Message {
    let names = members
        .iter()
        .filter(|member| owners.person(member).is_none());
    let names: Vec<&str> = names.map(Anchor::as_str).collect();
    let level = Level {
        tenant,
        call: &past.call,
        members: &names,
        level: past.level,
        view: &past.view,
        cause: past.cause,
    };
    match &past.previous {
        Some(previous) => Message::notice(&level, previous, past.at, past.now),
        None => Message::snapshot(&level, past.at, past.now),
    }
}
