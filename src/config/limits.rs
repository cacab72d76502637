//! What settings may not be, although each of them can be read.

use std::time::Duration;

use super::{Kafka, Settings, Source};

/// Event Grid dead letters are replayed so late.
const THIRTY_DAYS: Duration = Duration::from_secs(30 * 24 * 3600);

/// What may pass between two signs of life of a call that goes on.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);

/// What the spool may take, once Kafka did not confirm: a connection, then the statements.
const SPOOL_TAKES: Duration = Duration::from_secs(7);

/// Event Grid waits 30 s, and what is refused is still read for a moment.
const LATEST_ANSWER: Duration = Duration::from_secs(25);
/// When a source spoke last is written down once a minute.
const LEAST_SILENCE: Duration = Duration::from_secs(600);
/// The largest body that the door takes.
const LEAST_IN_FLIGHT: usize = 4 * 1024 * 1024;

/// Properties of librdkafka that the laws rest on, or that are settings of their own, with why.
const NOT_TO_BE_SET: &[(&str, &str)] = &[
    ("acks", "what is answered 2xx is on every in-sync replica"),
    (
        "allow.auto.create.topics",
        "topics are made with the settings of [kafka]",
    ),
    ("auto.commit.enable", "positions stand in Postgres"),
    (
        "auto.offset.reset",
        "a position that is gone is told as a gap",
    ),
    ("bootstrap.servers", "set kafka_brokers"),
    ("delivery.timeout.ms", "the road and the drain wait for it"),
    ("enable.auto.commit", "positions stand in Postgres"),
    ("enable.auto.offset.store", "positions stand in Postgres"),
    (
        "enable.idempotence",
        "a repeated try must not become a second message",
    ),
    (
        "enable.partition.eof",
        "readers know the end of the log by themselves",
    ),
    (
        "fetch.message.max.bytes",
        "topics, producer and readers have one limit",
    ),
    ("group.id", "readers never join a group"),
    ("group.instance.id", "readers never join a group"),
    ("group.protocol", "readers never join a group"),
    (
        "max.partition.fetch.bytes",
        "topics, producer and readers have one limit",
    ),
    (
        "message.max.bytes",
        "topics, producer and readers have one limit",
    ),
    (
        "message.send.max.retries",
        "a message is tried until its time is over",
    ),
    ("message.timeout.ms", "the road and the drain wait for it"),
    ("metadata.broker.list", "set kafka_brokers"),
    (
        "request.required.acks",
        "what is answered 2xx is on every in-sync replica",
    ),
    ("retries", "a message is tried until its time is over"),
    ("test.mock.num.brokers", "set kafka_brokers"),
    ("transactional.id", "nothing is published in transactions"),
];

/// Each holds a connection most of its time.
const MOST_FOLLOWERS: usize = 4;

/// Refuses settings that contradict each other or a law, in a sentence.
pub(super) fn check(settings: &Settings) -> Result<(), String> {
    if settings.ledger.seen_retention < THIRTY_DAYS {
        return Err("ledger.seen_retention must be at least 30d, because Event Grid dead letters are replayed that late".to_owned());
    }
    if settings.ledger.presume_end_after < LONGEST_SILENCE {
        return Err("ledger.presume_end_after must be at least 10m, because clients that are there are silent for minutes".to_owned());
    }
    if settings.kafka.retention > settings.ledger.seen_retention {
        return Err("kafka.retention must not be above ledger.seen_retention, because what Kafka still has could be entered twice".to_owned());
    }
    if settings.ledger.batch == 0 || settings.notices.queue == 0 || settings.store.connections < 2 {
        return Err(
            "ledger.batch and notices.queue must be at least 1, store.connections at least 2"
                .to_owned(),
        );
    }
    if !(1..=MOST_FOLLOWERS).contains(&settings.ledger.followers) {
        return Err(format!(
            "ledger.followers must be 1 to {MOST_FOLLOWERS}: the ledger has 8 connections, and other work to do"
        ));
    }
    if settings.exceptions.silent_source < LEAST_SILENCE {
        return Err(
            "exceptions.silent_source must be at least 10m, because when a source spoke last is known a minute late"
                .to_owned(),
        );
    }
    let least = settings.intake.kafka_patience + SPOOL_TAKES;
    if settings.intake.deadline < least {
        return Err(format!(
            "intake.deadline must be at least {} ms, intake.kafka_patience and 7 s: what Kafka does not confirm must still have time to be spooled",
            least.as_millis()
        ));
    }
    if settings.intake.deadline > LATEST_ANSWER {
        return Err(
            "intake.deadline must be at most 25s, because Event Grid waits 30 s for an answer"
                .to_owned(),
        );
    }
    if settings.intake.bytes_in_flight < LEAST_IN_FLIGHT {
        return Err(
            "intake.bytes_in_flight must be at least 4MiB, so that one body of that size is taken"
                .to_owned(),
        );
    }
    kafka(&settings.kafka)?;
    let is_short = |key: &super::Secret<String>| key.expose().len() < 32;
    if let Some(at) = settings.tokens.keys.iter().position(is_short) {
        return Err(format!(
            "tokens.keys[{at}] is shorter than 32 characters; `openssl rand -base64 48` makes a good one"
        ));
    }
    if let Some(wrong) = settings.cors.origins.iter().find(|it| !is_origin(it)) {
        return Err(format!(
            "cors.origins: no browser comes from \"{wrong}\"; write scheme, host and port (if it is not the usual one) in small letters and nothing else, for example \"https://app.contoso.com\""
        ));
    }
    settings
        .sources
        .iter()
        .try_for_each(|(name, one)| source(name, one))
}

/// A browser compares the whole text, so anything else would never match; `*` would let everybody
/// in.
fn is_origin(text: &str) -> bool {
    let of = |scheme, usual_port| {
        text.strip_prefix(scheme)
            .filter(|place: &&str| !place.ends_with(usual_port))
    };
    let is_letter =
        |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b':' | b'[' | b']' | b'_');
    of("https://", ":443")
        .or_else(|| of("http://", ":80"))
        .is_some_and(|place| !place.is_empty() && place.bytes().all(is_letter))
}

fn kafka(kafka: &Kafka) -> Result<(), String> {
    if !(1..=1000).contains(&kafka.partitions) {
        return Err("kafka.partitions must be between 1 and 1000".to_owned());
    }
    for property in kafka.properties.keys() {
        let is_it = |(name, _): &&(&str, &str)| name.eq_ignore_ascii_case(property.trim());
        if let Some((name, why)) = NOT_TO_BE_SET.iter().find(is_it) {
            return Err(format!("kafka.properties must not set \"{name}\": {why}"));
        }
    }
    Ok(())
}

fn source(name: &str, source: &Source) -> Result<(), String> {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    if !(1..=100).contains(&name.len()) || !name.bytes().all(is_letter) {
        return Err(format!(
            "sources.{name}: a source's name is 1 to 100 letters, digits, '-', '_' and '.'"
        ));
    }
    if source.keys.len() > 2 {
        return Err(format!(
            "sources.{name}.keys has {} keys; two may be live at one time",
            source.keys.len()
        ));
    }
    if source.keys.iter().any(|hash| hash.matches("")) {
        return Err(format!(
            "sources.{name}.keys has the hash of an empty key; `onrecord key source` makes a key and its hash"
        ));
    }
    if let Some(jwt) = &source.jwt
        && [&jwt.issuer, &jwt.audience]
            .into_iter()
            .chain(&jwt.app_ids)
            .any(|text| text.trim().is_empty())
    {
        return Err(format!(
            "sources.{name}.jwt: issuer, audience and each of app_ids must not be empty"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(toml: &str) -> Option<String> {
        Settings::from_toml(toml)
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn properties_of_kafka_may_not_override_the_laws() {
        assert!(NOT_TO_BE_SET.is_sorted());
        for name in ["enable.idempotence", "acks", "auto.offset.reset", "ACKS"] {
            let error = error(&format!("[kafka.properties]\n\"{name}\" = \"1\"")).unwrap();
            assert!(
                error.contains(&format!("\"{}\": ", name.to_lowercase())),
                "{error}"
            );
        }
        assert_eq!(
            error(
                "[kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"\n\"linger.ms\" = \"5\""
            ),
            None
        );
    }

    #[test]
    fn an_origin_is_written_as_a_browser_writes_it() {
        let of = |origin: &str| error(&format!("[cors]\norigins = [\"{origin}\"]"));
        for right in [
            "https://app.contoso.com",
            "http://localhost:5173",
            "https://[::1]:8443",
        ] {
            assert_eq!(of(right), None);
        }
        for wrong in [
            "*",
            "null",
            "app.contoso.com",
            "https://",
            "https://*.contoso.com",
            "https://app.contoso.com/",
            "https://app.contoso.com:443",
            "https://App.contoso.com",
            "https://user@app.contoso.com",
        ] {
            assert!(of(wrong).unwrap().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_hash_of_an_empty_key_opens_no_door() {
        let hash = super::super::KeyHash::of("");
        let toml =
            format!("[sources.s]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [\"{hash}\"]");
        assert!(error(&toml).unwrap().contains("empty key"));
    }

    #[test]
    fn the_door_answers_before_event_grid_leaves_and_takes_one_whole_body() {
        assert!(
            error("[intake]\ndeadline = \"26s\"")
                .unwrap()
                .contains("25s")
        );
        let small = error("[intake]\nbytes_in_flight = \"1MiB\"").unwrap();
        assert!(small.contains("4MiB"), "{small}");
    }

    #[test]
    fn an_empty_audience_is_nobody_s() {
        let of = |audience: &str, app: &str| {
            error(&format!(
                "[sources.s]\nkind = \"event-grid\"\ntenant = \"t\"\njwt = {{ issuer = \"i\", audience = \"{audience}\", jwks_url = \"https://h/k\", app_ids = [{app}] }}"
            ))
        };
        assert_eq!(of("a", ""), None);
        assert_eq!(of("a", "\"b\""), None);
        assert!(of("", "").is_some());
        assert!(of("a", "\" \"").is_some());
    }

    #[test]
    fn the_deadline_leaves_time_for_the_spool() {
        assert_eq!(
            error("[intake]\nkafka_patience = \"2s\"\ndeadline = \"9s\""),
            None
        );
        let error = error("[intake]\nkafka_patience = \"11s\"").unwrap();
        assert!(error.contains("at least 18000 ms"), "{error}");
    }
}
