//! Checks of Kafka and the service's topics.

use std::time::Duration;

use chrono::TimeDelta;

use super::finding::{CheckResult, Finding, list, number, span};
use crate::config::{LiveHistory, Settings};
use crate::kafka::{
    CALL_FACTS, KafkaDiagnostics, KafkaUnreachable, MAX_MESSAGE_BYTES, TopicDiagnostics,
};

/// The check whether a topic exists.
pub(super) const TOPIC: &str = "kafka.topic";

/// The reason why the settings of a topic are unknown.
const HIDDEN: &str = "Kafka does not show the settings of the topic to this program";

/// The command that changes a setting of a topic.
fn alter(settings: &Settings, topic: &TopicDiagnostics, setting: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config {setting}",
        settings.kafka_brokers, topic.name
    )
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

pub(super) fn reachable(
    brokers: &str,
    kafka: &Result<KafkaDiagnostics, KafkaUnreachable>,
) -> Finding {
    match kafka {
        Ok(seen) => Finding::ok(number(seen.brokers, "broker")),
        Err(KafkaUnreachable::Settings(reason)) => Finding::error(
            format!("the client library refuses the settings: {reason}"),
            "correct [kafka.properties]; TLS and SASL need a build with the cargo feature kafka-tls",
        ),
        Err(KafkaUnreachable::Unreachable(reason)) => Finding::error(
            format!("no broker of {brokers} answers: {reason}"),
            "look at kafka_brokers, and whether security.protocol in [kafka.properties] is that of the listener",
        ),
    }
}

pub(super) fn auto_create(on: Option<bool>) -> CheckResult {
    let on = on.ok_or("Kafka does not show the settings of a broker to this program")?;
    if !on {
        return Ok(Finding::ok("off"));
    }
    Ok(Finding::warning(
        "auto.create.topics.enable is on: a deleted topic is created again with the settings of the broker",
        "auto.create.topics.enable=false in every broker's server.properties",
    ))
}

pub(super) fn leaders(_: &Settings, topic: &TopicDiagnostics) -> CheckResult {
    if topic.partitions.is_empty() {
        let sentence = "the topic does not exist, or is hidden from this program";
        return Ok(Finding::error(sentence, "onrecord migrate"));
    }
    let without = topic.partitions.iter().filter(|p| !p.has_leader).map(|p| p.partition);
    let without = list(without);
    if without.is_empty() {
        return Ok(Finding::ok("it exists, and every partition has a leader"));
    }
    Ok(Finding::error(
        format!("no leader for partition {without}: nothing is written or read there"),
        "start the brokers that hold its replicas",
    ))
}

pub(super) fn partitions(settings: &Settings, topic: &TopicDiagnostics) -> CheckResult {
    let existing = topic.partitions.len();
    let wanted = usize::try_from(settings.kafka.partitions).unwrap_or(0);
    if existing == wanted {
        return Ok(Finding::ok(existing.to_string()));
    }
    let remedy = if existing < wanted {
        format!(
            "kafka-topics.sh --bootstrap-server {} --alter --topic {} --partitions {wanted}",
            settings.kafka_brokers, topic.name
        )
    } else {
        format!("[kafka] partitions = {existing}")
    };
    let existing = number(existing, "partition");
    Ok(Finding::warning(format!("{existing}, and the settings say {wanted}"), remedy))
}

pub(super) fn replicas(_: &Settings, topic: &TopicDiagnostics) -> CheckResult {
    let least = least_replicas(topic);
    if least >= 3 {
        return Ok(Finding::ok(least.to_string()));
    }
    Ok(Finding::warning(
        format!(
            "{}: messages that the ledger has not appended yet can be lost with their brokers",
            number(least, "replica")
        ),
        "three brokers, and kafka-reassign-partitions.sh --execute with three replicas for each partition",
    ))
}

fn least_replicas(topic: &TopicDiagnostics) -> usize {
    let replicas = topic.partitions.iter().map(|p| p.replicas);
    replicas.min().unwrap_or(0)
}

pub(super) fn in_sync(settings: &Settings, topic: &TopicDiagnostics) -> CheckResult {
    const START: &str = "start the brokers that are down, or look into their logs";
    let least = integer(topic, "min.insync.replicas")?;
    let least = usize::try_from(least).map_err(|_| HIDDEN)?;
    let replicas = least_replicas(topic);
    let in_sync = topic.partitions.iter().map(|p| (p.in_sync, p.replicas));
    // Kafka from 3.7 on asks for no more replicas than there are.
    let short = in_sync.clone().filter(|(in_sync, all)| *in_sync < least.min(*all)).count();
    let behind = in_sync.filter(|(in_sync, all)| in_sync < all).count();
    let alter = |least: usize| alter(settings, topic, &format!("min.insync.replicas={least}"));
    Ok(if short > 0 {
        Finding::error(
            format!(
                "fewer than {} replicas are in sync in {}: Kafka accepts no messages there, and they go to the spool",
                least.min(replicas),
                number(short, "partition")
            ),
            START,
        )
    } else if behind > 0 {
        let behind = number(behind, "partition");
        Finding::warning(format!("a replica is not in sync in {behind}"), START)
    } else if least > replicas {
        let replicas_text = number(replicas, "replica");
        Finding::warning(
            format!(
                "min.insync.replicas is {least} with {replicas_text}: Kafka before 3.7 accepts no messages, and a later one confirms them when all replicas have them"
            ),
            alter(replicas),
        )
    } else if least < 2 {
        Finding::warning(
            format!(
                "min.insync.replicas is {least}: Kafka confirms messages that only one broker has"
            ),
            // With fewer replicas, Kafka would accept no messages while a broker is down.
            if replicas < 3 {
                format!("three replicas first, then {}", alter(2))
            } else {
                alter(2)
            },
        )
    } else {
        Finding::ok(format!("at least {least} of {replicas}"))
    })
}

pub(super) fn message_size(settings: &Settings, topic: &TopicDiagnostics) -> CheckResult {
    let largest = integer(topic, "max.message.bytes")?;
    let ours: i64 = MAX_MESSAGE_BYTES.parse().unwrap_or(i64::MAX);
    if largest >= ours {
        return Ok(Finding::ok(format!("{} MiB", largest / 1024 / 1024)));
    }
    Ok(Finding::error(
        format!("max.message.bytes is {largest}: a large event is rejected and goes to quarantine"),
        alter(settings, topic, &format!("max.message.bytes={MAX_MESSAGE_BYTES}")),
    ))
}

/// Whether it is the topic of flat records, which keeps the last message of each key.
fn is_compacted(topic: &TopicDiagnostics) -> bool {
    topic.name.ends_with(CALL_FACTS)
}

pub(super) fn retention(settings: &Settings, topic: &TopicDiagnostics) -> CheckResult {
    if is_compacted(topic) {
        return Ok(Finding::ok("the last message of each key stays"));
    }
    // A negative number is no limit.
    let kept = Some(integer(topic, "retention.ms")?).filter(|kept| *kept >= 0);
    let kept = kept.and_then(TimeDelta::try_milliseconds);
    let text = kept.map_or_else(|| "unlimited".to_owned(), span);
    let kept = kept.unwrap_or(TimeDelta::MAX);
    let wanted = delta(settings.kafka.retention);
    let remedy = alter(settings, topic, &format!("retention.ms={}", wanted.num_milliseconds()));
    let seen = delta(settings.ledger.dedup_retention);
    if kept > seen {
        let seen = span(seen);
        return Ok(Finding::error(
            format!(
                "retention is {text}, above [ledger] dedup_retention ({seen}): messages that the ledger reads again after that could be appended twice"
            ),
            remedy,
        ));
    }
    if let LiveHistory::Since(history) = settings.live.history
        && kept < delta(history)
    {
        let history = span(delta(history));
        return Ok(Finding::warning(
            format!(
                "retention is {text}, less than [live] history ({history}): live state misses the longer calls after a start"
            ),
            remedy,
        ));
    }
    if kept < wanted {
        let wanted = span(wanted);
        return Ok(Finding::warning(
            format!(
                "retention is {text}, less than [kafka] retention ({wanted}): a ledger that is down for longer loses the messages that it has not appended"
            ),
            remedy,
        ));
    }
    match integer(topic, "retention.bytes") {
        Ok(bytes) if bytes >= 0 => Ok(Finding::warning(
            format!(
                "retention.bytes is {bytes}: much traffic deletes messages before the ledger has appended them"
            ),
            alter(settings, topic, "retention.bytes=-1"),
        )),
        Ok(_) | Err(_) => Ok(Finding::ok(text)),
    }
}

pub(super) fn cleanup(settings: &Settings, topic: &TopicDiagnostics) -> CheckResult {
    let policy = setting(topic, "cleanup.policy")?;
    if is_compacted(topic) {
        if policy == "compact" {
            return Ok(Finding::ok("compact"));
        }
        return Ok(Finding::error(
            format!(
                "cleanup.policy is {policy}: records that have not changed for the retention are deleted"
            ),
            alter(settings, topic, "cleanup.policy=compact"),
        ));
    }
    if policy == "delete" {
        return Ok(Finding::ok("delete"));
    }
    Ok(Finding::error(
        format!("cleanup.policy is {policy}: Kafka deletes all messages of a key but the last"),
        alter(settings, topic, "cleanup.policy=delete"),
    ))
}

pub(super) fn compression(_: &Settings, topic: &TopicDiagnostics) -> CheckResult {
    if let Err(unreadable) = topic.newest_batches.as_ref()? {
        return Ok(Finding::error(
            format!("{unreadable}: live state and ledger do not get past it"),
            "find the producer that wrote it, or the damage of the broker's disk; what other nodes or replicas have of it can be published again",
        ));
    }
    // A topic may be made with another value, at the cost of the broker.
    Ok(Finding::ok(match setting(topic, "compression.type") {
        Ok(codec) => format!("the newest batches can be read; compression.type is {codec}"),
        Err(_) => "the newest batches can be read".to_owned(),
    }))
}

fn setting<'a>(topic: &'a TopicDiagnostics, name: &str) -> Result<&'a str, String> {
    let settings = topic.settings.as_ref();
    let setting = settings.and_then(|settings| settings.get(name));
    Ok(setting.ok_or(HIDDEN)?)
}

fn integer(topic: &TopicDiagnostics, name: &str) -> Result<i64, String> {
    Ok(setting(topic, name)?.parse().map_err(|_| HIDDEN)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::FindingLevel;
    use crate::kafka::PartitionDiagnostics;

    fn topic(settings: &[(&str, &str)]) -> TopicDiagnostics {
        let usual = [
            ("min.insync.replicas", "2"),
            ("max.message.bytes", MAX_MESSAGE_BYTES),
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("cleanup.policy", "delete"),
            ("compression.type", "producer"),
        ];
        let all = usual.iter().chain(settings);
        TopicDiagnostics {
            name: "calling-events.v1".to_owned(),
            partitions: (0..12)
                .map(|partition| PartitionDiagnostics {
                    partition,
                    has_leader: true,
                    replicas: 3,
                    in_sync: 3,
                    next_offset: Some(0),
                })
                .collect(),
            newest_batches: Ok(Ok(())),
            settings: Some(
                all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ),
        }
    }

    type TopicCheck = fn(&Settings, &TopicDiagnostics) -> CheckResult;

    fn of(topic: &TopicDiagnostics, check: TopicCheck) -> Finding {
        check(&Settings::from_toml("").unwrap(), topic).unwrap()
    }

    #[test]
    fn a_topic_as_the_service_creates_it_is_ok() {
        let checks: [TopicCheck; 8] =
            [leaders, partitions, replicas, in_sync, message_size, retention, cleanup, compression];
        for check in checks {
            let found = of(&topic(&[]), check);
            assert_eq!(found.level, FindingLevel::Ok, "{found:?}");
        }
    }

    #[test]
    fn a_partition_without_a_leader_is_an_error() {
        let mut topic = topic(&[]);
        topic.partitions[7].has_leader = false;
        let found = of(&topic, leaders);
        assert_eq!(found.level, FindingLevel::Error);
        assert!(found.sentence.contains("partition 7"), "{found:?}");
    }

    #[test]
    fn another_number_of_partitions_than_the_settings_is_a_warning() {
        let mut topic = topic(&[]);
        topic.partitions.truncate(4);
        assert_eq!(of(&topic, partitions).level, FindingLevel::Warning);
    }

    #[test]
    fn few_replicas_are_a_warning() {
        let mut topic = topic(&[("min.insync.replicas", "1")]);
        for partition in &mut topic.partitions {
            (partition.replicas, partition.in_sync) = (1, 1);
        }
        assert_eq!(of(&topic, replicas).level, FindingLevel::Warning);
        let found = of(&topic, in_sync);
        assert_eq!(found.level, FindingLevel::Warning);
        assert!(found.remedy.unwrap().starts_with("three replicas first"));
    }

    #[test]
    fn replicas_that_are_not_in_sync_are_a_warning_until_messages_are_rejected() {
        let mut topic = topic(&[]);
        topic.partitions[0].in_sync = 2;
        assert_eq!(of(&topic, in_sync).level, FindingLevel::Warning);
        topic.partitions[0].in_sync = 1;
        assert_eq!(of(&topic, in_sync).level, FindingLevel::Error);
    }

    #[test]
    fn a_minimum_in_sync_above_the_number_of_replicas_is_a_warning_as_long_as_all_are_in_sync() {
        let mut topic = topic(&[("min.insync.replicas", "4")]);
        assert_eq!(of(&topic, in_sync).level, FindingLevel::Warning);
        topic.partitions[0].in_sync = 2;
        assert_eq!(of(&topic, in_sync).level, FindingLevel::Error);
    }

    #[test]
    fn too_small_a_message_size_is_an_error_with_the_command_that_corrects_it() {
        let found = of(&topic(&[("max.message.bytes", "1048588")]), message_size);
        assert_eq!(found.level, FindingLevel::Error);
        assert!(found.remedy.unwrap().contains("max.message.bytes=12582912"));
    }

    #[test]
    fn retention_is_never_above_that_of_seen_keys_and_not_too_short() {
        for (kept, level) in [
            ("-1", FindingLevel::Error),
            ("3110400000", FindingLevel::Error),
            ("3600000", FindingLevel::Warning),
            ("172800000", FindingLevel::Warning),
            ("604800000", FindingLevel::Ok),
        ] {
            let found = of(&topic(&[("retention.ms", kept)]), retention);
            assert_eq!(found.level, level, "{found:?}");
        }
        let found = of(&topic(&[("retention.bytes", "1000000")]), retention);
        assert_eq!(found.level, FindingLevel::Warning);
    }

    #[test]
    fn newest_batches_that_were_not_read_are_unknown() {
        let mut topic = topic(&[("compression.type", "zstd")]);
        assert_eq!(of(&topic, compression).level, FindingLevel::Ok);
        topic.settings = None;
        assert_eq!(of(&topic, compression).level, FindingLevel::Ok);
        topic.newest_batches = Err("no answer".to_owned());
        assert!(compression(&Settings::from_toml("").unwrap(), &topic).is_err());
    }

    #[test]
    fn compaction_is_an_error() {
        for policy in ["compact", "compact,delete"] {
            assert_eq!(
                of(&topic(&[("cleanup.policy", policy)]), cleanup).level,
                FindingLevel::Error
            );
        }
    }

    #[test]
    fn hidden_settings_are_unknown() {
        let mut topic = topic(&[]);
        topic.settings = None;
        let checks: [TopicCheck; 4] = [in_sync, message_size, retention, cleanup];
        for check in checks {
            assert_eq!(check(&Settings::from_toml("").unwrap(), &topic), Err(HIDDEN.to_owned()));
        }
        assert!(auto_create(None).is_err());
        assert_eq!(auto_create(Some(true)).unwrap().level, FindingLevel::Warning);
    }
}
