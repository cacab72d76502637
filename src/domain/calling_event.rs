//! The calling event: our normalized statement about a call.
//!
//! Every dialect (three generations of Event Grid, Call Automation, client reports) ends here, and
//! everything behind the door reads only this. It is the JSON value of a `calling-events.v1`
//! message, so a change of a name here is a change of the contract with downstream readers.

mod reading;

use serde::{Deserialize, Serialize};

use super::fact::{CaptureType, Identity, Level, ProviderState};
use super::identity::{Cloud, IdentifierKind};
use super::ids::{Digest, Ids};
use super::instant::Millis;

/// One normalized statement about a call, with the ids by which it names the call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallingEvent {
    /// What happened; the member `type` names it, its fields lie beside it.
    #[serde(flatten)]
    pub statement: Statement,
    /// How the event names its call.
    pub ids: Ids,
    /// The sender's own type, verbatim: `Microsoft.Communication.CallStarted`, `onrecord.report`.
    pub source_type: String,
    /// The schema generation: `2021`, `2022` or `2025` for Event Grid (by the shape of its
    /// members), the API version that a callback states; absent where nothing tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// JSON pointers of the members whose value was taken out of the original (law 9).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
}

/// What an event says. The serialized name is the event's type, without the prefix `onrecord.`
/// that it has in `ce_type`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum Statement {
    /// A call is offered to an ACS identity or number (Event Grid `IncomingCall`).
    #[serde(rename = "call.offered")]
    CallOffered(CallOffered),
    /// Event Grid `CallStarted`.
    #[serde(rename = "call.started")]
    CallStarted(CallStarted),
    /// Event Grid `CallEnded`, or an end that the sweeper presumes.
    #[serde(rename = "call.ended")]
    CallEnded(CallEnded),
    /// Event Grid `CallParticipantAdded`: added and joined.
    #[serde(rename = "session.joined")]
    SessionJoined(SessionMoved),
    /// Event Grid `CallParticipantRemoved`.
    #[serde(rename = "session.left")]
    SessionLeft(SessionMoved),
    /// Call Automation `CallConnected`: the leg `ids.call_connection_id` is in the call.
    #[serde(rename = "leg.connected")]
    LegConnected(LegMoved),
    /// Call Automation `CallDisconnected`.
    #[serde(rename = "leg.disconnected")]
    LegDisconnected(LegMoved),
    /// Call Automation `ParticipantsUpdated`: who is in the call now, recorders omitted.
    #[serde(rename = "roster")]
    Roster(Roster),
    /// A recording or transcription changed (`RecordingStateChanged`, its alpha names,
    /// `Transcription*`).
    #[serde(rename = "provider.state")]
    ProviderState(ProviderStateChanged),
    /// Event Grid `RecordingFileStatusUpdated`: a recording file is ready.
    #[serde(rename = "file")]
    File(RecordingFile),
    /// Adding, removing or moving a participant, or a transfer, succeeded.
    #[serde(rename = "participant.changed")]
    ParticipantChanged(ParticipantChanged),
    /// An operation that somebody asked for did not succeed.
    #[serde(rename = "operation.failed")]
    OperationFailed(OperationFailed),
    /// Media of our own leg: playing, recognizing, tones, media streaming, dialog.
    #[serde(rename = "media")]
    Media(Media),
    /// A client's statement of what its Calling SDK sees and what it shows.
    #[serde(rename = "report")]
    Report(Report),
    /// A type that we do not know, or that is not about calls; the ledger keeps it.
    #[serde(rename = "unrecognized")]
    Unrecognized(Unrecognized),
}

impl Statement {
    /// The event's type, as in the member `type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CallOffered(_) => "call.offered",
            Self::CallStarted(_) => "call.started",
            Self::CallEnded(_) => "call.ended",
            Self::SessionJoined(_) => "session.joined",
            Self::SessionLeft(_) => "session.left",
            Self::LegConnected(_) => "leg.connected",
            Self::LegDisconnected(_) => "leg.disconnected",
            Self::Roster(_) => "roster",
            Self::ProviderState(_) => "provider.state",
            Self::File(_) => "file",
            Self::ParticipantChanged(_) => "participant.changed",
            Self::OperationFailed(_) => "operation.failed",
            Self::Media(_) => "media",
            Self::Report(_) => "report",
            Self::Unrecognized(_) => "unrecognized",
        }
    }

    /// Whether the rules of evidence, or the resolution of sessions, read it.
    #[must_use]
    pub fn bears_facts(&self) -> bool {
        match self {
            Self::CallStarted(_)
            | Self::CallEnded(_)
            | Self::SessionJoined(_)
            | Self::SessionLeft(_)
            | Self::LegConnected(_)
            | Self::LegDisconnected(_)
            | Self::Roster(_)
            | Self::ProviderState(_)
            | Self::File(_)
            | Self::Report(_) => true,
            Self::CallOffered(_)
            | Self::ParticipantChanged(_)
            | Self::OperationFailed(_)
            | Self::Media(_)
            | Self::Unrecognized(_) => false,
        }
    }
}

/// A person or machine by raw id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Participant {
    /// Verbatim; the key.
    pub raw_id: String,
    /// What it names.
    pub kind: IdentifierKind,
    /// Where.
    pub cloud: Cloud,
    /// Whose it is, as far as this event's source can tell.
    pub identity: Identity,
    /// As the source writes it; may be empty or the raw id itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Free text (`Attendee`, `Presenter`, … and whatever comes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// The numbers of an outcome. Its text stays in the original: it changes, and holds raw ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// HTTP-like or SIP-like code. 200 is no proof of success, 487 none of failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Microsoft's sub-code, for example 7000 (ended by the API or a bot).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_code: Option<i64>,
}

/// See [`Statement::CallOffered`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallOffered {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Participant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Participant>,
    /// The Teams user or resource account on whose behalf the call is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Participant>,
}

/// See [`Statement::CallStarted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallStarted {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Participant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_two_party: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_rooms_call: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_id: Option<String>,
}

/// See [`Statement::CallEnded`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallEnded {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Participant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Participant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Outcome>,
    /// As the source states it, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// Nobody said so: it was quiet for too long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub presumed: bool,
}

/// See [`Statement::SessionJoined`]; `ids.participant_id` names the join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionMoved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<Participant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Outcome>,
}

/// See [`Statement::LegConnected`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegMoved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// See [`Statement::Roster`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// Per leg; has gaps and repeats. Absent in payloads of 2022.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    pub participants: Vec<Participant>,
}

/// See [`Statement::ProviderState`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProviderStateChanged {
    /// Recording or transcription.
    pub capture: CaptureType,
    /// Which one: the canonical recording id, where the source gives one; a placeholder verbatim;
    /// `transcription:{callConnectionId}` for a transcription.
    pub recording: String,
    /// `azureCommunicationServices`, `teams`, `teamsCompliance`, verbatim if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_kind: Option<String>,
    pub state: ProviderState,
    /// When the capture began, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Millis>,
    /// The recorder's own leg; not a leg of ours, so it never joins events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder_leg: Option<String>,
}

/// See [`Statement::File`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingFile {
    /// The canonical recording id out of the subject; a placeholder verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// `Audio`, `AudioVideo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// `Mixed`, `Unmixed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// `Wav`, `Mp3`, `Mp4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// `CallEnded`, `InitiatorLeft`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_end_reason: Option<String>,
    pub chunks: Vec<RecordingChunk>,
}

/// One stored part of a recording. Azure deletes it after a day or two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingChunk {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_location: Option<String>,
}

/// See [`Statement::ParticipantChanged`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParticipantChanged {
    /// The sender's type without its prefix: `AddParticipantSucceeded`, `CallTransferAccepted`, …
    pub operation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<Participant>,
    /// Whom a transferred call goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_target: Option<Participant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// See [`Statement::OperationFailed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationFailed {
    /// The sender's type without its prefix: `CreateCallFailed`, `StartRecordingFailed`, …
    pub operation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<Participant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// See [`Statement::Media`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// The sender's type without its prefix: `PlayCompleted`, `MediaStreamingStarted`, …
    pub operation: String,
    /// `mediaStreamingStatus` or `transcriptionStatus`, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_details: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// See [`Statement::Unrecognized`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unrecognized {
    /// Size of the event as received, bytes.
    pub size: usize,
    /// Whether the original's `data` was kept. It is not for events that are not about calls.
    pub kept: bool,
}

/// See [`Statement::Report`]; `ids.attachment` is the reporter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whom the subscriber token names, with the identity that it claims.
    pub participant: Participant,
    /// The client's own counter; orders its reports whatever way they take.
    pub sequence: i64,
    /// Absent: the client cannot tell, nothing changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcription: Option<Level>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consent_required: Vec<CaptureType>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<Shown>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Chat thread of the call; an attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Name and version of the client app, as it states them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Name and version of its Calling SDK, as it states them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
}

/// What a client showed by itself, before any notice of ours reached it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    #[serde(rename = "type")]
    pub capture: CaptureType,
    pub state: Level,
    /// How long before the report, by the client's stopwatch, ms.
    pub elapsed_ms: i64,
    /// The words that were shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<ShownText>,
}

/// Which words were shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownText {
    pub version: String,
    pub sha256: String,
    pub locale: String,
}

/// A calling event with its identity and its instant: what a call is folded from.
#[derive(Clone, Debug, PartialEq)]
pub struct Testimony {
    /// The event's key (law 4).
    pub id: Digest,
    /// See [`super::instant::effective`].
    pub t: Millis,
    pub event: CallingEvent,
    /// Of a report: those between its reporter's previous testimony here and it were left out,
    /// because they said the same and left no silence ([`super::reports`]).
    pub unbroken: bool,
}

impl Testimony {
    /// An event that stands for itself.
    #[must_use]
    pub fn new(id: Digest, t: Millis, event: CallingEvent) -> Self {
        Self {
            id,
            t,
            event,
            unbroken: false,
        }
    }
}

impl CallingEvent {
    /// Without what says nothing to the fold of a call: the texts that only readers of the record
    /// ask for, and the ids by which the event found its call. A board keeps many.
    #[must_use]
    pub fn lean(mut self) -> Self {
        self.source_type = String::new();
        self.generation = None;
        self.redacted = Vec::new();
        self.ids.correlation_id = None;
        self.ids.server_call_id = None;
        self.ids.group_id = None;
        let nameless = |participant: &mut Participant| {
            participant.display_name = None;
            participant.role = None;
        };
        match &mut self.statement {
            Statement::CallStarted(started) => started.started_by = None,
            Statement::CallEnded(ended) => {
                ended.started_by = None;
                ended.ended_by = None;
            }
            Statement::SessionJoined(moved) | Statement::SessionLeft(moved) => {
                moved.user_agent = None;
                moved.participant.iter_mut().for_each(nameless);
            }
            Statement::Roster(roster) => {
                roster.participants.iter_mut().for_each(nameless);
                roster.participants.shrink_to_fit();
            }
            Statement::Report(report) => {
                nameless(&mut report.participant);
                report.thread_id = None;
                report.app = None;
                report.sdk = None;
            }
            Statement::CallOffered(_)
            | Statement::LegConnected(_)
            | Statement::LegDisconnected(_)
            | Statement::ProviderState(_)
            | Statement::File(_)
            | Statement::ParticipantChanged(_)
            | Statement::OperationFailed(_)
            | Statement::Media(_)
            | Statement::Unrecognized(_) => {}
        }
        self
    }
}

/// The key by which duplicates are known (law 4): tenant, lower-cased source, type and id.
#[must_use]
pub fn event_key(tenant: &str, source: &str, source_type: &str, id: &str) -> Digest {
    Digest::of_parts(&[tenant, &source.to_lowercase(), source_type, id])
}
