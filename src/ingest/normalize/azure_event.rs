//! An Azure event whose type is known, while it is converted.

use onrecord_evidence::event::calling_event::{Outcome, Participant};

use super::azure::identifier::ParticipantReader;
use super::azure::object::AzureObject;
use crate::ingest::parse::envelope::Envelope;

/// An Azure event whose type is known.
pub(super) struct AzureEvent<'d, 'e> {
    /// The type after `Microsoft.Communication.`, as written.
    pub(super) operation: &'e str,
    pub(super) envelope: &'e Envelope<'d>,
    pub(super) data: AzureObject<'d, 'e>,
    pub(super) participants: ParticipantReader<'e>,
}

impl AzureEvent<'_, '_> {
    pub(super) fn subject(&self) -> &str {
        self.envelope.subject.as_deref().unwrap_or_default()
    }

    pub(super) fn source(&self) -> &str {
        self.envelope.source.as_deref().unwrap_or_default()
    }

    /// The participant in a member of `data`.
    pub(super) fn participant(&self, name: &'static str) -> Option<Participant> {
        self.participants.read(&self.data.object(&[name]))
    }

    /// The numbers of `resultInformation` or `reason`.
    pub(super) fn outcome(&self, name: &'static str) -> Option<Outcome> {
        let result = self.data.object(&[name]);
        let outcome =
            Outcome { code: result.integer(&["code"]), sub_code: result.integer(&["subCode"]) };
        result.is_present().then_some(outcome)
    }
}
