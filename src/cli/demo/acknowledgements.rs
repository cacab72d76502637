//! The acknowledgements of a call's clients, and the notice facts that they become.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::evidence::exported_report::ExportedReport;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::notice::notice_fact::{NoticePlace, StatedBy, id_by_client};
use onrecord_simulator::{ACKNOWLEDGEMENT, CallScript, Playback};

/// The acknowledgements of one call.
#[derive(Clone, Debug, Default)]
pub(super) struct CallAcknowledgements {
    pub title: &'static str,
    pub public_id: String,
    /// The id of the fact of each acknowledgement, by the client's id.
    pub facts: BTreeMap<String, String>,
    /// The facts that must be on record: those of the accepted acknowledgements.
    pub expected: BTreeSet<String>,
}

impl CallAcknowledgements {
    pub(super) fn of(script: &CallScript, tenant: &Tenant) -> Self {
        let mut facts = BTreeMap::new();
        for delivery in &script.deliveries {
            let Some(raw_id) = delivery.target.raw_id() else {
                continue;
            };
            let events = delivery.events.iter();
            for event in events.filter(|event| event.source_type == ACKNOWLEDGEMENT) {
                let attachment = event.body["attachment"].as_str().unwrap_or_default();
                let by = StatedBy {
                    raw_id: raw_id.to_owned(),
                    place: NoticePlace::Attachment(attachment.to_owned()),
                };
                let fact = id_by_client(tenant, &by, &event.id);
                facts.insert(event.id.clone(), fact.to_string());
            }
        }
        let public_id = script.public_id.clone();
        Self { title: script.title, public_id, facts, expected: BTreeSet::new() }
    }

    /// Adds the outcome of the deliveries of the call.
    pub(super) fn add_playback(&mut self, playback: &Playback) {
        let accepted = playback.accepted.iter().filter(|it| it.source_type == ACKNOWLEDGEMENT);
        self.expected.extend(accepted.filter_map(|event| self.facts.get(&event.id).cloned()));
    }

    /// The expected facts that are not in an exported report.
    pub(super) fn missing_from(&self, exported: &ExportedReport) -> BTreeSet<String> {
        &self.expected - &exported.fact_ids()
    }
}
