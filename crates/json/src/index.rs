//! An index of a JSON text: the byte range of each value.
//!
//! # Why
//!
//! Redaction keeps the original byte for byte except for some values, so it needs the range of each
//! value. Normalization reads the same index: two parsers that differ on one text would be a way
//! around the redaction. The index keeps what other parsers refuse or drop: lone surrogates, numbers
//! out of range, duplicate members. The parser does not recurse, and it refuses values nested deeper
//! than [`MAX_DEPTH`](crate::MAX_DEPTH), so that functions that walk the index may recurse.

use std::borrow::Cow;
use std::fmt;

use super::entry::{JsonError, ValueEntry, ValueKind};
use super::grammar::GrammarReader;

/// A JSON value and the index of its text.
#[derive(Clone)]
pub struct JsonIndex<'t> {
    text: &'t str,
    root: ValueEntry,
    /// The entries of all values, the root first.
    entries: Vec<ValueEntry>,
}

impl fmt::Debug for JsonIndex<'_> {
    /// Writes the length only: the text may contain secrets (`NO_SECRETS`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonIndex({} bytes)", self.text.len())
    }
}

impl<'t> JsonIndex<'t> {
    /// Indexes a text that is one value, with optional white space around it.
    ///
    /// # Errors
    ///
    /// [`JsonError`], with the offset from the start of `text`.
    pub fn parse(text: &'t str) -> Result<Self, JsonError> {
        let value = text.trim_start_matches(WHITESPACE);
        let before = text.len() - value.len();
        let moved = |error| match error {
            JsonError::Syntax { at } => JsonError::Syntax { at: before + at },
            JsonError::Depth | JsonError::Values => error,
        };
        let (index, rest) = Self::parse_prefix(value).map_err(moved)?;
        let rest = rest.trim_start_matches(WHITESPACE);
        if rest.is_empty() {
            return Ok(index);
        }
        Err(JsonError::Syntax { at: text.len() - rest.len() })
    }

    /// Indexes the value that `text` begins with; returns the index and the rest of the text.
    ///
    /// # Errors
    ///
    /// [`JsonError`], with the offset from the start of `text`.
    pub fn parse_prefix(text: &'t str) -> Result<(Self, &'t str), JsonError> {
        let (root, entries) = GrammarReader::new(text).value()?;
        let (text, rest) =
            text.split_at_checked(root.end).ok_or(JsonError::Syntax { at: root.end })?;
        let index = Self { text, root, entries };
        Ok((index, rest))
    }

    /// Number of values and member names.
    #[must_use]
    pub fn value_count(&self) -> usize {
        self.entries.len()
    }

    /// The text of the value, without white space around it.
    #[must_use]
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// The value itself.
    #[must_use]
    pub fn root(&self) -> ValueRef<'_> {
        ValueRef {
            text: self.text,
            entry: self.root,
            entries: self.entries.get(1..).unwrap_or_default(),
        }
    }
}

/// The white space of JSON.
pub const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A value of an index.
#[derive(Clone, Copy)]
pub struct ValueRef<'d> {
    text: &'d str,
    entry: ValueEntry,
    /// The entries inside the value.
    entries: &'d [ValueEntry],
}

impl<'d> ValueRef<'d> {
    /// The kind of the value.
    #[must_use]
    pub fn kind(&self) -> ValueKind {
        self.entry.kind
    }

    /// The byte range of the value in [`JsonIndex::text`].
    #[must_use]
    pub fn range(&self) -> std::ops::Range<usize> {
        self.entry.start..self.entry.end
    }

    /// Whether the value is a string with escapes.
    #[must_use]
    pub fn is_escaped(&self) -> bool {
        self.entry.escaped
    }

    /// The value as written.
    #[must_use]
    pub fn raw(&self) -> &'d str {
        self.text.get(self.range()).unwrap_or_default()
    }

    /// The text between the quotation marks of a string, escapes included.
    #[must_use]
    pub fn body(&self) -> &'d str {
        let mut range = self.range();
        if self.kind() == ValueKind::String {
            range = range.start + 1..range.end.saturating_sub(1);
        }
        self.text.get(range).unwrap_or_default()
    }

    /// The decoded characters of a string; a lone surrogate becomes U+FFFD.
    #[must_use]
    pub fn decoded(&self) -> Cow<'d, str> {
        let body = self.body();
        if !self.is_escaped() {
            return Cow::Borrowed(body);
        }
        let units = string_units(body);
        Cow::Owned(units.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
    }

    /// Whether a string contains half of a surrogate pair, which [`ValueRef::decoded`] replaces.
    #[must_use]
    pub fn has_lone_surrogate(&self) -> bool {
        self.is_escaped() && string_units(self.body()).any(|unit| unit.is_err())
    }

    /// The elements of an array; empty for other kinds.
    pub fn elements(&self) -> impl Iterator<Item = ValueRef<'d>> + use<'d> {
        self.children(ValueKind::Array)
    }

    /// The names and values of an object's members, in their order; empty for other kinds.
    pub fn members(&self) -> impl Iterator<Item = (ValueRef<'d>, ValueRef<'d>)> + use<'d> {
        let mut values = self.children(ValueKind::Object);
        std::iter::from_fn(move || Some((values.next()?, values.next()?)))
    }

    /// The values directly inside a value of this kind; empty for other kinds.
    fn children(&self, kind: ValueKind) -> impl Iterator<Item = ValueRef<'d>> + use<'d> {
        let text = self.text;
        let mut left = if self.entry.kind == kind { self.entries } else { &[] };
        std::iter::from_fn(move || {
            let (&entry, rest) = left.split_first()?;
            let entries;
            (entries, left) = rest.split_at_checked(entry.descendants)?;
            Some(ValueRef { text, entry, entries })
        })
    }

    /// The member with that name, and its name as written.
    ///
    /// A `null` member is missing. Of several members with the name the last one is returned, as in
    /// JavaScript. A name that differs in case (dead-letter records, `communicationidentifier`) is
    /// returned only if no exact one exists.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<(ValueRef<'d>, ValueRef<'d>)> {
        let mut exact = None;
        let mut similar = None;
        for (written, value) in self.members() {
            if value.kind() == ValueKind::Null {
                continue;
            }
            // Comparing lengths first excludes most names.
            if !written.is_escaped() && written.body().len() != name.len() {
                continue;
            }
            let decoded = written.decoded();
            if decoded == name {
                exact = Some((written, value));
            } else if decoded.eq_ignore_ascii_case(name) {
                similar = Some((written, value));
            }
        }
        exact.or(similar)
    }
}

/// The decoded characters of a string whose escapes are well formed; a lone surrogate is an error
/// that contains it.
pub(crate) fn string_units(body: &str) -> impl Iterator<Item = Result<char, u16>> {
    let mut rest = body.chars();
    std::iter::from_fn(move || {
        let first = rest.next()?;
        if first != '\\' {
            return Some(Ok(first));
        }
        let escaped = match rest.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = hex_digits(&mut rest);
                let mut ahead = rest.clone();
                let low = (ahead.next() == Some('\\') && ahead.next() == Some('u'))
                    .then(|| hex_digits(&mut ahead));
                let pair = char::decode_utf16([high].into_iter().chain(low)).next()?;
                if pair.as_ref().is_ok_and(|character| character.len_utf16() == 2) {
                    rest = ahead;
                }
                return Some(pair.map_err(|lone| lone.unpaired_surrogate()));
            }
            other => other,
        };
        Some(Ok(escaped))
    })
}

fn hex_digits(rest: &mut std::str::Chars<'_>) -> u16 {
    let digits = rest.take(4);
    digits.fold(0, |code, digit| code << 4 | digit.to_digit(16).unwrap_or_default() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{MAX_DEPTH, MAX_VALUES};
    use proptest::prelude::*;

    #[test]
    fn each_value_has_its_range() {
        let text = r#" { "a" : [1, -2.5e3, "x\ny"], "b":{}, "a":null } "#;
        let index = JsonIndex::parse(text).unwrap();
        let root = index.root();
        assert_eq!(index.text(), text.trim());
        let members: Vec<(&str, &str)> =
            root.members().map(|(name, value)| (name.raw(), value.raw())).collect();
        assert_eq!(
            members,
            [("\"a\"", r#"[1, -2.5e3, "x\ny"]"#), ("\"b\"", "{}"), ("\"a\"", "null")]
        );
        let (_, array) = root.member("a").unwrap();
        let elements: Vec<&str> = array.elements().map(|element| element.raw()).collect();
        assert_eq!(elements, ["1", "-2.5e3", r#""x\ny""#]);
    }

    #[test]
    fn the_last_member_with_the_exact_name_is_found_else_one_that_differs_in_case() {
        let index = JsonIndex::parse(r#"{"State":1,"state":2,"state":3,"state":null}"#).unwrap();
        assert_eq!(index.root().member("state").unwrap().1.raw(), "3");
        assert_eq!(index.root().member("STATE").unwrap().1.raw(), "3");
        assert!(index.root().member("stat").is_none());
    }

    #[test]
    fn lone_surrogates_and_numbers_out_of_range_are_indexed() {
        let index =
            JsonIndex::parse(r#"["\ud800", "\ud83d\ude00", "\ude00\ud83d", "\u0000", 1e999]"#)
                .unwrap();
        let texts: Vec<String> =
            index.root().elements().map(|element| element.decoded().into_owned()).collect();
        assert_eq!(texts, ["\u{fffd}", "\u{1f600}", "\u{fffd}\u{fffd}", "\0", "1e999"]);
        let lone: Vec<bool> =
            index.root().elements().map(|element| element.has_lone_surrogate()).collect();
        assert_eq!(lone, [true, false, true, false, false]);
    }

    #[test]
    fn nesting_above_the_maximum_depth_is_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(JsonIndex::parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(JsonIndex::parse(&nested(MAX_DEPTH + 1)).unwrap_err(), JsonError::Depth);
        assert_eq!(JsonIndex::parse(&"[".repeat(1_000_000)).unwrap_err(), JsonError::Depth);
    }

    #[test]
    fn a_text_with_more_than_the_maximum_of_values_is_refused() {
        let zeros = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
        assert!(JsonIndex::parse(&zeros(MAX_VALUES - 1)).is_ok());
        assert_eq!(JsonIndex::parse(&zeros(MAX_VALUES)).unwrap_err(), JsonError::Values);
    }

    #[test]
    fn a_syntax_error_contains_its_offset() {
        for (text, at) in [
            ("", 0),
            ("  {\"a\":tru}", 7),
            ("[1,]", 3),
            ("{\"a\":1,}", 7),
            ("[1] x", 4),
            ("\"a\nb\"", 2),
            ("01", 1),
            ("{\"a\":1]", 6),
            ("\"\\x\"", 2),
        ] {
            assert_eq!(JsonIndex::parse(text).unwrap_err(), JsonError::Syntax { at }, "{text}");
        }
    }

    /// Whether serde_json supports the text, so that it can be the reference.
    fn ordinary(text: &str) -> bool {
        let nested = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > MAX_DEPTH;
        !nested && !text.contains("\\u") && !text.contains(['e', 'E'])
    }

    proptest! {
        #[test]
        fn the_parser_accepts_what_serde_json_accepts(
            text in r#"[\[\]{}",:0-9.\- tfnrualse\\]{0,24}"#,
        ) {
            if ordinary(&text) {
                let reference = serde_json::from_str::<serde_json::Value>(&text);
                prop_assert_eq!(JsonIndex::parse(&text).is_ok(), reference.is_ok(), "{}", text);
            }
        }

        #[test]
        fn strings_are_decoded_as_by_serde_json(value in ".*", escaped in prop::collection::vec(any::<u16>(), 0..6)) {
            let mut text = serde_json::to_string(&value).unwrap();
            text.pop();
            for unit in escaped {
                text.push_str(&format!("\\u{unit:04x}"));
            }
            text.push('"');
            let index = JsonIndex::parse(&text).unwrap();
            if let Ok(reference) = serde_json::from_str::<String>(&text) {
                prop_assert_eq!(index.root().decoded(), reference);
            } else {
                prop_assert!(index.root().decoded().contains(char::REPLACEMENT_CHARACTER));
            }
        }
    }
}
