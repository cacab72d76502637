//! What a transport of ours states alike of many hearers: one level of one stretch, handed to each
//! of them, or come back from each.
//!
//! # Why
//!
//! Ten thousand listeners of one call make ten thousand facts at each change, which differ in
//! nothing but whom and when. Together they take a quarter of the bytes, and their ids need not
//! travel: whoever reads them makes them anew.

use serde::{Deserialize, Serialize};

use super::{By, NoticeFact, NoticeKind, Transport, id_by_transport};
use crate::domain::fact::{CaptureType, Level};
use crate::domain::ids::Tenant;
use crate::domain::instant::Millis;

/// One statement about many hearers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedNoticeFact {
    /// By our clock: the first of them.
    pub t: Millis,
    pub kind: NoticeKind,
    /// What the notice is about.
    #[serde(rename = "type")]
    pub capture: CaptureType,
    /// What it says.
    pub state: Level,
    /// When the stretch began that the level belongs to, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<Millis>,
    /// The notice's id, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    pub transport: Transport,
    pub hearers: Vec<HearerOfShared>,
}

/// One of its hearers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HearerOfShared {
    #[serde(flatten)]
    pub by: By,
    /// How long after `t`, ms.
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
    /// The same, one by one.
    pub fn facts(&self, tenant: &Tenant) -> impl Iterator<Item = NoticeFact> {
        self.hearers.iter().map(|hearer| {
            let (kind, by) = (self.kind, &hearer.by);
            let id = id_by_transport(tenant, kind, by, self.capture, self.state, self.stretch);
            NoticeFact {
                id,
                t: self.t.saturating_add(hearer.after_ms.into()),
                kind,
                capture: self.capture,
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
