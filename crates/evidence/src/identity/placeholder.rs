//! Ids that name nothing: what samples, templates and redacted events have in place of an id.

/// Whether a raw id identifies no participant: "REDACTED", "rawId", an empty text. Every real raw id
/// has a scheme before a colon.
#[must_use]
pub fn is_placeholder_raw_id(raw_id: &str) -> bool {
    is_placeholder(raw_id) || !raw_id.contains(':')
}

/// Whether an id names nothing: "REDACTED", an empty text, zeros.
#[must_use]
pub fn is_placeholder(id: &str) -> bool {
    let id = id.trim();
    let is_zero = id.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    let lower_case = id.to_ascii_lowercase();
    is_zero
        || id.starts_with('{')
        || ["redacted", "sanitized"].iter().any(|word| lower_case.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_ids_without_a_scheme_are_placeholders() {
        for raw_id in ["", "REDACTED", "rawId", "{caller-id}", "8:acs:REDACTED"] {
            assert!(is_placeholder_raw_id(raw_id), "{raw_id}");
        }
        for raw_id in ["8:acs:a_b", "4:+1", "8:echo123", "28:orgid:a"] {
            assert!(!is_placeholder_raw_id(raw_id), "{raw_id}");
        }
    }
}
