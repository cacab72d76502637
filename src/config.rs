//! Settings: the only address of the environment.
//!
//! `default.toml` documents every key; `onrecord.toml` and `ONRECORD_*` lie over it. An unknown
//! key stops the start, because a misspelt one would silently mean its default.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use serde::Deserialize;

mod limits;
mod sentence;
mod source;

pub use source::{JwksUrl, Jwt, KeyHash, Source, SourceKind};

const DEFAULTS: &str = include_str!("default.toml");

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named is not there.
    #[error("the settings file {0} cannot be read; name another with --config or ONRECORD_CONFIG")]
    NoFile(PathBuf),
    /// A key or a value is wrong; the sentence says which and what is allowed.
    #[error("{0}")]
    Invalid(String),
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub fn new(secret: T) -> Self {
        Self(secret)
    }

    /// The secret itself, for the one who needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// All settings; see `default.toml` for each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub listen: SocketAddr,
    pub database_url: Secret<String>,
    pub kafka_brokers: String,
    pub topic_prefix: String,
    pub log: Log,
    pub intake: Intake,
    pub kafka: Kafka,
    pub store: Store,
    pub ledger: Ledger,
    pub exceptions: Exceptions,
    pub board: Board,
    pub notices: Notices,
    pub tokens: Tokens,
    pub cors: Cors,
    pub sources: BTreeMap<String, Source>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Pretty,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intake {
    #[serde(deserialize_with = "size")]
    pub bytes_in_flight: usize,
    #[serde(deserialize_with = "duration")]
    pub kafka_patience: Duration,
    #[serde(deserialize_with = "duration")]
    pub deadline: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    pub partitions: i32,
    pub replicas: i32,
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
    pub properties: BTreeMap<String, Secret<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub connections: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    #[serde(deserialize_with = "duration")]
    pub seen_retention: Duration,
    pub batch: usize,
    pub followers: usize,
    #[serde(deserialize_with = "duration")]
    pub presume_end_after: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceptions {
    #[serde(deserialize_with = "duration")]
    pub silent_source: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    pub history: History,
}

/// How far back a starting board reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    All,
    Since(Duration),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notices {
    pub queue: usize,
    pub streams: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    pub keys: Vec<Secret<String>>,
    #[serde(deserialize_with = "duration")]
    pub longest: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    pub origins: Vec<String>,
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "all" {
            return Ok(Self::All);
        }
        parse_duration(&text)
            .map(Self::Since)
            .map_err(serde::de::Error::custom)
    }
}

impl Settings {
    /// Reads defaults, file and environment. `named` is the `--config` argument.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], a sentence for the one who starts the program.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the environment"
    )]
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let from_environment = std::env::var_os("ONRECORD_CONFIG").map(PathBuf::from);
        let chosen = named.map(Path::to_path_buf).or(from_environment);
        if let Some(file) = &chosen
            && !file.is_file()
        {
            return Err(ConfigError::NoFile(file.clone()));
        }
        let beside = Some(PathBuf::from("onrecord.toml")).filter(|file| file.is_file());
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(file) = chosen.or(beside) {
            figment = figment.merge(Toml::file_exact(file));
        }
        Self::check(&figment.merge(environment()))
    }

    /// Reads defaults with `toml` over them; nothing else.
    ///
    /// # Errors
    ///
    /// As [`Settings::load`].
    pub fn from_toml(toml: &str) -> Result<Self, ConfigError> {
        Self::check(&Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(toml)))
    }

    fn check(figment: &Figment) -> Result<Self, ConfigError> {
        let mut settings: Self = figment
            .extract()
            .map_err(|error| ConfigError::Invalid(sentence::of(&error)))?;
        limits::check(&settings).map_err(ConfigError::Invalid)?;
        settings.sources.values_mut().for_each(Source::complete);
        Ok(settings)
    }
}

/// What the environment says of the machine, for `onrecord demo`, which needs no settings.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// `PATH`.
    pub search_path: Vec<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// Where temporary files belong.
    pub temporary: PathBuf,
    /// `ONRECORD_KAFKA_BROKERS`, if it names any.
    pub kafka_brokers: Option<String>,
    /// This very program, as another terminal may start it.
    pub program: PathBuf,
}

/// Looks around.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
#[must_use]
pub fn surroundings() -> Surroundings {
    let folder = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    Surroundings {
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

/// Where the tests' crash points are armed.
#[cfg(feature = "failpoints")]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the environment"
)]
#[must_use]
pub fn failpoints() -> Option<PathBuf> {
    std::env::var_os("ONRECORD_TEST_FAILPOINTS").map(PathBuf::from)
}

/// `ONRECORD_A__B=…` is `a.b`. Variables of the product's other programs are no settings.
fn environment() -> Env {
    Env::prefixed("ONRECORD_")
        .ignore(&["config"])
        .filter(|key| {
            let key = key.as_str().to_ascii_lowercase();
            !key.starts_with("test_") && !is_service_link(&key)
        })
        .split("__")
}

/// Where a Service of Kubernetes is called `onrecord` or `onrecord-…`, every pod of its namespace
/// is told of it: `ONRECORD_PORT`, `ONRECORD_SERVICE_HOST`, `ONRECORD_PORT_8080_TCP_ADDR`.
fn is_service_link(key: &str) -> bool {
    let is_last = |word: &str| {
        key.strip_suffix(word)
            .is_some_and(|before| before.is_empty() || before.ends_with('_'))
    };
    let has_number = || {
        let after = format!("_{key}");
        after.split("_port_").skip(1).any(|rest| {
            let number = rest.split('_').next().unwrap_or_default();
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    !key.contains("__")
        && (is_last("port")
            || is_last("service_host")
            || format!("_{key}").contains("_service_port")
            || has_number())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    // What stands there is not repeated: it may be anything, a secret too.
    let wrong = || {
        "this is no duration; write a whole number with ms, s, m, h or d, for example 15s"
            .to_owned()
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let unit = match &text[digits..] {
        "" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => 0,
    };
    let bytes = text[..digits]
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| {
        serde::de::Error::custom(
            "this is no size; write bytes, or a whole number with KiB or MiB, for example 64MiB",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_settings() {
        let settings = Settings::from_toml("").unwrap();
        assert_eq!(settings.intake.bytes_in_flight, 64 * 1024 * 1024);
        assert_eq!(
            settings.board.history,
            History::Since(Duration::from_secs(26 * 3600))
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_the_valid_ones_of_its_section() {
        let error = Settings::from_toml("[intake]\nbytes_in_fligth = \"1MiB\"")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("unknown setting intake.bytes_in_fligth"),
            "{error}"
        );
        assert!(
            error.contains("the keys of [intake] are: bytes_in_flight, kafka_patience, deadline"),
            "{error}"
        );
        let error = Settings::from_toml("databse_url = \"x\"")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("unknown setting databse_url") && error.contains("the top level"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_value_is_refused_without_being_repeated() {
        let error = Settings::from_toml("database_url = 5")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("database_url") && !error.contains('5'),
            "{error}"
        );
        for wrong in [
            "[intake]\ndeadline = \"15\"",
            "[intake]\nbytes_in_flight = \"1GB\"",
            "[ledger]\nseen_retention = \"7d\"",
            "[tokens]\nkeys = [\"short\"]",
        ] {
            assert!(Settings::from_toml(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_source_has_at_most_two_keys_and_only_hashes() {
        let hash = KeyHash::of("the key");
        assert!(hash.matches("the key") && !hash.matches("the kex"));
        assert!(
            hash.to_string()
                .starts_with(&format!("sha256:{}", hash.label()))
        );
        let source = |keys: &str| {
            Settings::from_toml(&format!(
                "[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [{keys}]"
            ))
        };
        assert!(source(&format!("\"{hash}\", \"{hash}\"")).is_ok());
        assert!(source(&format!("\"{hash}\", \"{hash}\", \"{hash}\"")).is_err());
        let error = source("\"in clear\"").unwrap_err().to_string();
        assert!(
            error.contains("onrecord key source") && !error.contains("in clear"),
            "{error}"
        );
    }

    #[test]
    fn secrets_print_redacted() {
        let settings = Settings::from_toml("database_url = \"postgres://u:hunter2@h/d\"\n[tokens]\nkeys = [\"0123456789012345678901234567890123\"]").unwrap();
        let printed = format!("{settings:?}");
        assert!(
            !printed.contains("hunter2") && !printed.contains("0123456789"),
            "{printed}"
        );
    }

    #[test]
    fn what_kubernetes_tells_of_its_services_is_no_setting() {
        for link in [
            "port",
            "service_host",
            "service_port",
            "service_port_http",
            "port_8080_tcp",
            "port_8080_tcp_addr",
            "postgres_port",
            "postgres_service_host",
            "postgres_port_5432_tcp_proto",
        ] {
            assert!(is_service_link(link), "{link}");
        }
        for setting in [
            "listen",
            "database_url",
            "topic_prefix",
            "tokens__keys",
            "kafka__properties__x_port",
            "support",
            "port_of_call",
        ] {
            assert!(!is_service_link(setting), "{setting}");
        }
    }
}
