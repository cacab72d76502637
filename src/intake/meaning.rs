//! Which type says what: the types of ACS, by their names behind `Microsoft.Communication.`.
//!
//! Event Grid's are those of its event schema, Call Automation's those that
//! `@azure/communication-call-automation` 1.6.0 reads, with two names that only alpha versions had.

use crate::domain::fact::ProviderState;

/// What a type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Offered,
    Started,
    Ended,
    Joined,
    Left,
    Connected,
    Disconnected,
    Roster,
    /// The kind that the type's own name states, for the alpha names.
    Recording(Option<&'static str>),
    Transcription(ProviderState),
    File,
    Changed,
    Failed,
    /// Starting a recording failed: its leg may be the recorder's.
    RecordingFailed,
    Media,
}

impl Meaning {
    /// By a type's name behind `Microsoft.Communication.`.
    pub(super) fn of(operation: &str) -> Option<Self> {
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
            // No sender is known for `resumed`, which is also a status of the others.
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

    /// Whether `callConnectionId` is the recorder's own leg, which joins nothing.
    pub(super) fn has_recorder_leg(self) -> bool {
        matches!(self, Self::Recording(_) | Self::RecordingFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_compared_without_case_and_unknown_ones_mean_nothing() {
        assert_eq!(Meaning::of("CallStarted"), Some(Meaning::Started));
        assert_eq!(Meaning::of("CALLSTARTED"), Some(Meaning::Started));
        assert_eq!(
            Meaning::of("TeamsRecordingStateChanged"),
            Some(Meaning::Recording(Some("teams")))
        );
        assert_eq!(
            Meaning::of("TranscriptionResumed"),
            Some(Meaning::Transcription(ProviderState::Active))
        );
        for operation in ["UserDisconnected", "CallLegStateChanged", "SMSReceived", ""] {
            assert_eq!(Meaning::of(operation), None, "{operation}");
        }
    }
}
