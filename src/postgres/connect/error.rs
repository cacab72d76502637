//! Errors of PostgreSQL, classified by what the caller must do.

/// An operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres does not answer: retry later, or use Kafka.
    #[error("postgres does not answer: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The transaction conflicted with another one: retry.
    #[error("the transaction conflicted with another one: {0}")]
    Contended(#[source] sqlx::Error),
    /// Postgres cannot store this content (NUL, too long for an index, out of range): quarantine it.
    #[error("postgres rejects the content: {0}")]
    Content(#[source] sqlx::Error),
    /// The answer to COMMIT was lost: read the position to find out whether the transaction committed.
    #[error("the answer to commit was lost: {0}")]
    UnknownOutcome(#[source] sqlx::Error),
    /// Another node owns the position now: drop the batch and take a new lease.
    #[error("the position is owned by another node, or moved")]
    Fenced,
    /// A defect of the service or of the schema.
    #[error("the store failed: {0}")]
    Fault(#[source] sqlx::Error),
    /// This version of the service cannot read a stored value.
    #[error("a stored value cannot be read: {0}")]
    Inconsistent(String),
    /// The schema is not the one that this version needs.
    #[error("the schema cannot be migrated: {0}")]
    Schema(#[from] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// An error of COMMIT itself: the transaction may have committed.
    pub(crate) fn from_commit(error: sqlx::Error) -> Self {
        match Self::from(error) {
            Self::Unavailable(error) => Self::UnknownOutcome(error),
            other => other,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some("40001" | "40P01" | "55P03") => Self::Contended(error),
                // 22: data exception; 54: program limit exceeded; 23514: no partition, check.
                Some(code)
                    if code.starts_with("22") || code.starts_with("54") || code == "23514" =>
                {
                    Self::Content(error)
                }
                Some(code) if is_outage(code) => Self::Unavailable(error),
                _ => Self::Fault(error),
            },
            sqlx::Error::Encode(_) => Self::Content(error),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            _ => Self::Fault(error),
        }
    }
}

/// 08: connection; 57P0x: shut down, starting up; 57014: statement timeout; 53: no resources, disk
/// full; 25P03: idle in transaction; 28, 3D000: user or database not created yet; 42P01: not migrated
/// yet; 25006: a standby.
fn is_outage(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "28" | "53" | "57" | "58"))
        || matches!(code, "25P03" | "3D000" | "42P01" | "25006" | "XX000")
}
