//! Loads the settings: defaults, then the file, then environment variables.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::settings::Settings;
use super::source::Source;
use super::tree::ConfigNode;
use super::{limits, typed, variables};

/// The settings, and which of those that can change while the process runs the file states.
///
/// # Why
///
/// What the file does not state may be missing by mistake: the file is empty while it is being
/// written, or it is not mounted. Then the sources would reject everything, and a tenant that
/// requires grants would not any more. So what is not stated stays as it was; `[sources]` with
/// nothing in it states that there are none.
pub(crate) struct SettingsReload {
    pub(crate) settings: Settings,
    /// The file states `sources`.
    pub(crate) has_sources: bool,
    /// The file states `tenants`.
    pub(crate) has_tenants: bool,
}

impl SettingsReload {
    /// Loads defaults, file and environment.
    ///
    /// # Errors
    ///
    /// As [`Settings::load`].
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub(crate) fn load(named: Option<&Path>) -> anyhow::Result<Self> {
        let from_environment = std::env::var_os("ONRECORD_CONFIG").map(PathBuf::from);
        let beside = || Some(PathBuf::from("onrecord.toml")).filter(|file| file.is_file());
        let file = named.map(Path::to_path_buf).or(from_environment).or_else(beside);
        let (name, text) = match file {
            Some(file) => {
                let name = file.display().to_string();
                let readable = Some(&file).filter(|file| file.is_file());
                // The name says enough.
                let text = readable.and_then(|file| std::fs::read_to_string(file).ok());
                let text = text.ok_or_else(|| {
                    anyhow!("the settings file {name} cannot be read; name another with --config or ONRECORD_CONFIG")
                })?;
                (name, text)
            }
            None => ("no file".to_owned(), String::new()),
        };
        Self::of(&name, &text, std::env::vars_os())
    }

    fn of(
        name: &str,
        text: &str,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> anyhow::Result<Self> {
        let file = ConfigNode::parse(name, text)?;
        let (has_sources, has_tenants) = (file.has("sources"), file.has("tenants"));
        let mut tree = defaults()?;
        tree.merge(file);
        variables::merge(&mut tree, variables)?;
        let settings = Settings::check(&tree)?;
        Ok(Self { settings, has_sources, has_tenants })
    }
}

impl Settings {
    /// Loads defaults, file and environment. `named` is the argument of `--config`.
    ///
    /// # Errors
    ///
    /// A sentence for the operator, without values.
    pub fn load(named: Option<&Path>) -> anyhow::Result<Self> {
        Ok(SettingsReload::load(named)?.settings)
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

    use crate::config::{KeyHash, LiveHistory, Settings, SettingsReload};

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
    fn a_file_states_sources_and_tenants_also_if_there_are_none() {
        let reload = |text| SettingsReload::of("the file", text, std::iter::empty()).unwrap();
        for (text, has_sources, has_tenants) in [
            ("", false, false),
            ("listen = \"127.0.0.1:0\"\n", false, false),
            ("sources = {}\n", true, false),
            ("[sources]\n[tenants]\n", true, true),
            ("[tenants.contoso]\nclients = \"granted\"\n", false, true),
        ] {
            let reload = reload(text);
            assert_eq!(
                (reload.has_sources, reload.has_tenants),
                (has_sources, has_tenants),
                "{text}"
            );
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
