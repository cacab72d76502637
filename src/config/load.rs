//! Loads the settings: defaults, then the file, then environment variables.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::settings::Settings;
use super::source::Source;
use super::tree::ConfigNode;
use super::{limits, typed, variables};

impl Settings {
    /// Loads defaults, file and environment. `named` is the argument of `--config`.
    ///
    /// # Errors
    ///
    /// A sentence for the operator, without values.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub fn load(named: Option<&Path>) -> anyhow::Result<Self> {
        let from_environment = std::env::var_os("ONRECORD_CONFIG").map(PathBuf::from);
        let beside = || Some(PathBuf::from("onrecord.toml")).filter(|file| file.is_file());
        let mut tree = defaults()?;
        if let Some(file) = named.map(Path::to_path_buf).or(from_environment).or_else(beside) {
            let name = file.display().to_string();
            let readable = Some(&file).filter(|file| file.is_file());
            // The name says enough.
            let text = readable.and_then(|file| std::fs::read_to_string(file).ok());
            let text = text.ok_or_else(|| {
                anyhow!("the settings file {name} cannot be read; name another with --config or ONRECORD_CONFIG")
            })?;
            tree.merge(ConfigNode::parse(&name, &text)?);
        }
        variables::merge(&mut tree, std::env::vars_os())?;
        Self::check(&tree)
    }

    /// Parses `toml` over the defaults; reads neither file nor environment.
    ///
    /// # Errors
    ///
    /// As [`Settings::load`].
    pub fn from_toml(toml: &str) -> anyhow::Result<Self> {
        let mut tree = defaults()?;
        tree.merge(ConfigNode::parse("the settings", toml)?);
        Self::check(&tree)
    }

    /// Types the tree and checks its limits.
    pub(super) fn check(tree: &ConfigNode) -> anyhow::Result<Self> {
        let mut settings = typed::deserialize(tree)?;
        limits::check(&settings)?;
        settings.sources.values_mut().for_each(Source::complete);
        Ok(settings)
    }
}

/// The default settings.
pub(super) fn defaults() -> anyhow::Result<ConfigNode> {
    ConfigNode::parse("default.toml", include_str!("../default.toml"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{KeyHash, LiveHistory, Settings};

    #[test]
    fn the_defaults_are_valid_settings() {
        let settings = Settings::from_toml("").unwrap();
        assert_eq!(settings.ingest.bytes_in_flight, 64 * 1024 * 1024);
        assert_eq!(settings.live.history, LiveHistory::Since(Duration::from_secs(26 * 3600)));
    }

    #[test]
    fn an_unknown_key_is_named_with_the_valid_ones_of_its_section() {
        let error =
            Settings::from_toml("[ingest]\nbytes_in_fligth = \"1MiB\"").unwrap_err().to_string();
        assert!(error.contains("unknown setting ingest.bytes_in_fligth"), "{error}");
        assert!(
            error.contains("the keys of [ingest] are: bytes_in_flight, kafka_timeout, deadline"),
            "{error}"
        );
        let error = Settings::from_toml("databse_url = \"x\"").unwrap_err().to_string();
        assert!(
            error.contains("unknown setting databse_url") && error.contains("the top level"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_value_is_an_error_that_does_not_quote_it() {
        let error = Settings::from_toml("database_url = 5").unwrap_err().to_string();
        assert!(error.contains("database_url") && !error.contains('5'), "{error}");
        for wrong in [
            "[ingest]\ndeadline = \"15\"",
            "[ingest]\nbytes_in_flight = \"1GB\"",
            "[ledger]\ndedup_retention = \"7d\"",
            "[tokens]\nkeys = [\"short\"]",
        ] {
            assert!(Settings::from_toml(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_source_has_at_most_two_keys_and_only_hashes() {
        let hash = KeyHash::of("the key");
        assert!(hash.matches("the key") && !hash.matches("the kex"));
        assert!(hash.to_string().starts_with(&format!("sha256:{}", hash.label())));
        let source = |keys: &str| {
            Settings::from_toml(&format!(
                "[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [{keys}]"
            ))
        };
        assert!(source(&format!("\"{hash}\", \"{hash}\"")).is_ok());
        assert!(source(&format!("\"{hash}\", \"{hash}\", \"{hash}\"")).is_err());
        let error = source("\"in clear\"").unwrap_err().to_string();
        assert!(error.contains("onrecord key source") && !error.contains("in clear"), "{error}");
    }

    #[test]
    fn secrets_print_redacted() {
        let settings = Settings::from_toml("database_url = \"postgres://u:hunter2@h/d\"\n[tokens]\nkeys = [\"0123456789012345678901234567890123\"]").unwrap();
        let printed = format!("{settings:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("0123456789"), "{printed}");
    }
}
