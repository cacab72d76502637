//! Removes secrets from one element of a delivery, before anything else reads it (`NO_SECRETS`).

use onrecord_json::{
    Base64Payload, JsonIndex, RedactedJson, RedactionScope, TooManyRedactions, redact,
    scrub_unstructured,
};

use super::quarantine::QuarantineReason;

/// The redacted text of an event.
pub(crate) struct RedactedEvent {
    pub(crate) json: RedactedJson,
    /// The decoded `data_base64`, redacted too.
    pub(crate) base64: Option<Base64Payload>,
}

/// The redacted content of an element that goes to quarantine.
pub(crate) struct ElementError {
    pub(crate) reason: QuarantineReason,
    /// `None` if it is not text.
    pub(crate) content: Option<String>,
    /// JSON pointers of the redacted values.
    pub(crate) redacted: Vec<String>,
}

impl ElementError {
    /// The content of an event whose subject is unknown.
    pub(crate) fn of_unknown(index: &JsonIndex<'_>, reason: QuarantineReason) -> Self {
        match redact(index, RedactionScope::Unknown) {
            Ok(redacted) => Self::of_redacted(redacted, reason),
            Err(TooManyRedactions) => Self::of_text(index.text(), reason),
        }
    }

    /// The content of a redacted event.
    pub(crate) fn of_redacted(redacted: RedactedJson, reason: QuarantineReason) -> Self {
        Self { reason, content: Some(redacted.text), redacted: redacted.pointers }
    }

    /// The content of a text that cannot be redacted as JSON.
    pub(crate) fn of_text(text: &str, reason: QuarantineReason) -> Self {
        Self::of_scrubbed(Some(scrub_unstructured(text).text), reason)
    }

    /// The scrubbed content of an element that is not JSON; `None` if it is not text.
    pub(crate) fn of_scrubbed(content: Option<String>, reason: QuarantineReason) -> Self {
        let reason = if content.is_some() { reason } else { QuarantineReason::NotText };
        Self { reason, content, redacted: Vec::new() }
    }
}

/// Redacts an event. Of one that is not about calls only the envelope is kept.
///
/// # Errors
///
/// [`ElementError`]: the event has too many sensitive members.
pub(crate) fn redact_event(
    index: &JsonIndex<'_>,
    about_calls: bool,
) -> Result<RedactedEvent, ElementError> {
    let base64 = Base64Payload::of(index.root());
    let scope = if about_calls {
        RedactionScope::Calls {
            base64_is_clean: base64.as_ref().is_some_and(Base64Payload::is_clean),
        }
    } else {
        RedactionScope::OtherEvents
    };
    let json = redact(index, scope).map_err(|TooManyRedactions| {
        ElementError::of_text(index.text(), QuarantineReason::TooManySensitiveMembers)
    })?;
    Ok(RedactedEvent { json, base64 })
}
