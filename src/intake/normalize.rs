//! Normalization: what an event of Azure says, in our words.
//!
//! One function per statement; which type says what stands in [`Meaning`]. What is read here is
//! read from the redacted event.

use std::borrow::Cow;

use super::azure::{
    Object, People, RecordingPath, connection_in_source, recording_in_source, recording_in_subject,
    server_call_in_subject,
};
use super::envelope::{Envelope, communication_type};
use super::meaning::Meaning;
use super::reason::Reason;
use crate::domain::alias::Anchor;
use crate::domain::calling_event::{
    CallEnded, CallOffered, CallStarted, LegMoved, Media, OperationFailed, Outcome, Participant,
    ParticipantChanged, ProviderStateChanged, RecordingChunk, RecordingFile, Roster, SessionMoved,
    Statement,
};
use crate::domain::fact::{CaptureType, ProviderState};
use crate::domain::ids::{self, Ids};

/// What an event says, and of which call.
pub(super) struct Reading {
    pub(super) statement: Statement,
    pub(super) ids: Ids,
    pub(super) generation: Option<String>,
}

/// Reads an event of a type that we know; `None` for any other.
///
/// # Errors
///
/// [`Reason`]: the event does not have the form that its type promises.
pub(super) fn read(envelope: &Envelope<'_>, people: People<'_>) -> Result<Option<Reading>, Reason> {
    let Some(operation) = communication_type(&envelope.source_type) else {
        return Ok(None);
    };
    let Some(meaning) = Meaning::of(operation) else {
        return Ok(None);
    };
    let content = envelope.content()?;
    let event = Event {
        operation,
        envelope,
        content,
        people,
    };
    let ids = event.ids(meaning)?;
    Ok(Some(Reading {
        statement: event.statement(meaning, &ids)?,
        generation: event.generation(meaning)?,
        ids,
    }))
}

/// The ids of an event whose type we do not know, as far as they look like ids.
pub(super) fn ids_of_unknown(envelope: &Envelope<'_>) -> Ids {
    let Ok(content) = envelope.content() else {
        return Ids::default();
    };
    let text = |name| content.text([name]).ok().flatten();
    Ids {
        correlation_id: text("correlationId").and_then(|id| ids::guid(&id)),
        server_call_id: text("serverCallId").and_then(|id| ids::server_call_id(&id)),
        call_connection_id: text("callConnectionId").and_then(|id| ids::guid(&id)),
        ..Ids::default()
    }
}

/// An event that is being read.
struct Event<'d, 'e> {
    operation: &'e str,
    envelope: &'e Envelope<'d>,
    /// Its `data`.
    content: Object<'d, 'd>,
    people: People<'e>,
}

impl Event<'_, '_> {
    fn subject(&self) -> &str {
        self.envelope.subject.as_deref().unwrap_or_default()
    }

    fn source(&self) -> &str {
        self.envelope.source.as_deref().unwrap_or_default()
    }

    /// The ids in the recording's subject or source, if the event is about one.
    fn recording_path(&self, meaning: Meaning) -> RecordingPath<'_> {
        match meaning {
            Meaning::File => recording_in_subject(self.subject()),
            Meaning::Recording(_) | Meaning::RecordingFailed => recording_in_source(self.source()),
            _ => RecordingPath::default(),
        }
    }

    fn ids(&self, meaning: Meaning) -> Result<Ids, Reason> {
        let path = self.recording_path(meaning);
        let correlation = self.content.text(["correlationId"])?;
        let server = self.content.text(["serverCallId"])?;
        let connection = self.content.text(["callConnectionId"])?;
        let recording = self.content.text(["recordingId"])?;
        let elsewhere = path
            .server_call_id
            .or_else(|| server_call_in_subject(self.subject()));
        let connection = if meaning.has_recorder_leg() {
            None
        } else {
            canonical(connection, connection_in_source(self.source()), ids::guid)
        };
        Ok(Ids {
            correlation_id: canonical(correlation, path.call_id, ids::guid),
            server_call_id: canonical(server, elsewhere, ids::server_call_id),
            call_connection_id: connection,
            recording_id: canonical(recording, path.recording_id, ids::recording_id),
            participant_id: self
                .content
                .string(["participantId"])?
                .filter(|id| !id.is_empty()),
            attachment: None,
            group_id: self
                .content
                .object(["group"])?
                .text(["id"])?
                .and_then(|id| ids::guid(&id)),
        })
    }

    /// Which type says what.
    fn statement(&self, meaning: Meaning, ids: &Ids) -> Result<Statement, Reason> {
        Ok(match meaning {
            Meaning::Offered => Statement::CallOffered(self.offered()?),
            Meaning::Started => Statement::CallStarted(self.started()?),
            Meaning::Ended => Statement::CallEnded(self.ended()?),
            Meaning::Joined => Statement::SessionJoined(self.moved()?),
            Meaning::Left => Statement::SessionLeft(self.moved()?),
            Meaning::Connected => Statement::LegConnected(self.leg()?),
            Meaning::Disconnected => Statement::LegDisconnected(self.leg()?),
            Meaning::Roster => Statement::Roster(self.roster()?),
            Meaning::Recording(kind) => Statement::ProviderState(self.recording(kind, ids)?),
            Meaning::Transcription(state) => {
                Statement::ProviderState(self.transcription(state, ids))
            }
            Meaning::File => Statement::File(self.file(ids)?),
            Meaning::Changed => Statement::ParticipantChanged(self.changed()?),
            Meaning::Failed | Meaning::RecordingFailed => {
                Statement::OperationFailed(self.failed()?)
            }
            Meaning::Media => Statement::Media(self.media()?),
        })
    }

    fn participant(&self, name: &'static str) -> Result<Option<Participant>, Reason> {
        self.people.participant(&self.content.object([name])?)
    }

    fn offered(&self) -> Result<CallOffered, Reason> {
        let context = self.content.object(["customContext"])?;
        let on_behalf_of = match self.participant("onBehalfOfCallee")? {
            Some(callee) => Some(callee),
            // One example of the specification nests it.
            None => self
                .people
                .participant(&context.object(["onBehalfOfCallee"])?)?,
        };
        let name = self.content.string(["callerDisplayName"])?;
        Ok(CallOffered {
            from: self.participant("from")?.map(|from| Participant {
                display_name: name,
                ..from
            }),
            to: self.participant("to")?,
            on_behalf_of,
        })
    }

    fn started(&self) -> Result<CallStarted, Reason> {
        Ok(CallStarted {
            started_by: self.participant("startedBy")?,
            is_two_party: self.content.boolean(["isTwoParty"])?,
            is_rooms_call: self.content.boolean(["isRoomsCall"])?,
            room_id: self.content.object(["room"])?.string(["id"])?,
        })
    }

    fn ended(&self) -> Result<CallEnded, Reason> {
        let ended_by = self.content.object(["endedBy"])?;
        let name = ended_by.string(["name"])?;
        Ok(CallEnded {
            started_by: self.participant("startedBy")?,
            ended_by: self
                .people
                .participant(&ended_by)?
                .map(|participant| Participant {
                    display_name: name,
                    ..participant
                }),
            reason: outcome(&self.content.object(["reason"])?)?,
            duration_s: self
                .content
                .number(["callDurationInSeconds", "durationOfCall"])?,
            presumed: false,
        })
    }

    fn moved(&self) -> Result<SessionMoved, Reason> {
        let name = self.content.string(["displayName"])?;
        Ok(SessionMoved {
            participant: self.participant("user")?.map(|user| Participant {
                display_name: name,
                ..user
            }),
            user_agent: self.content.string(["userAgent", "endpointType"])?,
            reason: outcome(&self.content.object(["reason"])?)?,
        })
    }

    fn leg(&self) -> Result<LegMoved, Reason> {
        Ok(LegMoved {
            outcome: self.result()?,
        })
    }

    fn roster(&self) -> Result<Roster, Reason> {
        let mut participants = Vec::new();
        let listed = self.content.objects(["participants"], |entry| {
            let participant = self.people.participant(entry)?;
            participants.push(participant.ok_or_else(|| entry.missing("identifier"))?);
            Ok(())
        })?;
        if !listed {
            // No list is not an empty room: nobody may be taken for having left.
            return Err(self.content.missing("participants"));
        }
        Ok(Roster {
            sequence: self.content.integer(["sequenceNumber"])?,
            participants,
        })
    }

    fn recording(
        &self,
        kind_of_type: Option<&'static str>,
        ids: &Ids,
    ) -> Result<ProviderStateChanged, Reason> {
        let stated = self.content.text(["recordingKind"])?;
        let capture_kind = kind_of_type.map(str::to_owned).or(stated
            .filter(|kind| !kind.is_empty())
            .map(|kind| known_kind(&kind)));
        let verbatim = self.content.string(["recordingId"])?;
        let recording = ids
            .recording_id
            .clone()
            .or(verbatim.filter(|id| !id.is_empty()))
            .unwrap_or_else(|| {
                // Nameless, so all of one kind in one call are one.
                format!("recording:{}", capture_kind.as_deref().unwrap_or_default())
            });
        let leg = self.content.text(["callConnectionId"])?;
        Ok(ProviderStateChanged {
            capture: CaptureType::Recording,
            recording,
            capture_kind,
            state: self.recording_state()?,
            start: self.content.time(["startDateTime"])?,
            recorder_leg: leg.and_then(|id| ids::guid(&id)),
        })
    }

    fn recording_state(&self) -> Result<ProviderState, Reason> {
        let Some(state) = self.content.text(["state"])? else {
            return Err(self.content.missing("state"));
        };
        if state.eq_ignore_ascii_case("active") {
            return Ok(ProviderState::Active);
        }
        if state.eq_ignore_ascii_case("inactive") {
            return Ok(ProviderState::Inactive);
        }
        Err(Reason::UnknownValue {
            pointer: self.content.pointer_to(&["state"]),
            allowed: "active, inactive",
        })
    }

    /// ACS real-time transcription: it belongs to the leg that asked for it and has no id.
    fn transcription(&self, state: ProviderState, ids: &Ids) -> ProviderStateChanged {
        let leg = ids.call_connection_id.clone();
        let server = || ids.server_call_id.as_deref().map(Anchor::server);
        let owner = leg
            .or_else(|| server().map(|anchor| anchor.to_string()))
            .unwrap_or_default();
        ProviderStateChanged {
            capture: CaptureType::Transcription,
            recording: format!("transcription:{owner}"),
            capture_kind: None,
            state,
            start: None,
            recorder_leg: None,
        }
    }

    fn file(&self, ids: &Ids) -> Result<RecordingFile, Reason> {
        let mut chunks = Vec::new();
        let storage = self.content.object(["recordingStorageInfo"])?;
        storage.objects(["recordingChunks"], |chunk| {
            chunks.push(RecordingChunk {
                document_id: chunk.string(["documentId"])?,
                index: chunk.integer(["index"])?,
                end_reason: chunk.string(["endReason"])?,
                content_location: chunk.string(["contentLocation"])?,
                metadata_location: chunk.string(["metadataLocation"])?,
                delete_location: chunk.string(["deleteLocation"])?,
            });
            Ok(())
        })?;
        let in_subject = recording_in_subject(self.subject()).recording_id;
        Ok(RecordingFile {
            recording: ids
                .recording_id
                .clone()
                .or_else(|| in_subject.map(str::to_owned)),
            start: self.content.time(["recordingStartTime"])?,
            duration_ms: self.content.integer(["recordingDurationMs"])?,
            content: self.content.string(["recordingContentType"])?,
            channel: self.content.string(["recordingChannelType"])?,
            format: self.content.string(["recordingFormatType"])?,
            session_end_reason: self.content.string(["sessionEndReason"])?,
            chunks,
        })
    }

    fn changed(&self) -> Result<ParticipantChanged, Reason> {
        let participant = match self.participant("participant")? {
            Some(participant) => Some(participant),
            None => self.participant("transferee")?,
        };
        Ok(ParticipantChanged {
            operation: self.operation.to_owned(),
            participant,
            transfer_target: self.participant("transferTarget")?,
            invitation_id: self.content.string(["invitationId"])?,
            outcome: self.result()?,
        })
    }

    fn failed(&self) -> Result<OperationFailed, Reason> {
        Ok(OperationFailed {
            operation: self.operation.to_owned(),
            participant: self.participant("participant")?,
            outcome: self.result()?,
        })
    }

    fn media(&self) -> Result<Media, Reason> {
        let update = self.content.object(["mediaStreamingUpdate"])?;
        Ok(Media {
            operation: self.operation.to_owned(),
            status: update.string(["mediaStreamingStatus"])?,
            status_details: update.string(["mediaStreamingStatusDetails"])?,
            outcome: self.result()?,
        })
    }

    fn result(&self) -> Result<Option<Outcome>, Reason> {
        outcome(&self.content.object(["resultInformation"])?)
    }

    /// A callback states the API version of the client that asked for it; the generation of Event
    /// Grid's calling events shows in their shape. The other events of Event Grid look alike in
    /// every generation.
    fn generation(&self, meaning: Meaning) -> Result<Option<String>, Reason> {
        if let Some(version) = self.content.scalar("version") {
            return Ok(Some(version));
        }
        let shaped = match meaning {
            Meaning::Started | Meaning::Ended | Meaning::Joined | Meaning::Left => true,
            Meaning::Offered => return Ok(self.has_callee().then(|| "2025".to_owned())),
            _ => false,
        };
        if !shaped {
            return Ok(None);
        }
        let mut generation = None;
        for name in ["user", "startedBy", "endedBy"] {
            let somebody = self.content.object([name])?;
            let nested = somebody.object(["communicationIdentifier"])?;
            generation = generation.max(if nested.has(["kind"]) {
                Some("2025")
            } else if nested.is_present() {
                Some("2022")
            } else if somebody.is_present() {
                Some("2021")
            } else {
                None
            });
        }
        let renamed = ["callDurationInSeconds", "userAgent", "endedBy", "reason"];
        if self.content.has(renamed) {
            generation = Some("2025");
        }
        Ok(generation.map(str::to_owned))
    }

    /// Teams Phone extensibility came with 2025.
    fn has_callee(&self) -> bool {
        self.content.has(["onBehalfOfCallee"])
    }
}

/// The id as the member states it, or as it stands elsewhere, in canonical form; a placeholder in
/// the first is as good as none.
fn canonical(
    stated: Option<Cow<'_, str>>,
    elsewhere: Option<&str>,
    form: fn(&str) -> Option<String>,
) -> Option<String> {
    stated
        .and_then(|id| form(&id))
        .or_else(|| elsewhere.and_then(form))
}

/// A recording's kind as the REST interface spells it; a new one verbatim.
fn known_kind(kind: &str) -> String {
    let known = ["azureCommunicationServices", "teams", "teamsCompliance"];
    let found = known
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(kind));
    found.unwrap_or(kind).to_owned()
}

/// The numbers of `resultInformation` or `reason`.
fn outcome(result: &Object<'_, '_>) -> Result<Option<Outcome>, Reason> {
    let outcome = Outcome {
        code: result.integer(["code"])?,
        sub_code: result.integer(["subCode"])?,
    };
    Ok(result.is_present().then_some(outcome))
}

#[cfg(test)]
mod tests {
    use super::super::json::Document;
    use super::*;

    fn statement_of(operation: &str, content: &str) -> (Statement, Option<String>) {
        let event = format!(
            r#"{{"type":"Microsoft.Communication.{operation}","source":"s","data":{content}}}"#
        );
        let document = Document::parse(&event).unwrap();
        let envelope = Envelope::of(document.root(), None).unwrap();
        let reading = read(&envelope, People { resource_ids: &[] })
            .unwrap()
            .unwrap();
        (reading.statement, reading.generation)
    }

    fn recording_of(operation: &str, content: &str) -> ProviderStateChanged {
        match statement_of(operation, content) {
            (Statement::ProviderState(state), _) => state,
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn state_and_kind_of_a_recording_are_read_without_case() {
        for (operation, content, kind, state) in [
            (
                "RecordingStateChanged",
                r#"{"state":"Active","recordingKind":"TeamsCompliance"}"#,
                Some("teamsCompliance"),
                ProviderState::Active,
            ),
            (
                "RecordingStateChanged",
                r#"{"state":"INACTIVE","recordingKind":"AzureCommunicationServices"}"#,
                Some("azureCommunicationServices"),
                ProviderState::Inactive,
            ),
            (
                "RecordingStateChanged",
                r#"{"state":"active","recordingKind":"SomethingNew"}"#,
                Some("SomethingNew"),
                ProviderState::Active,
            ),
            (
                "RecordingStateChanged",
                r#"{"state":"active","recordingKind":""}"#,
                None,
                ProviderState::Active,
            ),
            (
                "TeamsRecordingStateChanged",
                r#"{"state":"active","recordingKind":"azureCommunicationServices"}"#,
                Some("teams"),
                ProviderState::Active,
            ),
        ] {
            let recording = recording_of(operation, content);
            assert_eq!(recording.capture_kind.as_deref(), kind, "{content}");
            assert_eq!(recording.state, state, "{content}");
            let nameless = format!("recording:{}", kind.unwrap_or_default());
            assert_eq!(recording.recording, nameless);
        }
    }

    #[test]
    fn a_start_that_is_no_time_is_absent() {
        let content = r#"{"state":"active","startDateTime":"just now"}"#;
        assert_eq!(recording_of("RecordingStateChanged", content).start, None);
    }

    #[test]
    fn the_generation_shows_in_the_shape() {
        for (operation, content, generation) in [
            (
                "CallStarted",
                r#"{"startedBy":{"rawId":"a","kind":"x"}}"#,
                Some("2021"),
            ),
            (
                "CallStarted",
                r#"{"startedBy":{"communicationIdentifier":{"rawId":"a"}}}"#,
                Some("2022"),
            ),
            (
                "CallStarted",
                r#"{"startedBy":{"communicationIdentifier":{"rawId":"a","kind":"x"}}}"#,
                Some("2025"),
            ),
            ("CallEnded", r#"{"callDurationInSeconds":1}"#, Some("2025")),
            ("CallEnded", r#"{"durationOfCall":1.5}"#, None),
            (
                "CallParticipantAdded",
                r#"{"userAgent":"x","user":{"rawId":"a"}}"#,
                Some("2025"),
            ),
            (
                "CallConnected",
                r#"{"version":"2025-06-15"}"#,
                Some("2025-06-15"),
            ),
            ("CallConnected", "{}", None),
        ] {
            assert_eq!(
                statement_of(operation, content).1.as_deref(),
                generation,
                "{content}"
            );
        }
    }

    #[test]
    fn the_callee_on_whose_behalf_is_found_where_either_example_puts_them() {
        for content in [
            r#"{"onBehalfOfCallee":{"rawId":"8:orgid:u"}}"#,
            r#"{"customContext":{"onBehalfOfCallee":{"rawId":"8:orgid:u"}}}"#,
        ] {
            let (Statement::CallOffered(offered), _) = statement_of("IncomingCall", content) else {
                panic!("no offer");
            };
            assert_eq!(offered.on_behalf_of.unwrap().raw_id, "8:orgid:u");
        }
    }
}
