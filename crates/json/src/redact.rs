//! Replaces the values of sensitive members and keeps every other byte (`NO_SECRETS`).
//!
//! # Why
//!
//! A text that is parsed and written again is no longer the original. So the values of sensitive
//! members are replaced in the text as received, each by a JSON string; order, white space and
//! duplicate members stay. Normalization reads the redacted text, so nothing bypasses the redaction.

use std::borrow::Cow;
use std::ops::Range;

use super::entry::ValueKind;
use super::index::{JsonIndex, ValueRef};
use super::scrub::{REDACTED_MARK, StringFinding, inspect_string};
use super::sensitive_keys::SensitiveKeys;

/// Replaces a sensitive value, or a name that contains one.
const REDACTED_STRING: &str = "\"[redacted]\"";

/// Replaces the members outside the envelope of an event that is not about calls.
const NOT_KEPT: &str = "\"[not kept]\"";

/// Maximum length of all pointers of one event, in bytes. An Azure event has one or two sensitive
/// members; an event with thousands is not from Azure.
const MAX_POINTER_BYTES: usize = 64 * 1024;

/// The members of an envelope in both schemas and in dead-letter records: all that is kept of an
/// event that is not about calls.
const ENVELOPE: &[&str] = &[
    "id",
    "topic",
    "source",
    "subject",
    "type",
    "eventType",
    "time",
    "eventTime",
    "specversion",
    "dataVersion",
    "metadataVersion",
    "datacontenttype",
    "dataschema",
    "deadLetterReason",
    "deliveryAttempts",
    "lastDeliveryOutcome",
    "publishTime",
    "lastDeliveryAttemptTime",
];

/// The subject of an event, which decides what is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedactionScope {
    /// Calls: everything except sensitive values is kept.
    Calls {
        /// The member `data_base64` was decoded and has no sensitive member.
        base64_is_clean: bool,
    },
    /// Something else: the envelope is kept.
    OtherEvents,
    /// Not known: everything except sensitive values and message contents is kept.
    Unknown,
}

/// A redacted text.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactedJson {
    /// The text.
    pub text: String,
    /// The JSON pointers (RFC 6901) of the redacted values.
    pub pointers: Vec<String>,
}

/// The pointers of the sensitive values exceed their maximum length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRedactions;

/// Redacts an event.
///
/// # Errors
///
/// [`TooManyRedactions`]: only [`scrub_unstructured`](crate::scrub_unstructured) can process the text.
pub fn redact(
    index: &JsonIndex<'_>,
    scope: RedactionScope,
) -> Result<RedactedJson, TooManyRedactions> {
    let mut redaction = RedactionPass {
        keys: match scope {
            RedactionScope::Calls { .. } => SensitiveKeys::Calls,
            RedactionScope::OtherEvents | RedactionScope::Unknown => SensitiveKeys::Anything,
        },
        path: String::new(),
        replacements: Vec::new(),
        pointers: Vec::new(),
        pointer_bytes: 0,
    };
    let root = index.root();
    if root.kind() == ValueKind::Object {
        for (name, value) in root.members() {
            let decoded = name.decoded();
            let is = |member: &str| decoded.eq_ignore_ascii_case(member);
            match scope {
                RedactionScope::OtherEvents if !ENVELOPE.iter().any(|member| is(member)) => {
                    redaction.member_replaced_by(Some(NOT_KEPT), name, value)?;
                }
                RedactionScope::Calls { base64_is_clean: true } if is("data_base64") => {}
                _ => redaction.member(name, value)?,
            }
        }
    } else {
        redaction.value(root)?;
    }
    Ok(RedactedJson { text: redaction.apply(index.text()), pointers: redaction.pointers })
}

struct RedactionPass {
    keys: SensitiveKeys,
    /// The JSON pointer of the current value.
    path: String,
    /// Byte ranges and their replacements, in the order of the text.
    replacements: Vec<(Range<usize>, &'static str)>,
    pointers: Vec<String>,
    pointer_bytes: usize,
}

impl RedactionPass {
    /// Redacts a value and its descendants. The recursion is limited by
    /// [`super::entry::MAX_DEPTH`].
    fn value(&mut self, value: ValueRef<'_>) -> Result<(), TooManyRedactions> {
        match value.kind() {
            ValueKind::Object => {
                value.members().try_for_each(|(name, member)| self.member(name, member))
            }
            ValueKind::Array => value.elements().enumerate().try_for_each(|(index, element)| {
                self.descend(&index.to_string(), |redaction| redaction.value(element))
            }),
            ValueKind::String => self.string(value),
            _ => Ok(()),
        }
    }

    fn member(&mut self, name: ValueRef<'_>, value: ValueRef<'_>) -> Result<(), TooManyRedactions> {
        let is_sensitive = self.keys.contains(name.decoded().as_bytes());
        self.member_replaced_by(is_sensitive.then_some(REDACTED_STRING), name, value)
    }

    /// Redacts a member, whose whole value is replaced if there is a replacement.
    fn member_replaced_by(
        &mut self,
        replacement: Option<&'static str>,
        name: ValueRef<'_>,
        value: ValueRef<'_>,
    ) -> Result<(), TooManyRedactions> {
        let has_key = inspect_string(name.body(), self.keys) != StringFinding::Clean;
        self.descend(&step_of(name, has_key), |redaction| {
            if has_key {
                redaction.replace_range(name.range(), REDACTED_STRING)?;
            }
            match replacement {
                Some(replacement) => redaction.replace_range(value.range(), replacement),
                None => redaction.value(value),
            }
        })
    }

    fn string(&mut self, value: ValueRef<'_>) -> Result<(), TooManyRedactions> {
        let body = value.body();
        match inspect_string(body, self.keys) {
            StringFinding::Clean => Ok(()),
            StringFinding::Json => self.replace_range(value.range(), REDACTED_STRING),
            StringFinding::Parts(parts) => {
                // The ranges are relative to the character after the quotation mark.
                let start = value.range().start + 1;
                for part in parts {
                    self.replacements.push((start + part.start..start + part.end, REDACTED_MARK));
                }
                self.record_pointer()
            }
        }
    }

    fn descend(
        &mut self,
        step: &str,
        visit: impl FnOnce(&mut Self) -> Result<(), TooManyRedactions>,
    ) -> Result<(), TooManyRedactions> {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(step);
        let result = visit(self);
        self.path.truncate(length);
        result
    }

    fn replace_range(
        &mut self,
        range: Range<usize>,
        replacement: &'static str,
    ) -> Result<(), TooManyRedactions> {
        self.replacements.push((range, replacement));
        self.record_pointer()
    }

    fn record_pointer(&mut self) -> Result<(), TooManyRedactions> {
        self.pointer_bytes += self.path.len();
        if self.pointer_bytes > MAX_POINTER_BYTES {
            return Err(TooManyRedactions);
        }
        self.pointers.push(self.path.clone());
        Ok(())
    }

    fn apply(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let mut from = 0;
        for (range, replacement) in &self.replacements {
            kept.push_str(text.get(from..range.start).unwrap_or_default());
            kept.push_str(replacement);
            from = range.end;
        }
        kept.push_str(text.get(from..).unwrap_or_default());
        kept
    }
}

/// The pointer step of a name; a name that contains a sensitive value is not repeated.
fn step_of<'d>(name: ValueRef<'d>, has_key: bool) -> Cow<'d, str> {
    if has_key {
        return Cow::Borrowed(REDACTED_MARK);
    }
    let decoded = name.decoded();
    if decoded.contains(['~', '/']) {
        return Cow::Owned(decoded.replace('~', "~0").replace('/', "~1"));
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: RedactionScope = RedactionScope::Calls { base64_is_clean: false };

    fn redacted(text: &str, scope: RedactionScope) -> (String, Vec<String>) {
        let redacted = redact(&JsonIndex::parse(text).unwrap(), scope).ok().unwrap();
        (redacted.text, redacted.pointers)
    }

    #[test]
    fn only_the_values_of_sensitive_members_are_replaced() {
        assert_eq!(
            redacted(
                "{ \"a/b\": [1.0, {\"Token\" : {\"x\":[]} , \"b\":\"\\u0041\"}],\n\"tones\":[1],\"tones\":null }",
                CALLS
            ),
            (
                "{ \"a/b\": [1.0, {\"Token\" : \"[redacted]\" , \"b\":\"\\u0041\"}],\n\"tones\":\"[redacted]\",\"tones\":\"[redacted]\" }".to_owned(),
                ["/a~1b/1/Token", "/tones", "/tones"].map(str::to_owned).to_vec()
            )
        );
    }

    #[test]
    fn a_name_that_contains_a_sensitive_value_is_replaced() {
        assert_eq!(
            redacted(r#"{"{\"token\":\"S\",\"a\":1}":{"b":1,"pin":2}}"#, CALLS),
            (
                r#"{"[redacted]":{"b":1,"pin":"[redacted]"}}"#.to_owned(),
                ["/[redacted]", "/[redacted]/pin"].map(str::to_owned).to_vec()
            )
        );
    }

    #[test]
    fn only_the_credential_of_a_url_is_replaced() {
        assert_eq!(
            redacted(r#"["https://h/p?a=1\u0026sig=S%2B\u0026b=2"]"#, CALLS),
            (
                r#"["https://h/p?a=1\u0026sig=[redacted]\u0026b=2"]"#.to_owned(),
                vec!["/0".to_owned()]
            )
        );
    }

    #[test]
    fn a_secret_is_cut_out_of_a_text_by_its_shape() {
        assert_eq!(
            redacted(
                r#"{"app":"x eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln y","u":"https://a:b@h/p?sig=S&c=1"}"#,
                CALLS
            ),
            (
                r#"{"app":"x [redacted] y","u":"https://[redacted]@h/p?sig=[redacted]&c=1"}"#
                    .to_owned(),
                vec!["/app".to_owned(), "/u".to_owned()]
            )
        );
    }

    #[test]
    fn base64_content_is_kept_only_where_it_was_decoded() {
        let text = r#"{"data_base64":"e30","x":{"data_base64":"e30"}}"#;
        let clean = RedactionScope::Calls { base64_is_clean: true };
        assert_eq!(
            redacted(text, clean).0,
            r#"{"data_base64":"e30","x":{"data_base64":"[redacted]"}}"#
        );
        assert_eq!(redacted(text, CALLS).1, ["/data_base64", "/x/data_base64"]);
    }

    #[test]
    fn too_many_sensitive_members_are_an_error() {
        let deep = format!("{{\"{}\":[{}1]}}", "k".repeat(1_000), "{\"pin\":1},".repeat(100));
        let index = JsonIndex::parse(&deep).unwrap();
        assert!(redact(&index, CALLS).is_err());
    }
}
