//! What the environment of tests and measurements says.

use std::env;

use onrecord::embedded::Surroundings;

/// The environment of this process.
pub fn surroundings() -> Surroundings {
    let search_path = env::var_os("PATH").unwrap_or_default();
    Surroundings {
        search_path: env::split_paths(&search_path).collect(),
        cache_home: env::var_os("XDG_CACHE_HOME").map(Into::into),
        home: env::var_os("HOME").map(Into::into),
        temporary: Some(env::temp_dir()),
    }
}
