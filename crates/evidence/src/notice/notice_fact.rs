//! Notice facts: the stored statements about the way of a notice to a participant.
//!
//! The transports state what they dispatched and what was confirmed; clients state what they showed
//! and what the participant answered. Each statement names its party ([`StatedBy`]): a client's
//! attachment, or the raw id of a token whose stream has none. [`attribute`] finds the session of
//! that party by all events of the call.
//!
//! # Why
//!
//! *The attachment is stored, not the session.* The session of an attachment is resolved anew with
//! every event ([`crate::session::resolution`]); a statement that cannot be attributed yet is
//! attributed as soon as it can be.
//!
//! *An attachment that never reported is a session of its own*, so that an acknowledgement is not
//! lost because no report arrived. If two participants send statements for such an attachment,
//! neither counts until a report names its owner.
//!
//! *A participant speaks for its own client only.* A statement counts for the session of its attachment
//! and its raw id; a statement of a participant that never reported with the attachment of another one
//! counts for no participant. `clients` checks it too, but a node may not have the report yet.
//!
//! *A participant that the platform does not name needs a report.* Without one, a stranger's statement
//! would make the stranger a participant who must be notified.
//!
//! *Ids are digests.* A statement of a transport has the same id on every node: the digest of party,
//! type, level and capture. So a second node that states it adds nothing (`ONCE`). A statement of a
//! client is identified by the client's own id.

pub mod shared;

use std::collections::BTreeMap;

pub use shared::{SharedNoticeFact, SharedRecipient};

use serde::{Deserialize, Serialize};

use crate::event::calling_event::ShownText;
use crate::event::ids::{Digest, Tenant};
use crate::event::instant::Millis;
use crate::fact::kinds::{
    self, CaptureType, ConsentDecision, Fact, FactKind, JsonWord as _, Level, NoticeStep, Witness,
};
use crate::identity::alias_graph::Anchor;
use crate::identity::grant::Grant;
use crate::session::resolution::{
    AttributedFacts, ResolvedSessions, SessionDescription, session_of_attachment,
};

/// One statement about a notice, or a consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeFact {
    /// The id: [`id_by_transport`] or [`id_by_client`].
    pub id: Digest,
    /// When it was received, by the clock of the service (Unix milliseconds).
    pub at: Millis,
    /// What is stated.
    pub kind: NoticeKind,
    /// What is captured. `type` in JSON.
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    /// The level that the notice states. A consent may have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Level>,
    /// How many milliseconds before `at` it happened, by the client's stopwatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// The party that states it, or to which the notice was sent.
    pub by: StatedBy,
    /// The client's own id of the statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The id of the notice, if one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// The words that were shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<ShownText>,
    /// The transport, if one states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
}

/// The kind of a notice fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, strum::IntoStaticStr)]
pub enum NoticeKind {
    /// The notice was handed to a transport.
    #[serde(rename = "notice.dispatched")]
    #[strum(serialize = "notice.dispatched")]
    Dispatched,
    /// The client's machine received the notice.
    #[serde(rename = "notice.delivered")]
    #[strum(serialize = "notice.delivered")]
    Delivered,
    /// The notice is on the screen.
    #[serde(rename = "notice.displayed")]
    #[strum(serialize = "notice.displayed")]
    Displayed,
    /// The notice is no longer on the screen.
    #[serde(rename = "notice.hidden")]
    #[strum(serialize = "notice.hidden")]
    Hidden,
    /// The participant confirmed the notice.
    #[serde(rename = "notice.acknowledged")]
    #[strum(serialize = "notice.acknowledged")]
    Acknowledged,
    /// The participant consents.
    #[serde(rename = "consent.given")]
    #[strum(serialize = "consent.given")]
    ConsentGiven,
    /// The participant declines.
    #[serde(rename = "consent.declined")]
    #[strum(serialize = "consent.declined")]
    ConsentDeclined,
}

impl NoticeKind {
    /// Whether it needs a level.
    #[must_use]
    pub fn needs_state(self) -> bool {
        !matches!(self, Self::ConsentGiven | Self::ConsentDeclined)
    }
}

/// A transport of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Server-sent events.
    Sse,
    /// WebSocket.
    Websocket,
}

/// The party of a notice fact: the participant that states it, or to which the notice was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StatedBy {
    /// The raw id that the subscriber token names.
    pub raw_id: String,
    /// The attachment or call that the subscriber token names.
    #[serde(flatten)]
    pub place: NoticePlace,
}

/// The leg or the call of a party.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticePlace {
    /// A client's attachment.
    Attachment(String),
    /// The id of a call at that time, for a stream without an attachment.
    Call(String),
}

impl StatedBy {
    /// The anchor of the fact. It never changes.
    #[must_use]
    pub fn anchor(&self) -> Anchor {
        match &self.place {
            NoticePlace::Attachment(attachment) => Anchor::attachment(attachment),
            NoticePlace::Call(call) => Anchor::from_stored(call.clone()),
        }
    }

    fn parts(&self) -> [&str; 3] {
        let (sort, id) = match &self.place {
            NoticePlace::Attachment(attachment) => ("attachment", attachment),
            NoticePlace::Call(call) => ("call", call),
        };
        [&self.raw_id, sort, id]
    }
}

/// The id of a statement of a transport: one step of one level to one recipient.
/// `capture_started_at` (Unix milliseconds) tells the captures of a type apart.
#[must_use]
pub fn id_by_transport(
    tenant: &Tenant,
    kind: NoticeKind,
    by: &StatedBy,
    capture_type: CaptureType,
    state: Level,
    capture_started_at: Option<Millis>,
) -> Digest {
    let [raw_id, sort, place] = by.parts();
    let started_at = capture_started_at.map_or_else(String::new, |at| at.to_string());
    Digest::of_parts(&[
        kind.as_str(),
        tenant.as_str(),
        raw_id,
        sort,
        place,
        capture_type.as_str(),
        state.as_str(),
        &started_at,
    ])
}

/// The id of a statement of a client, which has the client's own id.
#[must_use]
pub fn id_by_client(tenant: &Tenant, by: &StatedBy, client_id: &str) -> Digest {
    let [raw_id, sort, place] = by.parts();
    Digest::of_parts(&["acknowledgement", tenant.as_str(), raw_id, sort, place, client_id])
}

impl NoticeFact {
    /// The digest that tells two facts of one id apart: the statement without its instant. The id of
    /// a statement of a transport already contains all of it.
    #[must_use]
    pub fn content(&self) -> Digest {
        let Some(client_id) = &self.client_id else {
            return Digest::of(self.id.as_bytes());
        };
        let stated = (
            self.kind,
            self.capture_type,
            self.state,
            self.elapsed_ms,
            &self.by,
            client_id,
            &self.notice,
            &self.text,
        );
        // Strings and numbers always serialize.
        Digest::of(&serde_json::to_vec(&stated).unwrap_or_default())
    }

    /// The fact that the rules of evidence read. None: a level is missing.
    fn fact(&self, session: String) -> Option<Fact> {
        let notice = |step| {
            let elapsed = matches!(step, NoticeStep::Displayed | NoticeStep::Acknowledged);
            Some(FactKind::Notice(kinds::NoticeFactKind {
                step,
                session: session.clone(),
                capture_type: self.capture_type,
                state: self.state?,
                elapsed_ms: self.elapsed_ms.filter(|_| elapsed),
            }))
        };
        let consent = |decision| {
            let (session, capture_type) = (session.clone(), self.capture_type);
            Some(FactKind::Consent(kinds::ConsentFact { decision, session, capture_type }))
        };
        let kind = match self.kind {
            NoticeKind::Dispatched => notice(NoticeStep::Dispatched),
            NoticeKind::Delivered => notice(NoticeStep::Delivered),
            NoticeKind::Displayed => notice(NoticeStep::Displayed),
            NoticeKind::Hidden => notice(NoticeStep::Hidden),
            NoticeKind::Acknowledged => notice(NoticeStep::Acknowledged),
            NoticeKind::ConsentGiven => consent(ConsentDecision::Given),
            NoticeKind::ConsentDeclined => consent(ConsentDecision::Declined),
        };
        Some(Fact::new(self.id.to_string(), self.at, kind?))
    }
}

/// Attributes statements to the sessions of a call. Any permutation of them, with any of them
/// doubled, gives the same facts (`ORDER_FREE`); of two copies the earlier one counts.
#[must_use]
pub fn attribute<'f>(
    resolved: &ResolvedSessions,
    notices: impl IntoIterator<Item = &'f NoticeFact>,
) -> AttributedFacts {
    let mut ordered: Vec<&NoticeFact> = notices.into_iter().collect();
    if ordered.is_empty() {
        return AttributedFacts::default();
    }
    ordered.sort_by_key(|notice| (notice.id, notice.at));
    let mut once: Vec<&NoticeFact> = Vec::with_capacity(ordered.len());
    for notice in ordered {
        let mut of_this_id = once.iter().rev().take_while(|kept| kept.id == notice.id);
        if !of_this_id.any(|kept| kept.content() == notice.content()) {
            once.push(notice);
        }
    }
    // The attachments that never reported, each with its sender; `None` if there are several.
    let mut unreported: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for notice in &once {
        if let NoticePlace::Attachment(attachment) = &notice.by.place
            && !resolved.has_reports(attachment)
        {
            let sender = notice.by.raw_id.as_str();
            let only = unreported.entry(attachment).or_insert(Some(sender));
            *only = only.filter(|known| *known == sender);
        }
    }
    let witness = |sender: &str| resolved.trust.witness_of([sender], &Grant::default(), []);
    unreported
        .retain(|_, sender| sender.is_some_and(|sender| witness(sender) != Witness::Outsider));
    let session = |by: &StatedBy| match &by.place {
        NoticePlace::Call(_) => resolved.only_session_of(&by.raw_id).map(str::to_owned),
        NoticePlace::Attachment(attachment) if resolved.has_reports(attachment) => {
            resolved.session_of(attachment, &by.raw_id).map(str::to_owned)
        }
        NoticePlace::Attachment(attachment) => {
            unreported.contains_key(attachment.as_str()).then(|| session_of_attachment(attachment))
        }
    };
    AttributedFacts {
        facts: once.into_iter().filter_map(|notice| notice.fact(session(&notice.by)?)).collect(),
        sessions: unreported
            .iter()
            .filter_map(|(attachment, sender)| {
                let sender = (*sender)?;
                Some(SessionDescription::without_reports(attachment, sender, witness(sender)))
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
