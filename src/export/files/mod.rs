//! Where the files of exports are kept: in PostgreSQL, in a directory, or in a bucket.

#[cfg(feature = "object-storage")]
pub(crate) mod bucket;
pub(crate) mod directory;
pub(crate) mod export_files;
pub(crate) mod file_error;
pub(crate) mod file_sink;
pub(crate) mod postgres_file;
pub(crate) mod stored_file;
