//! The rows of a view as bytes of a file, in each format.

pub(crate) mod csv;
pub(crate) mod file_encoder;
mod ndjson;
#[cfg(feature = "parquet")]
mod parquet;
pub(crate) mod row_encode_error;
