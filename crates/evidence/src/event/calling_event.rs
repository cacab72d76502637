//! The calling event: the normalized statement of a source about a call.
//!
//! Ingest normalizes every source (three generations of Event Grid, Call Automation, client
//! reports) to this type; all other modules read only this type. It is the JSON value of a
//! `calling-events.v1` message, so a changed name here changes the contract with the consumers of
//! that topic.

mod json;

use serde::{Deserialize, Serialize};

use super::ids::{Digest, Ids};
use super::instant::Millis;
use crate::fact::kinds::{CaptureType, Identity, Level, ProviderState, is_default};
use crate::identity::grant::{Grant, call_reference};
use crate::identity::raw_id::{Cloud, IdentifierKind};

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
    /// members), the API version that a Call Automation callback states; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// JSON pointers of the members whose value was removed from the original (`NO_SECRETS`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
    /// The members whose value the event does not have as the original has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flagged: Vec<FlaggedMember>,
}

/// A member of the original whose value the event does not have as it is written there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlaggedMember {
    /// The JSON pointer (RFC 6901) of the member in the original.
    pub pointer: String,
    /// What is wrong with the value.
    pub reason: FlagReason,
}

/// What is wrong with the value of a member.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FlagReason {
    /// It has another type than documented. It counts as absent, unless it is the text of a value of
    /// the right type.
    WrongType,
    /// No number of the service represents it. It counts as absent.
    OutOfRange,
    /// It is not a time. It counts as absent.
    NotATime,
    /// It contains NUL or half of a surrogate pair, which U+FFFD replaces.
    Replaced,
    /// It is too long. Its beginning is kept, with the SHA-256 of the whole.
    Shortened,
}

impl FlagReason {
    /// The name of the reason in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What an event states. The serialized name is the event's type without the prefix `onrecord.`
/// that it has in `ce_type`.
#[derive(Clone, Debug, PartialEq, Serialize, strum::IntoStaticStr, strum::VariantNames)]
#[serde(tag = "type")]
pub enum Statement {
    /// A call is offered to an ACS identity or number (Event Grid `IncomingCall`).
    #[serde(rename = "call.offered")]
    #[strum(serialize = "call.offered")]
    CallOffered(CallOffered),
    /// Event Grid `CallStarted`.
    #[serde(rename = "call.started")]
    #[strum(serialize = "call.started")]
    CallStarted(CallStarted),
    /// Event Grid `CallEnded`, or an end that the ledger's maintenance presumes.
    #[serde(rename = "call.ended")]
    #[strum(serialize = "call.ended")]
    CallEnded(CallEnded),
    /// Event Grid `CallParticipantAdded`: the participant was added and has joined.
    #[serde(rename = "session.joined")]
    #[strum(serialize = "session.joined")]
    SessionJoined(SessionStatement),
    /// Event Grid `CallParticipantRemoved`: the participant has left.
    #[serde(rename = "session.left")]
    #[strum(serialize = "session.left")]
    SessionLeft(SessionStatement),
    /// Call Automation `CallConnected`: the leg `ids.call_connection_id` is in the call.
    #[serde(rename = "leg.connected")]
    #[strum(serialize = "leg.connected")]
    LegConnected(LegStatement),
    /// Call Automation `CallDisconnected`: the leg is no longer in the call.
    #[serde(rename = "leg.disconnected")]
    #[strum(serialize = "leg.disconnected")]
    LegDisconnected(LegStatement),
    /// Call Automation `ParticipantsUpdated`: the participants that are in the call now, without
    /// recorders.
    #[serde(rename = "roster")]
    #[strum(serialize = "roster")]
    Roster(Roster),
    /// The state of a recording or transcription (Call Automation `RecordingStateChanged`, its
    /// alpha names, `Transcription*`).
    #[serde(rename = "provider.state")]
    #[strum(serialize = "provider.state")]
    ProviderState(ProviderStateChanged),
    /// Event Grid `RecordingFileStatusUpdated`: a recording file is ready.
    #[serde(rename = "file")]
    #[strum(serialize = "file")]
    File(RecordingFileStatement),
    /// Adding, removing or moving a participant, or a transfer, succeeded.
    #[serde(rename = "participant.changed")]
    #[strum(serialize = "participant.changed")]
    ParticipantChanged(ParticipantChanged),
    /// A requested operation did not succeed.
    #[serde(rename = "operation.failed")]
    #[strum(serialize = "operation.failed")]
    OperationFailed(OperationFailed),
    /// Media of a leg of the tenant's app: playing, recognizing, tones, media streaming, dialog.
    #[serde(rename = "media")]
    #[strum(serialize = "media")]
    Media(Media),
    /// A client's statement of what its Calling SDK observes and what the client shows.
    #[serde(rename = "report")]
    #[strum(serialize = "report")]
    Report(ReportStatement),
    /// An event of an unknown type, or one that is not about calls; the ledger stores it.
    #[serde(rename = "unrecognized")]
    #[strum(serialize = "unrecognized")]
    Unrecognized(Unrecognized),
}

impl Statement {
    /// The event's type, as in the member `type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// Whether the event shows that its call is connected, or was. A client has a serverCallId and sees
    /// the state of a capture only once it is connected; before that it reports neither.
    #[must_use]
    pub fn shows_connection(&self, ids: &Ids) -> bool {
        match self {
            Self::Report(report) => {
                ids.server_call_id.is_some()
                    || report.recording.is_some()
                    || report.transcription.is_some()
            }
            other => other.yields_facts(),
        }
    }

    /// Whether the resolution of sessions or the rules of evidence read it.
    #[must_use]
    pub fn yields_facts(&self) -> bool {
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

/// A person or machine in a call, named by its raw id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Participant {
    /// The raw id, verbatim.
    pub raw_id: String,
    /// What the raw id names.
    pub kind: IdentifierKind,
    /// The cloud that the raw id belongs to.
    pub cloud: Cloud,
    /// The identity, as far as the source of this event states it.
    pub identity: Identity,
    /// The name as the source writes it; may be empty or the raw id itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The role, free text: `Attendee`, `Presenter`, and others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// The codes of an operation's outcome. Its text stays in the original, because the text changes
/// between versions and contains raw ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// HTTP or SIP status code. 200 does not prove success, 487 does not prove failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Microsoft's sub-code, for example 7000 (ended by the API or a bot).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_code: Option<i64>,
}

/// See [`Statement::CallOffered`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallOffered {
    /// The caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Participant>,
    /// The called identity or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Participant>,
    /// The Teams user or resource account on whose behalf the call is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Participant>,
}

/// See [`Statement::CallStarted`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallStarted {
    /// The participant that started the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Participant>,
    /// Whether the call has two parties only, as the source states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_two_party: Option<bool>,
    /// Whether the call takes place in an ACS room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_rooms_call: Option<bool>,
    /// The id of the ACS room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_id: Option<String>,
}

/// See [`Statement::CallEnded`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallEnded {
    /// The participant that started the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Participant>,
    /// The participant that ended the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Participant>,
    /// The reason of the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Outcome>,
    /// The length of the call as the source states it, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// No source stated the end: the call had no event for `ledger.presume_end_after`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub presumed: bool,
}

/// See [`Statement::SessionJoined`] and [`Statement::SessionLeft`]; `ids.participant_id` names the
/// join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStatement {
    /// The participant that joined or left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<Participant>,
    /// The endpoint of the participant, free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The reason of the leaving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Outcome>,
}

/// See [`Statement::LegConnected`] and [`Statement::LegDisconnected`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegStatement {
    /// The outcome that the callback states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// See [`Statement::Roster`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Roster {
    /// The `sequenceNumber` of the leg; has gaps and repeats. Absent in payloads of 2022.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// All participants that are in the call, without recorders.
    pub participants: Vec<Participant>,
}

/// See [`Statement::ProviderState`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProviderStateChanged {
    /// Recording or transcription.
    #[serde(rename = "capture")]
    pub capture_type: CaptureType,
    /// The id of the recording in its canonical form; a placeholder verbatim;
    /// `transcription:{callConnectionId}` for a transcription.
    pub recording: String,
    /// Which product captures: `azureCommunicationServices`, `teams`, `teamsCompliance`, or another
    /// value verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_kind: Option<String>,
    /// Whether the capture is in progress.
    pub state: ProviderState,
    /// When the capture began, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Millis>,
    /// The leg of the recorder itself. It is not a leg of the tenant's app, so it never joins
    /// events to a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder_leg: Option<String>,
}

/// See [`Statement::File`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingFileStatement {
    /// The recording id of the event's subject in its canonical form; a placeholder verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// When the recording began, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Millis>,
    /// The length of the recording, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// The content: `Audio` or `AudioVideo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The channels: `Mixed` or `Unmixed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The file format: `Wav`, `Mp3` or `Mp4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Why the recording ended: `CallEnded`, `InitiatorLeft`, and others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_end_reason: Option<String>,
    /// The stored parts of the recording.
    pub chunks: Vec<RecordingChunk>,
}

/// One stored part of a recording, as Event Grid `RecordingFileStatusUpdated` lists it. Azure
/// deletes it after a day or two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingChunk {
    /// The document id in Azure's storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_id: Option<String>,
    /// The number of the part within the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<i64>,
    /// Why the part ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
    /// The URL of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_location: Option<String>,
    /// The URL of the metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_location: Option<String>,
    /// The URL with which the part can be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_location: Option<String>,
}

/// See [`Statement::ParticipantChanged`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParticipantChanged {
    /// The sender's type without its prefix: `AddParticipantSucceeded`, `CallTransferAccepted`, …
    pub operation: String,
    /// The participant that the operation is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<Participant>,
    /// The target of a transferred call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_target: Option<Participant>,
    /// The `invitationId` of the invitation to the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invitation_id: Option<String>,
    /// The outcome of the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// See [`Statement::OperationFailed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationFailed {
    /// The sender's type without its prefix: `CreateCallFailed`, `StartRecordingFailed`, …
    pub operation: String,
    /// The participant that the operation is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<Participant>,
    /// The outcome of the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// See [`Statement::Media`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// The sender's type without its prefix: `PlayCompleted`, `MediaStreamingStarted`, …
    pub operation: String,
    /// `mediaStreamingStatus`, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `mediaStreamingStatusDetails`, verbatim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_details: Option<String>,
    /// The outcome of the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// See [`Statement::Unrecognized`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unrecognized {
    /// The size of the event as received, in bytes.
    pub size: usize,
    /// Whether the `data` of the original was stored; false for events that are not about calls.
    pub kept: bool,
}

/// See [`Statement::Report`]; `ids.attachment` is the reporter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportStatement {
    /// The participant that the subscriber token names, with the identity that the token claims.
    pub participant: Participant,
    /// The other raw ids of the same person, as the token lists them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_raw_ids: Vec<String>,
    /// What the token grants.
    #[serde(default, skip_serializing_if = "is_default")]
    pub grant: Grant,
    /// The client's own counter; it orders the reports of the client, which may arrive in another
    /// order.
    pub sequence: i64,
    /// The level of the recording. Absent: the client does not know it; the last level stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<Level>,
    /// The level of the transcription. Absent: the client does not know it; the last level stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcription: Option<Level>,
    /// The capture types for which the Calling SDK requires consent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consent_required: Vec<CaptureType>,
    /// The notices on the participant's screen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<ShownStatement>,
    /// The client is about to leave the call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leaving: bool,
    /// The chat thread of the call; not an alias of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Name and version of the client app, as the client states them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Name and version of the Calling SDK, as the client states them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
}

impl ReportStatement {
    /// All raw ids of the person that the token names: that of the participant first.
    pub fn persons(&self) -> impl Iterator<Item = &str> {
        let others = self.other_raw_ids.iter().map(String::as_str);
        std::iter::once(self.participant.raw_id.as_str()).chain(others)
    }
}

/// A notice that a client showed on its own, before a notice of the service reached it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownStatement {
    /// What the notice is about.
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    /// The level that the notice states.
    pub state: Level,
    /// How long before the report the client showed it, by the client's stopwatch, ms.
    pub elapsed_ms: i64,
    /// The text that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<ShownText>,
}

/// Identifies the text of a notice that was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownText {
    /// The version of the notice text.
    pub version: String,
    /// The SHA-256 of the text, hexadecimal.
    pub sha256: String,
    /// The locale of the text.
    pub locale: String,
}

/// A calling event with its key and its instant. A call is the projection of the set of its
/// observed events.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedEvent {
    /// The event's key ([`event_key`]).
    pub id: Digest,
    /// When it happened, Unix milliseconds: see [`super::instant::event_time`].
    pub at: Millis,
    /// When it was received, Unix milliseconds, if that is much later: see
    /// [`super::instant::late_receipt`].
    pub received_at: Option<Millis>,
    /// The event.
    pub event: CallingEvent,
    /// Of a report: the reports between it and the previous one of its client in the set are left
    /// out, because they state the same and the client was never stale
    /// ([`crate::session::report_history`]).
    pub unbroken: bool,
}

impl ObservedEvent {
    /// The event with the instant of its reception, if that is much later than its own.
    #[must_use]
    pub fn received(self, received_at: Option<Millis>) -> Self {
        Self { received_at, ..self }
    }

    /// Until when the event shows that its call goes on, in Unix milliseconds.
    #[must_use]
    pub fn last_sign_at(&self) -> Millis {
        self.received_at.map_or(self.at, |received| received.max(self.at))
    }

    /// An event without events left out before it.
    #[must_use]
    pub fn new(id: Digest, at: Millis, event: CallingEvent) -> Self {
        Self { id, at, received_at: None, event, unbroken: false }
    }
}

impl CallingEvent {
    /// Removes what the projection of a call does not read: the texts that only the query API
    /// returns, and those ids of the call that no grant may name. A serverCallId becomes its short
    /// reference.
    ///
    /// # Why
    ///
    /// The live state stores the events of all calls in progress in memory.
    #[must_use]
    pub fn for_projection(mut self) -> Self {
        self.source_type = String::new();
        self.generation = None;
        self.redacted = Vec::new();
        self.ids.server_call_id = self.ids.server_call_id.as_deref().map(call_reference);
        let remove_name = |participant: &mut Participant| {
            participant.display_name = None;
            participant.role = None;
        };
        match &mut self.statement {
            Statement::CallStarted(started) => started.started_by = None,
            Statement::CallEnded(ended) => {
                ended.started_by = None;
                ended.ended_by = None;
            }
            Statement::SessionJoined(change) | Statement::SessionLeft(change) => {
                change.user_agent = None;
                change.participant.iter_mut().for_each(remove_name);
            }
            Statement::Roster(roster) => {
                roster.participants.iter_mut().for_each(remove_name);
                roster.participants.shrink_to_fit();
            }
            Statement::Report(report) => {
                remove_name(&mut report.participant);
                // Only the platform states these for a grant.
                self.ids.correlation_id = None;
                self.ids.group_id = None;
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

/// The key by which duplicates are recognized (`ONCE`): the digest of tenant, lower-cased source,
/// type and id.
#[must_use]
pub fn event_key(tenant: &str, source: &str, source_type: &str, id: &str) -> Digest {
    Digest::of_parts(&[tenant, &source.to_lowercase(), source_type, id])
}
