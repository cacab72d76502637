//! Converts Call Automation's callbacks into statements, one function for each statement.

use onrecord_evidence::event::calling_event::{
    LegStatement, Media, OperationFailed, ParticipantChanged, ProviderStateChanged, Roster,
};
use onrecord_evidence::event::ids::{self, Ids};
use onrecord_evidence::fact::kinds::{CaptureType, ProviderState};
use onrecord_evidence::identity::alias_graph::Anchor;

use super::azure_event::AzureEvent;
use crate::ingest::quarantine::{ParseResult, QuarantineReason};

pub(super) fn leg_moved(event: &AzureEvent<'_, '_>) -> LegStatement {
    LegStatement { outcome: event.outcome("resultInformation") }
}

pub(super) fn roster(event: &AzureEvent<'_, '_>) -> ParseResult<Roster> {
    // A missing list is not an empty one: no participant has left.
    let listed = event
        .data
        .strict_objects(&["participants"])?
        .ok_or_else(|| event.data.missing("participants"))?;
    let participants = listed.map(|entry| {
        let entry = entry?;
        // Without it the list would state that a participant has left.
        event.participants.read(&entry).ok_or_else(|| entry.missing("identifier"))
    });
    let participants = participants.collect::<ParseResult<_>>()?;
    Ok(Roster { sequence: event.data.integer(&["sequenceNumber"]), participants })
}

pub(super) fn recording_state(
    event: &AzureEvent<'_, '_>,
    kind_of_type: Option<&'static str>,
    ids: &Ids,
) -> ParseResult<ProviderStateChanged> {
    let stated = event.data.short_text(&["recordingKind"]);
    let capture_kind = kind_of_type
        .map(str::to_owned)
        .or(stated.filter(|kind| !kind.is_empty()).map(|kind| known_kind(&kind)));
    let verbatim = event.data.string(&["recordingId"]);
    let recording =
        ids.recording_id.clone().or(verbatim.filter(|id| !id.is_empty())).unwrap_or_else(|| {
            // Without an id, all recordings of one kind in one call are one.
            format!("recording:{}", capture_kind.as_deref().unwrap_or_default())
        });
    let leg = event.data.text(&["callConnectionId"]);
    Ok(ProviderStateChanged {
        capture_type: CaptureType::Recording,
        recording,
        capture_kind,
        state: provider_state(event)?,
        started_at: event.data.time(&["startDateTime"]),
        recorder_leg: leg.and_then(|id| ids::guid(&id)),
    })
}

fn provider_state(event: &AzureEvent<'_, '_>) -> ParseResult<ProviderState> {
    let state = event.data.strict_text(&["state"])?.ok_or_else(|| event.data.missing("state"))?;
    match state.to_ascii_lowercase().as_str() {
        "active" => Ok(ProviderState::Active),
        "inactive" => Ok(ProviderState::Inactive),
        _ => Err(QuarantineReason::UnknownValue {
            pointer: event.data.pointer_to(&["state"]),
            allowed: "active, inactive",
        }),
    }
}

/// The state of ACS real-time transcription. It has no id; it belongs to the leg that started it.
pub(super) fn transcription_state(state: ProviderState, ids: &Ids) -> ProviderStateChanged {
    let leg = ids.call_connection_id.clone();
    let server = || ids.server_call_id.as_deref().map(Anchor::server);
    let owner = leg.or_else(|| server().map(|anchor| anchor.to_string())).unwrap_or_default();
    ProviderStateChanged {
        capture_type: CaptureType::Transcription,
        recording: format!("transcription:{owner}"),
        capture_kind: None,
        state,
        started_at: None,
        recorder_leg: None,
    }
}

pub(super) fn participant_changed(event: &AzureEvent<'_, '_>) -> ParticipantChanged {
    ParticipantChanged {
        operation: event.operation.to_owned(),
        participant: event.participant("participant").or_else(|| event.participant("transferee")),
        transfer_target: event.participant("transferTarget"),
        invitation_id: event.data.string(&["invitationId"]),
        outcome: event.outcome("resultInformation"),
    }
}

pub(super) fn operation_failed(event: &AzureEvent<'_, '_>) -> OperationFailed {
    OperationFailed {
        operation: event.operation.to_owned(),
        participant: event.participant("participant"),
        outcome: event.outcome("resultInformation"),
    }
}

pub(super) fn media(event: &AzureEvent<'_, '_>) -> Media {
    let update = event.data.object(&["mediaStreamingUpdate"]);
    Media {
        operation: event.operation.to_owned(),
        status: update.string(&["mediaStreamingStatus"]),
        status_details: update.string(&["mediaStreamingStatusDetails"]),
        outcome: event.outcome("resultInformation"),
    }
}

/// The kind of a recording, in the spelling of the REST interface; an unknown kind verbatim.
fn known_kind(kind: &str) -> String {
    let known = ["azureCommunicationServices", "teams", "teamsCompliance"];
    let found = known.into_iter().find(|known| known.eq_ignore_ascii_case(kind));
    found.unwrap_or(kind).to_owned()
}
