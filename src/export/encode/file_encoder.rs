//! Encodes the rows of one file.

use std::sync::Arc;

use super::csv::CsvEncoder;
use super::ndjson::NdjsonEncoder;
#[cfg(feature = "parquet")]
use super::parquet::ParquetEncoder;
use super::row_encode_error::RowEncodeError;
use crate::postgres::{ExportFormat, ExportedColumn};

/// Encodes the rows of one file. What it has encoded is in the buffer that its caller gives.
pub(crate) enum FileEncoder {
    Csv(CsvEncoder),
    Ndjson(NdjsonEncoder),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetEncoder>),
}

impl FileEncoder {
    /// Begins a file. The rows are sorted by `time_column`.
    pub(crate) fn begin(
        format: ExportFormat,
        columns: &Arc<[ExportedColumn]>,
        time_column: &str,
        encoded: &mut Vec<u8>,
    ) -> Result<Self, RowEncodeError> {
        match format {
            ExportFormat::Csv => Ok(Self::Csv(CsvEncoder::begin(Arc::clone(columns), encoded))),
            ExportFormat::Ndjson => Ok(Self::Ndjson(NdjsonEncoder::begin(columns)?)),
            #[cfg(feature = "parquet")]
            ExportFormat::Parquet => {
                let encoder = ParquetEncoder::begin(columns, time_column, encoded)?;
                Ok(Self::Parquet(Box::new(encoder)))
            }
            #[cfg(not(feature = "parquet"))]
            ExportFormat::Parquet => {
                let _ = time_column;
                Err(RowEncodeError::NoParquet)
            }
        }
    }

    /// Encodes a row, in the form in which the database copies it.
    pub(crate) fn row(&mut self, row: &[u8], encoded: &mut Vec<u8>) -> Result<(), RowEncodeError> {
        match self {
            Self::Csv(encoder) => encoder.row(row, encoded),
            Self::Ndjson(encoder) => encoder.row(row, encoded),
            #[cfg(feature = "parquet")]
            Self::Parquet(encoder) => encoder.row(row, encoded),
        }
    }

    /// Ends the file.
    pub(crate) fn end(self, encoded: &mut Vec<u8>) -> Result<(), RowEncodeError> {
        match self {
            Self::Csv(_) | Self::Ndjson(_) => {
                let _ = encoded;
                Ok(())
            }
            #[cfg(feature = "parquet")]
            Self::Parquet(encoder) => encoder.end(encoded),
        }
    }
}
