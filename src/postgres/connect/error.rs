//! Errors of PostgreSQL, classified by what the caller must do.

/// An operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres does not answer: retry later, or use Kafka.
    #[error("postgres does not answer: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The transaction conflicted with another one, or waited for its locks in vain: retry.
    #[error("the transaction conflicts with another one or with its locks: {0}")]
    Contended(#[source] sqlx::Error),
    /// Postgres cannot store this content (NUL, too long for an index, out of range): quarantine it.
    #[error("postgres rejects the content: {0}")]
    Content(#[source] sqlx::Error),
    /// Postgres has not enough of a resource for this transaction (locks, memory, time): make it smaller.
    #[error("postgres has not enough time, memory or locks for the transaction: {0}")]
    Exhausted(#[source] sqlx::Error),
    /// The transaction would take more locks than one may: make it smaller.
    #[error("the transaction concerns too many ids or calls")]
    TooLarge,
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
    /// Whether the client stopped waiting for an answer. A server that answers afterwards was busy with
    /// this transaction.
    pub(crate) fn is_timeout(&self) -> bool {
        let Self::Unavailable(sqlx::Error::Io(error)) = self else { return false };
        error.kind() == std::io::ErrorKind::TimedOut
    }

    /// An error of COMMIT itself: the transaction may have committed.
    pub(crate) fn from_commit(error: sqlx::Error) -> Self {
        match Self::from(error) {
            Self::Unavailable(error) => Self::UnknownOutcome(error),
            other => other,
        }
    }
}

/// What the caller must do about an error of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorClass {
    Contended,
    Content,
    Exhausted,
    Outage,
    Fault,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match class_of(&database.code().unwrap_or_default())
            {
                ErrorClass::Contended => Self::Contended(error),
                ErrorClass::Content => Self::Content(error),
                ErrorClass::Exhausted => Self::Exhausted(error),
                ErrorClass::Outage => Self::Unavailable(error),
                ErrorClass::Fault => Self::Fault(error),
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

/// The class of an SQLSTATE.
fn class_of(code: &str) -> ErrorClass {
    match code {
        // Serialization failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => ErrorClass::Contended,
        // No partition, or a check.
        "23514" => ErrorClass::Content,
        // Out of memory, and "out of shared memory" of the lock table; temporary files above their limit;
        // statement timeout; too long between two statements. Another transaction may pass.
        "53000" | "53200" | "53400" | "57014" | "25P03" => ErrorClass::Exhausted,
        // User or database not created yet; not migrated yet; a standby; an internal error.
        "3D000" | "42P01" | "25006" | "XX000" => ErrorClass::Outage,
        _ => match code.get(..2) {
            // Data exception; program limit exceeded.
            Some("22" | "54") => ErrorClass::Content,
            // Connection; authorization; disk full and too many connections; shut down, starting up;
            // the system around it.
            Some("08" | "28" | "53" | "57" | "58") => ErrorClass::Outage,
            _ => ErrorClass::Fault,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_the_class_that_says_what_to_do() {
        for (class, codes) in [
            (ErrorClass::Contended, &["40001", "40P01", "55P03"][..]),
            (ErrorClass::Content, &["22021", "22P05", "22003", "54000", "54001", "54023", "23514"]),
            (ErrorClass::Exhausted, &["53000", "53200", "53400", "57014", "25P03"]),
            (ErrorClass::Outage, &["53100", "53300", "57000", "57P01", "57P02", "57P03", "57P04"]),
            (ErrorClass::Outage, &["08006", "28000", "3D000", "42P01", "25006", "58030", "XX000"]),
            (ErrorClass::Fault, &["23505", "42703", ""]),
        ] {
            for code in codes {
                assert_eq!(class_of(code), class, "{code}");
            }
        }
    }
}
