//! One JSON object a line. Instants are RFC 3339 in UTC with microseconds; every column is there, null where it
//! has no value.

use std::io::Write as _;
use std::sync::Arc;

use super::row_encode_error::RowEncodeError;
use crate::http::timestamp::micros;
use crate::postgres::{Cell, ColumnType, ExportedColumn, next_cell};

/// Encodes rows as JSON.
pub(crate) struct NdjsonEncoder {
    /// What precedes the value of each column, and its type.
    columns: Vec<(Vec<u8>, ColumnType)>,
}

impl NdjsonEncoder {
    pub(super) fn begin(columns: &Arc<[ExportedColumn]>) -> Result<Self, RowEncodeError> {
        let columns = columns.iter().enumerate().map(|(at, column)| {
            let mut before = vec![if at == 0 { b'{' } else { b',' }];
            serde_json::to_writer(&mut before, &column.name)?;
            before.push(b':');
            Ok((before, column.column_type))
        });
        Ok(Self { columns: columns.collect::<Result<_, RowEncodeError>>()? })
    }

    pub(super) fn row(&self, mut row: &[u8], encoded: &mut Vec<u8>) -> Result<(), RowEncodeError> {
        for (before, column_type) in &self.columns {
            encoded.extend_from_slice(before);
            write_cell(&next_cell(&mut row, *column_type)?, encoded)?;
        }
        encoded.extend_from_slice(b"}\n");
        Ok(())
    }
}

fn write_cell(cell: &Cell<'_>, encoded: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let written = match cell {
        Cell::Null => write!(encoded, "null"),
        Cell::Bool(value) => write!(encoded, "{value}"),
        Cell::Int32(value) => write!(encoded, "{value}"),
        Cell::Int64(value) => write!(encoded, "{value}"),
        Cell::TransactionId(value) => write!(encoded, "{value}"),
        Cell::Uuid(value) => write!(encoded, "\"{value}\""),
        Cell::Instant(value) => write!(encoded, "\"{}\"", micros(*value)),
        Cell::Text(text) => return serde_json::to_writer(encoded, text),
        Cell::TextList(texts) => return serde_json::to_writer(encoded, texts),
    };
    written.map_err(serde_json::Error::io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_written_unaltered() {
        let mut encoded = Vec::new();
        write_cell(&Cell::Text("=1 \"x\"\n"), &mut encoded).unwrap();
        assert_eq!(encoded, br#""=1 \"x\"\n""#);
    }
}
