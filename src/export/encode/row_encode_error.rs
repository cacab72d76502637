//! A row of an export cannot be encoded.

use crate::postgres::BinaryRowError;

/// A row cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowEncodeError {
    #[error(transparent)]
    Row(#[from] BinaryRowError),
    #[error("a row cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[cfg(feature = "parquet")]
    #[error("rows cannot be written as Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    #[cfg(not(feature = "parquet"))]
    #[error("this build of onrecord has no Parquet; build it with the cargo feature parquet")]
    NoParquet,
}
