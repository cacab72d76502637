//! Findings about the sources: whether they speak, and by which key.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::finding::{Finding, looked, span};
use crate::config::{Source, SourceKind};
use crate::store::{Look, UseCondition};

const SILENCE: &str = "source.silence";
const KEYS: &str = "source.keys";
const UNCONFIGURED: &str = "source.unconfigured";

/// A source that was silent for so long may have lost its subscription.
const SILENT: TimeDelta = TimeDelta::hours(24);
/// A key that was not used for so long is used by nobody; Event Grid repeats for a day.
const UNUSED: TimeDelta = TimeDelta::hours(24);

pub(super) fn findings(
    sources: &BTreeMap<String, Source>,
    uses: &Look<Vec<UseCondition>>,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, source) in sources {
        let of_source = |uses: &Vec<UseCondition>| -> Vec<UseCondition> {
            let mine = uses.iter().filter(|used| used.source == *name);
            mine.cloned().collect()
        };
        let mine = uses.as_ref().map(of_source).map_err(String::clone);
        findings.push(looked(SILENCE, &mine, |uses| silence(name, source, uses, now)).of(name));
        findings.push(looked(KEYS, &mine, |uses| keys(source, uses, now)).of(name));
    }
    findings.push(looked(UNCONFIGURED, uses, |uses| {
        unconfigured(sources, uses, now)
    }));
    findings
}

fn silence(name: &str, source: &Source, uses: &[UseCondition], now: DateTime<Utc>) -> Finding {
    let remedy = match source.kind {
        SourceKind::EventGrid => format!(
            "az eventgrid event-subscription list --source-resource-id \"$ACS_RESOURCE_ID\": is its endpoint …/ingest/event-grid/{name}? And onrecord_intake_refused_total of every node"
        ),
        SourceKind::CallAutomation => format!(
            "is callbackUri …/ingest/call-automation/{name}, with the key? And onrecord_intake_refused_total of every node"
        ),
    };
    match uses.iter().map(|used| used.last_used).max() {
        None => Finding::warning(SILENCE, "nothing has come from it yet", remedy),
        Some(last) if now - last > SILENT => Finding::warning(
            SILENCE,
            format!("nothing has come for {}", span(now - last)),
            remedy,
        ),
        Some(last) => Finding::ok(SILENCE, format!("the last event {} ago", span(now - last))),
    }
}

fn keys(source: &Source, uses: &[UseCondition], now: DateTime<Utc>) -> Finding {
    let recent: Vec<&UseCondition> = uses
        .iter()
        .filter(|used| now - used.last_used <= UNUSED)
        .collect();
    if recent.is_empty() {
        return Finding::ok(KEYS, "none was used in the last 24 h");
    }
    let said = |used: &UseCondition| {
        let credential = if used.credential.starts_with("jwt:") {
            used.credential.clone()
        } else {
            format!("sha256:{}…", used.credential)
        };
        format!("{credential} {} ago", span(now - used.last_used))
    };
    let live = |credential: &str| {
        if credential.starts_with("jwt:") {
            source.jwt.is_some()
        } else {
            source.keys.iter().any(|key| key.label() == credential)
        }
    };
    if let Some(gone) = recent.iter().find(|used| !live(&used.credential)) {
        return Finding::warning(
            KEYS,
            format!(
                "it came with {}, which these settings do not have any more: who still sends with that is answered 503",
                said(gone)
            ),
            "put the hash back beside the new one until the sender has the new key, then SIGHUP; have all nodes the same settings?",
        );
    }
    let unused = source.keys.iter().find(|key| {
        let label = key.label();
        !recent.iter().any(|used| used.credential == label)
    });
    let used: Vec<String> = recent.iter().map(|used| said(used)).collect();
    let used = used.join(", ");
    match unused {
        Some(key) => Finding::warning(
            KEYS,
            format!(
                "sha256:{}… was not used in the last 24 h ({used})",
                key.label()
            ),
            "if it is the old key, the rotation can end: take its hash out of keys, SIGHUP; if it is the new one, the sender does not have it yet",
        ),
        None => Finding::ok(KEYS, used),
    }
}

fn unconfigured(
    sources: &BTreeMap<String, Source>,
    uses: &[UseCondition],
    now: DateTime<Utc>,
) -> Finding {
    let stranger = uses
        .iter()
        .filter(|used| now - used.last_used <= SILENT)
        .find(|used| !sources.contains_key(&used.source));
    match stranger {
        None => Finding::ok(UNCONFIGURED, "none"),
        Some(used) => Finding::warning(
            UNCONFIGURED,
            format!(
                "{} came {} ago, and these settings do not have that source: what it sends now is answered 503",
                used.source,
                span(now - used.last_used)
            ),
            format!(
                "put [sources.{}] back, or delete the subscription; have all nodes the same settings?",
                used.source
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::config::{KeyHash, Settings};

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn source(keys: &[&str], jwt: bool) -> Source {
        let keys: Vec<String> = keys
            .iter()
            .map(|key| format!("\"{}\"", KeyHash::of(key)))
            .collect();
        let jwt = if jwt {
            "jwt = { issuer = \"https://i\", audience = \"a\", jwks_url = \"https://i/keys\" }"
        } else {
            ""
        };
        let toml = format!(
            "[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [{}]\n{jwt}",
            keys.join(",")
        );
        Settings::from_toml(&toml)
            .unwrap()
            .sources
            .remove("a")
            .unwrap()
    }

    fn used(credential: &str, hours_ago: i64) -> UseCondition {
        UseCondition {
            source: "a".to_owned(),
            credential: credential.to_owned(),
            last_used: NOW - TimeDelta::hours(hours_ago),
        }
    }

    fn key(key: &str, hours_ago: i64) -> UseCondition {
        used(&KeyHash::of(key).label(), hours_ago)
    }

    #[test]
    fn a_source_that_spoke_today_is_well_and_one_that_did_not_is_a_warning() {
        let source = source(&["k"], false);
        let says = |uses: &[UseCondition]| silence("a", &source, uses, NOW);
        assert_eq!(says(&[key("k", 1), key("old", 90)]).level, Level::Ok);
        let silent = says(&[key("k", 50)]);
        assert_eq!(silent.level, Level::Warning);
        assert!(silent.sentence.contains("2 d 2 h"), "{silent:?}");
        assert_eq!(says(&[]).level, Level::Warning);
    }

    #[test]
    fn a_key_in_use_is_well() {
        let found = keys(&source(&["k"], false), &[key("k", 2)], NOW);
        assert_eq!(found.level, Level::Ok);
        assert!(found.sentence.contains("2 h ago"), "{found:?}");
        let both = [key("old", 2), key("new", 1)];
        assert_eq!(
            keys(&source(&["old", "new"], false), &both, NOW).level,
            Level::Ok
        );
    }

    #[test]
    fn a_rotation_that_can_end_is_a_warning_that_names_the_key_out_of_use() {
        let uses = [key("new", 1), key("old", 30)];
        let found = keys(&source(&["old", "new"], false), &uses, NOW);
        assert_eq!(found.level, Level::Warning);
        assert!(
            found
                .sentence
                .starts_with(&format!("sha256:{}", KeyHash::of("old").label()))
        );
    }

    #[test]
    fn a_key_that_was_taken_out_while_in_use_is_a_warning() {
        let uses = [key("new", 1), key("old", 3)];
        let found = keys(&source(&["new"], false), &uses, NOW);
        assert_eq!(found.level, Level::Warning);
        assert!(
            found.sentence.contains(&KeyHash::of("old").label()),
            "{found:?}"
        );
        let later = [key("new", 1), key("old", 30)];
        assert_eq!(keys(&source(&["new"], false), &later, NOW).level, Level::Ok);
    }

    #[test]
    fn bearer_tokens_count_where_the_source_has_them() {
        let uses = [used("jwt:kid-1", 1)];
        assert_eq!(keys(&source(&[], true), &uses, NOW).level, Level::Ok);
        assert_eq!(
            keys(&source(&["k"], false), &uses, NOW).level,
            Level::Warning
        );
    }

    #[test]
    fn a_source_that_came_and_is_not_configured_is_a_warning() {
        let sources = BTreeMap::from([("b".to_owned(), source(&["k"], false))]);
        assert_eq!(
            unconfigured(&sources, &[key("k", 1)], NOW).level,
            Level::Warning
        );
        assert_eq!(
            unconfigured(&sources, &[key("k", 25)], NOW).level,
            Level::Ok
        );
    }

    #[test]
    fn while_postgres_is_away_nothing_is_known_of_any_source() {
        let sources = BTreeMap::from([("a".to_owned(), source(&["k"], false))]);
        let findings = findings(&sources, &Err("Postgres is away".to_owned()), NOW);
        assert_eq!(findings.len(), 3);
        assert!(findings.iter().all(|f| f.level == Level::Unknown));
    }
}
