//! The kinds of events, by the name of the type after `Microsoft.Communication.`.
//!
//! The types of Event Grid are those of its event schema; the types of Call Automation are those of
//! `@azure/communication-call-automation` 1.6.0, of its versions in preparation, and two names of its
//! alpha versions.

use onrecord_evidence::fact::kinds::ProviderState;

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// Event Grid: an incoming call.
    Offered,
    /// Event Grid: the call started.
    Started,
    /// Event Grid: the call ended.
    Ended,
    /// Event Grid: a participant joined.
    Joined,
    /// Event Grid: a participant left.
    Left,
    /// Call Automation: a leg is connected.
    Connected,
    /// Call Automation: a leg is disconnected.
    Disconnected,
    /// Call Automation: the participants of a call.
    Roster,
    /// Call Automation: the state of a recording; with its kind if the type's name states it.
    Recording(Option<&'static str>),
    /// Call Automation: the state of a transcription.
    Transcription(ProviderState),
    /// Event Grid: the file of a recording.
    File,
    /// Call Automation: a participant was added, removed, moved or transferred.
    Changed,
    /// Call Automation: an operation failed.
    Failed,
    /// Call Automation: starting a recording failed; the leg may be the recorder's.
    RecordingFailed,
    /// Call Automation: playing, recognition, dialog or media streaming.
    Media,
}

impl EventKind {
    /// Whether events of this kind carry what was said or keyed in, or what follows from it.
    pub(crate) fn carries_contents(self) -> bool {
        matches!(self, Self::Media | Self::Transcription(_))
    }

    /// The kind of a type, by its name after `Microsoft.Communication.`.
    pub(crate) fn of(operation: &str) -> Option<Self> {
        Some(match operation.to_ascii_lowercase().as_str() {
            "incomingcall" => Self::Offered,
            "callstarted" => Self::Started,
            "callended" => Self::Ended,
            "callparticipantadded" => Self::Joined,
            "callparticipantremoved" => Self::Left,
            "recordingfilestatusupdated" => Self::File,
            "callconnected" => Self::Connected,
            "calldisconnected" => Self::Disconnected,
            "participantsupdated" => Self::Roster,
            "recordingstatechanged" => Self::Recording(None),
            "teamsrecordingstatechanged" => Self::Recording(Some("teams")),
            "teamscompliancerecordingstatechanged" => Self::Recording(Some("teamsCompliance")),
            // No sender of `resumed` is known; it is also a status of the others.
            "transcriptionstarted" | "transcriptionresumed" | "transcriptionupdated" => {
                Self::Transcription(ProviderState::Active)
            }
            "transcriptionstopped" | "transcriptionfailed" => {
                Self::Transcription(ProviderState::Inactive)
            }
            "addparticipantsucceeded"
            | "removeparticipantsucceeded"
            | "moveparticipantsucceeded"
            | "canceladdparticipantsucceeded"
            | "calltransferaccepted" => Self::Changed,
            "createcallfailed"
            | "answerfailed"
            | "connectfailed"
            | "calltransferfailed"
            | "addparticipantfailed"
            | "removeparticipantfailed"
            | "moveparticipantfailed"
            | "canceladdparticipantfailed" => Self::Failed,
            "startrecordingfailed" => Self::RecordingFailed,
            "mediastreamingstarted"
            | "mediastreamingstopped"
            | "mediastreamingfailed"
            | "playstarted"
            | "playcompleted"
            | "playfailed"
            | "playcanceled"
            | "playpaused"
            | "playresumed"
            | "holdaudiostarted"
            | "holdaudiopaused"
            | "holdaudioresumed"
            | "holdaudiocompleted"
            | "holdfailed"
            | "recognizecompleted"
            | "recognizefailed"
            | "recognizecanceled"
            | "continuousdtmfrecognitiontonereceived"
            | "continuousdtmfrecognitiontonefailed"
            | "continuousdtmfrecognitionstopped"
            | "senddtmftonescompleted"
            | "senddtmftonesfailed"
            | "dialogstarted"
            | "dialogcompleted"
            | "dialogfailed"
            | "dialogconsent"
            | "dialoghangup"
            | "dialogtransfer"
            | "dialoglanguagechange"
            | "dialogsensitivityupdate"
            | "dialogupdated" => Self::Media,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_compared_without_case_and_unknown_types_have_no_kind() {
        assert_eq!(EventKind::of("CallStarted"), Some(EventKind::Started));
        assert_eq!(EventKind::of("CALLSTARTED"), Some(EventKind::Started));
        assert_eq!(
            EventKind::of("TeamsRecordingStateChanged"),
            Some(EventKind::Recording(Some("teams")))
        );
        assert_eq!(
            EventKind::of("TranscriptionResumed"),
            Some(EventKind::Transcription(ProviderState::Active))
        );
        for operation in ["UserDisconnected", "CallLegStateChanged", "SMSReceived", ""] {
            assert_eq!(EventKind::of(operation), None, "{operation}");
        }
    }
}
