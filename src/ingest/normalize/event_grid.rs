//! Converts Event Grid's calling events into statements, one function for each statement.

use onrecord_evidence::event::calling_event::{
    CallEnded, CallOffered, CallStarted, Participant, RecordingChunk, RecordingFileStatement,
    SessionStatement,
};
use onrecord_evidence::event::ids::Ids;

use super::azure::object::AzureObject;
use super::azure::path::recording_in_subject;
use super::azure_event::AzureEvent;

/// Maximum length of a recording, ms. A longer one is not a length.
const MAX_RECORDING_MS: i64 = 366 * 24 * 3_600_000;

pub(super) fn call_offered(event: &AzureEvent<'_, '_>) -> CallOffered {
    let context = event.data.object(&["customContext"]);
    // One example of the specification has it in the context.
    let on_behalf_of = event
        .participant("onBehalfOfCallee")
        .or_else(|| event.participants.read(&context.object(&["onBehalfOfCallee"])));
    let name = event.data.name(&["callerDisplayName"]);
    CallOffered {
        from: event.participant("from").map(|from| Participant { display_name: name, ..from }),
        to: event.participant("to"),
        on_behalf_of,
    }
}

pub(super) fn call_started(event: &AzureEvent<'_, '_>) -> CallStarted {
    CallStarted {
        started_by: event.participant("startedBy"),
        is_two_party: event.data.boolean(&["isTwoParty"]),
        is_rooms_call: event.data.boolean(&["isRoomsCall"]),
        room_id: event.data.object(&["room"]).string(&["id"]),
    }
}

pub(super) fn call_ended(event: &AzureEvent<'_, '_>) -> CallEnded {
    let ended_by = event.data.object(&["endedBy"]);
    let name = ended_by.name(&["name"]);
    CallEnded {
        started_by: event.participant("startedBy"),
        ended_by: event
            .participants
            .read(&ended_by)
            .map(|participant| Participant { display_name: name, ..participant }),
        reason: event.outcome("reason"),
        duration_s: event.data.number(&["callDurationInSeconds", "durationOfCall"]),
        presumed: false,
    }
}

pub(super) fn session_moved(event: &AzureEvent<'_, '_>) -> SessionStatement {
    let name = event.data.name(&["displayName"]);
    SessionStatement {
        participant: event
            .participant("user")
            .map(|user| Participant { display_name: name, ..user }),
        user_agent: event.data.string(&["userAgent", "endpointType"]),
        reason: event.outcome("reason"),
    }
}

pub(super) fn recording_file(event: &AzureEvent<'_, '_>, ids: &Ids) -> RecordingFileStatement {
    let storage = event.data.object(&["recordingStorageInfo"]);
    let chunk_of = |chunk: &AzureObject<'_, '_>| RecordingChunk {
        document_id: chunk.string(&["documentId"]),
        index: chunk.integer(&["index"]),
        end_reason: chunk.string(&["endReason"]),
        content_location: chunk.string(&["contentLocation"]),
        metadata_location: chunk.string(&["metadataLocation"]),
        delete_location: chunk.string(&["deleteLocation"]),
    };
    let in_subject = recording_in_subject(event.subject()).recording_id;
    let in_subject = in_subject.map(|id| {
        let flags = &event.envelope.flags;
        flags.shortened(id.into(), || "/subject".to_owned()).into_owned()
    });
    RecordingFileStatement {
        recording: ids.recording_id.clone().or(in_subject),
        started_at: event.data.time(&["recordingStartTime"]),
        duration_ms: event.data.length_ms(&["recordingDurationMs"], MAX_RECORDING_MS),
        content: event.data.string(&["recordingContentType"]),
        channel: event.data.string(&["recordingChannelType"]),
        format: event.data.string(&["recordingFormatType"]),
        session_end_reason: event.data.string(&["sessionEndReason"]),
        chunks: storage.objects(&["recordingChunks"]).iter().map(chunk_of).collect(),
    }
}
