//! Checks of the settings.

use super::finding::{CheckedFinding, Finding, list, number};
use crate::config::{Settings, Source};
use crate::http::connection::places::shared_places;

pub(super) const LOAD: &str = "settings.load";

/// The only finding if the settings cannot be read.
pub(crate) fn unusable(error: &anyhow::Error) -> CheckedFinding {
    let remedy = "correct the settings file, or the ONRECORD_… variable of the environment";
    CheckedFinding::new(LOAD, None, Ok(Finding::error(error.to_string(), remedy)))
}

pub(super) fn load(settings: &Settings) -> Finding {
    Finding::ok(format!("read, {}", number(settings.sources.len(), "source")))
}

pub(super) fn tokens(settings: &Settings) -> Finding {
    match settings.tokens.keys.len() {
        0 => Finding::warning(
            "no [tokens] keys: subscriber tokens and cursors end with each process, and are not valid on another node",
            "openssl rand -base64 48, into [tokens] keys of every node",
        ),
        keys => Finding::ok(number(keys, "key")),
    }
}

pub(super) fn quarantine(settings: &Settings) -> Finding {
    match settings.quarantine.seal_to {
        None => Finding::warning(
            "no [quarantine] seal_to: of a delivery that is not JSON only hash and size are kept",
            "onrecord quarantine key, the public key into [quarantine] seal_to of every node, and the private key to a safe place",
        ),
        Some(_) => Finding::ok("what cannot be parsed is sealed"),
    }
}

pub(super) fn origins(settings: &Settings) -> Finding {
    match settings.cors.origins.len() {
        0 => Finding::ok("no browsers of other origins"),
        origins => Finding::ok(number(origins, "origin")),
    }
}

/// Whether the limit of open files allows the connections that the settings ask for. The limit is
/// that of this process: that of the service may differ.
pub(super) fn connections(max: usize, wanted: usize) -> Finding {
    let shared = shared_places(max);
    if max >= wanted {
        return Finding::ok(format!("{max} connections, {shared} of them for all callers"));
    }
    Finding::warning(
        format!(
            "the limit of open files allows {max} connections, and the settings ask for {wanted}: beyond {shared} clients are answered 503"
        ),
        "raise the limit of open files of the service (systemd: LimitNOFILE=, containers: ulimits nofile), or lower streams.max_streams; run doctor with the limit of the service",
    )
}

pub(super) fn sources(settings: &Settings) -> Finding {
    if settings.sources.is_empty() {
        return Finding::warning(
            "no source is configured: every delivery of Event Grid and Call Automation is answered 503",
            "onrecord key source, then a table [sources.NAME] with kind, tenant and keys",
        );
    }
    Finding::ok(list(settings.sources.keys()))
}

pub(super) fn credentials(source: &Source) -> Finding {
    match (source.keys.len(), &source.jwt) {
        (0, None) => Finding::error(
            "neither keys nor jwt: no delivery of it can be authenticated",
            "onrecord key source, and the hash into its keys",
        ),
        (0, Some(_)) => Finding::ok("bearer tokens"),
        (keys, None) => Finding::ok(number(keys, "key")),
        (keys, Some(_)) => Finding::ok(format!("{} and bearer tokens", number(keys, "key"))),
    }
}

pub(super) fn resource_ids(source: &Source) -> Finding {
    match source.resource_ids.len() {
        0 => Finding::warning(
            "no resource_ids: users of every ACS resource, also of other companies, count as our own",
            "az communication show --name NAME --resource-group GROUP --query immutableResourceId, into its resource_ids",
        ),
        ids => Finding::ok(number(ids, "ACS resource")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::FindingLevel;

    fn settings(toml: &str) -> Settings {
        Settings::from_toml(toml).unwrap()
    }

    #[test]
    fn a_limit_of_open_files_below_the_wanted_connections_is_a_warning() {
        assert_eq!(connections(30_000, 30_000).level, FindingLevel::Ok);
        let low = connections(768, 30_000);
        assert_eq!(low.level, FindingLevel::Warning);
        assert!(low.sentence.contains("672"), "{}", low.sentence);
    }

    #[test]
    fn without_token_keys_sources_and_a_sealing_key_there_is_a_warning() {
        let settings = settings("");
        assert_eq!(quarantine(&settings).level, FindingLevel::Warning);
        assert_eq!(tokens(&settings).level, FindingLevel::Warning);
        assert_eq!(sources(&settings).level, FindingLevel::Warning);
    }

    #[test]
    fn a_source_without_credentials_is_an_error() {
        let settings = settings("[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\n");
        let source = &settings.sources["a"];
        assert_eq!(credentials(source).level, FindingLevel::Error);
        assert_eq!(resource_ids(source).level, FindingLevel::Warning);
    }

    #[test]
    fn settings_that_cannot_be_read_are_an_error_with_the_message_of_serve() {
        let error = Settings::from_toml("lisen = 1").unwrap_err();
        let found = unusable(&error).finding;
        assert_eq!(found.level, FindingLevel::Error);
        assert!(found.sentence.contains("unknown setting lisen"));
    }
}
