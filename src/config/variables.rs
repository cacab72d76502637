//! Reads settings from environment variables: `ONRECORD_A__B=…` is `a.b`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::anyhow;

use super::tree::ConfigNode;

const PREFIX: &str = "onrecord_";

/// Merges the environment variables that are settings into the tree.
///
/// # Errors
///
/// A variable is not UTF-8.
pub(super) fn merge(
    tree: &mut ConfigNode,
    all: impl Iterator<Item = (OsString, OsString)>,
) -> anyhow::Result<()> {
    // Sorted, so that ONRECORD_LOG comes before ONRECORD_LOG__FILTER.
    let all: BTreeMap<OsString, OsString> = all.collect();
    for (variable, text) in all {
        let Some((variable, key)) = variable.to_str().and_then(|it| Some((it, setting(it)?)))
        else {
            continue;
        };
        let text = text
            .into_string()
            .map_err(|_| anyhow!("the environment variable {variable} is not UTF-8"))?;
        tree.merge_variable(variable, &key, text);
    }
    Ok(())
}

/// The key of the setting that a variable is: `a__b` of `ONRECORD_A__B`. Variables of tests and of
/// Kubernetes are no settings.
fn setting(variable: &str) -> Option<String> {
    let variable = variable.to_ascii_lowercase();
    let key = variable.strip_prefix(PREFIX)?;
    let is_setting = key != "config" && !key.starts_with("test_") && !is_service_link(key);
    is_setting.then(|| key.to_owned())
}

/// Whether Kubernetes sets the variable. It sets variables for each Service in all pods of the
/// namespace; for a Service named `onrecord` or `onrecord-…`: `ONRECORD_PORT`,
/// `ONRECORD_SERVICE_HOST`, `ONRECORD_PORT_8080_TCP_ADDR`.
fn is_service_link(key: &str) -> bool {
    let is_last = |word: &str| {
        key.strip_suffix(word).is_some_and(|before| before.is_empty() || before.ends_with('_'))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::defaults;
    use crate::config::{LiveHistory, LogFormat, Settings};

    const PLANTED: &str = "hunter2";

    fn with_variables(variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let mut tree = defaults()?;
        let os = |text: &str| OsString::from(text);
        let all = variables.iter().map(|(name, text)| (os(name), os(text)));
        merge(&mut tree, all)?;
        Settings::check(&tree)
    }

    #[test]
    fn a_variable_is_parsed_by_the_type_of_its_setting() {
        let key = "0123456789012345678901234567890123";
        let settings = with_variables(&[
            ("PATH", "/bin"),
            ("ONRECORD_CONFIG", "else.toml"),
            ("ONRECORD_TEST_KAFKA", "mock"),
            ("ONRECORD_PORT", "tcp://10.0.0.1:80"),
            ("ONRECORD_TOPIC_PREFIX", "12"),
            ("ONRECORD_LISTEN", "\"127.0.0.1:81\""),
            ("ONRECORD_KAFKA__PARTITIONS", "3"),
            ("ONRECORD_LIVE__HISTORY", "all"),
            ("ONRECORD_LOG", "{ format = \"pretty\" }"),
            ("ONRECORD_TOKENS__KEYS", &format!("[\"{key}\"]")),
            ("ONRECORD_KAFKA__PROPERTIES__SASL.PASSWORD", "[hunter2"),
            ("ONRECORD_SOURCES__A__KIND", "event-grid"),
            ("ONRECORD_SOURCES__A__TENANT", "t"),
        ])
        .unwrap();
        assert_eq!(settings.topic_prefix, "12");
        assert_eq!(settings.listen.port(), 81);
        assert_eq!(settings.kafka.partitions, 3);
        assert_eq!(settings.live.history, LiveHistory::All);
        assert_eq!(settings.log.format, LogFormat::Pretty);
        assert_eq!(settings.log.filter, "info");
        assert_eq!(settings.tokens.keys[0].expose(), key);
        assert_eq!(settings.kafka.properties["sasl.password"].expose(), "[hunter2");
        assert_eq!(settings.sources["a"].tenant.as_str(), "t");
    }

    #[test]
    fn a_variable_is_trimmed_and_a_member_is_merged_into_a_table_of_another_variable() {
        let hash = crate::config::KeyHash::of("the key");
        let settings = with_variables(&[
            ("ONRECORD_LISTEN", "127.0.0.1:81\n"),
            ("ONRECORD_TOPIC_PREFIX", " calls. \n"),
            ("ONRECORD_SOURCES__A", "{ kind = \"event-grid\", tenant = \"t\" }"),
            ("ONRECORD_SOURCES__A__KEYS", &format!("[\"{hash}\"]")),
        ])
        .unwrap();
        assert_eq!(settings.listen.port(), 81);
        assert_eq!(settings.topic_prefix, "calls.");
        assert_eq!(settings.sources["a"].keys, [hash]);
    }

    #[test]
    fn an_error_names_the_variable_and_never_quotes_its_value() {
        for (variable, text) in [
            ("ONRECORD_LISTEN", "hunter2"),
            ("ONRECORD_LISTENER", "hunter2"),
            ("ONRECORD_LOG", "hunter2"),
            ("ONRECORD_LOG", "{ hunter2 }"),
            ("ONRECORD_LOG", "{ format = \"hunter2\" }"),
            ("ONRECORD_TOKENS__KEYS", "hunter2"),
            ("ONRECORD_TOKENS__KEYS", "[hunter2]"),
            ("ONRECORD_TOKENS__MAX_TTL", "hunter2"),
            ("ONRECORD_KAFKA__PARTITIONS", "hunter2"),
            ("ONRECORD_INGEST__DEADLINES", "hunter2"),
            ("ONRECORD_DATABASE_URL__PASSWORD", "hunter2"),
        ] {
            let error = with_variables(&[(variable, text)]).unwrap_err().to_string();
            assert!(error.contains(&format!("(the environment variable {variable})")), "{error}");
            assert!(!error.contains(PLANTED), "{error}");
        }
    }

    #[test]
    fn variables_of_kubernetes_services_are_not_settings() {
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
