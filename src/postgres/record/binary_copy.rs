//! Encodes rows in the binary format of `copy … from stdin`.
//!
//! # Why
//!
//! A statement with an array for each column has each array unpacked into rows, row by row, and each row inserted
//! by itself. A copy reads rows as they arrive, and fills a page at a time.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::postgres::StoreError;
use crate::postgres::export::binary_rows::{POSTGRES_EPOCH, SIGNATURE};

/// The number that PostgreSQL gives to the type `text`.
const TEXT_TYPE: i32 = 25;
/// The length that stands for null.
const NULL: i32 = -1;
/// What ends a copy, where the number of columns of a row would be.
const END: i16 = -1;
/// The version of the binary format of `jsonb`, which begins each value.
const JSONB_VERSION: u8 = 1;
/// Maximum bytes that are collected before they are sent, and a row.
const MAX_COLLECTED_BYTES: usize = 256 * 1024;

/// Rows with the same columns.
#[derive(Debug)]
pub(crate) struct BinaryCopy {
    bytes: Vec<u8>,
    columns: i16,
}

impl BinaryCopy {
    /// No rows yet, with so many columns.
    pub(crate) fn new(columns: i16) -> Self {
        let mut bytes = SIGNATURE.to_vec();
        // No flags, and no extension of the head.
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes, columns }
    }

    /// Begins a row; its columns follow.
    pub(crate) fn row(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&self.columns.to_be_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.length(value.len());
        self.bytes.extend_from_slice(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    pub(crate) fn optional_text(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(value),
            None => {
                self.bytes.extend_from_slice(&NULL.to_be_bytes());
                self
            }
        }
    }

    /// A `jsonb`, by its text.
    pub(crate) fn json(&mut self, text: &str) -> &mut Self {
        self.length(text.len() + 1);
        self.bytes.push(JSONB_VERSION);
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    pub(crate) fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    pub(crate) fn int64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn instant(&mut self, value: DateTime<Utc>) -> &mut Self {
        self.int64(value.timestamp_micros() - POSTGRES_EPOCH * 1_000_000)
    }

    /// A `text[]` of one dimension.
    pub(crate) fn texts(&mut self, values: &[&str]) -> &mut Self {
        let place = self.bytes.len();
        self.length(0);
        let dimensions = i32::from(!values.is_empty());
        for head in [dimensions, 0, TEXT_TYPE] {
            self.bytes.extend_from_slice(&head.to_be_bytes());
        }
        if !values.is_empty() {
            self.length(values.len());
            // The index of the first element.
            self.bytes.extend_from_slice(&1_i32.to_be_bytes());
        }
        for value in values {
            self.text(value);
        }
        let length = length(self.bytes.len() - place - size_of::<i32>());
        self.bytes[place..place + size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
        self
    }

    fn length(&mut self, bytes: usize) {
        self.bytes.extend_from_slice(&length(bytes).to_be_bytes());
    }

    /// Ends the rows.
    fn end(&mut self) {
        self.bytes.extend_from_slice(&END.to_be_bytes());
    }
}

/// A length that the format cannot express is one that PostgreSQL refuses as content.
fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// Copies rows by a statement `copy … from stdin (format binary)`; `encode` adds one row.
///
/// # Errors
///
/// [`StoreError`].
pub(super) async fn copy_rows<R>(
    connection: &mut PgConnection,
    statement: &str,
    columns: i16,
    rows: &[R],
    encode: impl Fn(&R, &mut BinaryCopy),
) -> Result<(), StoreError> {
    let mut encoded = BinaryCopy::new(columns);
    let mut copy = connection.copy_in_raw(statement).await?;
    for row in rows {
        encode(row, &mut encoded);
        if encoded.bytes.len() >= MAX_COLLECTED_BYTES {
            copy.send(encoded.bytes.as_slice()).await?;
            encoded.bytes.clear();
        }
    }
    encoded.end();
    copy.send(encoded.bytes.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_length_before_it() {
        let mut rows = BinaryCopy::new(3);
        rows.bytes.clear();
        rows.row().text("ab").optional_text(None).json("{}");
        rows.texts(&["x"]).texts(&[]);
        rows.end();
        let expected: &[&[u8]] = &[
            &[0, 3],
            &[0, 0, 0, 2, b'a', b'b'],
            &[0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 3, 1, b'{', b'}'],
            &[0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25],
            &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, b'x'],
            &[0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25],
            &[0xff, 0xff],
        ];
        assert_eq!(rows.bytes, expected.concat());
    }

    #[test]
    fn an_instant_counts_from_the_epoch_of_postgres() {
        let mut rows = BinaryCopy::new(1);
        rows.bytes.clear();
        let at = DateTime::from_timestamp_micros(946_684_800_000_007).unwrap();
        rows.instant(at);
        assert_eq!(rows.bytes, [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
    }
}
