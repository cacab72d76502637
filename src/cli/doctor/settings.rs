//! Findings about the settings.

use super::finding::{Finding, number};
use crate::config::{ConfigError, Settings};

const LOAD: &str = "settings.load";

/// Nothing else can be looked at then.
pub(super) fn unusable(error: &ConfigError) -> Finding {
    Finding::error(
        LOAD,
        error.to_string(),
        "correct the settings file, or the ONRECORD_… variable of the environment",
    )
}

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![
        Finding::ok(
            LOAD,
            format!("read, {}", number(settings.sources.len(), "source")),
        ),
        tokens(settings),
        origins(settings),
        sources(settings),
    ];
    for (name, source) in &settings.sources {
        findings.push(credentials(source).of(name));
        findings.push(resource_ids(source).of(name));
    }
    findings
}

fn tokens(settings: &Settings) -> Finding {
    const CODE: &str = "settings.tokens";
    match settings.tokens.keys.len() {
        0 => Finding::warning(
            CODE,
            "no [tokens] keys: subscriber tokens and cursors end with each process, and are of no use on another node",
            "openssl rand -base64 48, into [tokens] keys of every node",
        ),
        keys => Finding::ok(CODE, number(keys, "key")),
    }
}

fn origins(settings: &Settings) -> Finding {
    const CODE: &str = "settings.cors";
    match settings.cors.origins.len() {
        0 => Finding::ok(CODE, "no browsers of other origins"),
        origins => Finding::ok(CODE, number(origins, "origin")),
    }
}

fn sources(settings: &Settings) -> Finding {
    const CODE: &str = "settings.sources";
    if settings.sources.is_empty() {
        return Finding::warning(
            CODE,
            "no source is configured: every delivery of Event Grid and Call Automation is answered 503",
            "onrecord key source, then a table [sources.NAME] with kind, tenant and keys",
        );
    }
    Finding::ok(
        CODE,
        settings
            .sources
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(", "),
    )
}

fn credentials(source: &crate::config::Source) -> Finding {
    const CODE: &str = "settings.source_keys";
    match (source.keys.len(), &source.jwt) {
        (0, None) => Finding::error(
            CODE,
            "neither keys nor jwt: nothing that it sends is believed",
            "onrecord key source, and the hash into its keys",
        ),
        (0, Some(_)) => Finding::ok(CODE, "bearer tokens"),
        (keys, None) => Finding::ok(CODE, number(keys, "key")),
        (keys, Some(_)) => Finding::ok(CODE, format!("{} and bearer tokens", number(keys, "key"))),
    }
}

fn resource_ids(source: &crate::config::Source) -> Finding {
    const CODE: &str = "settings.resource_ids";
    match source.resource_ids.len() {
        0 => Finding::warning(
            CODE,
            "no resource_ids: users of every ACS resource, also a stranger's, count as our own people",
            "az communication show --name NAME --resource-group GROUP --query immutableResourceId, into its resource_ids",
        ),
        ids => Finding::ok(CODE, number(ids, "ACS resource")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const KEY: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn level(toml: &str, code: &str) -> Level {
        let settings = Settings::from_toml(toml).unwrap();
        let found = findings(&settings)
            .into_iter()
            .find(|found| found.code == code);
        found.unwrap().level
    }

    #[test]
    fn complete_settings_are_well() {
        let toml = format!(
            "[tokens]\nkeys = [\"0123456789012345678901234567890123\"]\n[cors]\norigins = [\"https://app.contoso.com\"]\n[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [\"{KEY}\"]\nresource_ids = [\"x\"]"
        );
        let settings = Settings::from_toml(&toml).unwrap();
        let findings = findings(&settings);
        assert!(
            findings.iter().all(|found| found.level == Level::Ok),
            "{findings:?}"
        );
        assert_eq!(findings.last().unwrap().subject.as_deref(), Some("a"));
    }

    #[test]
    fn without_token_keys_and_sources_there_is_a_warning() {
        assert_eq!(level("", "settings.tokens"), Level::Warning);
        assert_eq!(level("", "settings.sources"), Level::Warning);
    }

    #[test]
    fn a_source_that_nobody_can_be_is_an_error() {
        let bare = "[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\n";
        assert_eq!(level(bare, "settings.source_keys"), Level::Error);
        assert_eq!(level(bare, "settings.resource_ids"), Level::Warning);
    }

    #[test]
    fn settings_that_cannot_be_read_are_an_error_with_the_sentence_of_the_start() {
        let error = Settings::from_toml("lisen = 1").unwrap_err();
        let found = unusable(&error);
        assert_eq!(found.level, Level::Error);
        assert!(found.sentence.contains("unknown setting lisen"));
    }
}
