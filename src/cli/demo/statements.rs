//! What the clients of a call say of notices, and which facts that becomes.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::Tenant;
use crate::domain::notice_fact::{By, Place, id_by_client};
use crate::simulator::{ACKNOWLEDGEMENT, Performance, Script};

/// The acknowledgements of one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Statements {
    pub title: &'static str,
    pub public_id: String,
    /// By the client's id of each, the id of the fact.
    pub facts: BTreeMap<String, String>,
}

impl Statements {
    pub fn of(script: &Script, tenant: &Tenant) -> Self {
        let mut facts = BTreeMap::new();
        for delivery in &script.deliveries {
            let Some(raw_id) = delivery.door.raw_id() else {
                continue;
            };
            let stated = delivery.events.iter();
            for event in stated.filter(|event| event.source_type == ACKNOWLEDGEMENT) {
                let attachment = event.body["attachment"].as_str().unwrap_or_default();
                let by = By {
                    raw_id: raw_id.to_owned(),
                    place: Place::Attachment(attachment.to_owned()),
                };
                let fact = id_by_client(tenant, &by, &event.id);
                facts.insert(event.id.clone(), fact.to_string());
            }
        }
        Self {
            title: script.title,
            public_id: script.public_id.clone(),
            facts,
        }
    }

    /// The facts that the server owes: those of what it accepted.
    pub fn owed(&self, performance: &Performance) -> BTreeSet<String> {
        let taken = performance.taken.iter();
        taken
            .filter(|name| name.source_type == ACKNOWLEDGEMENT)
            .filter_map(|name| self.facts.get(&name.id).cloned())
            .collect()
    }
}
