//! Converts a redacted Azure event into a statement about a call, with the ids of the call.
//!
//! [`EventKind`] maps the type to the kind of statement; [`event_grid`](super::event_grid) and [`call_automation`](super::call_automation) convert
//! the data.

use std::borrow::Cow;

use onrecord_evidence::event::calling_event::Statement;
use onrecord_evidence::event::ids::{self, Ids};
use onrecord_evidence::identity::alias_graph::CallIds;

use super::azure::identifier::ParticipantReader;
use super::azure::path::{
    RecordingPath, connection_in_source, recording_in_source, recording_in_subject,
    server_call_in_subject,
};
use super::azure_event::AzureEvent;
use super::call_automation::{
    leg_moved, media, operation_failed, participant_changed, recording_state, roster,
    transcription_state,
};
use super::event_grid::{call_ended, call_offered, call_started, recording_file, session_moved};
use super::event_kind::EventKind;
use crate::ingest::parse::envelope::{Envelope, communication_type};
use crate::ingest::quarantine::ParseResult;

/// The members of `data` that name a call.
const ID_MEMBERS: [&str; 4] = ["correlationId", "serverCallId", "callConnectionId", "recordingId"];

/// The statement of an event, and the ids of its call.
pub(crate) struct ParsedStatement {
    pub(crate) statement: Statement,
    pub(crate) ids: Ids,
    /// The version of the event's form, if the event shows it.
    pub(crate) generation: Option<String>,
}

/// Parses an event; `None` if its type is unknown.
///
/// # Errors
///
/// [`QuarantineReason`]: the event does not state what its type states, or not of which call. Other
/// members without their documented form are flagged.
pub(crate) fn parse(
    envelope: &Envelope<'_>,
    participants: ParticipantReader<'_>,
) -> ParseResult<Option<ParsedStatement>> {
    let Some(operation) = communication_type(&envelope.source_type) else {
        return Ok(None);
    };
    let Some(kind) = EventKind::of(operation) else {
        return Ok(None);
    };
    let event = AzureEvent { operation, envelope, data: envelope.data()?, participants };
    let ids = ids_of(&event, kind);
    if CallIds::of(&ids).anchor.is_none() {
        // An event of no call states nothing, so an id of a wrong type is no side member here.
        for name in ID_MEMBERS {
            event.data.strict_text(&[name])?;
        }
    }
    Ok(Some(ParsedStatement {
        statement: statement_of(&event, kind, &ids)?,
        generation: generation_of(&event, kind),
        ids,
    }))
}

/// The ids of an event of unknown type, where the members have the form of ids.
pub(crate) fn ids_of_unknown(envelope: &Envelope<'_>) -> Ids {
    let Ok(data) = envelope.data() else {
        return Ids::default();
    };
    let text = |name| data.text(&[name]);
    Ids {
        correlation_id: text("correlationId").and_then(|id| ids::guid(&id)),
        server_call_id: text("serverCallId").and_then(|id| ids::server_call_id(&id)),
        call_connection_id: text("callConnectionId").and_then(|id| ids::guid(&id)),
        ..Ids::default()
    }
}

fn statement_of(event: &AzureEvent<'_, '_>, kind: EventKind, ids: &Ids) -> ParseResult<Statement> {
    match kind {
        EventKind::Offered => Ok(Statement::CallOffered(call_offered(event))),
        EventKind::Started => Ok(Statement::CallStarted(call_started(event))),
        EventKind::Ended => Ok(Statement::CallEnded(call_ended(event))),
        EventKind::Joined => Ok(Statement::SessionJoined(session_moved(event))),
        EventKind::Left => Ok(Statement::SessionLeft(session_moved(event))),
        EventKind::File => Ok(Statement::File(recording_file(event, ids))),
        EventKind::Connected => Ok(Statement::LegConnected(leg_moved(event))),
        EventKind::Disconnected => Ok(Statement::LegDisconnected(leg_moved(event))),
        EventKind::Roster => roster(event).map(Statement::Roster),
        EventKind::Recording(kind) => {
            recording_state(event, kind, ids).map(Statement::ProviderState)
        }
        EventKind::Transcription(state) => {
            Ok(Statement::ProviderState(transcription_state(state, ids)))
        }
        EventKind::Changed => Ok(Statement::ParticipantChanged(participant_changed(event))),
        EventKind::Failed | EventKind::RecordingFailed => {
            Ok(Statement::OperationFailed(operation_failed(event)))
        }
        EventKind::Media => Ok(Statement::Media(media(event))),
    }
}

fn ids_of(event: &AzureEvent<'_, '_>, kind: EventKind) -> Ids {
    let data = &event.data;
    // Then `callConnectionId` is the recorder's own leg, which belongs to no session.
    let has_recorder_leg = matches!(kind, EventKind::Recording(_) | EventKind::RecordingFailed);
    let path = match kind {
        EventKind::File => recording_in_subject(event.subject()),
        _ if has_recorder_leg => recording_in_source(event.source()),
        _ => RecordingPath::default(),
    };
    let correlation = data.text(&["correlationId"]);
    let server = data.text(&["serverCallId"]);
    let connection = data.text(&["callConnectionId"]);
    let recording = data.text(&["recordingId"]);
    let server_in_path = path.server_call_id.or_else(|| server_call_in_subject(event.subject()));
    let connection = canonical(connection, connection_in_source(event.source()), ids::guid);
    Ids {
        correlation_id: canonical(correlation, path.call_id, ids::guid),
        server_call_id: canonical(server, server_in_path, ids::server_call_id),
        call_connection_id: connection.filter(|_| !has_recorder_leg),
        recording_id: canonical(recording, path.recording_id, ids::recording_id),
        participant_id: data.string(&["participantId"]).filter(|id| !id.is_empty()),
        attachment: None,
        group_id: data.object(&["group"]).text(&["id"]).and_then(|id| ids::guid(&id)),
    }
}

/// The version of the event's form. A callback states the API version of its client. The version of
/// Event Grid's calling events is recognized by their members; its other events have the same form
/// in each version.
fn generation_of(event: &AzureEvent<'_, '_>, kind: EventKind) -> Option<String> {
    let data = &event.data;
    if let Some(version) = data.scalar("version") {
        return Some(version);
    }
    match kind {
        EventKind::Started | EventKind::Ended | EventKind::Joined | EventKind::Left => {}
        // Teams Phone extensibility came with 2025.
        EventKind::Offered if data.has(&["onBehalfOfCallee"]) => return Some("2025".to_owned()),
        _ => return None,
    }
    let mut generation = None;
    for name in ["user", "startedBy", "endedBy"] {
        let participant = data.object(&[name]);
        let nested = participant.object(&["communicationIdentifier"]);
        generation = generation.max(if nested.has(&["kind"]) {
            Some("2025")
        } else if nested.is_present() {
            Some("2022")
        } else if participant.is_present() {
            Some("2021")
        } else {
            None
        });
    }
    if data.has(&["callDurationInSeconds", "userAgent", "endedBy", "reason"]) {
        generation = Some("2025");
    }
    generation.map(str::to_owned)
}

/// The id in canonical form: of the member, or of the subject or source if the member is missing or
/// a placeholder.
fn canonical(
    member: Option<Cow<'_, str>>,
    in_path: Option<&str>,
    form: fn(&str) -> Option<String>,
) -> Option<String> {
    member.and_then(|id| form(&id)).or_else(|| in_path.and_then(form))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onrecord_evidence::event::calling_event::ProviderStateChanged;
    use onrecord_evidence::fact::kinds::ProviderState;
    use onrecord_json::JsonIndex;

    fn statement_of(operation: &str, content: &str) -> (Statement, Option<String>) {
        let event = format!(
            r#"{{"type":"Microsoft.Communication.{operation}","source":"s","data":{content}}}"#
        );
        let index = JsonIndex::parse(&event).unwrap();
        let envelope = Envelope::of_nested(index.root()).unwrap();
        let parsed = parse(&envelope, ParticipantReader { resource_ids: &[] }).unwrap().unwrap();
        (parsed.statement, parsed.generation)
    }

    fn recording_of(operation: &str, content: &str) -> ProviderStateChanged {
        match statement_of(operation, content) {
            (Statement::ProviderState(state), _) => state,
            (other, _) => panic!("{other:?}"),
        }
    }

    #[test]
    fn state_and_kind_of_a_recording_are_compared_without_case() {
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
            let without_id = format!("recording:{}", kind.unwrap_or_default());
            assert_eq!(recording.recording, without_id);
        }
    }

    #[test]
    fn a_start_that_is_not_a_time_is_missing() {
        let content = r#"{"state":"active","startDateTime":"just now"}"#;
        assert_eq!(recording_of("RecordingStateChanged", content).started_at, None);
    }

    #[test]
    fn the_generation_is_recognized_by_the_members() {
        for (operation, content, generation) in [
            ("CallStarted", r#"{"startedBy":{"rawId":"a","kind":"x"}}"#, Some("2021")),
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
            ("CallParticipantAdded", r#"{"userAgent":"x","user":{"rawId":"a"}}"#, Some("2025")),
            ("CallConnected", r#"{"version":"2025-06-15"}"#, Some("2025-06-15")),
            ("CallConnected", "{}", None),
        ] {
            assert_eq!(statement_of(operation, content).1.as_deref(), generation, "{content}");
        }
    }

    #[test]
    fn the_callee_on_whose_behalf_is_read_from_both_documented_places() {
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
