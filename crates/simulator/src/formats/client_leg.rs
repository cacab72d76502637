//! The leg of a client app in a call: its reports about what the Calling SDK states and the app
//! shows, and its acknowledgements of notices.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::call::call_ids::SimulatedCallIds;
use crate::call::faulty_client::FaultyClient;
use crate::call::script::{ACKNOWLEDGEMENT, SimulatedEvent};
use crate::formats::event_grid::ParticipantJoin;
use crate::rng::SeededRng;
use onrecord_evidence::fact::kinds::{CaptureType, JsonWord as _, Level};

const APPS: [(&str, &str); 3] = [
    ("contoso-web/5.4.0", "azure-communication-calling/1.34.1"),
    ("contoso-ios/5.4.1", "AzureCommunicationCalling-iOS/2.15.0"),
    ("contoso-android/5.3.9", "azure-communication-calling-android/2.13.0"),
];

/// The hash of the texts that the apps show; a real app computes it.
const TEXT_SHA256: &str = "6f0f4a5b1b8d7a0b9a56f0d0e5d3c1f2a7b8c9d0e1f2031425364758697a8b9c";

/// The leg of a client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientLeg {
    pub attachment: String,
    pub raw_id: String,
    /// A client knows its serverCallId only once it is connected.
    pub knows_call: bool,
    /// Some apps state it; without it, the service resolves the session by other ids.
    pub participant_id: Option<String>,
    /// The fault of the app, if it has one.
    pub fault: Option<FaultyClient>,
    /// The types whose notice of "on" is visible.
    pub showing: BTreeSet<CaptureType>,
    /// Whether the app asks its participant for consent.
    pub asks_consent: bool,
    is_meeting: bool,
    sequence: i64,
    app: &'static str,
    sdk: &'static str,
}

/// What a client acknowledges about a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoticeAction {
    Displayed(Level),
    /// The app displayed the notice, but it was not visible.
    DisplayedInvisibly,
    Hidden,
    /// The participant confirmed the notice.
    Acknowledged,
    Consented,
    Declined,
}

impl ClientLeg {
    pub(crate) fn random(join: &ParticipantJoin, is_meeting: bool, rng: &mut SeededRng) -> Self {
        let (app, sdk) = rng.one_of(APPS);
        Self {
            attachment: rng.guid(),
            raw_id: join.person.raw_id.clone(),
            knows_call: rng.random_bool(0.7),
            participant_id: rng.random_bool(0.5).then(|| join.participant_id.clone()),
            fault: None,
            showing: BTreeSet::new(),
            asks_consent: rng.random_bool(0.2),
            is_meeting,
            sequence: 0,
            app,
            sdk,
        }
    }

    /// The next report: the level of each type that the SDK can state, and the types whose notice the
    /// app has just shown.
    pub(crate) fn report(
        &mut self,
        ids: &SimulatedCallIds,
        levels: &BTreeMap<CaptureType, Level>,
        shown: &[CaptureType],
        leaving: bool,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        self.sequence += 1;
        let report_id = rng.guid();
        let mut body = json!({
            "report_id": report_id,
            "attachment": self.attachment,
            "sequence": self.sequence,
            "app": self.app,
            "sdk": self.sdk,
        });
        if self.knows_call {
            body["server_call_id"] = json!(ids.server_call_id());
            if let Some(id) = &self.participant_id {
                body["participant_id"] = json!(id);
            }
            if self.is_meeting {
                body["thread_id"] = json!(ids.thread_id);
            }
        }
        for (capture_type, level) in levels {
            body[capture_type.as_str()] = json!(level);
        }
        if !shown.is_empty() {
            let text = notice_text(rng);
            let item = |capture_type| json!({ "type": capture_type, "state": "on", "elapsed_ms": rng.between(0, 60), "text": text });
            body["shown"] = shown.iter().map(item).collect();
            body["consent_required"] = if self.asks_consent { json!(shown) } else { json!([]) };
        }
        if leaving {
            body["leaving"] = json!(true);
        }
        // The client is connected when it reports for the first time, so the next report names the
        // call.
        self.knows_call = true;
        self.event("onrecord.report", report_id, body)
    }

    /// An acknowledgement of the notice of a type.
    pub(crate) fn acknowledgement(
        &self,
        capture_type: CaptureType,
        action: NoticeAction,
        rng: &mut SeededRng,
    ) -> SimulatedEvent {
        let id = rng.guid();
        let (kind, state) = match action {
            NoticeAction::Displayed(level) => ("displayed", Some(level)),
            NoticeAction::DisplayedInvisibly => ("displayed", Some(Level::On)),
            NoticeAction::Hidden => ("hidden", Some(Level::On)),
            NoticeAction::Acknowledged => ("acknowledged", Some(Level::On)),
            NoticeAction::Consented => ("consented", None),
            NoticeAction::Declined => ("declined", None),
        };
        let mut item =
            json!({ "id": id, "attachment": self.attachment, "type": capture_type, "kind": kind });
        if let Some(state) = state {
            item["state"] = json!(state);
            item["elapsed_ms"] = json!(rng.between(0, 60));
        }
        if let NoticeAction::Displayed(_) = action {
            item["text"] = notice_text(rng);
        }
        if action == NoticeAction::DisplayedInvisibly {
            item["visible"] = json!(false);
        }
        self.event(ACKNOWLEDGEMENT, id, item)
    }

    fn event(&self, source_type: &str, id: String, body: Value) -> SimulatedEvent {
        let source = format!("onrecord/attachments/{}", self.attachment);
        SimulatedEvent { source, source_type: source_type.to_owned(), id, body, decides: false }
    }
}

/// The text of a notice.
fn notice_text(rng: &mut SeededRng) -> Value {
    let locale = rng.one_of(["en-US", "de-DE", "fr-FR"]);
    json!({ "version": "7", "sha256": TEXT_SHA256, "locale": locale })
}
