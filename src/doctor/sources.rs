//! Checks of the sources: whether each sends, and with which key.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::finding::{Finding, list, number, span};
use crate::config::{KeyHash, Source, SourceKind};
use crate::postgres::{RejectionDiagnostics, SourceUseDiagnostics};

/// Maximum interval without deliveries; after a longer one, the source may have lost its
/// subscription.
const MAX_SILENCE: TimeDelta = TimeDelta::hours(24);
/// Maximum age of the last use of a key that counts as in use. Event Grid retries for a day.
const MAX_KEY_AGE: TimeDelta = TimeDelta::hours(24);

/// The uses of this source.
pub(super) fn uses_of(source: &str, uses: &[SourceUseDiagnostics]) -> Vec<SourceUseDiagnostics> {
    let of_source = uses.iter().filter(|used| used.source == source);
    of_source.cloned().collect()
}

pub(super) fn silence(
    name: &str,
    source: &Source,
    uses: &[SourceUseDiagnostics],
    now: DateTime<Utc>,
) -> Finding {
    let remedy = match source.kind {
        SourceKind::EventGrid => format!(
            "az eventgrid event-subscription list --source-resource-id \"$ACS_RESOURCE_ID\": is its endpoint …/ingest/event-grid/{name}? And onrecord_ingest_rejected_total of every node"
        ),
        SourceKind::CallAutomation => format!(
            "is callbackUri …/ingest/call-automation/{name}, with the key? And onrecord_ingest_rejected_total of every node"
        ),
    };
    match uses.iter().map(|used| used.last_used_at).max() {
        None => Finding::warning("no delivery has come from it yet", remedy),
        Some(last) if now - last > MAX_SILENCE => {
            Finding::warning(format!("no delivery has come for {}", span(now - last)), remedy)
        }
        Some(last) => Finding::ok(format!("the last event {} ago", span(now - last))),
    }
}

pub(super) fn keys(source: &Source, uses: &[SourceUseDiagnostics], now: DateTime<Utc>) -> Finding {
    let recent: Vec<&SourceUseDiagnostics> =
        uses.iter().filter(|used| now - used.last_used_at <= MAX_KEY_AGE).collect();
    if recent.is_empty() {
        return Finding::ok("none was used in the last 24 h");
    }
    let is_token = |used: &SourceUseDiagnostics| used.credential.starts_with("jwt:");
    let describe = |used: &SourceUseDiagnostics| {
        let (before, after) = if is_token(used) { ("", "") } else { ("sha256:", "…") };
        format!("{before}{}{after} {} ago", used.credential, span(now - used.last_used_at))
    };
    let labels: Vec<String> = source.keys.iter().map(KeyHash::label).collect();
    let is_configured = |used: &SourceUseDiagnostics| {
        if is_token(used) { source.jwt.is_some() } else { labels.contains(&used.credential) }
    };
    if let Some(gone) = recent.iter().find(|used| !is_configured(used)) {
        return Finding::warning(
            format!(
                "it was used with {}, which these settings no longer have: deliveries with it are answered 503",
                describe(gone)
            ),
            "put the hash back beside the new one until the sender has the new key, then SIGHUP; do all nodes have the same settings?",
        );
    }
    let unused = labels.iter().find(|label| !recent.iter().any(|used| used.credential == **label));
    let used: Vec<String> = recent.iter().map(|used| describe(used)).collect();
    let used = used.join(", ");
    match unused {
        Some(label) => Finding::warning(
            format!("sha256:{label}… was not used in the last 24 h ({used})"),
            "if it is the old key, the rotation can end: remove its hash from keys, SIGHUP; if it is the new one, the sender does not have it yet",
        ),
        None => Finding::ok(used),
    }
}

/// Deliveries that were rejected for their credential: a stranger's, unless the source delivered
/// nothing else.
pub(super) fn rejections(
    source: &str,
    rejections: &[RejectionDiagnostics],
    now: DateTime<Utc>,
) -> Finding {
    let of_source: Vec<&RejectionDiagnostics> =
        rejections.iter().filter(|it| it.source == source).collect();
    let Some(last) = of_source.iter().map(|it| it.ended_at).max() else {
        return Finding::ok("no delivery was rejected in the last 24 h");
    };
    let reasons = list(of_source.iter().map(|it| {
        let deliveries = usize::try_from(it.deliveries).unwrap_or_default();
        format!("{} ({})", number(deliveries, "delivery"), it.reason)
    }));
    let rejected =
        format!("rejected in the last 24 h: {reasons}, the last {} ago", span(now - last));
    if of_source.iter().any(|it| it.beside_silence) {
        return Finding::error(
            format!("{rejected}; meanwhile none was accepted, so they may be its own"),
            "give the sender the right key or token, or put the old hash back beside the new one, then SIGHUP; Event Grid gives a delivery up after a day",
        );
    }
    Finding::warning(
        format!("{rejected}; meanwhile others were accepted, or they were few"),
        "a stranger's, unless one of several senders has an old key; the access log of the proxy has their addresses",
    )
}

pub(super) fn unconfigured(
    sources: &BTreeMap<String, Source>,
    uses: &[SourceUseDiagnostics],
    now: DateTime<Utc>,
) -> Finding {
    let unconfigured = uses
        .iter()
        .filter(|used| now - used.last_used_at <= MAX_SILENCE)
        .find(|used| !sources.contains_key(&used.source));
    match unconfigured {
        None => Finding::ok("none"),
        Some(used) => Finding::warning(
            format!(
                "{} delivered {} ago, and these settings do not have that source: its deliveries are answered 503",
                used.source,
                span(now - used.last_used_at)
            ),
            format!(
                "put [sources.{}] back, or delete the subscription; do all nodes have the same settings?",
                used.source
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::doctor::finding::FindingLevel;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn source(keys: &[&str], jwt: bool) -> Source {
        let keys: Vec<String> =
            keys.iter().map(|key| format!("\"{}\"", KeyHash::of(key))).collect();
        let jwt = if jwt {
            "jwt = { issuer = \"https://i\", audience = \"a\", jwks_url = \"https://i/keys\" }"
        } else {
            ""
        };
        let toml = format!(
            "[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [{}]\n{jwt}",
            keys.join(",")
        );
        Settings::from_toml(&toml).unwrap().sources.remove("a").unwrap()
    }

    fn used(credential: &str, hours_ago: i64) -> SourceUseDiagnostics {
        SourceUseDiagnostics {
            tenant: "t".to_owned(),
            source: "a".to_owned(),
            credential: credential.to_owned(),
            last_used_at: NOW - TimeDelta::hours(hours_ago),
        }
    }

    fn key(key: &str, hours_ago: i64) -> SourceUseDiagnostics {
        used(&KeyHash::of(key).label(), hours_ago)
    }

    #[test]
    fn a_source_that_sent_today_is_ok_and_one_that_did_not_is_a_warning() {
        let source = source(&["k"], false);
        let found = |uses: &[SourceUseDiagnostics]| silence("a", &source, uses, NOW);
        assert_eq!(found(&[key("k", 1), key("old", 90)]).level, FindingLevel::Ok);
        let silent = found(&[key("k", 50)]);
        assert_eq!(silent.level, FindingLevel::Warning);
        assert!(silent.sentence.contains("2 d 2 h"), "{silent:?}");
        assert_eq!(found(&[]).level, FindingLevel::Warning);
    }

    #[test]
    fn a_key_in_use_is_ok() {
        let found = keys(&source(&["k"], false), &[key("k", 2)], NOW);
        assert_eq!(found.level, FindingLevel::Ok);
        assert!(found.sentence.contains("2 h ago"), "{found:?}");
        let both = [key("old", 2), key("new", 1)];
        assert_eq!(keys(&source(&["old", "new"], false), &both, NOW).level, FindingLevel::Ok);
    }

    #[test]
    fn a_rotation_that_can_end_is_a_warning_that_names_the_key_out_of_use() {
        let uses = [key("new", 1), key("old", 30)];
        let found = keys(&source(&["old", "new"], false), &uses, NOW);
        assert_eq!(found.level, FindingLevel::Warning);
        assert!(found.sentence.starts_with(&format!("sha256:{}", KeyHash::of("old").label())));
    }

    #[test]
    fn a_key_that_was_removed_while_in_use_is_a_warning() {
        let uses = [key("new", 1), key("old", 3)];
        let found = keys(&source(&["new"], false), &uses, NOW);
        assert_eq!(found.level, FindingLevel::Warning);
        assert!(found.sentence.contains(&KeyHash::of("old").label()), "{found:?}");
        let later = [key("new", 1), key("old", 30)];
        assert_eq!(keys(&source(&["new"], false), &later, NOW).level, FindingLevel::Ok);
    }

    #[test]
    fn bearer_tokens_count_where_the_source_has_them() {
        let uses = [used("jwt:kid-1", 1)];
        assert_eq!(keys(&source(&[], true), &uses, NOW).level, FindingLevel::Ok);
        assert_eq!(keys(&source(&["k"], false), &uses, NOW).level, FindingLevel::Warning);
    }

    #[test]
    fn rejections_beside_deliveries_are_a_warning_and_beside_a_silence_an_error() {
        let rejected = |source: &str, beside_silence| RejectionDiagnostics {
            tenant: "t".to_owned(),
            source: source.to_owned(),
            reason: "wrong_key".to_owned(),
            deliveries: 1000,
            ended_at: NOW - TimeDelta::hours(2),
            beside_silence,
        };
        let found = |all: &[RejectionDiagnostics]| rejections("a", all, NOW);
        assert_eq!(found(&[]).level, FindingLevel::Ok);
        assert_eq!(found(&[rejected("b", true)]).level, FindingLevel::Ok);
        let of_a_stranger = found(&[rejected("a", false)]);
        assert_eq!(of_a_stranger.level, FindingLevel::Warning);
        assert!(of_a_stranger.sentence.contains("(wrong_key), the last 2 h ago"));
        let both = [rejected("a", false), rejected("a", true)];
        assert_eq!(found(&both).level, FindingLevel::Error);
    }

    #[test]
    fn a_source_that_delivered_and_is_not_configured_is_a_warning() {
        let sources = BTreeMap::from([("b".to_owned(), source(&["k"], false))]);
        assert_eq!(unconfigured(&sources, &[key("k", 1)], NOW).level, FindingLevel::Warning);
        assert_eq!(unconfigured(&sources, &[key("k", 25)], NOW).level, FindingLevel::Ok);
    }
}
