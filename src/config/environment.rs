//! Reads the process environment, apart from settings.

#[cfg(any(feature = "demo", feature = "failpoints"))]
use std::path::PathBuf;

#[cfg(feature = "demo")]
use onrecord_devstack::HostEnvironment;

/// Folders and addresses from the environment, for the demonstration.
#[cfg(feature = "demo")]
#[derive(Clone, Debug)]
pub struct ProcessEnvironment {
    /// `PATH` and the folders of files.
    pub host: HostEnvironment,
    /// `ONRECORD_KAFKA_BROKERS`, if it is set and not empty.
    pub kafka_brokers: Option<String>,
    /// The path of this program.
    pub program: PathBuf,
}

/// Reads the process environment.
#[cfg(feature = "demo")]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
#[must_use]
pub fn process_environment() -> ProcessEnvironment {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let brokers = std::env::var("ONRECORD_KAFKA_BROKERS");
    ProcessEnvironment {
        host: HostEnvironment {
            search_path: std::env::split_paths(&search_path).collect(),
            cache_home: folder("XDG_CACHE_HOME"),
            home: folder("HOME"),
            temporary: Some(std::env::temp_dir()),
        },
        // Settings report a variable that is not UTF-8.
        kafka_brokers: brokers.ok().filter(|brokers| !brokers.trim().is_empty()),
        program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("onrecord")),
    }
}

/// The folder in which tests arm failpoints.
#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
#[must_use]
pub fn failpoints() -> Option<PathBuf> {
    std::env::var_os("ONRECORD_TEST_FAILPOINTS").map(PathBuf::from)
}
