//! Errors of the private servers. Each says what to do.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rdkafka::error::KafkaError;

use super::versions::{ARCHIVE_VERSION, MIN_POSTGRES_MAJOR};

/// Why a private server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DevstackError {
    /// Run as an ordinary user, or create the user `postgres`.
    #[error(
        "postgres refuses to run as root, and /etc/passwd has neither postgres nor nobody: \
         run as an ordinary user, or create the user postgres"
    )]
    NoUnprivilegedUser,

    /// Mend the folder's permissions or the space on its disk.
    #[error("{action} {}", path.display())]
    Folder {
        /// The attempted action, as in "cannot create".
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// Set `HOME`, or make one of the folders writable for this user alone.
    #[error("no folder to keep the postgres archive in; refused were: {0}")]
    NoCacheFolder(String),

    /// Install PostgreSQL, or let this machine reach Maven Central.
    #[error(
        "postgresql {ARCHIVE_VERSION} cannot be fetched ({0}): install postgresql \
         {MIN_POSTGRES_MAJOR} or later, or let this machine reach https://repo1.maven.org"
    )]
    Archive(String),

    /// The binaries that were fetched do not run on this machine: install PostgreSQL.
    #[error(
        "postgresql {ARCHIVE_VERSION} was fetched but does not run here ({0}): install \
         postgresql {MIN_POSTGRES_MAJOR} or later"
    )]
    ArchiveUnusable(String),

    /// The program is missing or may not be executed.
    #[error("cannot start {program}")]
    Spawn {
        /// The program's name.
        program: String,
        /// The system's reason.
        source: io::Error,
    },

    /// Read the end of the log: it names the reason.
    #[error("{program} ended with {status}; its log ends with:\n{log_tail}")]
    Ended {
        /// The program's name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log_tail: String,
    },

    /// The machine is overloaded, or the program hangs: the end of the log says which.
    #[error("{program} was not done within {deadline:?}; its log ends with:\n{log_tail}")]
    TooSlow {
        /// The program's name.
        program: String,
        /// Its timeout.
        deadline: Duration,
        /// The end of its log.
        log_tail: String,
    },

    /// Something takes every port of the loopback address: try again.
    #[error("no free tcp port on 127.0.0.1 between {0} and {1}")]
    NoFreePort(u16, u16),

    /// The in-process broker refused; a topic of that name may exist already.
    #[error("the in-process broker refused")]
    Broker(#[from] KafkaError),

    /// The thread that owns the in-process broker is gone, and the broker with it.
    #[error("the in-process broker has ended")]
    BrokerEnded,
}

impl DevstackError {
    /// For `map_err`: a failed action on a file or folder.
    pub(super) fn folder(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Folder { action, path, source }
    }
}
