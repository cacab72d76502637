//! Parquet, compressed by Zstandard: instants with microseconds in UTC, texts with dictionaries, lists of texts.
//!
//! The rows of a group are collected in columns, because a group is written column by column.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parquet::basic::{
    Compression, ConvertedType, IntType, LogicalType, Repetition, TimeUnit, TimestampType,
    Type as PhysicalType, ZstdLevel,
};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::row_encode_error::RowEncodeError;
use crate::postgres::{Cell, ColumnType, ExportedColumn, next_cell};

/// Maximum number of rows of a group.
const MAX_GROUP_ROWS: usize = 100_000;
/// Maximum bytes of the texts of a group; one that reaches it has fewer rows.
const MAX_GROUP_BYTES: usize = 64 << 20;
/// The definition level of a value in an optional column.
const DEFINED: i16 = 1;

/// Encodes rows as Parquet.
pub(crate) struct ParquetEncoder {
    writer: SerializedFileWriter<Encoded>,
    columns: Vec<GroupColumn>,
    rows: usize,
    bytes: usize,
}

/// What the writer has written and the caller has not taken yet.
#[derive(Default)]
struct Encoded(Vec<u8>);

impl Write for Encoded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The values of a column in the group that is being collected.
struct GroupColumn {
    column_type: ColumnType,
    values: GroupValues,
    definitions: Vec<i16>,
    /// Of lists only.
    repetitions: Vec<i16>,
}

enum GroupValues {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    /// The texts one after the other, and where each ends.
    Text {
        texts: BytesMut,
        ends: Vec<usize>,
    },
}

impl GroupValues {
    fn of(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::Bool => Self::Bool(Vec::new()),
            ColumnType::Int32 => Self::Int32(Vec::new()),
            ColumnType::Int64 | ColumnType::Instant | ColumnType::TransactionId => {
                Self::Int64(Vec::new())
            }
            ColumnType::Text | ColumnType::TextList | ColumnType::Uuid => {
                Self::Text { texts: BytesMut::new(), ends: Vec::new() }
            }
        }
    }
}

impl GroupColumn {
    fn of(column_type: ColumnType) -> Self {
        let values = GroupValues::of(column_type);
        Self { column_type, values, definitions: Vec::new(), repetitions: Vec::new() }
    }

    /// Adds the value of a row. Returns the size of its texts.
    fn push(&mut self, cell: &Cell<'_>) -> usize {
        match (&mut self.values, cell) {
            (_, Cell::Null) => {
                self.definitions.push(0);
                if self.column_type == ColumnType::TextList {
                    self.repetitions.push(0);
                }
                return 0;
            }
            (GroupValues::Bool(values), Cell::Bool(value)) => values.push(*value),
            (GroupValues::Int32(values), Cell::Int32(value)) => values.push(*value),
            (GroupValues::Int64(values), Cell::Int64(value)) => values.push(*value),
            (GroupValues::Int64(values), Cell::TransactionId(value)) => {
                values.push(value.cast_signed());
            }
            (GroupValues::Int64(values), Cell::Instant(value)) => {
                values.push(value.timestamp_micros());
            }
            (GroupValues::Text { texts, ends }, Cell::Text(text)) => {
                texts.extend_from_slice(text.as_bytes());
                ends.push(texts.len());
                self.definitions.push(DEFINED);
                return text.len();
            }
            (GroupValues::Text { texts, ends }, Cell::Uuid(value)) => {
                let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
                texts.extend_from_slice(value.hyphenated().encode_lower(&mut buffer).as_bytes());
                ends.push(texts.len());
            }
            (GroupValues::Text { .. }, Cell::TextList(list)) => return self.push_list(list),
            // The database copies the types of the columns.
            (_, _) => self.definitions.push(0),
        }
        self.definitions.push(DEFINED);
        0
    }

    /// The levels of a list: 0 null, 1 empty, 2 an element that is null, 3 an element; a further element
    /// of the same list has the repetition 1.
    fn push_list(&mut self, list: &[Option<&str>]) -> usize {
        let GroupValues::Text { texts, ends } = &mut self.values else { return 0 };
        let before = texts.len();
        if list.is_empty() {
            self.definitions.push(1);
            self.repetitions.push(0);
        }
        for (at, element) in list.iter().enumerate() {
            self.repetitions.push(i16::from(at > 0));
            self.definitions.push(if element.is_some() { 3 } else { 2 });
            if let Some(text) = element {
                texts.extend_from_slice(text.as_bytes());
                ends.push(texts.len());
            }
        }
        texts.len() - before
    }

    /// Writes the values of the group, and is empty again.
    fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let Self { values, definitions, repetitions, column_type } = self;
        let repeated = (*column_type == ColumnType::TextList).then_some(repetitions.as_slice());
        let defined = Some(definitions.as_slice());
        match (values, writer) {
            (GroupValues::Bool(values), ColumnWriter::BoolColumnWriter(writer)) => {
                writer.write_batch(values, defined, repeated)?;
                values.clear();
            }
            (GroupValues::Int32(values), ColumnWriter::Int32ColumnWriter(writer)) => {
                writer.write_batch(values, defined, repeated)?;
                values.clear();
            }
            (GroupValues::Int64(values), ColumnWriter::Int64ColumnWriter(writer)) => {
                writer.write_batch(values, defined, repeated)?;
                values.clear();
            }
            (GroupValues::Text { texts, ends }, ColumnWriter::ByteArrayColumnWriter(writer)) => {
                let texts = std::mem::take(texts).freeze();
                writer.write_batch(&byte_arrays(&texts, ends), defined, repeated)?;
                ends.clear();
            }
            _ => return Err(ParquetError::General("a column has another type".to_owned())),
        }
        definitions.clear();
        repetitions.clear();
        Ok(())
    }
}

/// The texts, without a copy of their bytes.
fn byte_arrays(texts: &Bytes, ends: &[usize]) -> Vec<ByteArray> {
    let mut start = 0;
    let arrays = ends.iter().map(|end| {
        let array = ByteArray::from(texts.slice(start..*end));
        start = *end;
        array
    });
    arrays.collect()
}

impl ParquetEncoder {
    pub(super) fn begin(
        columns: &Arc<[ExportedColumn]>,
        time_column: &str,
        encoded: &mut Vec<u8>,
    ) -> Result<Self, RowEncodeError> {
        let fields = columns.iter().map(|column| Ok(Arc::new(field(column)?)));
        let fields = fields.collect::<Result<Vec<_>, ParquetError>>()?;
        let schema = Type::group_type_builder("rows").with_fields(fields).build()?;
        let time = columns.iter().position(|column| column.name == time_column);
        let sorting = time.and_then(|time| i32::try_from(time).ok()).map(|column_idx| {
            vec![SortingColumn { column_idx, descending: false, nulls_first: false }]
        });
        let properties = WriterProperties::builder()
            .set_created_by(concat!("onrecord ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_sorting_columns(sorting)
            .set_max_row_group_row_count(Some(MAX_GROUP_ROWS))
            .build();
        let writer =
            SerializedFileWriter::new(Encoded::default(), Arc::new(schema), Arc::new(properties))?;
        let columns = columns.iter().map(|column| GroupColumn::of(column.column_type)).collect();
        let mut encoder = Self { writer, columns, rows: 0, bytes: 0 };
        encoder.take(encoded);
        Ok(encoder)
    }

    pub(super) fn row(
        &mut self,
        mut row: &[u8],
        encoded: &mut Vec<u8>,
    ) -> Result<(), RowEncodeError> {
        for column in &mut self.columns {
            let cell = next_cell(&mut row, column.column_type)?;
            self.bytes += column.push(&cell);
        }
        self.rows += 1;
        if self.rows >= MAX_GROUP_ROWS || self.bytes >= MAX_GROUP_BYTES {
            self.write_group()?;
            self.take(encoded);
        }
        Ok(())
    }

    pub(super) fn end(mut self, encoded: &mut Vec<u8>) -> Result<(), RowEncodeError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.writer.finish()?;
        self.take(encoded);
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let Some(mut writer) = group.next_column()? else {
                return Err(ParquetError::General("a column is missing".to_owned()));
            };
            column.write(writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn take(&mut self, encoded: &mut Vec<u8>) {
        encoded.append(&mut self.writer.inner_mut().0);
    }
}

/// The column in the schema of the file. All are optional, because a view states no column as never null.
fn field(column: &ExportedColumn) -> Result<Type, ParquetError> {
    let primitive = |name: &str, physical: PhysicalType, logical: Option<LogicalType>| {
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    };
    let name = column.name.as_str();
    let text = Some(LogicalType::String);
    match column.column_type {
        ColumnType::Bool => primitive(name, PhysicalType::BOOLEAN, None),
        ColumnType::Int32 => primitive(name, PhysicalType::INT32, None),
        ColumnType::Int64 => primitive(name, PhysicalType::INT64, None),
        ColumnType::TransactionId => {
            let unsigned = IntType { bit_width: 64, is_signed: false };
            primitive(name, PhysicalType::INT64, Some(LogicalType::Integer(unsigned)))
        }
        ColumnType::Instant => {
            let micros = TimestampType { is_adjusted_to_u_t_c: true, unit: TimeUnit::MICROS };
            primitive(name, PhysicalType::INT64, Some(LogicalType::Timestamp(micros)))
        }
        ColumnType::Text | ColumnType::Uuid => primitive(name, PhysicalType::BYTE_ARRAY, text),
        ColumnType::TextList => {
            let element = primitive("element", PhysicalType::BYTE_ARRAY, text)?;
            let list = Type::group_type_builder("list")
                .with_repetition(Repetition::REPEATED)
                .with_fields(vec![Arc::new(element)])
                .build()?;
            Type::group_type_builder(name)
                .with_repetition(Repetition::OPTIONAL)
                .with_converted_type(ConvertedType::LIST)
                .with_logical_type(Some(LogicalType::List))
                .with_fields(vec![Arc::new(list)])
                .build()
        }
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::metadata::RowGroupMetaData;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    use super::*;

    fn columns() -> Arc<[ExportedColumn]> {
        let column = |name: &str, type_name: &str| ExportedColumn {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            column_type: ColumnType::parse(type_name).unwrap(),
            comment: String::new(),
        };
        [
            column("at", "timestamp with time zone"),
            column("name", "text"),
            column("flags", "text[]"),
        ]
        .into()
    }

    /// A row as the database copies it.
    fn row(micros: i64, name: Option<&str>, flags: &[&str]) -> Vec<u8> {
        let mut bytes = [8_i32.to_be_bytes().as_slice(), &micros.to_be_bytes()].concat();
        let push = |bytes: &mut Vec<u8>, text: &[u8]| {
            bytes.extend((text.len() as i32).to_be_bytes());
            bytes.extend(text);
        };
        match name {
            Some(name) => push(&mut bytes, name.as_bytes()),
            None => bytes.extend((-1_i32).to_be_bytes()),
        }
        let mut list = Vec::new();
        for number in [i32::from(!flags.is_empty()), 0, 25] {
            list.extend(number.to_be_bytes());
        }
        if !flags.is_empty() {
            list.extend((flags.len() as i32).to_be_bytes());
            list.extend(1_i32.to_be_bytes());
        }
        for flag in flags {
            push(&mut list, flag.as_bytes());
        }
        push(&mut bytes, &list);
        bytes
    }

    #[test]
    fn what_was_written_is_read_again_in_groups_of_a_hundred_thousand() {
        let mut file = Vec::new();
        let mut encoder = ParquetEncoder::begin(&columns(), "at", &mut file).unwrap();
        for number in 0..100_001_i64 {
            let (name, flags) = match number {
                0 => (None, [].as_slice()),
                1 => (Some(""), ["A", "B"].as_slice()),
                _ => (Some("Ida"), ["A"].as_slice()),
            };
            encoder.row(&row(number, name, flags), &mut file).unwrap();
        }
        encoder.end(&mut file).unwrap();
        let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
        let groups = reader.metadata().row_groups();
        let rows: Vec<i64> = groups.iter().map(RowGroupMetaData::num_rows).collect();
        assert_eq!(rows, [100_000, 1]);
        assert_eq!(groups[0].sorting_columns().unwrap()[0].column_idx, 0);
        let rows: Vec<String> = reader
            .get_row_iter(None)
            .unwrap()
            .take(3)
            .map(|row| row.unwrap().to_string())
            .collect();
        assert_eq!(
            rows,
            [
                "{at: 2000-01-01 00:00:00.000000 +00:00, name: null, flags: []}",
                "{at: 2000-01-01 00:00:00.000001 +00:00, name: \"\", flags: [\"A\", \"B\"]}",
                "{at: 2000-01-01 00:00:00.000002 +00:00, name: \"Ida\", flags: [\"A\"]}",
            ]
        );
    }

    #[test]
    fn a_file_without_rows_has_its_schema() {
        let mut file = Vec::new();
        let encoder = ParquetEncoder::begin(&columns(), "at", &mut file).unwrap();
        encoder.end(&mut file).unwrap();
        let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
        assert_eq!(reader.metadata().file_metadata().schema_descr().num_columns(), 3);
    }
}
