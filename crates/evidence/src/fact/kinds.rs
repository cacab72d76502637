//! The facts: what happened in a call, and when.
//!
//! All results about a call (its sessions, its captures, the notices that must be visible) are
//! functions of the *set* of its facts (`docs/evidence-rules.md`, section 1). The types have the names
//! that they have in JSON. [`super::json`] reads facts, and [`super::fact_set`] selects the facts that
//! count at an instant.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::event::instant::Millis;

/// A value that is a word in JSON.
pub trait JsonWord: Copy + Into<&'static str> {
    /// The word.
    fn as_str(self) -> &'static str {
        self.into()
    }
}

impl<T: Copy + Into<&'static str>> JsonWord for T {}

/// What is captured: `type` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum CaptureType {
    /// The call is recorded as audio or video.
    Recording,
    /// The call is transcribed to text.
    Transcription,
}

impl CaptureType {
    /// Both types, in the order in which reports list them.
    pub const ALL: [Self; 2] = [Self::Recording, Self::Transcription];
}

/// The level of a capture type that a client reports or a notice states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Level {
    /// The capture is in progress.
    On,
    /// The capture is interrupted and may resume.
    Paused,
    /// No capture is in progress.
    Off,
}

/// The state of a capture that the platform states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ProviderState {
    /// The capture is in progress.
    Active,
    /// No capture is in progress.
    Inactive,
}

/// What a participant is, as a source states it or the rules conclude it. The order is the precedence:
/// of several statements about one session, the first identity in this order holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Identity {
    /// A user of an ACS resource of the tenant.
    Acs,
    /// A Teams identity in the tenant's own app.
    TeamsCustom,
    /// A user of an ACS resource of another organization.
    AcsForeign,
    /// A Teams user in a Teams client.
    TeamsUser,
    /// A Teams application: a call queue or an auto attendant.
    TeamsApp,
    /// A phone number.
    Phone,
    /// A bot.
    Bot,
    /// A client that reports about a call in which the platform did not name it. The rules conclude it
    /// from reports whose [`Witness`] is `Outsider`; a fact cannot state it.
    #[serde(skip_deserializing)]
    Outsider,
    /// Unknown, or an identity that is not in this list.
    #[serde(other)]
    Unknown,
}

impl Identity {
    /// Whether the tenant's app must notify the participant. An unknown participant must be notified,
    /// because missing knowledge must not leave a participant out
    /// (`ABSENCE_IS_NOT_COMPLIANCE`). Their own client notifies the other participants.
    #[must_use]
    pub fn ours(self) -> bool {
        match self {
            Self::Acs | Self::TeamsCustom | Self::Unknown => true,
            Self::AcsForeign
            | Self::TeamsUser
            | Self::TeamsApp
            | Self::Phone
            | Self::Bot
            | Self::Outsider => false,
        }
    }
}

/// One statement about what happened in a call.
///
/// The fields are private, so that the fields of a fact that was read from JSON always agree with the
/// JSON object.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    id: String,
    at: Millis,
    received_at: Option<Millis>,
    kind: FactKind,
    /// The JSON object of the fact, including unknown members, because they take part in the
    /// comparison of contents. `None` if the fact was constructed, not read.
    pub(super) original: Option<Map<String, Value>>,
}

impl Fact {
    /// Constructs a fact. `at` is in Unix milliseconds.
    #[must_use]
    pub fn new(id: impl Into<String>, at: Millis, kind: FactKind) -> Self {
        Self { id: id.into(), at, received_at: None, kind, original: None }
    }

    /// Adds the instant at which the server received the fact, in Unix milliseconds, where it is much
    /// later than the source's time.
    #[must_use]
    pub fn received(self, received_at: Option<Millis>) -> Self {
        Self { received_at, ..self }
    }

    /// When the server received the fact, where it is much later than the source's time.
    #[must_use]
    pub fn received_at(&self) -> Option<Millis> {
        self.received_at
    }

    /// Until when the fact shows that the call goes on, in Unix milliseconds: the clock of its source
    /// may be behind, so its reception counts.
    #[must_use]
    pub(crate) fn last_sign_at(&self) -> Millis {
        self.received_at.map_or(self.at, |received| received.max(self.at))
    }

    /// The id of the fact, unique in its call.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it happened, in Unix milliseconds: by the server's clock for facts of the service itself,
    /// else by the source's clock, but not later than the server received it.
    #[must_use]
    pub fn at(&self) -> Millis {
        self.at
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &FactKind {
        &self.kind
    }
}

/// What happened. `kind` in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind")]
pub enum FactKind {
    /// The call began (Event Grid `CallStarted`).
    #[serde(rename = "call.started")]
    CallStarted,
    /// The call ended (Event Grid `CallEnded`), or the ledger's maintenance presumed its end.
    #[serde(rename = "call.ended")]
    CallEnded {
        /// No source stated the end.
        #[serde(skip_serializing_if = "is_default")]
        presumed: bool,
    },
    /// A session began (a participant event, or a difference of two rosters).
    #[serde(rename = "session.joined")]
    SessionJoined {
        /// The session.
        session: String,
        /// What the participant is, if the source states it.
        #[serde(skip_serializing_if = "Option::is_none")]
        identity: Option<Identity>,
    },
    /// A session ended (a participant event, or a difference of two rosters).
    #[serde(rename = "session.left")]
    SessionLeft {
        /// The session.
        session: String,
    },
    /// A Call Automation leg of the tenant's app was connected (`CallConnected`).
    #[serde(rename = "leg.connected")]
    LegConnected {
        /// The callConnectionId of the leg.
        leg: String,
    },
    /// A Call Automation leg of the tenant's app was disconnected (`CallDisconnected`).
    #[serde(rename = "leg.disconnected")]
    LegDisconnected {
        /// The callConnectionId of the leg.
        leg: String,
    },
    /// The platform stated the state of a capture (Call Automation `RecordingStateChanged`;
    /// `Transcription*` of a leg of the tenant's app).
    #[serde(rename = "provider.state")]
    ProviderState(ProviderStatement),
    /// A client reported what its Calling SDK observes and what the client shows.
    #[serde(rename = "report")]
    Report(ReportFact),
    /// A file of a recording exists (Event Grid `RecordingFileStatusUpdated`).
    #[serde(rename = "file")]
    File(FileFact),
    /// A step of a notice on its way to the participant's screen.
    #[serde(untagged)]
    Notice(NoticeFactKind),
    /// A participant consented to a capture or declined it.
    #[serde(untagged)]
    Consent(ConsentFact),
    /// A kind that the rules do not know. The rules ignore it, but it takes part in the comparison of
    /// contents.
    #[serde(untagged)]
    Other {
        /// The name of the kind.
        kind: String,
    },
}

/// The platform's statement about one recording or one transcription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStatement {
    /// What is captured.
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    /// The id of the recording; for a transcription, `transcription:{callConnectionId}`.
    pub recording: String,
    /// Which product captures, as the source writes it: `teams`, `azureCommunicationServices`,
    /// `teamsCompliance`, or another value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_kind: Option<String>,
    /// Whether the capture is in progress.
    pub state: ProviderState,
    /// When the capture began according to the platform, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Millis>,
}

/// A client's report. See `docs/evidence-rules.md`, section 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportFact {
    /// The session that the client belongs to.
    pub session: String,
    /// The attachment of the client.
    pub reporter: String,
    /// The client's own counter of its reports.
    pub sequence: i64,
    /// The level of recording. Absent: the client does not know it; the last level stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<Level>,
    /// The level of transcription. Absent: the client does not know it; the last level stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcription: Option<Level>,
    /// The capture types for which the Calling SDK requires consent.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_default")]
    pub consent_required: Vec<CaptureType>,
    /// The notices on the participant's screen.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_default")]
    pub shown: Vec<ShownNotice>,
    /// The client is about to leave the call.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_default")]
    pub leaving: bool,
    /// How the client belongs to the call.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_default")]
    pub witness: Witness,
    /// The reports between the previous one and this one are left out: they state the same as both,
    /// and the client was live all the time. Not part of the contents.
    #[serde(skip)]
    pub unbroken: bool,
}

impl ReportFact {
    /// The level that the report states for `capture_type`, if any. The report of an outsider states
    /// none, because no other source confirms that it observes this call.
    #[must_use]
    pub fn level(&self, capture_type: CaptureType) -> Option<Level> {
        if self.witness == Witness::Outsider {
            return None;
        }
        match capture_type {
            CaptureType::Recording => self.recording,
            CaptureType::Transcription => self.transcription,
        }
    }
}

/// How the client that sent a report belongs to the call: `witness` in JSON. The order is that of what
/// proves it: the least of several is the best.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Witness {
    /// The platform named the client's participant in the call.
    #[default]
    Platform,
    /// The client's token names the call.
    Granted,
    /// Only the client itself states it; the platform named no participant of the call.
    Asserted,
    /// The platform named the participants of the call, and the client's participant is not one of
    /// them.
    Outsider,
}

/// A notice on the participant's screen, as a client's report states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownNotice {
    /// What the notice is about.
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    /// The level that the notice states.
    pub state: Level,
    /// How long before the report the client showed it, by the client's stopwatch, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
}

/// One file of a recording. It is evidence of a recording, never of a transcription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// The id of the recording.
    pub recording: String,
    /// The number of the file within the recording.
    pub index: i64,
    /// When the file begins, in Unix milliseconds.
    pub started_at: Millis,
    /// The length of the file, ms.
    pub duration_ms: u64,
}

impl FileFact {
    /// The instant at which the file ends, in Unix milliseconds.
    #[must_use]
    pub fn end(&self) -> Millis {
        self.started_at.saturating_add_unsigned(self.duration_ms)
    }
}

/// A step of a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeFactKind {
    /// The step.
    #[serde(rename = "kind")]
    pub step: NoticeStep,
    /// The session that the notice was sent to.
    pub session: String,
    /// What the notice is about.
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    /// The level that the notice states.
    pub state: Level,
    /// How long before `at` the step happened, by the client's stopwatch, ms; only for `displayed` and
    /// `acknowledged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
}

/// The steps of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NoticeStep {
    /// The service handed the notice to a transport.
    #[serde(rename = "notice.dispatched")]
    Dispatched,
    /// The client received the notice.
    #[serde(rename = "notice.delivered")]
    Delivered,
    /// The app stated that the notice is on the screen.
    #[serde(rename = "notice.displayed")]
    Displayed,
    /// The app stated that the notice is no longer on the screen.
    #[serde(rename = "notice.hidden")]
    Hidden,
    /// The participant confirmed the notice.
    #[serde(rename = "notice.acknowledged")]
    Acknowledged,
}

/// A participant's answer about one type of capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentFact {
    /// The decision.
    #[serde(rename = "kind")]
    pub decision: ConsentDecision,
    /// The session of the participant.
    pub session: String,
    /// The type of capture.
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
}

/// A participant's decision about consent. Of two decisions at one instant the greater one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConsentDecision {
    /// The participant consents.
    #[serde(rename = "consent.given")]
    Given,
    /// The participant declines.
    #[serde(rename = "consent.declined")]
    Declined,
}

/// Whether a member has its default, so that it is left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Deserializes null as the default.
fn null_is_absent<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_value_is_written_as_it_is_read() {
        for capture_type in CaptureType::ALL {
            assert_eq!(json!(capture_type), json!(capture_type.as_str()));
        }
        for level in [Level::On, Level::Paused, Level::Off] {
            assert_eq!(json!(level), json!(level.as_str()));
        }
        for state in [ProviderState::Active, ProviderState::Inactive] {
            assert_eq!(json!(state), json!(state.as_str()));
        }
        for identity in BY_PRECEDENCE {
            assert_eq!(json!(identity), json!(identity.as_str()));
            let read: Identity = serde_json::from_value(json!(identity.as_str())).unwrap();
            // `outsider` is concluded, never stated.
            let stated = match identity {
                Identity::Outsider => Identity::Unknown,
                other => other,
            };
            assert_eq!(read, stated);
        }
    }

    const BY_PRECEDENCE: [Identity; 9] = [
        Identity::Acs,
        Identity::TeamsCustom,
        Identity::AcsForeign,
        Identity::TeamsUser,
        Identity::TeamsApp,
        Identity::Phone,
        Identity::Bot,
        Identity::Outsider,
        Identity::Unknown,
    ];

    #[test]
    fn identities_are_ordered_by_precedence() {
        assert!(BY_PRECEDENCE.is_sorted());
    }

    #[test]
    fn an_identity_outside_the_list_is_unknown() {
        let read: Identity = serde_json::from_value(json!("unlisted")).unwrap();
        assert_eq!(read, Identity::Unknown);
        let unread: Result<Identity, _> = serde_json::from_value(Value::from(7));
        assert!(unread.is_err());
    }

    #[test]
    fn an_unknown_participant_must_be_notified() {
        let ours: Vec<Identity> = BY_PRECEDENCE.into_iter().filter(|it| it.ours()).collect();
        assert_eq!(ours, [Identity::Acs, Identity::TeamsCustom, Identity::Unknown]);
    }

    #[test]
    fn the_end_of_a_file_does_not_overflow() {
        let file =
            FileFact { recording: "r1".to_owned(), index: 0, started_at: 5, duration_ms: u64::MAX };
        assert_eq!(file.end(), Millis::MAX);
    }
}
