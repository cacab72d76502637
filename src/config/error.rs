//! The error of settings.

use std::path::PathBuf;

/// The settings are invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The named file does not exist.
    #[error("the settings file {0} cannot be read; name another with --config or ONRECORD_CONFIG")]
    NoFile(PathBuf),
    /// A key or value is wrong; the sentence names the key and the allowed values.
    #[error("{0}")]
    Invalid(String),
}
