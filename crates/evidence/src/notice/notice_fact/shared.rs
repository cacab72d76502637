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
use crate::fact::kinds::{CaptureType, Level};

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
    /// The start of the capture that the level belongs to (Unix milliseconds). `capture` in JSON.
    #[serde(rename = "capture", default, skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after_ms: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl SharedNoticeFact {
    /// The notice facts of the recipients, one by one.
    pub fn facts(&self, tenant: &Tenant) -> impl Iterator<Item = NoticeFact> {
        self.recipients.iter().map(|recipient| {
            let (kind, by) = (self.kind, &recipient.by);
            let id = id_by_transport(
                tenant,
                kind,
                by,
                self.capture_type,
                self.state,
                self.capture_started_at,
            );
            NoticeFact {
                id,
                at: self.at.saturating_add(recipient.after_ms.into()),
                kind,
                capture_type: self.capture_type,
                state: Some(self.state),
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
