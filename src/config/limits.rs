//! Checks the limits of settings and contradictions between them.

use std::time::Duration;

use anyhow::{bail, ensure};

use super::console::sign_in;
use super::export_store::ExportStore;
use super::settings::{ExportSettings, Settings};
use super::source::Source;
use super::webhooks::WebhookSettings;

/// Minimum `ledger.dedup_retention`: dead letters of Event Grid are replayed that late.
const MIN_DEDUP_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Minimum `ledger.presume_end_after`: clients in a call may send nothing for minutes.
const MIN_PRESUME_END_AFTER: Duration = Duration::from_secs(600);

/// Maximum time to write to the spool: to connect, and to run the statements.
const SPOOL_TIMEOUT: Duration = Duration::from_secs(7);

/// Maximum `ingest.deadline`: Event Grid waits 30 s, and reading the rest of a rejected body takes
/// time too.
const MAX_DEADLINE: Duration = Duration::from_secs(25);
/// Minimum `exceptions.silent_source`: the last event of a source is recorded once a minute.
const MIN_SILENT_SOURCE: Duration = Duration::from_secs(600);
/// Minimum `ingest.bytes_in_flight`: half of it is what one source may hold, so that the largest body
/// fits (`ingest/capacity.rs`).
const MIN_BYTES_IN_FLIGHT: usize = 8 * 1024 * 1024;

/// Properties of librdkafka that `kafka.properties` must not set, with the reason: durability depends
/// on them, or they are other settings.
const RESERVED_PROPERTIES: &[(&str, &str)] = &[
    ("acks", "an answer 2xx means that the event is on every in-sync replica"),
    ("allow.auto.create.topics", "topics are created with the settings of [kafka]"),
    ("auto.commit.enable", "positions are in Postgres"),
    ("auto.offset.reset", "a missing position is reported as a gap"),
    ("bootstrap.servers", "set kafka_brokers"),
    ("compression.codec", "set kafka.compression"),
    ("compression.type", "set kafka.compression"),
    ("delivery.timeout.ms", "publishing and the drain wait for it"),
    ("enable.auto.commit", "positions are in Postgres"),
    ("enable.auto.offset.store", "positions are in Postgres"),
    ("enable.idempotence", "a repeated attempt must not become a second message"),
    ("enable.partition.eof", "readers determine the end of the log themselves"),
    ("fetch.message.max.bytes", "topics, producer and readers have one limit"),
    ("group.id", "readers never join a group"),
    ("group.instance.id", "readers never join a group"),
    ("group.protocol", "readers never join a group"),
    ("max.partition.fetch.bytes", "topics, producer and readers have one limit"),
    ("message.max.bytes", "topics, producer and readers have one limit"),
    ("message.send.max.retries", "a message is sent until its timeout"),
    ("message.timeout.ms", "publishing and the drain wait for it"),
    ("metadata.broker.list", "set kafka_brokers"),
    ("request.required.acks", "an answer 2xx means that the event is on every in-sync replica"),
    ("retries", "a message is sent until its timeout"),
    ("test.mock.num.brokers", "set kafka_brokers"),
    ("transactional.id", "nothing is published in transactions"),
];

/// Minimum `keep_alive`: the head of a request may take a while to arrive.
const MIN_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Maximum `keep_alive`: an idle connection holds a place.
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(3600);

/// Minimum `max_connections`.
const MIN_CONNECTIONS: usize = 8;

/// Minimum `exports.retention`: a client needs some time to notice that an export is done.
const MIN_EXPORT_RETENTION: Duration = Duration::from_secs(60);
/// Maximum `exports.retention`.
const MAX_EXPORT_RETENTION: Duration = Duration::from_secs(365 * 24 * 3600);
/// Maximum `exports.max_running`: each uses a connection and a thread.
const MAX_RUNNING_EXPORTS: u32 = 4;

/// Minimum `webhooks.timeout`.
const MIN_WEBHOOK_TIMEOUT: Duration = Duration::from_millis(100);
/// Maximum `webhooks.timeout`: a stop waits for the attempts in progress.
const MAX_WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum `webhooks.max_in_flight`: each attempt has a connection.
const MAX_WEBHOOKS_IN_FLIGHT: usize = 10_000;

/// Maximum `ledger.followers`: each uses a connection most of the time.
const MAX_FOLLOWERS: usize = 4;

/// Whether this property of librdkafka asks for tokens of OAuth: nothing here gets them, and librdkafka's own way
/// needs libcurl, which its build does not have.
fn asks_for_oauth(property: &str, value: &str) -> bool {
    let property = property.trim().to_ascii_lowercase();
    let is_mechanism = property == "sasl.mechanism" || property == "sasl.mechanisms";
    is_mechanism && value.trim().eq_ignore_ascii_case("OAUTHBEARER")
}

/// Whether this property of librdkafka asks for TLS, or for a mechanism of SASL that needs OpenSSL.
fn needs_tls_feature(property: &str, value: &str) -> bool {
    let (property, value) =
        (property.trim().to_ascii_lowercase(), value.trim().to_ascii_uppercase());
    match property.as_str() {
        "security.protocol" => value == "SSL" || value == "SASL_SSL",
        "sasl.mechanism" | "sasl.mechanisms" => value != "PLAIN",
        _ => property.starts_with("ssl."),
    }
}

/// Checks that a build with or without the cargo feature `kafka-tls` can do what a property of librdkafka asks for.
fn check_kafka_property(property: &str, value: &str, has_tls: bool) -> anyhow::Result<()> {
    ensure!(
        !asks_for_oauth(property, value),
        "kafka.properties sets \"{property}\" to OAUTHBEARER, which onrecord cannot do; Azure Event Hubs also takes sasl.mechanism = \"PLAIN\" with a connection string"
    );
    ensure!(
        has_tls || !needs_tls_feature(property, value),
        "kafka.properties sets \"{property}\", which this build of onrecord cannot do: build it with the cargo feature kafka-tls (the container image has it)"
    );
    Ok(())
}

/// Checks all limits. The error is a sentence that names the key.
pub(super) fn check(settings: &Settings) -> anyhow::Result<()> {
    let Settings { ingest, kafka, ledger, tokens, .. } = settings;
    ensure!(
        ledger.dedup_retention >= MIN_DEDUP_RETENTION,
        "ledger.dedup_retention must be at least 30d, because Event Grid dead letters are replayed that late"
    );
    ensure!(
        ledger.presume_end_after >= MIN_PRESUME_END_AFTER,
        "ledger.presume_end_after must be at least 10m, because clients in a call may send nothing for minutes"
    );
    ensure!(
        kafka.retention <= ledger.dedup_retention,
        "kafka.retention must not be above ledger.dedup_retention, because what Kafka still has could be appended twice"
    );
    ensure!(
        ledger.batch > 0 && settings.streams.queue > 0 && settings.query.connections >= 2,
        "ledger.batch and streams.queue must be at least 1, query.connections at least 2"
    );
    sign_in::check(&settings.console)?;
    check_exports(&settings.exports)?;
    check_webhooks(&settings.webhooks)?;
    ensure!(
        (MIN_KEEP_ALIVE..=MAX_KEEP_ALIVE).contains(&settings.keep_alive),
        "keep_alive must be 5s to 1h: longer than the idle timeout of the balancer before this server, and an idle connection holds a place"
    );
    ensure!(
        settings.max_connections == 0 || settings.max_connections >= MIN_CONNECTIONS,
        "max_connections must be 0, or at least {MIN_CONNECTIONS}: some are a reserve for deliveries and operations"
    );
    ensure!(
        (1..=MAX_FOLLOWERS).contains(&ledger.followers),
        "ledger.followers must be 1 to {MAX_FOLLOWERS}: the ledger has 8 connections, and other work"
    );
    ensure!(
        settings.exceptions.silent_source >= MIN_SILENT_SOURCE,
        "exceptions.silent_source must be at least 10m, because the last event of a source is recorded up to a minute late"
    );
    let min = ingest.kafka_timeout + SPOOL_TIMEOUT;
    ensure!(
        ingest.deadline >= min,
        "ingest.deadline must be at least {} ms, ingest.kafka_timeout and 7 s: what Kafka does not confirm must still have time to be spooled",
        min.as_millis()
    );
    ensure!(
        ingest.deadline <= MAX_DEADLINE,
        "ingest.deadline must be at most 25s, because Event Grid waits 30 s for an answer"
    );
    ensure!(
        ingest.bytes_in_flight >= MIN_BYTES_IN_FLIGHT,
        "ingest.bytes_in_flight must be at least 8MiB, twice the maximum size of one body"
    );
    ensure!((1..=1000).contains(&kafka.partitions), "kafka.partitions must be between 1 and 1000");
    for property in kafka.properties.keys() {
        let is_it = |(name, _): &&(&str, &str)| name.eq_ignore_ascii_case(property.trim());
        if let Some((name, reason)) = RESERVED_PROPERTIES.iter().find(is_it) {
            bail!("kafka.properties must not set \"{name}\": {reason}");
        }
    }
    for (property, value) in &kafka.properties {
        check_kafka_property(property, value.expose(), cfg!(feature = "kafka-tls"))?;
    }
    if let Some(at) = tokens.keys.iter().position(|key| key.expose().len() < 32) {
        bail!(
            "tokens.keys[{at}] is shorter than 32 characters; `openssl rand -base64 48` generates one"
        );
    }
    settings.sources.iter().try_for_each(|(name, source)| check_source(name, source))
}

fn check_exports(exports: &ExportSettings) -> anyhow::Result<()> {
    ensure!(
        exports.max_rows > 0 && exports.file_rows > 0,
        "exports.max_rows and exports.file_rows must be at least 1"
    );
    ensure!(
        (MIN_EXPORT_RETENTION..=MAX_EXPORT_RETENTION).contains(&exports.retention),
        "exports.retention must be 1m to 365d"
    );
    ensure!(
        (1..=MAX_RUNNING_EXPORTS).contains(&exports.max_running)
            && (1..=exports.max_running).contains(&exports.max_running_of_tenant),
        "exports.max_running must be 1 to {MAX_RUNNING_EXPORTS}, and exports.max_running_of_tenant 1 to exports.max_running"
    );
    ensure!(
        cfg!(feature = "object-storage") || !matches!(exports.store, ExportStore::Bucket { .. }),
        "exports.store names a bucket, which this build of onrecord cannot use: build it with the cargo feature object-storage (the container image has it)"
    );
    Ok(())
}

fn check_webhooks(webhooks: &WebhookSettings) -> anyhow::Result<()> {
    let keys = webhooks.keys.len();
    ensure!(keys <= 2, "webhooks.keys has {keys} keys; at most two are allowed");
    ensure!(
        (MIN_WEBHOOK_TIMEOUT..=MAX_WEBHOOK_TIMEOUT).contains(&webhooks.timeout),
        "webhooks.timeout must be 100ms to 30s"
    );
    ensure!(
        webhooks.ports.iter().all(|port| (1..=65_535).contains(port)),
        "webhooks.ports has ports from 1 to 65535"
    );
    let steps = webhooks.ladder.len();
    ensure!((1..=20).contains(&steps), "webhooks.ladder has {steps} steps; 1 to 20 are allowed");
    ensure!(
        webhooks.circuit_failures > 0
            && webhooks.circuit_min > Duration::ZERO
            && webhooks.circuit_min <= webhooks.circuit_max,
        "webhooks.circuit_failures must be at least 1, and webhooks.circuit_min at most webhooks.circuit_max"
    );
    ensure!(
        webhooks.disable_after > webhooks.circuit_failures,
        "webhooks.disable_after must be above webhooks.circuit_failures"
    );
    ensure!(
        (MIN_EXPORT_RETENTION..=MAX_EXPORT_RETENTION).contains(&webhooks.retention),
        "webhooks.retention must be 1m to 365d"
    );
    ensure!(
        (1..=MAX_WEBHOOKS_IN_FLIGHT).contains(&webhooks.max_in_flight)
            && webhooks.max_subscriptions > 0,
        "webhooks.max_in_flight must be 1 to {MAX_WEBHOOKS_IN_FLIGHT}, and webhooks.max_subscriptions at least 1"
    );
    Ok(())
}

fn check_source(name: &str, source: &Source) -> anyhow::Result<()> {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    ensure!(
        (1..=100).contains(&name.len()) && name.bytes().all(is_letter),
        "sources.{name}: a source's name is 1 to 100 letters, digits, '-', '_' and '.'"
    );
    let keys = source.keys.len();
    ensure!(keys <= 2, "sources.{name}.keys has {keys} keys; at most two are allowed");
    ensure!(
        !source.keys.iter().any(|hash| hash.matches("")),
        "sources.{name}.keys has the hash of an empty key; `onrecord key source` generates a key and its hash"
    );
    if let Some(jwt) = &source.jwt {
        let mut texts = [&jwt.issuer, &jwt.audience].into_iter().chain(&jwt.app_ids);
        ensure!(
            !texts.any(|text| text.trim().is_empty()),
            "sources.{name}.jwt: issuer, audience and each of app_ids must not be empty"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(toml: &str) -> Option<String> {
        Settings::from_toml(toml).err().map(|error| error.to_string())
    }

    #[test]
    fn properties_of_kafka_may_not_override_durability() {
        assert!(RESERVED_PROPERTIES.is_sorted());
        for name in ["enable.idempotence", "acks", "auto.offset.reset", "ACKS"] {
            let error = error(&format!("[kafka.properties]\n\"{name}\" = \"1\"")).unwrap();
            assert!(error.contains(&format!("\"{}\": ", name.to_lowercase())), "{error}");
        }
        assert_eq!(
            error(
                "[kafka.properties]\n\"security.protocol\" = \"SASL_PLAINTEXT\"\n\"linger.ms\" = \"5\""
            ),
            None
        );
    }

    #[test]
    fn an_origin_is_written_as_a_browser_writes_it() {
        let of = |origin: &str| error(&format!("[cors]\norigins = [\"{origin}\"]"));
        for right in ["https://app.contoso.com", "capacitor://localhost", "null"] {
            assert_eq!(of(right), None);
        }
        for wrong in ["*", "app.contoso.com", "https://app.contoso.com/"] {
            let error = of(wrong).unwrap();
            assert!(error.contains("cors.origins") && error.contains("capacitor"), "{error}");
        }
    }

    #[test]
    fn the_hash_of_an_empty_key_is_refused() {
        let hash = crate::config::KeyHash::of("");
        let toml =
            format!("[sources.s]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [\"{hash}\"]");
        assert!(error(&toml).unwrap().contains("empty key"));
    }

    #[test]
    fn ingest_answers_before_event_grid_gives_up_and_accepts_one_whole_body() {
        assert!(error("[ingest]\ndeadline = \"26s\"").unwrap().contains("25s"));
        let small = error("[ingest]\nbytes_in_flight = \"4MiB\"").unwrap();
        assert!(small.contains("8MiB"), "{small}");
    }

    #[test]
    fn an_empty_audience_or_app_id_is_refused() {
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
        assert_eq!(error("[ingest]\nkafka_timeout = \"2s\"\ndeadline = \"9s\""), None);
        let error = error("[ingest]\nkafka_timeout = \"11s\"").unwrap();
        assert!(error.contains("at least 18000 ms"), "{error}");
    }

    #[test]
    fn tokens_of_oauth_are_refused_with_what_to_do() {
        let toml = "[kafka.properties]\n\"sasl.mechanism\" = \"OAUTHBEARER\"";
        assert!(error(toml).unwrap().contains("PLAIN"));
    }

    #[test]
    fn a_build_without_kafka_tls_names_the_feature_that_a_property_needs() {
        for (property, value) in [
            ("security.protocol", "SASL_SSL"),
            ("security.protocol", "ssl"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("ssl.ca.location", "/etc/ca.pem"),
        ] {
            check_kafka_property(property, value, true).unwrap();
            let error = check_kafka_property(property, value, false).unwrap_err().to_string();
            assert!(error.contains(property) && error.contains("kafka-tls"), "{error}");
        }
        for (property, value) in [
            ("security.protocol", "plaintext"),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "onrecord"),
        ] {
            check_kafka_property(property, value, false).unwrap();
        }
    }
}
