//! CSV by RFC 4180 in UTF-8, with a header.
//!
//! Null is an empty field, an empty text is `""`. An instant is RFC 3339 in UTC with microseconds, a list a
//! JSON array.
//!
//! # Why
//!
//! A spreadsheet computes a field that begins with `=`, `+`, `-`, `@`, a tab or a line break as a formula, and
//! names of persons are texts of strangers. So such a text gets a quote (`'`) in front. Numbers, instants and
//! other types keep their sign. Programs that need the texts unaltered read NDJSON or Parquet.

use std::io::Write as _;
use std::sync::Arc;

use super::row_encode_error::RowEncodeError;
use crate::http::timestamp::micros;
use crate::postgres::{Cell, ExportedColumn, next_cell};

/// Encodes rows as CSV.
pub(crate) struct CsvEncoder {
    columns: Arc<[ExportedColumn]>,
}

impl CsvEncoder {
    pub(super) fn begin(columns: Arc<[ExportedColumn]>, encoded: &mut Vec<u8>) -> Self {
        for (at, column) in columns.iter().enumerate() {
            separate(at, encoded);
            write_field(&column.name, encoded);
        }
        end_row(encoded);
        Self { columns }
    }

    pub(super) fn row(&self, mut row: &[u8], encoded: &mut Vec<u8>) -> Result<(), RowEncodeError> {
        for (at, column) in self.columns.iter().enumerate() {
            separate(at, encoded);
            write_cell(&next_cell(&mut row, column.column_type)?, encoded)?;
        }
        end_row(encoded);
        Ok(())
    }
}

/// Ends a row.
pub(crate) fn end_row(encoded: &mut Vec<u8>) {
    encoded.extend_from_slice(b"\r\n");
}

/// Separates a field from the one before it.
pub(crate) fn separate(at: usize, encoded: &mut Vec<u8>) {
    if at > 0 {
        encoded.push(b',');
    }
}

/// Writes a field.
///
/// # Errors
///
/// A list cannot be written as JSON.
pub(crate) fn write_cell(cell: &Cell<'_>, encoded: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let written = match cell {
        Cell::Null => Ok(()),
        Cell::Bool(value) => write!(encoded, "{value}"),
        Cell::Int32(value) => write!(encoded, "{value}"),
        Cell::Int64(value) => write!(encoded, "{value}"),
        Cell::TransactionId(value) => write!(encoded, "{value}"),
        Cell::Uuid(value) => write!(encoded, "{value}"),
        Cell::Instant(value) => write!(encoded, "{}", micros(*value)),
        Cell::Text(text) => {
            if begins_as_formula(text) {
                write_field(&format!("'{text}"), encoded);
            } else {
                write_field(text, encoded);
            }
            Ok(())
        }
        Cell::TextList(texts) => {
            write_field(&serde_json::to_string(texts)?, encoded);
            Ok(())
        }
    };
    written.map_err(serde_json::Error::io)
}

/// Whether a spreadsheet may take this text for a formula.
fn begins_as_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n'])
}

/// Writes a text, in quotes if it needs them.
fn write_field(text: &str, encoded: &mut Vec<u8>) {
    let needs_quotes = text.is_empty()
        || text.contains(['"', ',', '\r', '\n'])
        || text.starts_with(char::is_whitespace)
        || text.ends_with(char::is_whitespace);
    if !needs_quotes {
        encoded.extend_from_slice(text.as_bytes());
        return;
    }
    encoded.push(b'"');
    for (at, part) in text.split('"').enumerate() {
        if at > 0 {
            encoded.extend_from_slice(b"\"\"");
        }
        encoded.extend_from_slice(part.as_bytes());
    }
    encoded.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(cell: &Cell<'_>) -> String {
        let mut encoded = Vec::new();
        write_cell(cell, &mut encoded).unwrap();
        String::from_utf8(encoded).unwrap()
    }

    #[test]
    fn a_text_that_a_spreadsheet_would_compute_gets_a_quote_and_no_number_does() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+49 170 1234567", "'+49 170 1234567"),
            ("-", "'-"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\rx", "\"'\rx\""),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("a=1", "a=1"),
            ("4:+49170", "4:+49170"),
        ] {
            assert_eq!(written(&Cell::Text(text)), expected);
        }
        assert_eq!(written(&Cell::Int64(-5)), "-5");
        assert_eq!(written(&Cell::Int32(-5)), "-5");
        assert_eq!(written(&Cell::TextList(vec![Some("=1")])), "\"[\"\"=1\"\"]\"");
    }

    #[test]
    fn an_empty_text_is_not_null_and_fields_are_quoted_where_they_must_be() {
        for (cell, expected) in [
            (Cell::Null, ""),
            (Cell::Text(""), "\"\""),
            (Cell::Text("Müller, Ida"), "\"Müller, Ida\""),
            (Cell::Text("the \"boss\""), "\"the \"\"boss\"\"\""),
            (Cell::Text("two\nlines"), "\"two\nlines\""),
            (Cell::Text(" x"), "\" x\""),
            (Cell::Bool(true), "true"),
            (Cell::TextList(vec![]), "[]"),
        ] {
            assert_eq!(written(&cell), expected);
        }
    }
}
