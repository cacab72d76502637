//! Decodes the rows of `copy … to stdout (format binary)`.

use bytes::{Buf as _, Bytes, BytesMut};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// What a binary copy begins with.
pub(crate) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Size of the head: the signature, the flags, and the size of an extension, which has no content.
const HEAD_BYTES: usize = SIGNATURE.len() + 8;
/// The instant from which PostgreSQL counts, as seconds since 1970.
pub(crate) const POSTGRES_EPOCH: i64 = 946_684_800;

/// The type of a column of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Bool,
    Int32,
    Int64,
    Instant,
    Text,
    TextList,
    TransactionId,
    Uuid,
}

impl ColumnType {
    /// Parses the name that PostgreSQL gives to a type. `None`: no view has had a column of that type.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "boolean" => Self::Bool,
            "integer" => Self::Int32,
            "bigint" => Self::Int64,
            "timestamp with time zone" => Self::Instant,
            "text" => Self::Text,
            "text[]" => Self::TextList,
            "xid8" => Self::TransactionId,
            "uuid" => Self::Uuid,
            _ => return None,
        })
    }
}

/// The value of a column in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    Null,
    Bool(bool),
    Int32(i32),
    Int64(i64),
    Instant(DateTime<Utc>),
    Text(&'a str),
    TextList(Vec<Option<&'a str>>),
    TransactionId(u64),
    Uuid(Uuid),
}

/// The bytes are no binary copy of the expected columns.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BinaryRowError {
    #[error("the copy of the database does not begin as one")]
    Head,
    #[error("the copy of the database ends in the middle")]
    Cut,
    #[error("a row of the database has {found} columns instead of {expected}")]
    Columns { found: i16, expected: usize },
    #[error("the value of a column of the database cannot be read: {0}")]
    Value(&'static str),
}

/// Splits the bytes of a copy into rows.
#[derive(Debug, Default)]
pub struct BinaryRows {
    received: BytesMut,
    is_begun: bool,
    is_ended: bool,
}

impl BinaryRows {
    /// Adds bytes as they were received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next row that was received completely, without the number of its columns.
    ///
    /// # Errors
    ///
    /// [`BinaryRowError`].
    pub fn next_row(&mut self, columns: usize) -> Result<Option<Bytes>, BinaryRowError> {
        if !self.is_begun {
            if self.received.len() < HEAD_BYTES {
                return Ok(None);
            }
            if !self.received.starts_with(SIGNATURE) {
                return Err(BinaryRowError::Head);
            }
            self.received.advance(HEAD_BYTES);
            self.is_begun = true;
        }
        if self.is_ended {
            return Ok(None);
        }
        let Some(found) = self.received.first_chunk().map(|it| i16::from_be_bytes(*it)) else {
            return Ok(None);
        };
        if found == -1 {
            self.is_ended = true;
            return Ok(None);
        }
        if usize::try_from(found) != Ok(columns) {
            return Err(BinaryRowError::Columns { found, expected: columns });
        }
        let mut end = size_of::<i16>();
        for _ in 0..columns {
            let length = self.received.get(end..).and_then(<[u8]>::first_chunk);
            let Some(length) = length.map(|it| i32::from_be_bytes(*it)) else {
                return Ok(None);
            };
            // -1 is null.
            end += size_of::<i32>() + usize::try_from(length).unwrap_or(0);
        }
        if self.received.len() < end {
            return Ok(None);
        }
        let mut row = self.received.split_to(end).freeze();
        row.advance(size_of::<i16>());
        Ok(Some(row))
    }

    /// Checks, after the last bytes, that nothing is missing.
    ///
    /// # Errors
    ///
    /// [`BinaryRowError::Cut`].
    pub fn end(&self) -> Result<(), BinaryRowError> {
        if self.is_ended { Ok(()) } else { Err(BinaryRowError::Cut) }
    }
}

/// Takes the next value off a row.
///
/// # Errors
///
/// [`BinaryRowError`].
pub fn next_cell<'r>(row: &mut &'r [u8], column: ColumnType) -> Result<Cell<'r>, BinaryRowError> {
    let Some(value) = next_value(row)? else {
        return Ok(Cell::Null);
    };
    Ok(match column {
        ColumnType::Bool => Cell::Bool(fixed::<1>(value)? != [0]),
        ColumnType::Int32 => Cell::Int32(i32::from_be_bytes(fixed(value)?)),
        ColumnType::Int64 => Cell::Int64(i64::from_be_bytes(fixed(value)?)),
        ColumnType::TransactionId => Cell::TransactionId(u64::from_be_bytes(fixed(value)?)),
        ColumnType::Uuid => Cell::Uuid(Uuid::from_bytes(fixed(value)?)),
        ColumnType::Text => Cell::Text(text(value)?),
        ColumnType::TextList => Cell::TextList(texts(value)?),
        ColumnType::Instant => {
            let micros = TimeDelta::microseconds(i64::from_be_bytes(fixed(value)?));
            let epoch = DateTime::from_timestamp(POSTGRES_EPOCH, 0);
            let instant = epoch.and_then(|epoch| epoch.checked_add_signed(micros));
            Cell::Instant(instant.ok_or(BinaryRowError::Value("an instant is infinite"))?)
        }
    })
}

/// The bytes of the next value; `None` is null.
fn next_value<'r>(row: &mut &'r [u8]) -> Result<Option<&'r [u8]>, BinaryRowError> {
    let (length, rest) = row.split_first_chunk().ok_or(BinaryRowError::Cut)?;
    *row = rest;
    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
        return Ok(None);
    };
    let (value, rest) = row.split_at_checked(length).ok_or(BinaryRowError::Cut)?;
    *row = rest;
    Ok(Some(value))
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], BinaryRowError> {
    value.try_into().map_err(|_| BinaryRowError::Value("its size is another one"))
}

fn text(value: &[u8]) -> Result<&str, BinaryRowError> {
    std::str::from_utf8(value).map_err(|_| BinaryRowError::Value("a text is not UTF-8"))
}

/// The elements of a list: the number of dimensions, a flag, the type of the elements, then for the one
/// dimension its length and first index, then the elements.
fn texts(mut value: &[u8]) -> Result<Vec<Option<&str>>, BinaryRowError> {
    let mut number = || {
        let (number, rest) = value.split_first_chunk().ok_or(BinaryRowError::Cut)?;
        value = rest;
        Ok(i32::from_be_bytes(*number))
    };
    let (dimensions, _, _) = (number()?, number()?, number()?);
    if dimensions == 0 {
        return Ok(Vec::new());
    }
    if dimensions != 1 {
        return Err(BinaryRowError::Value("a list has more than one dimension"));
    }
    let (length, _) = (number()?, number()?);
    (0..length).map(|_| next_value(&mut value)?.map(text).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of a text, a list, an instant and a null.
    fn copied() -> Vec<u8> {
        let mut bytes = [SIGNATURE.as_slice(), &[0; 8]].concat();
        bytes.extend(4_i16.to_be_bytes());
        bytes.extend([3_i32.to_be_bytes().as_slice(), b"a\tb"].concat());
        let mut list = Vec::new();
        for number in [1, 1, 25, 2, 1, 1] {
            list.extend(i32::to_be_bytes(number));
        }
        list.extend(b"x");
        list.extend((-1_i32).to_be_bytes());
        bytes.extend((list.len() as i32).to_be_bytes());
        bytes.extend(list);
        bytes.extend(8_i32.to_be_bytes());
        bytes.extend(1_500_000_i64.to_be_bytes());
        bytes.extend((-1_i32).to_be_bytes());
        bytes.extend((-1_i16).to_be_bytes());
        bytes
    }

    #[test]
    fn a_copy_is_read_in_whatever_pieces_it_arrives() {
        let columns =
            [ColumnType::Text, ColumnType::TextList, ColumnType::Instant, ColumnType::Int64];
        for size in [1, 2, 7, 1000] {
            let (mut rows, mut read) = (BinaryRows::default(), Vec::new());
            for piece in copied().chunks(size) {
                rows.push(piece);
                while let Some(row) = rows.next_row(columns.len()).unwrap() {
                    let mut row = &row[..];
                    let cells =
                        columns.map(|column| format!("{:?}", next_cell(&mut row, column).unwrap()));
                    assert!(row.is_empty());
                    read.push(cells);
                }
            }
            rows.end().unwrap();
            let expected = [
                r#"Text("a\tb")"#,
                r#"TextList([Some("x"), None])"#,
                "Instant(2000-01-01T00:00:01.500Z)",
                "Null",
            ];
            assert_eq!(read, [expected]);
        }
    }

    #[test]
    fn a_copy_that_ends_early_or_has_other_columns_is_an_error() {
        let mut rows = BinaryRows::default();
        let bytes = copied();
        rows.push(&bytes[..bytes.len() - 2]);
        assert!(rows.next_row(4).unwrap().is_some());
        assert_eq!(rows.next_row(4), Ok(None));
        assert_eq!(rows.end(), Err(BinaryRowError::Cut));
        let mut rows = BinaryRows::default();
        rows.push(&bytes);
        assert_eq!(rows.next_row(3), Err(BinaryRowError::Columns { found: 4, expected: 3 }));
        let mut rows = BinaryRows::default();
        rows.push(&[b'x'; 40]);
        assert_eq!(rows.next_row(3), Err(BinaryRowError::Head));
    }

    #[test]
    fn an_infinite_instant_is_an_error_and_no_other_value() {
        let bytes = [8_i32.to_be_bytes().as_slice(), &i64::MAX.to_be_bytes()].concat();
        let read = next_cell(&mut &bytes[..], ColumnType::Instant);
        assert_eq!(read, Err(BinaryRowError::Value("an instant is infinite")));
    }
}
