//! The number of connections that the server accepts, and the limit of open files.

use crate::config::Settings;

/// Maximum number of files that are no connections to the HTTP server: connections to PostgreSQL and
/// Kafka, logs.
const OTHER_FILES: u64 = 256;
/// Number of connections besides those of streams, unless configured.
const OTHER_CONNECTIONS: usize = 10_000;

/// The maximum number of connections to the HTTP server: as configured, else one for each stream and
/// [`OTHER_CONNECTIONS`]; never more than this process may open files.
pub(crate) fn max_connections(settings: &Settings) -> usize {
    let files = rlimit::Resource::NOFILE.get_soft().unwrap_or(rlimit::INFINITY);
    connections_within(files, wanted_connections(settings))
}

/// The number of connections that the settings ask for.
pub(crate) fn wanted_connections(settings: &Settings) -> usize {
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
