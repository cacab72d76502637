//! The environment of the test process.

use std::env;

use onrecord_devstack::HostEnvironment;

/// The environment of this process.
pub fn environment() -> HostEnvironment {
    let search_path = env::var_os("PATH").unwrap_or_default();
    HostEnvironment {
        search_path: env::split_paths(&search_path).collect(),
        cache_home: env::var_os("XDG_CACHE_HOME").map(Into::into),
        home: env::var_os("HOME").map(Into::into),
        temporary: Some(env::temp_dir()),
    }
}
