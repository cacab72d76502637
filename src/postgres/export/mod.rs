//! Exports: their jobs and files, and the rows of the schema `reading` as a stream.

pub(crate) mod binary_rows;
pub(crate) mod chunks;
pub(crate) mod exported_view;
pub(crate) mod job;
pub(crate) mod job_claims;
pub(crate) mod request;
pub(crate) mod snapshot_rows;
