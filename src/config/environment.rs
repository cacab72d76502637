//! Reads the process environment, apart from settings.

use std::path::PathBuf;

/// Folders and addresses from the environment, for commands without settings.
#[derive(Clone, Debug)]
pub struct ProcessEnvironment {
    /// `PATH`.
    pub search_path: Vec<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// The folder of temporary files.
    pub temporary: PathBuf,
    /// `ONRECORD_KAFKA_BROKERS`, if it is set and not empty.
    pub kafka_brokers: Option<String>,
    /// The path of this program.
    pub program: PathBuf,
}

/// Reads the process environment.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
#[must_use]
pub fn process_environment() -> ProcessEnvironment {
    let folder = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    ProcessEnvironment {
        search_path: std::env::split_paths(&search_path).collect(),
        cache_home: folder("XDG_CACHE_HOME"),
        home: folder("HOME"),
        temporary: std::env::temp_dir(),
        kafka_brokers: std::env::var("ONRECORD_KAFKA_BROKERS")
            .ok()
            .filter(|brokers| !brokers.trim().is_empty()),
        program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("onrecord")),
    }
}

/// The folder in which tests arm failpoints.
#[cfg(feature = "failpoints")]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
#[must_use]
pub fn failpoints() -> Option<PathBuf> {
    std::env::var_os("ONRECORD_TEST_FAILPOINTS").map(PathBuf::from)
}
