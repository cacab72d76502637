//! Converts Event Grid's calling events into statements, one function for each statement.

use onrecord_evidence::event::calling_event::{
    CallEnded, CallOffered, CallStarted, Participant, RecordingChunk, RecordingFileStatement,
    SessionStatement,
};
use onrecord_evidence::event::ids::Ids;

use super::azure::path::recording_in_subject;
use super::azure_event::AzureEvent;
use crate::ingest::quarantine::ParseResult;

pub(super) fn call_offered(event: &AzureEvent<'_, '_>) -> ParseResult<CallOffered> {
    let context = event.data.object(&["customContext"])?;
    let on_behalf_of = match event.participant("onBehalfOfCallee")? {
        Some(callee) => Some(callee),
        // One example of the specification has it there.
        None => event.participants.read(&context.object(&["onBehalfOfCallee"])?)?,
    };
    let name = event.data.string(&["callerDisplayName"])?;
    Ok(CallOffered {
        from: event.participant("from")?.map(|from| Participant { display_name: name, ..from }),
        to: event.participant("to")?,
        on_behalf_of,
    })
}

pub(super) fn call_started(event: &AzureEvent<'_, '_>) -> ParseResult<CallStarted> {
    Ok(CallStarted {
        started_by: event.participant("startedBy")?,
        is_two_party: event.data.boolean(&["isTwoParty"])?,
        is_rooms_call: event.data.boolean(&["isRoomsCall"])?,
        room_id: event.data.object(&["room"])?.string(&["id"])?,
    })
}

pub(super) fn call_ended(event: &AzureEvent<'_, '_>) -> ParseResult<CallEnded> {
    let ended_by = event.data.object(&["endedBy"])?;
    let name = ended_by.string(&["name"])?;
    Ok(CallEnded {
        started_by: event.participant("startedBy")?,
        ended_by: event
            .participants
            .read(&ended_by)?
            .map(|participant| Participant { display_name: name, ..participant }),
        reason: event.outcome("reason")?,
        duration_s: event.data.number(&["callDurationInSeconds", "durationOfCall"])?,
        presumed: false,
    })
}

pub(super) fn session_moved(event: &AzureEvent<'_, '_>) -> ParseResult<SessionStatement> {
    let name = event.data.string(&["displayName"])?;
    Ok(SessionStatement {
        participant: event
            .participant("user")?
            .map(|user| Participant { display_name: name, ..user }),
        user_agent: event.data.string(&["userAgent", "endpointType"])?,
        reason: event.outcome("reason")?,
    })
}

pub(super) fn recording_file(
    event: &AzureEvent<'_, '_>,
    ids: &Ids,
) -> ParseResult<RecordingFileStatement> {
    let storage = event.data.object(&["recordingStorageInfo"])?;
    let chunks = storage.objects(&["recordingChunks"])?.into_iter().flatten().map(|chunk| {
        let chunk = chunk?;
        Ok(RecordingChunk {
            document_id: chunk.string(&["documentId"])?,
            index: chunk.integer(&["index"])?,
            end_reason: chunk.string(&["endReason"])?,
            content_location: chunk.string(&["contentLocation"])?,
            metadata_location: chunk.string(&["metadataLocation"])?,
            delete_location: chunk.string(&["deleteLocation"])?,
        })
    });
    let chunks = chunks.collect::<ParseResult<_>>()?;
    let in_subject = recording_in_subject(event.subject()).recording_id;
    Ok(RecordingFileStatement {
        recording: ids.recording_id.clone().or_else(|| in_subject.map(str::to_owned)),
        started_at: event.data.time(&["recordingStartTime"])?,
        duration_ms: event.data.integer(&["recordingDurationMs"])?,
        content: event.data.string(&["recordingContentType"])?,
        channel: event.data.string(&["recordingChannelType"])?,
        format: event.data.string(&["recordingFormatType"])?,
        session_end_reason: event.data.string(&["sessionEndReason"])?,
        chunks,
    })
}
