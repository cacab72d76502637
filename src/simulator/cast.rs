//! Who calls and where: the ACS resource, its people, and the ids of a call as each sender writes
//! them (domain facts: `serverCallId` is the base64 of a URL whose padding differs by sender).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::chance::Chance;
use crate::domain::alias::Anchor;
use crate::domain::ids;

/// What Event Grid writes where a call is of no group.
const NO_GROUP: &str = "00000000-0000-0000-0000-000000000000";

const BASE64URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEXADECIMAL: &[u8] = b"0123456789abcdef";

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

/// What all calls of a run have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The immutable id of the ACS resource, which stands in its users' raw ids.
    pub resource_id: String,
    subscription: String,
}

impl World {
    /// The world of a seed; its resource id is drawn unless one is given.
    #[must_use]
    pub fn new(seed: u64, resource_id: Option<String>) -> Self {
        let mut chance = Chance::new(seed, "world", 0);
        let (drawn, subscription) = (chance.guid(), chance.guid());
        Self {
            resource_id: resource_id.unwrap_or(drawn),
            subscription,
        }
    }

    /// The resource's ARM path; Event Grid writes it in either case.
    pub(super) fn topic(&self, lower_case: bool) -> String {
        let topic = format!(
            "/subscriptions/{}/resourceGroups/rg-calls/providers/Microsoft.Communication/communicationServices/simulated-calls",
            self.subscription,
        );
        if lower_case {
            topic.to_lowercase()
        } else {
            topic
        }
    }
}

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A user of the ACS resource, in the app.
    AcsUser,
    TeamsUser,
    Phone,
}

/// Somebody in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub kind: Kind,
    pub raw_id: String,
    pub name: &'static str,
}

impl Person {
    pub fn draw(kind: Kind, world: &World, chance: &mut Chance) -> Self {
        let raw_id = match kind {
            Kind::AcsUser => {
                // User ids count up within a resource; the last parts vary.
                let (middle, last) = (chance.text(HEXADECIMAL, 4), chance.text(HEXADECIMAL, 12));
                format!(
                    "8:acs:{}_0000002a-1fb9-{middle}-07fd-{last}",
                    world.resource_id
                )
            }
            Kind::TeamsUser => format!("8:orgid:{}", chance.guid()),
            // Numbers of this exchange are given to nobody.
            Kind::Phone => format!("4:+1425555{:04}", chance.between(100, 199)),
        };
        Self {
            kind,
            raw_id,
            name: chance.one_of(NAMES),
        }
    }

    /// As CommunicationIdentifierModel; Event Grid stated no `kind` before 2025.
    pub fn identifier(&self, with_kind: bool) -> Value {
        let (kind, member, details) = match self.kind {
            Kind::AcsUser => (
                "communicationUser",
                "communicationUser",
                json!({ "id": self.raw_id }),
            ),
            Kind::TeamsUser => {
                let user = self.raw_id.rsplit(':').next().unwrap_or_default();
                (
                    "microsoftTeamsUser",
                    "microsoftTeamsUser",
                    json!({ "userId": user, "isAnonymous": false, "cloud": "public" }),
                )
            }
            Kind::Phone => {
                let number = self.raw_id.trim_start_matches("4:");
                ("phoneNumber", "phoneNumber", json!({ "value": number }))
            }
        };
        let mut identifier = json!({ "rawId": self.raw_id, member: details });
        if with_kind {
            identifier["kind"] = json!(kind);
        }
        identifier
    }
}

/// The ids of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallIds {
    pub correlation_id: String,
    /// What the serverCallId holds.
    url: String,
    pub group_id: String,
    /// The chat thread of a Teams meeting.
    pub thread_id: String,
    /// The leg of Call Automation.
    pub call_connection_id: String,
}

impl CallIds {
    pub fn draw(is_group: bool, start: DateTime<Utc>, chance: &mut Chance) -> Self {
        let region = chance.one_of(["uswe", "usea", "euno", "euwe", "asse"]);
        let number = chance.between(1, 9);
        let conversation = chance.text(BASE64URL, 22);
        let (host, instance) = (chance.between(100, 255), chance.between(1, 254));
        // Reads as .NET ticks of a day or two before the call; the service tells nobody why.
        let ticks = start.timestamp() - chance.between(86_400, 172_800) + 62_135_596_800;
        let fraction = chance.between(1_000_000, 9_999_999);
        let url = format!(
            "https://api.flightproxy.skype.com/api/v2/cp/conv-{region}-{number:02}-prod-aks.conv.skype.com/conv/{conversation}?i=10-128-{host}-{instance}&e={ticks}{fraction}"
        );
        Self {
            correlation_id: chance.guid(),
            url,
            group_id: if is_group {
                chance.guid()
            } else {
                NO_GROUP.to_owned()
            },
            thread_id: format!("19:meeting_{}@thread.v2", chance.text(BASE64URL, 48)),
            call_connection_id: connection_id(chance),
        }
    }

    /// With padding: callbacks, IncomingCall and the Calling SDK.
    pub fn server_call_id(&self) -> String {
        STANDARD.encode(&self.url)
    }

    /// Without: Event Grid's other events.
    pub fn unpadded_server_call_id(&self) -> String {
        STANDARD_NO_PAD.encode(&self.url)
    }

    /// The anchor of the serverCallId, which is never a placeholder.
    pub fn server_anchor(&self) -> Option<Anchor> {
        ids::server_call_id(&self.url).map(|id| Anchor::server(&id))
    }

    /// Under which the call may be found, its clients' legs aside.
    pub fn anchors(&self) -> BTreeSet<Anchor> {
        let mut anchors: BTreeSet<Anchor> = self.server_anchor().into_iter().collect();
        anchors.insert(Anchor::correlation(&self.correlation_id));
        anchors.insert(Anchor::connection(&self.call_connection_id));
        anchors
    }
}

/// As the service writes the id of a leg, or of a recorder's endpoint.
fn connection_id(chance: &mut Chance) -> String {
    let guid = chance.guid();
    let tail = guid.get(8..).unwrap_or_default();
    format!("{:02x}001680{tail}", chance.between(0, 2))
}

/// The ids of one recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordingIds {
    /// The recorder's own leg, which is none of ours.
    pub endpoint: String,
    pub recording_id: String,
}

impl RecordingIds {
    pub fn draw(chance: &mut Chance) -> Self {
        let endpoint = connection_id(chance);
        let inside = format!(
            "{{\"PlatformEndpointId\":\"{endpoint}\",\"ResourceSpecificId\":\"{}\"}}",
            chance.guid()
        );
        Self {
            endpoint,
            recording_id: URL_SAFE_NO_PAD.encode(inside),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).unwrap()
    }

    #[test]
    fn every_sender_spells_one_server_call_id() {
        let mut chance = Chance::new(3, "ids", 0);
        let mut paddings = BTreeSet::new();
        for _ in 0..50 {
            let ids = CallIds::draw(false, start(), &mut chance);
            let (padded, unpadded) = (ids.server_call_id(), ids.unpadded_server_call_id());
            assert_eq!(ids::server_call_id(&padded), ids::server_call_id(&unpadded));
            assert_eq!(
                ids::guid(&ids.correlation_id).as_deref(),
                Some(&*ids.correlation_id)
            );
            assert!(ids::guid(&ids.call_connection_id).is_some());
            assert_eq!(ids::guid(&ids.group_id), None);
            paddings.insert(padded.len() - unpadded.len());
        }
        assert_eq!(paddings, BTreeSet::from([0, 1, 2]));
    }

    #[test]
    fn a_recording_id_holds_the_recorders_own_leg() {
        let recording = RecordingIds::draw(&mut Chance::new(3, "ids", 1));
        let inside = URL_SAFE_NO_PAD.decode(&recording.recording_id).unwrap();
        assert!(
            String::from_utf8(inside)
                .unwrap()
                .contains(&recording.endpoint)
        );
        assert!(ids::recording_id(&recording.recording_id).is_some());
    }

    #[test]
    fn raw_ids_are_read_as_what_they_are() {
        use crate::domain::identity::{IdentifierKind, read_raw_id};
        let world = World::new(1, Some("0be2ef5c-8b43-4bc1-9f1a-3a8bd0ce6a4c".to_owned()));
        let mut chance = Chance::new(3, "people", 0);
        for (kind, read) in [
            (Kind::AcsUser, IdentifierKind::CommunicationUser),
            (Kind::TeamsUser, IdentifierKind::MicrosoftTeamsUser),
            (Kind::Phone, IdentifierKind::PhoneNumber),
        ] {
            let person = Person::draw(kind, &world, &mut chance);
            let reading = read_raw_id(&person.raw_id);
            assert_eq!(reading.kind, read);
            if kind == Kind::AcsUser {
                assert_eq!(reading.resource_id, Some(&*world.resource_id));
            }
        }
    }
}
