//! Notice facts of many recipients in one message: a transport dispatched one level of one capture to
//! each of them, or received a confirmation of each.
//!
//! # Why
//!
//! Ten thousand subscribers of one call give ten thousand facts at each change, which differ in
//! recipient and instant only. Together they take a quarter of the bytes. Their ids are not sent:
//! the reader computes them.

use serde::{Deserialize, Serialize};

use super::{NoticeFact, NoticeKind, StatedBy, Transport, id_by_transport};
use crate::event::ids::Tenant;
use crate::event::instant::Millis;
use crate::fact::kinds::{CaptureType, Level, is_default};

/// One statement about many recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedNoticeFact {
    /// The instant of the first of them, by the clock of the service (Unix milliseconds).
    pub at: Millis,
    /// What is stated.
    pub kind: NoticeKind,
    /// What is captured. `type` in JSON.
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    /// The level that the notice states.
    pub state: Level,
    /// The start of the capture that the level belongs to (Unix milliseconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_started_at: Option<Millis>,
    /// The id of the notice, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// The transport.
    pub transport: Transport,
    /// The recipients.
    pub recipients: Vec<SharedRecipient>,
}

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedRecipient {
    /// The party: raw id, and attachment or call.
    #[serde(flatten)]
    pub by: StatedBy,
    /// The delay after `at`, in milliseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after_ms: u32,
}

impl SharedNoticeFact {
    /// The notice facts of the recipients, one by one.
    pub fn facts(&self, tenant: &Tenant) -> impl Iterator<Item = NoticeFact> {
        self.recipients.iter().map(|recipient| {
            let (by, started_at) = (&recipient.by, self.capture_started_at);
            let (kind, capture_type, state) = (self.kind, self.capture_type, self.state);
            NoticeFact {
                id: id_by_transport(tenant, kind, by, capture_type, state, started_at),
                at: self.at.saturating_add(recipient.after_ms.into()),
                kind,
                capture_type,
                state: Some(state),
                elapsed_ms: None,
                by: by.clone(),
                client_id: None,
                notice: self.notice.clone(),
                text: None,
                transport: Some(self.transport),
            }
        })
    }
}
