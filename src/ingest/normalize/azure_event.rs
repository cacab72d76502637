//! An Azure event whose type is known, while it is converted.

use onrecord_evidence::event::calling_event::{Outcome, Participant};

use super::azure::identifier::ParticipantReader;
use super::azure::object::AzureObject;
use crate::ingest::parse::envelope::Envelope;
use crate::ingest::quarantine::ParseResult;

/// An Azure event whose type is known.
pub(super) struct AzureEvent<'d, 'e> {
    /// The type after `Microsoft.Communication.`, as written.
    pub(super) operation: &'e str,
    pub(super) envelope: &'e Envelope<'d>,
    pub(super) data: AzureObject<'d, 'd>,
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
    pub(super) fn participant(&self, name: &'static str) -> ParseResult<Option<Participant>> {
        self.participants.read(&self.data.object(&[name])?)
    }

    /// The numbers of `resultInformation` or `reason`.
    pub(super) fn outcome(&self, name: &'static str) -> ParseResult<Option<Outcome>> {
        let result = self.data.object(&[name])?;
        let outcome =
            Outcome { code: result.integer(&["code"])?, sub_code: result.integer(&["subCode"])? };
        Ok(result.is_present().then_some(outcome))
    }
}
