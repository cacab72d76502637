//! The ACS resource of a run, and the people of its calls.

use serde_json::{Value, json};

use crate::call::call_ids::{HEXADECIMAL, SimulatedCallIds};
use crate::rng::SeededRng;

const NAMES: [&str; 16] = [
    "Ada Lindqvist",
    "Ben Okafor",
    "Chiara Conti",
    "Dmitri Volkov",
    "Elif Yılmaz",
    "Farah Haddad",
    "Gwen O'Hara",
    "Hiroshi Tanaka",
    "Inés García",
    "Jörg Weiß",
    "Kwame Mensah",
    "Lucía Fernández",
    "Mei Chen",
    "Nikhil Rao",
    "Ola Nordmann",
    "Priya Nair",
];

/// The ACS resource that all calls of a run belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedResource {
    /// The immutable id of the resource, which is part of its users' raw ids.
    pub resource_id: String,
    subscription: String,
}

impl SimulatedResource {
    /// The resource of a seed; its id is random unless one is given.
    #[must_use]
    pub fn new(seed: u64, resource_id: Option<String>) -> Self {
        let mut rng = SeededRng::new(seed, "resource", 0);
        let (random_id, subscription) = (rng.guid(), rng.guid());
        Self { resource_id: resource_id.unwrap_or(random_id), subscription }
    }

    /// The ARM path of the resource; Event Grid writes it in either case.
    pub(crate) fn topic(&self, lower_case: bool) -> String {
        let topic = format!(
            "/subscriptions/{}/resourceGroups/rg-calls/providers/Microsoft.Communication/communicationServices/simulated-calls",
            self.subscription,
        );
        if lower_case { topic.to_lowercase() } else { topic }
    }
}

/// The kind of a person's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PersonKind {
    /// A user of the ACS resource, in the app.
    AcsUser,
    TeamsUser,
    Phone,
}

/// A person in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SimulatedPerson {
    pub kind: PersonKind,
    pub raw_id: String,
    pub name: String,
}

impl SimulatedPerson {
    pub(crate) fn random(
        kind: PersonKind,
        resource: &SimulatedResource,
        rng: &mut SeededRng,
    ) -> Self {
        let raw_id = match kind {
            PersonKind::AcsUser => {
                // User ids count up within a resource; the last parts vary.
                let (middle, last) = (rng.text(HEXADECIMAL, 4), rng.text(HEXADECIMAL, 12));
                format!("8:acs:{}_0000002a-1fb9-{middle}-07fd-{last}", resource.resource_id)
            }
            PersonKind::TeamsUser => format!("8:orgid:{}", rng.guid()),
            // Numbers of this range are reserved for fiction.
            PersonKind::Phone => format!("4:+1425555{:04}", rng.between(100, 199)),
        };
        Self { kind, raw_id, name: rng.one_of(NAMES).to_owned() }
    }

    /// The person with this number, who has the same id and name in each call of a seed.
    pub(crate) fn numbered(
        kind: PersonKind,
        resource: &SimulatedResource,
        seed: u64,
        number: u64,
    ) -> Self {
        let mut rng = SeededRng::new(seed, "person", number);
        let (one, other) = (rng.one_of(NAMES), rng.one_of(NAMES));
        let (first, last) = (one.split(' ').next(), other.split(' ').next_back());
        let name = format!("{} {}", first.unwrap_or(one), last.unwrap_or(other));
        Self { name, ..Self::random(kind, resource, &mut rng) }
    }

    /// The person as a CommunicationIdentifierModel. Event Grid writes no `kind` before 2025.
    pub(crate) fn identifier(&self, with_kind: bool) -> Value {
        let (kind, details) = match self.kind {
            PersonKind::AcsUser => ("communicationUser", json!({ "id": self.raw_id })),
            PersonKind::TeamsUser => {
                let user = self.raw_id.trim_start_matches("8:orgid:");
                let details = json!({ "userId": user, "isAnonymous": false, "cloud": "public" });
                ("microsoftTeamsUser", details)
            }
            PersonKind::Phone => {
                ("phoneNumber", json!({ "value": self.raw_id.trim_start_matches("4:") }))
            }
        };
        let mut identifier = json!({ "rawId": self.raw_id, kind: details });
        if with_kind {
            identifier["kind"] = json!(kind);
        }
        identifier
    }
}

/// The types of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallType {
    /// An ACS user and a Teams user. Event Grid has events about the former only, and only the
    /// client reports a recording.
    OneToOne,
    /// ACS users and a Teams user, with a leg of Call Automation.
    GroupCall,
    /// A customer, a bot, and an agent in Teams. The bot is an ACS user without a client app, so no
    /// notice of the call is ever shown to it.
    ContactCentre,
    /// ACS users in a Teams meeting, of which Event Grid has no events.
    Meeting,
}

/// The participants of a call, and its ids.
#[derive(Clone, Debug)]
pub(crate) struct Participants {
    pub call_type: CallType,
    pub ids: SimulatedCallIds,
    /// The users of the ACS resource: Event Grid has events about them.
    pub acs: Vec<SimulatedPerson>,
    /// All others: Event Grid has no events about them.
    pub others: Vec<SimulatedPerson>,
    pub caller: SimulatedPerson,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_id_is_parsed_as_its_kind() {
        use onrecord_evidence::identity::raw_id::{IdentifierKind, parse_raw_id};
        let resource =
            SimulatedResource::new(1, Some("0be2ef5c-8b43-4bc1-9f1a-3a8bd0ce6a4c".to_owned()));
        let mut rng = SeededRng::new(3, "people", 0);
        for (kind, read) in [
            (PersonKind::AcsUser, IdentifierKind::CommunicationUser),
            (PersonKind::TeamsUser, IdentifierKind::MicrosoftTeamsUser),
            (PersonKind::Phone, IdentifierKind::PhoneNumber),
        ] {
            let person = SimulatedPerson::random(kind, &resource, &mut rng);
            let reading = parse_raw_id(&person.raw_id);
            assert_eq!(reading.kind, read);
            if kind == PersonKind::AcsUser {
                assert_eq!(reading.resource_id, Some(&*resource.resource_id));
            }
        }
    }
}
