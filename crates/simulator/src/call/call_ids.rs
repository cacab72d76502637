//! The ids of a call and of a recording, as each sender writes them. A serverCallId is the base64
//! of a URL, and its padding differs by sender.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::rng::SeededRng;
use onrecord_evidence::event::ids;
use onrecord_evidence::identity::alias_graph::Anchor;

/// What Event Grid writes as the group of a call without a group.
const NO_GROUP: &str = "00000000-0000-0000-0000-000000000000";

const BASE64URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
pub(crate) const HEXADECIMAL: &[u8] = b"0123456789abcdef";

/// The ids of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SimulatedCallIds {
    pub correlation_id: String,
    /// The URL that the serverCallId encodes.
    url: String,
    pub group_id: String,
    /// The chat thread of a Teams meeting.
    pub thread_id: String,
    /// The leg of Call Automation.
    pub call_connection_id: String,
}

impl SimulatedCallIds {
    pub(crate) fn random(is_group: bool, start: DateTime<Utc>, rng: &mut SeededRng) -> Self {
        let region = rng.one_of(["uswe", "usea", "euno", "euwe", "asse"]);
        let number = rng.between(1, 9);
        let conversation = rng.text(BASE64URL, 22);
        let (host, instance) = (rng.between(100, 255), rng.between(1, 254));
        // Looks like .NET ticks one to two days before the call; their meaning is not documented.
        let ticks = start.timestamp() - rng.between(86_400, 172_800) + 62_135_596_800;
        let fraction = rng.between(1_000_000, 9_999_999);
        let url = format!(
            "https://api.flightproxy.skype.com/api/v2/cp/conv-{region}-{number:02}-prod-aks.conv.skype.com/conv/{conversation}?i=10-128-{host}-{instance}&e={ticks}{fraction}"
        );
        Self {
            correlation_id: rng.guid(),
            url,
            group_id: if is_group { rng.guid() } else { NO_GROUP.to_owned() },
            thread_id: format!("19:meeting_{}@thread.v2", rng.text(BASE64URL, 48)),
            call_connection_id: connection_id(rng),
        }
    }

    /// With padding, as in callbacks, IncomingCall and the Calling SDK.
    pub(crate) fn server_call_id(&self) -> String {
        STANDARD.encode(&self.url)
    }

    /// Without padding, as in Event Grid's other events.
    pub(crate) fn unpadded_server_call_id(&self) -> String {
        STANDARD_NO_PAD.encode(&self.url)
    }

    /// The anchor of the serverCallId, which is never a placeholder.
    pub(crate) fn server_anchor(&self) -> Option<Anchor> {
        ids::server_call_id(&self.url).map(|id| Anchor::server(&id))
    }

    /// The anchors of the call, without those of its clients' attachments.
    pub(crate) fn anchors(&self) -> BTreeSet<Anchor> {
        let mut anchors: BTreeSet<Anchor> = self.server_anchor().into_iter().collect();
        anchors.insert(Anchor::correlation(&self.correlation_id));
        anchors.insert(Anchor::connection(&self.call_connection_id));
        anchors
    }
}

/// The id of a leg, or of a recorder's endpoint, in the service's format.
fn connection_id(rng: &mut SeededRng) -> String {
    let guid = rng.guid();
    let tail = guid.get(8..).unwrap_or_default();
    format!("{:02x}001680{tail}", rng.between(0, 2))
}

/// The ids of one recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordingIds {
    /// The recorder's own leg.
    pub endpoint: String,
    pub recording_id: String,
}

impl RecordingIds {
    pub(crate) fn random(rng: &mut SeededRng) -> Self {
        let endpoint = connection_id(rng);
        let inside = json!({ "PlatformEndpointId": endpoint, "ResourceSpecificId": rng.guid() });
        Self { endpoint, recording_id: URL_SAFE_NO_PAD.encode(inside.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).unwrap()
    }

    #[test]
    fn the_server_call_id_of_every_sender_is_the_same() {
        let mut rng = SeededRng::new(3, "ids", 0);
        let mut paddings = BTreeSet::new();
        for _ in 0..50 {
            let ids = SimulatedCallIds::random(false, start(), &mut rng);
            let (padded, unpadded) = (ids.server_call_id(), ids.unpadded_server_call_id());
            assert_eq!(ids::server_call_id(&padded), ids::server_call_id(&unpadded));
            assert_eq!(ids::guid(&ids.correlation_id).as_deref(), Some(&*ids.correlation_id));
            assert!(ids::guid(&ids.call_connection_id).is_some());
            assert_eq!(ids::guid(&ids.group_id), None);
            paddings.insert(padded.len() - unpadded.len());
        }
        assert_eq!(paddings, BTreeSet::from([0, 1, 2]));
    }

    #[test]
    fn a_recording_id_holds_the_recorders_own_leg() {
        let recording = RecordingIds::random(&mut SeededRng::new(3, "ids", 1));
        let inside = URL_SAFE_NO_PAD.decode(&recording.recording_id).unwrap();
        assert!(String::from_utf8(inside).unwrap().contains(&recording.endpoint));
        assert!(ids::recording_id(&recording.recording_id).is_some());
    }
}
