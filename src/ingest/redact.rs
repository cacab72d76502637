//! Removes secrets from one element of a delivery, before anything else reads it (`NO_SECRETS`).

use onrecord_json::{
    EncodedData, EncodedMember, JsonIndex, RedactedJson, RedactionScope, TextPolicy,
    TooManyRedactions, redact, redact_text,
};

use super::quarantine::QuarantineReason;

/// Maximum length of a header that is kept, in bytes. Content types and codings have some 20.
const MAX_HEADER_BYTES: usize = 256;

/// What is kept of a header of a request, such as the content type of what goes to quarantine.
pub(crate) fn kept_header(value: &str) -> String {
    // In a quoted text, any character may be escaped, so that a secret has another shape.
    let value = match value.split_once(';') {
        Some((kind, parameters)) if parameters.contains('\\') => kind,
        _ => value,
    };
    let redacted = redact_text(value);
    let end = redacted.floor_char_boundary(MAX_HEADER_BYTES);
    redacted.get(..end).unwrap_or_default().to_owned()
}

/// The redacted text of an event.
pub(crate) struct RedactedEvent {
    pub(crate) json: RedactedJson,
    /// The data that was written in a string, decoded and redacted.
    pub(crate) encoded: Option<RedactedData>,
}

/// Decoded data of an event.
pub(crate) struct RedactedData {
    pub(crate) member: EncodedMember,
    /// `None` if it is not JSON.
    pub(crate) json: Option<RedactedJson>,
}

/// Why an element goes to quarantine, and what of it.
pub(crate) struct ElementError {
    pub(crate) reason: QuarantineReason,
    /// What is kept readable: redacted JSON.
    pub(crate) readable: Option<RedactedJson>,
    /// The readable part is not all of the element, less what was redacted: its bytes are sealed.
    pub(crate) is_sealed: bool,
}

impl ElementError {
    /// An event whose subject is unknown.
    pub(crate) fn of_unknown(index: &JsonIndex<'_>, reason: QuarantineReason) -> Self {
        match redact(index, RedactionScope::Unknown) {
            Ok(redacted) => Self::of_redacted(redacted, reason),
            Err(TooManyRedactions) => Self::unreadable(reason),
        }
    }

    /// A redacted event.
    pub(crate) fn of_redacted(redacted: RedactedJson, reason: QuarantineReason) -> Self {
        // Data that is no JSON was redacted, because it cannot be searched.
        let is_sealed = reason == QuarantineReason::Base64NotJson
            || matches!(&reason, QuarantineReason::WrongType { pointer, .. } if pointer == "/data");
        Self { reason, readable: Some(redacted), is_sealed }
    }

    /// An element in which secrets cannot be found by their names.
    pub(crate) fn unreadable(reason: QuarantineReason) -> Self {
        Self { reason, readable: None, is_sealed: true }
    }
}

/// Redacts an event. `texts` says which of its texts are kept; without it the event is not about
/// calls, and only its envelope is kept.
///
/// # Errors
///
/// [`ElementError`]: the event has too many sensitive members.
pub(crate) fn redact_event(
    index: &JsonIndex<'_>,
    encoded: Option<&EncodedData>,
    texts: Option<TextPolicy>,
) -> Result<RedactedEvent, ElementError> {
    let calls = |keeps| texts.map(|texts| RedactionScope::Calls { keeps, texts });
    let encoded = encoded.map(|data| {
        let json = calls(None).and_then(|scope| data.redacted(scope));
        let is_clean = data.is_clean(json.as_ref());
        (RedactedData { member: data.member(), json }, is_clean)
    });
    let keeps = encoded.as_ref().and_then(|(data, is_clean)| is_clean.then_some(data.member));
    let scope = calls(keeps).unwrap_or(RedactionScope::OtherEvents);
    let json = redact(index, scope).map_err(|TooManyRedactions| {
        ElementError::unreadable(QuarantineReason::TooManySensitiveMembers)
    })?;
    Ok(RedactedEvent { json, encoded: encoded.map(|(data, _)| data) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_kept_without_secrets_and_within_its_bound() {
        let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln";
        for (value, kept) in [
            ("application/json; charset=utf-8".to_owned(), "application/json; charset=utf-8"),
            (format!("text/plain; x={jwt}"), "text/plain; x=[redacted]"),
            (format!("{jwt}/x"), "[redacted]/x"),
            ("text/plain; x=\"e\\yJhbGci\"".to_owned(), "text/plain"),
        ] {
            assert_eq!(kept_header(&value), kept);
        }
        let bounded = kept_header(&"é".repeat(10_000));
        assert_eq!(bounded.len(), MAX_HEADER_BYTES);
        // A secret is recognized before it is cut.
        let long = format!("{}{jwt}", "a; ".repeat(80));
        assert!(!kept_header(&long).contains("eyJ"));
    }
}
