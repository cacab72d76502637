//! Notice facts: how far a notice got on its way to a participant, as it is stated and kept.
//!
//! Our transports state what they handed over and what came back, clients state what they showed
//! and what they were answered. Each statement names whom it is by: a client's attachment, or the
//! raw id of a token whose stream had none. [`attribute`] says whose session that is, by all that
//! is known of the call.
//!
//! # Why
//!
//! *The attachment is kept, not the session.* Which session an attachment belongs to is decided
//! anew with every event ([`super::session`]); what cannot be attributed yet is attributed as soon
//! as it can be.
//!
//! *An attachment that never reported is a session of its own*, as one is that fits to no other: an
//! acknowledgement must not be lost because no report came through. Where two persons speak for
//! such an attachment, neither is believed until a report says whose it is.
//!
//! *Whoever speaks must own the attachment.* Its owner is whom its first report names. The door asks
//! too, but a node may not know yet.
//!
//! *Ids are digests.* What a transport states has one id on every node: of whom, of what, and of the
//! stretch that the level belongs to. So the second node that states it adds nothing. What a
//! client states is known by the client's own id.

mod shared;

use std::collections::{BTreeMap, BTreeSet};

pub use shared::{HearerOfShared, SharedNoticeFact};

use serde::{Deserialize, Serialize};

use super::alias::Anchor;
use super::calling_event::ShownText;
use super::fact::{self, CaptureType, ConsentDecision, Fact, FactKind, Level, NoticeStep};
use super::ids::{Digest, Tenant};
use super::instant::Millis;
use super::session::{Resolved, SessionWho, session_of_silent};

/// One statement about a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeFact {
    pub id: Digest,
    /// By our clock.
    pub t: Millis,
    pub kind: NoticeKind,
    /// What the notice is about.
    #[serde(rename = "type")]
    pub capture: CaptureType,
    /// What it says; a consent may be to no level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Level>,
    /// How long before `t` it happened, by the client's stopwatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    pub by: By,
    /// The client's own id of what it states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The notice's id, where one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// The words that were shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<ShownText>,
    /// Which of ours, where one of ours states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
}

/// What is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NoticeKind {
    /// Handed to a transport.
    #[serde(rename = "notice.dispatched")]
    Dispatched,
    /// The client's machine has it.
    #[serde(rename = "notice.delivered")]
    Delivered,
    /// It is on the screen.
    #[serde(rename = "notice.displayed")]
    Displayed,
    /// It is no longer on the screen.
    #[serde(rename = "notice.hidden")]
    Hidden,
    /// The participant confirmed it.
    #[serde(rename = "notice.acknowledged")]
    Acknowledged,
    /// The participant agrees.
    #[serde(rename = "consent.given")]
    Consented,
    /// The participant does not.
    #[serde(rename = "consent.declined")]
    Declined,
}

impl NoticeKind {
    /// The word that stands for it in JSON: the kind of the fact that the rules read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dispatched => "notice.dispatched",
            Self::Delivered => "notice.delivered",
            Self::Displayed => "notice.displayed",
            Self::Hidden => "notice.hidden",
            Self::Acknowledged => "notice.acknowledged",
            Self::Consented => "consent.given",
            Self::Declined => "consent.declined",
        }
    }

    /// Whether it says nothing without a level.
    #[must_use]
    pub fn needs_state(self) -> bool {
        !matches!(self, Self::Consented | Self::Declined)
    }
}

/// By which of our transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Server-sent events.
    Sse,
    /// WebSocket.
    Websocket,
}

/// By whom, or to whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct By {
    /// Whom the token names.
    pub raw_id: String,
    #[serde(flatten)]
    pub place: Place,
}

/// On which leg, or in which call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A client's attachment.
    Attachment(String),
    /// A call, as it was called then; of a stream that names no attachment.
    Call(String),
}

impl By {
    /// Where the fact belongs by itself, for ever.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        match &self.place {
            Place::Attachment(attachment) => Anchor::attachment(attachment),
            Place::Call(call) => Anchor::from_stored(call.clone()),
        }
    }

    fn parts(&self) -> [&str; 3] {
        match &self.place {
            Place::Attachment(attachment) => [&self.raw_id, "attachment", attachment],
            Place::Call(call) => [&self.raw_id, "call", call],
        }
    }
}

/// The id of what a transport states: of one level of one stretch, to one hearer, once.
#[must_use]
pub fn id_by_transport(
    tenant: &Tenant,
    kind: NoticeKind,
    by: &By,
    capture: CaptureType,
    state: Level,
    stretch: Option<Millis>,
) -> Digest {
    let [raw_id, sort, place] = by.parts();
    let stretch = stretch.map_or_else(String::new, |start| start.to_string());
    Digest::of_parts(&[
        kind.as_str(),
        tenant.as_str(),
        raw_id,
        sort,
        place,
        capture.as_str(),
        state.as_str(),
        &stretch,
    ])
}

/// The id of what a client states under an id of its own.
#[must_use]
pub fn id_by_client(tenant: &Tenant, by: &By, client_id: &str) -> Digest {
    let [raw_id, sort, place] = by.parts();
    Digest::of_parts(&[
        "acknowledgement",
        tenant.as_str(),
        raw_id,
        sort,
        place,
        client_id,
    ])
}

impl NoticeFact {
    /// By which two with one id are told apart: what is stated, but not when it came. The id of
    /// what a transport states says it all.
    #[must_use]
    pub fn content(&self) -> Digest {
        let Some(client_id) = &self.client_id else {
            return Digest::of(self.id.as_bytes());
        };
        let stated = (
            self.kind,
            self.capture,
            self.state,
            self.elapsed_ms,
            &self.by,
            client_id,
            &self.notice,
            &self.text,
        );
        // Words and numbers of ours always serialize.
        Digest::of(&serde_json::to_vec(&stated).unwrap_or_default())
    }

    /// What the rules read; `None` if that is nothing.
    fn fact(&self, session: String) -> Option<Fact> {
        let notice = |step| {
            let elapsed = matches!(step, NoticeStep::Displayed | NoticeStep::Acknowledged);
            Some(FactKind::Notice(fact::NoticeFact {
                step,
                session: session.clone(),
                capture: self.capture,
                state: self.state?,
                elapsed: self.elapsed_ms.filter(|_| elapsed),
            }))
        };
        let consent = |decision| {
            Some(FactKind::Consent {
                decision,
                session: session.clone(),
                capture: self.capture,
            })
        };
        let kind = match self.kind {
            NoticeKind::Dispatched => notice(NoticeStep::Dispatched),
            NoticeKind::Delivered => notice(NoticeStep::Delivered),
            NoticeKind::Displayed => notice(NoticeStep::Displayed),
            NoticeKind::Hidden => notice(NoticeStep::Hidden),
            NoticeKind::Acknowledged => notice(NoticeStep::Acknowledged),
            NoticeKind::Consented => consent(ConsentDecision::Given),
            NoticeKind::Declined => consent(ConsentDecision::Declined),
        };
        Some(Fact::new(self.id.to_string(), self.t, kind?))
    }
}

/// What statements about notices add to what is known of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributed {
    /// The facts for the rules, of those statements that can be attributed.
    pub facts: Vec<Fact>,
    /// The sessions among theirs that nothing else tells of, by name.
    pub sessions: Vec<SessionWho>,
}

/// Says whose statements are. Any permutation of them, with any of them doubled, gives the same; of
/// two copies the earlier one counts.
#[must_use]
pub fn attribute<'f>(
    resolved: &Resolved,
    notices: impl IntoIterator<Item = &'f NoticeFact>,
) -> Attributed {
    let mut ordered: Vec<&NoticeFact> = notices.into_iter().collect();
    if ordered.is_empty() {
        return Attributed::default();
    }
    ordered.sort_by_key(|notice| (notice.id, notice.t));
    let mut once: Vec<&NoticeFact> = Vec::with_capacity(ordered.len());
    for notice in ordered {
        let mut of_this_id = once.iter().rev().take_while(|kept| kept.id == notice.id);
        if !of_this_id.any(|kept| kept.content() == notice.content()) {
            once.push(notice);
        }
    }
    let owners: BTreeMap<&str, Option<&str>> = resolved
        .sessions
        .iter()
        .flat_map(|who| &who.attachments)
        .map(|who| (who.attachment.as_str(), who.raw_id.as_deref()))
        .collect();
    let mut speakers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for notice in &once {
        if let Place::Attachment(attachment) = &notice.by.place {
            let speakers = speakers.entry(attachment).or_default();
            speakers.insert(&notice.by.raw_id);
        }
    }
    // Of attachments that never reported, those for which one person speaks.
    let silent: BTreeMap<&str, &str> = speakers
        .into_iter()
        .filter(|(attachment, _)| !owners.contains_key(attachment))
        .filter_map(|(attachment, speakers)| {
            let mut speakers = speakers.into_iter();
            let speaker = speakers.next()?;
            speakers.next().is_none().then_some((attachment, speaker))
        })
        .collect();
    let session = |by: &By| match &by.place {
        Place::Call(_) => resolved.only_session_of(&by.raw_id).map(str::to_owned),
        Place::Attachment(attachment) => match owners.get(attachment.as_str()) {
            Some(owner) => (*owner == Some(by.raw_id.as_str()))
                .then(|| resolved.session_of(attachment).map(str::to_owned))
                .flatten(),
            None => silent
                .contains_key(attachment.as_str())
                .then(|| session_of_silent(attachment)),
        },
    };
    Attributed {
        facts: once
            .into_iter()
            .filter_map(|notice| notice.fact(session(&notice.by)?))
            .collect(),
        sessions: silent
            .iter()
            .map(|(attachment, speaker)| SessionWho::of_silent(attachment, speaker))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
