//! JSON text with the place of every value in it.
//!
//! # Why
//!
//! Redaction keeps the original byte for byte except for some values, so it has to know where each
//! value stands. The same reading serves normalization: two parsers with two opinions about one
//! text would be a way around the redaction. It keeps what other readers refuse or drop: lone
//! surrogates, numbers out of range, members that occur twice. It never recurses while it reads,
//! and refuses what is nested deeper than [`DEEPEST`], so that those who walk the result may.

use std::borrow::Cow;
use std::fmt;

use super::json_reader::Reader;

/// Values may be nested so deep; an event of Azure has 6 levels. Common parsers stop at 128.
pub(super) const DEEPEST: usize = 100;

/// So many values and names are read of one text. Event Grid sends 1 MiB at most, which cannot hold
/// more; each takes the memory of an [`Entry`], which is many times that of a `0,`.
pub(super) const MOST_VALUES: usize = 512 * 1024;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    True,
    False,
    Null,
}

/// Why a text is not JSON that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Bytes from the start of the text to where it stops being JSON.
    Syntax { at: usize },
    /// Nested deeper than [`DEEPEST`].
    Depth,
    /// More than [`MOST_VALUES`].
    Values,
}

/// One value: its place in the text, and how many of the following entries lie within it. The
/// entries of an object are a name (as [`Kind::Text`]) and a value in turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// A text or name with a backslash.
    pub(super) escaped: bool,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) within: usize,
}

/// One JSON value with the text that it was read from.
#[derive(Clone)]
pub(super) struct Document<'t> {
    text: &'t str,
    root: Entry,
    /// All of them, the root first.
    entries: Vec<Entry>,
}

impl fmt::Debug for Document<'_> {
    /// The text holds what may not be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.text.len())
    }
}

impl<'t> Document<'t> {
    /// Reads a text that is one value, with blanks around it.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the text can only be kept as text.
    pub(super) fn parse(text: &'t str) -> Result<Self, Fault> {
        let value = text.trim_start_matches(BLANKS);
        let before = text.len() - value.len();
        let moved = |fault| match fault {
            Fault::Syntax { at } => Fault::Syntax { at: before + at },
            Fault::Depth | Fault::Values => fault,
        };
        let (document, rest) = Self::read(value).map_err(moved)?;
        let rest = rest.trim_start_matches(BLANKS);
        if rest.is_empty() {
            return Ok(document);
        }
        Err(Fault::Syntax {
            at: text.len() - rest.len(),
        })
    }

    /// Reads the one value that `text` begins with, and returns it with what follows it.
    ///
    /// # Errors
    ///
    /// [`Fault`], with the place counted from the start of `text`.
    pub(super) fn read(text: &'t str) -> Result<(Self, &'t str), Fault> {
        let (root, entries) = Reader::new(text).value()?;
        let (text, rest) = text
            .split_at_checked(root.end)
            .ok_or(Fault::Syntax { at: root.end })?;
        let document = Self {
            text,
            root,
            entries,
        };
        Ok((document, rest))
    }

    /// How many values and names it has.
    pub(super) fn values(&self) -> usize {
        self.entries.len()
    }

    /// The text of the value, without blanks around it.
    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    pub(super) fn root(&self) -> Node<'_> {
        Node {
            text: self.text,
            entry: self.root,
            entries: self.entries.get(1..).unwrap_or_default(),
        }
    }
}

/// JSON's white space.
pub(super) const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// A value in its document.
#[derive(Clone, Copy)]
pub(super) struct Node<'d> {
    text: &'d str,
    entry: Entry,
    /// Those that lie within the value.
    entries: &'d [Entry],
}

impl<'d> Node<'d> {
    pub(super) fn kind(&self) -> Kind {
        self.entry.kind
    }

    /// Where the value stands in the text of its document.
    pub(super) fn place(&self) -> std::ops::Range<usize> {
        self.entry.start..self.entry.end
    }

    /// Whether a text has escapes.
    pub(super) fn is_escaped(&self) -> bool {
        self.entry.escaped
    }

    /// As it is written.
    pub(super) fn raw(&self) -> &'d str {
        self.text.get(self.place()).unwrap_or_default()
    }

    /// What is between the quotes of a text, with its escapes.
    pub(super) fn quoted(&self) -> &'d str {
        let mut place = self.place();
        if self.kind() == Kind::Text {
            place = place.start + 1..place.end.saturating_sub(1);
        }
        self.text.get(place).unwrap_or_default()
    }

    /// The characters of a text; a lone surrogate becomes U+FFFD.
    pub(super) fn decoded(&self) -> Cow<'d, str> {
        let quoted = self.quoted();
        if !self.is_escaped() {
            return Cow::Borrowed(quoted);
        }
        let units = Units::of(quoted);
        Cow::Owned(
            units
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect(),
        )
    }

    /// The elements of an array; none for anything else.
    pub(super) fn elements(&self) -> impl Iterator<Item = Node<'d>> + use<'d> {
        let entries = if self.entry.kind == Kind::Array {
            self.entries
        } else {
            &[]
        };
        Nodes {
            text: self.text,
            entries,
        }
    }

    /// Names and values of an object's members in their order; none for anything else.
    pub(super) fn members(&self) -> impl Iterator<Item = (Node<'d>, Node<'d>)> + use<'d> {
        let entries = if self.entry.kind == Kind::Object {
            self.entries
        } else {
            &[]
        };
        let mut nodes = Nodes {
            text: self.text,
            entries,
        };
        std::iter::from_fn(move || Some((nodes.next()?, nodes.next()?)))
    }

    /// The member of that name with its name as written. `null` counts as missing. Of several the
    /// last one counts, as in JavaScript; a name that differs in case (dead-letter records,
    /// `communicationidentifier`) only if no other is there.
    pub(super) fn member(&self, name: &str) -> Option<(Node<'d>, Node<'d>)> {
        let mut exact = None;
        let mut similar = None;
        for (written, value) in self.members() {
            if value.kind() == Kind::Null {
                continue;
            }
            // Most names differ by their length.
            if !written.is_escaped() && written.quoted().len() != name.len() {
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

struct Nodes<'d> {
    text: &'d str,
    entries: &'d [Entry],
}

impl<'d> Iterator for Nodes<'d> {
    type Item = Node<'d>;

    fn next(&mut self) -> Option<Node<'d>> {
        let (&entry, rest) = self.entries.split_first()?;
        let (entries, others) = rest.split_at_checked(entry.within)?;
        self.entries = others;
        Some(Node {
            text: self.text,
            entry,
            entries,
        })
    }
}

/// The characters of a JSON text whose escapes are known to be well formed; a lone surrogate is an
/// error that holds it.
pub(super) struct Units<'t> {
    rest: std::str::Chars<'t>,
}

impl<'t> Units<'t> {
    pub(super) fn of(quoted: &'t str) -> Self {
        Self {
            rest: quoted.chars(),
        }
    }

    fn hexadecimal(&mut self) -> u16 {
        let digits = self.rest.by_ref().take(4);
        digits.fold(0, |code, digit| {
            code << 4 | digit.to_digit(16).unwrap_or_default() as u16
        })
    }
}

impl Iterator for Units<'_> {
    type Item = Result<char, u16>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.next()?;
        if first != '\\' {
            return Some(Ok(first));
        }
        let escaped = match self.rest.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = self.hexadecimal();
                let mut ahead = Self {
                    rest: self.rest.clone(),
                };
                let low = (ahead.rest.next() == Some('\\') && ahead.rest.next() == Some('u'))
                    .then(|| ahead.hexadecimal());
                let pair = char::decode_utf16([high].into_iter().chain(low)).next()?;
                if pair
                    .as_ref()
                    .is_ok_and(|character| character.len_utf16() == 2)
                {
                    *self = ahead;
                }
                return Some(pair.map_err(|lone| lone.unpaired_surrogate()));
            }
            other => other,
        };
        Some(Ok(escaped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_value_knows_its_place() {
        let text = r#" { "a" : [1, -2.5e3, "x\ny"], "b":{}, "a":null } "#;
        let document = Document::parse(text).unwrap();
        let root = document.root();
        assert_eq!(document.text(), text.trim());
        let members: Vec<(&str, &str)> = root
            .members()
            .map(|(name, value)| (name.raw(), value.raw()))
            .collect();
        assert_eq!(
            members,
            [
                ("\"a\"", r#"[1, -2.5e3, "x\ny"]"#),
                ("\"b\"", "{}"),
                ("\"a\"", "null")
            ]
        );
        let (_, array) = root.member("a").unwrap();
        let elements: Vec<&str> = array.elements().map(|element| element.raw()).collect();
        assert_eq!(elements, ["1", "-2.5e3", r#""x\ny""#]);
    }

    #[test]
    fn a_member_is_found_by_exact_name_first_then_without_case_and_the_last_of_several_counts() {
        let document = Document::parse(r#"{"State":1,"state":2,"state":3,"state":null}"#).unwrap();
        assert_eq!(document.root().member("state").unwrap().1.raw(), "3");
        assert_eq!(document.root().member("STATE").unwrap().1.raw(), "3");
        assert!(document.root().member("stat").is_none());
    }

    #[test]
    fn what_strict_readers_refuse_is_read() {
        let document =
            Document::parse(r#"["\ud800", "\ud83d\ude00", "\ude00\ud83d", "\u0000", 1e999]"#)
                .unwrap();
        let texts: Vec<String> = document
            .root()
            .elements()
            .map(|element| element.decoded().into_owned())
            .collect();
        assert_eq!(
            texts,
            ["\u{fffd}", "\u{1f600}", "\u{fffd}\u{fffd}", "\0", "1e999"]
        );
    }

    #[test]
    fn nesting_is_read_to_a_depth_and_refused_beyond_it() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Document::parse(&nested(DEEPEST)).is_ok());
        assert_eq!(
            Document::parse(&nested(DEEPEST + 1)).unwrap_err(),
            Fault::Depth
        );
        assert_eq!(
            Document::parse(&"[".repeat(1_000_000)).unwrap_err(),
            Fault::Depth
        );
    }

    #[test]
    fn more_values_than_event_grid_can_send_are_not_read() {
        let zeros = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
        assert!(Document::parse(&zeros(MOST_VALUES - 1)).is_ok());
        assert_eq!(
            Document::parse(&zeros(MOST_VALUES)).unwrap_err(),
            Fault::Values
        );
    }

    #[test]
    fn the_fault_says_where() {
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
            assert_eq!(
                Document::parse(text).unwrap_err(),
                Fault::Syntax { at },
                "{text}"
            );
        }
    }

    /// What serde_json takes as well, so that it can be the judge.
    fn ordinary(text: &str) -> bool {
        let nested = text
            .bytes()
            .filter(|byte| matches!(byte, b'[' | b'{'))
            .count()
            > DEEPEST;
        !nested && !text.contains("\\u") && !text.contains(['e', 'E'])
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json_on_what_is_json(
            text in r#"[\[\]{}",:0-9.\- tfnrualse\\]{0,24}"#,
        ) {
            if ordinary(&text) {
                let judge = serde_json::from_str::<serde_json::Value>(&text);
                prop_assert_eq!(Document::parse(&text).is_ok(), judge.is_ok(), "{}", text);
            }
        }

        #[test]
        fn it_reads_texts_as_serde_json_does(value in ".*", escaped in prop::collection::vec(any::<u16>(), 0..6)) {
            let mut text = serde_json::to_string(&value).unwrap();
            text.pop();
            for unit in escaped {
                text.push_str(&format!("\\u{unit:04x}"));
            }
            text.push('"');
            let document = Document::parse(&text).unwrap();
            if let Ok(judge) = serde_json::from_str::<String>(&text) {
                prop_assert_eq!(document.root().decoded(), judge);
            } else {
                prop_assert!(document.root().decoded().contains(char::REPLACEMENT_CHARACTER));
            }
        }
    }
}
