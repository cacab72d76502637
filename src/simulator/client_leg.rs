//! A client app's leg of a call: it reports what its Calling SDK sees and what it shows, and
//! acknowledges what became of notices.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::cast::CallIds;
use super::chance::Chance;
use super::event_grid::Join;
use super::lapse::Lapse;
use super::script::{ACKNOWLEDGEMENT, SimulatedEvent};
use crate::domain::fact::{CaptureType, Level};

const APPS: [(&str, &str); 3] = [
    ("contoso-web/5.4.0", "azure-communication-calling/1.34.1"),
    ("contoso-ios/5.4.1", "AzureCommunicationCalling-iOS/2.15.0"),
    (
        "contoso-android/5.3.9",
        "azure-communication-calling-android/2.13.0",
    ),
];

/// Which words the apps show; a real one hashes them.
const TEXT_SHA256: &str = "6f0f4a5b1b8d7a0b9a56f0d0e5d3c1f2a7b8c9d0e1f2031425364758697a8b9c";

/// A client's leg.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClientLeg {
    pub attachment: String,
    pub raw_id: String,
    /// Which of the call's joins it is.
    pub join: usize,
    pub is_present: bool,
    /// A client knows its serverCallId only once it is connected.
    pub knows_call: bool,
    /// Some apps state it, others leave it to be found.
    pub participant_id: Option<String>,
    /// How the app fails to tell its participant, if it does.
    pub lapse: Option<Lapse>,
    /// Of which types a notice of "on" is on its screen.
    pub showing: BTreeSet<CaptureType>,
    /// Whether the app asks its participant to consent.
    pub asks_consent: bool,
    is_meeting: bool,
    sequence: i64,
    app: &'static str,
    sdk: &'static str,
}

/// What a report says.
#[derive(Clone, Debug, Default)]
pub(super) struct Word {
    /// The level of each type that the SDK can tell.
    pub levels: BTreeMap<CaptureType, Level>,
    /// Of which types a notice has just been put on the screen.
    pub shown: Vec<CaptureType>,
    pub leaving: bool,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Became {
    Displayed(Level),
    /// The app did what displays it, where nobody could see it.
    DisplayedUnseen,
    Hidden,
    /// The participant confirmed it.
    Acknowledged,
    Consented,
    Declined,
}

impl ClientLeg {
    pub fn draw(join: &Join, number: usize, is_meeting: bool, chance: &mut Chance) -> Self {
        let (app, sdk) = chance.one_of(APPS);
        Self {
            attachment: chance.guid(),
            raw_id: join.person.raw_id.clone(),
            join: number,
            is_present: true,
            knows_call: chance.happens(0.7),
            participant_id: chance.happens(0.5).then(|| join.participant_id.clone()),
            lapse: None,
            showing: BTreeSet::new(),
            asks_consent: chance.happens(0.2),
            is_meeting,
            sequence: 0,
            app,
            sdk,
        }
    }

    /// The next report.
    pub fn report(&mut self, ids: &CallIds, word: &Word, chance: &mut Chance) -> SimulatedEvent {
        self.sequence += 1;
        let report_id = chance.guid();
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| {
            body.insert(name.to_owned(), value);
        };
        put("report_id", json!(report_id));
        put("attachment", json!(self.attachment));
        put("sequence", json!(self.sequence));
        if self.knows_call {
            put("server_call_id", json!(ids.server_call_id()));
            if let Some(id) = &self.participant_id {
                put("participant_id", json!(id));
            }
            if self.is_meeting {
                put("thread_id", json!(ids.thread_id));
            }
        }
        for (capture, level) in &word.levels {
            put(capture.as_str(), json!(level));
        }
        if !word.shown.is_empty() {
            let text = text(chance);
            let shown: Vec<Value> = word
                .shown
                .iter()
                .map(|capture| json!({ "type": capture, "state": "on", "elapsed_ms": chance.between(0, 60), "text": text }))
                .collect();
            put("shown", json!(shown));
            put(
                "consent_required",
                json!(if self.asks_consent {
                    word.shown.as_slice()
                } else {
                    &[]
                }),
            );
        }
        if word.leaving {
            put("leaving", json!(true));
        }
        put("app", json!(self.app));
        put("sdk", json!(self.sdk));
        // From now on it does: it has been connected since the first report at the latest.
        self.knows_call = true;
        SimulatedEvent {
            source: self.source(),
            source_type: "onrecord.report".to_owned(),
            id: report_id,
            body: Value::Object(body),
            decides: false,
        }
    }
    /// What became of the notice of a type.
    pub fn acknowledgement(
        &self,
        capture: CaptureType,
        became: Became,
        chance: &mut Chance,
    ) -> SimulatedEvent {
        let id = chance.guid();
        let mut item = json!({ "id": id, "attachment": self.attachment, "type": capture });
        let mut put = |name: &str, value: Value| item[name] = value;
        let (kind, state) = match became {
            Became::Displayed(level) => ("displayed", Some(level)),
            Became::DisplayedUnseen => ("displayed", Some(Level::On)),
            Became::Hidden => ("hidden", Some(Level::On)),
            Became::Acknowledged => ("acknowledged", Some(Level::On)),
            Became::Consented => ("consented", None),
            Became::Declined => ("declined", None),
        };
        put("kind", json!(kind));
        if let Some(state) = state {
            put("state", json!(state));
            put("elapsed_ms", json!(chance.between(0, 60)));
        }
        if let Became::Displayed(_) = became {
            put("text", text(chance));
        }
        if became == Became::DisplayedUnseen {
            put("visible", json!(false));
        }
        SimulatedEvent {
            source: self.source(),
            source_type: ACKNOWLEDGEMENT.to_owned(),
            id,
            body: item,
            decides: false,
        }
    }

    fn source(&self) -> String {
        format!("onrecord/attachments/{}", self.attachment)
    }
}

/// The words of a notice.
fn text(chance: &mut Chance) -> Value {
    let locale = chance.one_of(["en-US", "de-DE", "fr-FR"]);
    json!({ "version": "7", "sha256": TEXT_SHA256, "locale": locale })
}
