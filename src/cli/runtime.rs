//! The asynchronous runtime of a command, and the limits of open files and connections.

use crate::config::Settings;

/// Maximum number of files that are no connections to the HTTP server: connections to PostgreSQL and
/// Kafka, logs.
const OTHER_FILES: u64 = 256;
/// Number of connections besides those of streams, unless configured.
const OTHER_CONNECTIONS: usize = 10_000;

/// Creates a runtime, and raises the soft limit of open files to the hard one, because every
/// connection is a file.
///
/// # Errors
///
/// The system cannot start threads.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(error = %error, "the number of open files stays as it is: {error}");
    }
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// The maximum number of connections to the HTTP server: as configured, else one for each stream and
/// [`OTHER_CONNECTIONS`]; never more than this process may open files.
pub(super) fn max_connections(settings: &Settings) -> usize {
    let files = rlimit::Resource::NOFILE.get_soft().unwrap_or(rlimit::INFINITY);
    connections_within(files, wanted_connections(settings))
}

/// The number of connections that the settings ask for.
pub(super) fn wanted_connections(settings: &Settings) -> usize {
    match settings.max_connections {
        0 => settings.streams.max_streams.saturating_add(OTHER_CONNECTIONS),
        configured => configured,
    }
}

fn connections_within(files: u64, wanted: usize) -> usize {
    let others = OTHER_FILES.min(files / 2);
    usize::try_from(files - others).unwrap_or(usize::MAX).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_end_below_the_limit_of_open_files() {
        assert_eq!(connections_within(rlimit::INFINITY, 30_000), 30_000);
        assert_eq!(connections_within(1024, 30_000), 768);
        assert_eq!(connections_within(1024, 100), 100);
        assert_eq!(connections_within(64, 30_000), 32);
    }
}
