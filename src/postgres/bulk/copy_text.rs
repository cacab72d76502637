//! Encodes rows in the text format of `copy … from stdin`.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};

/// What stands for null.
const NULL: &str = "\\N";

/// Lines of columns, separated by tabs.
#[derive(Debug, Default)]
pub(crate) struct CopyText {
    text: String,
    /// Whether the line has a column already.
    has_column: bool,
}

impl CopyText {
    /// A text as it is.
    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.separate();
        escape(value, &mut self.text);
        self
    }

    /// A text, or null.
    pub(crate) fn optional(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    /// Anything whose text has no character that needs an escape: numbers, booleans, UUIDs.
    pub(crate) fn plain(&mut self, value: impl std::fmt::Display) -> &mut Self {
        self.separate();
        write_plain(&mut self.text, value);
        self
    }

    pub(crate) fn optional_plain(&mut self, value: Option<impl std::fmt::Display>) -> &mut Self {
        match value {
            Some(value) => self.plain(value),
            None => self.null(),
        }
    }

    pub(crate) fn instant(&mut self, value: DateTime<Utc>) -> &mut Self {
        self.plain(value.to_rfc3339_opts(SecondsFormat::Micros, true))
    }

    pub(crate) fn optional_instant(&mut self, value: Option<DateTime<Utc>>) -> &mut Self {
        match value {
            Some(value) => self.instant(value),
            None => self.null(),
        }
    }

    /// Bytes, as `bytea` reads them.
    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.separate();
        self.text.reserve(value.len() * 2 + 3);
        self.text.push_str("\\\\x");
        for byte in value {
            self.text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            self.text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        self
    }

    /// An array of texts.
    pub(crate) fn texts<'t>(&mut self, values: impl IntoIterator<Item = &'t str>) -> &mut Self {
        let mut array = String::from("{");
        for value in values {
            if array.len() > 1 {
                array.push(',');
            }
            array.push('"');
            for character in value.chars() {
                if matches!(character, '"' | '\\') {
                    array.push('\\');
                }
                array.push(character);
            }
            array.push('"');
        }
        array.push('}');
        self.text(&array)
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.separate();
        self.text.push_str(NULL);
        self
    }

    /// Ends the line.
    pub(crate) fn end(&mut self) {
        self.text.push('\n');
        self.has_column = false;
    }

    /// The lines.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    fn separate(&mut self) {
        if self.has_column {
            self.text.push('\t');
        }
        self.has_column = true;
    }
}

fn write_plain(text: &mut String, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _infallible = write!(text, "{value}");
}

fn escape(value: &str, into: &mut String) {
    into.reserve(value.len());
    for character in value.chars() {
        match character {
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_one_column_of_one_line() {
        let mut lines = CopyText::default();
        lines.text("a\tb\nc\\d\re").optional(None).text("").plain(7).plain(true).end();
        lines.texts(["x", "\"y\\", ""]).texts([]).bytes(&[0, 255, 16]).end();
        assert_eq!(
            lines.as_str(),
            "a\\tb\\nc\\\\d\\re\t\\N\t\t7\ttrue\n{\"x\",\"\\\\\"y\\\\\\\\\",\"\"}\t{}\t\\\\x00ff10\n"
        );
    }
}
