//! Versions of PostgreSQL.

/// The version that is fetched.
pub const ARCHIVE_VERSION: &str = "17.11.0";

/// Minimum major version of PostgreSQL.
pub const MIN_POSTGRES_MAJOR: u32 = 15;
