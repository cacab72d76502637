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
use super::inspect_string::{REDACTED_MARK, StringFinding, inspect_marked, inspect_string};
use super::kept_texts::{has_open_texts, keeps_text};
use super::sensitive_keys::SensitiveKeys;
use super::text_marks::TextMarks;

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
        /// A member with encoded data was decoded, and may be kept as it is.
        keeps: Option<EncodedMember>,
        /// Which texts are kept.
        texts: TextPolicy,
    },
    /// Something else: the envelope is kept.
    OtherEvents,
    /// Not known: everything except sensitive values and message contents is kept.
    Unknown,
}

/// The member that holds the encoded data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedMember {
    /// `data_base64`.
    DataBase64,
    /// `data`, a string.
    Data,
}

impl EncodedMember {
    /// The name of the member.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DataBase64 => "data_base64",
            Self::Data => "data",
        }
    }
}

/// Which texts of an event about calls are kept, besides those of its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPolicy {
    /// All that are not sensitive by their names, except inside members with open texts.
    All,
    /// Only those whose names are listed as ids, kinds, states and times.
    Listed,
    /// The same; the data of the event is an event with an envelope of its own.
    ListedInNestedEvent,
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
/// [`TooManyRedactions`]: the text cannot be kept readable.
pub fn redact(
    index: &JsonIndex<'_>,
    scope: RedactionScope,
) -> Result<RedactedJson, TooManyRedactions> {
    let mut redaction = RedactionPass::of(scope);
    let root = index.root();
    if root.kind() == ValueKind::Object {
        for (name, value) in root.members() {
            let decoded = name.decoded();
            let is = |member: &str| decoded.eq_ignore_ascii_case(member);
            match scope {
                RedactionScope::OtherEvents if !is_of_envelope(&decoded) => {
                    redaction.member_replaced_by(Some(NOT_KEPT), name, value)?;
                }
                RedactionScope::Calls { keeps: Some(kept), .. } if is(kept.name()) => {}
                // A text that is not JSON has no names.
                RedactionScope::Calls { .. } if is("data") && value.kind() == ValueKind::String => {
                    redaction.member_replaced_by(Some(REDACTED_STRING), name, value)?;
                }
                _ => redaction.member(name, value)?,
            }
        }
    } else {
        redaction.value(root)?;
    }
    Ok(redaction.finish(index))
}

/// Redacts the data of an event, without its envelope.
pub(crate) fn redact_data(
    index: &JsonIndex<'_>,
    scope: RedactionScope,
) -> Result<RedactedJson, TooManyRedactions> {
    let mut redaction = RedactionPass::of(scope);
    redaction.is_data = true;
    redaction.value(index.root())?;
    Ok(redaction.finish(index))
}

/// Redacts a text that is no JSON, such as a header: sensitive parameters, and secrets of a known
/// shape.
#[must_use]
pub fn redact_text(text: &str) -> Cow<'_, str> {
    match inspect_string(text, SensitiveKeys::Anything) {
        StringFinding::Clean => Cow::Borrowed(text),
        StringFinding::Json => Cow::Borrowed(REDACTED_MARK),
        StringFinding::Parts(parts) => {
            let mut redaction = RedactionPass::of(RedactionScope::Unknown);
            redaction.replacements = parts.into_iter().map(|part| (part, REDACTED_MARK)).collect();
            Cow::Owned(redaction.apply(text))
        }
    }
}

fn is_of_envelope(name: &str) -> bool {
    ENVELOPE.iter().any(|member| name.eq_ignore_ascii_case(member))
}

struct RedactionPass {
    keys: SensitiveKeys,
    texts: TextPolicy,
    /// The text is the data of an event, not the event.
    is_data: bool,
    /// The texts of the current member are kept, unless they are sensitive.
    keeps_texts: bool,
    /// The JSON pointer of the current value.
    path: String,
    /// Byte ranges and their replacements, in the order of the text.
    replacements: Vec<(Range<usize>, &'static str)>,
    pointers: Vec<String>,
    pointer_bytes: usize,
}

impl RedactionPass {
    fn of(scope: RedactionScope) -> Self {
        let (keys, texts) = match scope {
            RedactionScope::Calls { texts, .. } => (SensitiveKeys::Calls, texts),
            RedactionScope::OtherEvents | RedactionScope::Unknown => {
                (SensitiveKeys::Anything, TextPolicy::All)
            }
        };
        Self {
            keys,
            texts,
            is_data: false,
            keeps_texts: true,
            path: String::new(),
            replacements: Vec::new(),
            pointers: Vec::new(),
            pointer_bytes: 0,
        }
    }

    fn finish(self, index: &JsonIndex<'_>) -> RedactedJson {
        RedactedJson { text: self.apply(index.text()), pointers: self.pointers }
    }

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
            ValueKind::String if !self.keeps_texts && !value.body().is_empty() => {
                self.replace_range(value.range(), REDACTED_STRING)
            }
            ValueKind::String => self.string(value),
            _ => Ok(()),
        }
    }

    fn member(&mut self, name: ValueRef<'_>, value: ValueRef<'_>) -> Result<(), TooManyRedactions> {
        let decoded = name.decoded();
        let is_sensitive = self.keys.contains(decoded.as_bytes());
        let (texts, keeps_texts) = (self.texts, self.keeps_texts);
        if texts == TextPolicy::All && has_open_texts(&decoded) {
            self.texts = TextPolicy::Listed;
        }
        self.keeps_texts = self.texts == TextPolicy::All || self.lists(&decoded);
        let result = self.member_replaced_by(is_sensitive.then_some(REDACTED_STRING), name, value);
        (self.texts, self.keeps_texts) = (texts, keeps_texts);
        result
    }

    /// Whether the texts of a member are kept where only the listed ones are.
    fn lists(&self, name: &str) -> bool {
        let is_envelope = match (self.is_data, self.path.as_str()) {
            (false, "") => true,
            (false, "/data") | (true, "") => self.texts == TextPolicy::ListedInNestedEvent,
            _ => false,
        };
        let around = self.path.rsplit('/').next().unwrap_or_default();
        (is_envelope && is_of_envelope(name)) || keeps_text(around, name)
    }

    /// Redacts a member, whose whole value is replaced if there is a replacement.
    fn member_replaced_by(
        &mut self,
        replacement: Option<&'static str>,
        name: ValueRef<'_>,
        value: ValueRef<'_>,
    ) -> Result<(), TooManyRedactions> {
        let marks = TextMarks::of(name.body());
        let has_key = inspect_marked(name.body(), marks, self.keys) != StringFinding::Clean;
        self.descend(&step_of(name, marks, has_key), |redaction| {
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
fn step_of<'d>(name: ValueRef<'d>, marks: TextMarks, has_key: bool) -> Cow<'d, str> {
    if has_key {
        return Cow::Borrowed(REDACTED_MARK);
    }
    let decoded = name.decoded();
    // An escape may be one of them.
    if marks.has(TextMarks::POINTER | TextMarks::ESCAPE) {
        return Cow::Owned(decoded.replace('~', "~0").replace('/', "~1"));
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: RedactionScope = RedactionScope::Calls { keeps: None, texts: TextPolicy::All };

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
    fn a_text_that_is_no_json_is_redacted() {
        for (text, kept) in [
            ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
            (
                "text/plain; sig=S&a=1; Bearer 0123456789abcdef",
                "text/plain; sig=[redacted]&a=1; Bearer [redacted]",
            ),
            (r#"text/plain; x="{\"token\":1}""#, "[redacted]"),
        ] {
            assert_eq!(redact_text(text), kept);
        }
    }

    #[test]
    fn base64_content_is_kept_only_where_it_was_decoded() {
        let text = r#"{"data_base64":"e30","x":{"data_base64":"e30"}}"#;
        let clean = RedactionScope::Calls {
            keeps: Some(EncodedMember::DataBase64),
            texts: TextPolicy::All,
        };
        assert_eq!(
            redacted(text, clean).0,
            r#"{"data_base64":"e30","x":{"data_base64":"[redacted]"}}"#
        );
        assert_eq!(redacted(text, CALLS).1, ["/data_base64", "/x/data_base64"]);
    }

    #[test]
    fn of_an_unknown_event_only_listed_texts_are_kept() {
        let text = r#"{"id":"1","type":"t","title":"S","data":{"correlationId":"c","said":"S","of":["S",{"rawId":"r","S":""}],"n":1,"phoneNumber":{"value":"+1"},"x":{"value":"S"},"message":"S","resultInformation":{"message":"m"}}}"#;
        let scope = RedactionScope::Calls { keeps: None, texts: TextPolicy::Listed };
        let (kept, pointers) = redacted(text, scope);
        assert_eq!(
            kept,
            r#"{"id":"1","type":"t","title":"[redacted]","data":{"correlationId":"c","said":"[redacted]","of":["[redacted]",{"rawId":"r","S":""}],"n":1,"phoneNumber":{"value":"+1"},"x":{"value":"[redacted]"},"message":"[redacted]","resultInformation":{"message":"m"}}}"#
        );
        let expected = ["/title", "/data/said", "/data/of/0", "/data/x/value", "/data/message"];
        assert_eq!(pointers, expected.map(str::to_owned));
        let nested = r#"{"type":"o","data":{"type":"i","subject":"s","data":{"subject":"S"}}}"#;
        let scope = RedactionScope::Calls { keeps: None, texts: TextPolicy::ListedInNestedEvent };
        assert_eq!(redacted(nested, scope).1, ["/data/data/subject"]);
    }

    #[test]
    fn in_members_with_open_texts_only_listed_texts_are_kept() {
        let text = r#"{"data":{"note":"kept","customContext":{"sipHeaders":{"a":"S"},"onBehalfOfCallee":{"rawId":"r"}},"ivrContext":"S","after":"kept"}}"#;
        let (_, pointers) = redacted(text, CALLS);
        assert_eq!(pointers, ["/data/customContext/sipHeaders/a", "/data/ivrContext"]);
    }

    #[test]
    fn data_that_is_a_text_is_replaced_unless_it_was_decoded() {
        let text = r#"{"type":"t","data":"said"}"#;
        assert_eq!(redacted(text, CALLS).1, ["/data"]);
        let kept =
            RedactionScope::Calls { keeps: Some(EncodedMember::Data), texts: TextPolicy::All };
        assert_eq!(redacted(text, kept).1, Vec::<String>::new());
    }

    #[test]
    fn too_many_sensitive_members_are_an_error() {
        let deep = format!("{{\"{}\":[{}1]}}", "k".repeat(1_000), "{\"pin\":1},".repeat(100));
        let index = JsonIndex::parse(&deep).unwrap();
        assert!(redact(&index, CALLS).is_err());
    }
}
