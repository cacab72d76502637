//! Findings about Kafka and our topics.

use std::time::Duration;

use chrono::TimeDelta;

use super::finding::{Finding, number, span};
use crate::config::{History, Settings};
use crate::stream::{KafkaAway, KafkaCondition, LARGEST_MESSAGE, TopicCondition};

const REACHABLE: &str = "kafka.reachable";
const AUTO_CREATE: &str = "kafka.auto_create";
const TOPIC: &str = "kafka.topic";
const PARTITIONS: &str = "kafka.partitions";
const REPLICAS: &str = "kafka.replicas";
const IN_SYNC: &str = "kafka.in_sync";
const MESSAGE_SIZE: &str = "kafka.message_size";
const RETENTION: &str = "kafka.retention";
const CLEANUP: &str = "kafka.cleanup";

/// What cannot be looked at while Kafka is away.
const UNSEEN: [&str; 8] = [
    AUTO_CREATE,
    TOPIC,
    PARTITIONS,
    REPLICAS,
    IN_SYNC,
    MESSAGE_SIZE,
    RETENTION,
    CLEANUP,
];

/// Why what Kafka holds was not looked at.
pub(super) const AWAY: &str = "Kafka is away";
const HIDDEN: &str = "Kafka does not show the topic's settings to us";

/// What the findings compare with.
pub(super) struct Wanted<'a> {
    brokers: &'a str,
    partitions: usize,
    retention: TimeDelta,
    seen_retention: TimeDelta,
    history: Option<TimeDelta>,
}

impl<'a> Wanted<'a> {
    pub fn of(settings: &'a Settings) -> Self {
        Self {
            brokers: &settings.kafka_brokers,
            partitions: usize::try_from(settings.kafka.partitions).unwrap_or(0),
            retention: delta(settings.kafka.retention),
            seen_retention: delta(settings.ledger.seen_retention),
            history: match settings.board.history {
                History::All => None,
                History::Since(history) => Some(delta(history)),
            },
        }
    }

    /// The command that changes a setting of a topic.
    fn alter(&self, topic: &str, setting: &str) -> String {
        format!(
            "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} --add-config {setting}",
            self.brokers
        )
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

pub(super) fn findings(
    wanted: &Wanted<'_>,
    condition: &Result<KafkaCondition, KafkaAway>,
) -> Vec<Finding> {
    let condition = match condition {
        Ok(condition) => condition,
        Err(away) => return away_findings(wanted, away),
    };
    let mut findings = vec![
        Finding::ok(REACHABLE, number(condition.brokers, "broker")),
        auto_create(condition.auto_create),
    ];
    for topic in &condition.topics {
        let of_topic = topic_findings(wanted, topic).into_iter();
        findings.extend(of_topic.map(|found| found.of(&topic.name)));
    }
    findings
}

fn away_findings(wanted: &Wanted<'_>, away: &KafkaAway) -> Vec<Finding> {
    let first = match away {
        KafkaAway::Settings(why) => Finding::error(
            REACHABLE,
            format!("the client library refuses the settings: {why}"),
            "correct [kafka.properties]; TLS and SASL want a build with the cargo feature kafka-tls",
        ),
        KafkaAway::Unreachable(why) => Finding::error(
            REACHABLE,
            format!("no broker of {} answers: {why}", wanted.brokers),
            "look at kafka_brokers, and whether security.protocol in [kafka.properties] is that of the listener",
        ),
    };
    let unseen = UNSEEN.map(|code| Finding::unknown(code, AWAY));
    std::iter::once(first).chain(unseen).collect()
}

fn auto_create(on: Option<bool>) -> Finding {
    match on {
        None => Finding::unknown(AUTO_CREATE, "Kafka does not show a broker's settings to us"),
        Some(false) => Finding::ok(AUTO_CREATE, "off"),
        Some(true) => Finding::warning(
            AUTO_CREATE,
            "auto.create.topics.enable is on: a topic that was deleted comes back with the broker's settings instead of ours",
            "auto.create.topics.enable=false in every broker's server.properties",
        ),
    }
}

fn topic_findings(wanted: &Wanted<'_>, topic: &TopicCondition) -> Vec<Finding> {
    if topic.partitions.is_empty() {
        let unseen = [
            PARTITIONS,
            REPLICAS,
            IN_SYNC,
            MESSAGE_SIZE,
            RETENTION,
            CLEANUP,
        ];
        let absent = Finding::error(
            TOPIC,
            "the topic is not there, or hidden from us",
            "onrecord migrate",
        );
        let unseen = unseen.map(|code| Finding::unknown(code, "there is no topic"));
        return std::iter::once(absent).chain(unseen).collect();
    }
    vec![
        leaders(topic),
        partitions(wanted, topic),
        replicas(topic),
        in_sync(wanted, topic),
        message_size(wanted, topic),
        retention(wanted, topic),
        cleanup(wanted, topic),
    ]
}

fn leaders(topic: &TopicCondition) -> Finding {
    let without = topic.partitions.iter().filter(|p| !p.has_leader);
    let without: Vec<String> = without.map(|p| p.partition.to_string()).collect();
    if without.is_empty() {
        return Finding::ok(TOPIC, "there, every partition has a leader");
    }
    Finding::error(
        TOPIC,
        format!(
            "no leader for partition {}: it takes and gives nothing",
            without.join(", ")
        ),
        "start the brokers that hold its replicas",
    )
}

fn partitions(wanted: &Wanted<'_>, topic: &TopicCondition) -> Finding {
    let there = topic.partitions.len();
    if there == wanted.partitions {
        return Finding::ok(PARTITIONS, there.to_string());
    }
    let remedy = if there < wanted.partitions {
        format!(
            "kafka-topics.sh --bootstrap-server {} --alter --topic {} --partitions {}",
            wanted.brokers, topic.name, wanted.partitions
        )
    } else {
        format!("[kafka] partitions = {there}")
    };
    Finding::warning(
        PARTITIONS,
        format!(
            "{}, and the settings say {}",
            number(there, "partition"),
            wanted.partitions
        ),
        remedy,
    )
}

fn replicas(topic: &TopicCondition) -> Finding {
    let least = topic
        .partitions
        .iter()
        .map(|p| p.replicas)
        .min()
        .unwrap_or(0);
    if least >= 3 {
        return Finding::ok(REPLICAS, least.to_string());
    }
    Finding::warning(
        REPLICAS,
        format!(
            "{}: what the ledger has not entered yet can be lost with the brokers that hold it",
            number(least, "replica")
        ),
        "three brokers, and kafka-reassign-partitions.sh --execute with three replicas for each partition",
    )
}

fn in_sync(wanted: &Wanted<'_>, topic: &TopicCondition) -> Finding {
    let Some(least) = value(topic, "min.insync.replicas").and_then(|v| usize::try_from(v).ok())
    else {
        return Finding::unknown(IN_SYNC, HIDDEN);
    };
    let replicas = topic
        .partitions
        .iter()
        .map(|p| p.replicas)
        .min()
        .unwrap_or(0);
    if least > replicas {
        return Finding::error(
            IN_SYNC,
            format!(
                "min.insync.replicas is {least} with {}: Kafka takes nothing from us",
                number(replicas, "replica")
            ),
            wanted.alter(&topic.name, &format!("min.insync.replicas={replicas}")),
        );
    }
    let short = topic
        .partitions
        .iter()
        .filter(|p| p.in_sync < least)
        .count();
    if short > 0 {
        return Finding::error(
            IN_SYNC,
            format!(
                "fewer than {least} replicas are in sync in {}: Kafka takes nothing for them, it goes to the spool",
                number(short, "partition")
            ),
            "start the brokers that are down, or look into their logs",
        );
    }
    let behind = topic
        .partitions
        .iter()
        .filter(|p| p.in_sync < p.replicas)
        .count();
    if behind > 0 {
        return Finding::warning(
            IN_SYNC,
            format!(
                "a replica is not in sync in {}",
                number(behind, "partition")
            ),
            "start the brokers that are down, or look into their logs",
        );
    }
    if least < 2 {
        let alter = wanted.alter(&topic.name, "min.insync.replicas=2");
        return Finding::warning(
            IN_SYNC,
            format!("min.insync.replicas is {least}: Kafka confirms what one broker alone has"),
            // With fewer, no broker could be away, or nothing would be taken at all.
            if replicas < 3 {
                format!("three replicas first, then {alter}")
            } else {
                alter
            },
        );
    }
    Finding::ok(IN_SYNC, format!("at least {least} of {replicas}"))
}

fn message_size(wanted: &Wanted<'_>, topic: &TopicCondition) -> Finding {
    let Some(largest) = value(topic, "max.message.bytes") else {
        return Finding::unknown(MESSAGE_SIZE, HIDDEN);
    };
    let ours: i64 = LARGEST_MESSAGE.parse().unwrap_or(i64::MAX);
    if largest >= ours {
        return Finding::ok(MESSAGE_SIZE, format!("{} MiB", largest / 1024 / 1024));
    }
    Finding::error(
        MESSAGE_SIZE,
        format!("max.message.bytes is {largest}: a large event is refused and ends in quarantine"),
        wanted.alter(&topic.name, &format!("max.message.bytes={LARGEST_MESSAGE}")),
    )
}

fn retention(wanted: &Wanted<'_>, topic: &TopicCondition) -> Finding {
    let Some(kept) = value(topic, "retention.ms") else {
        return Finding::unknown(RETENTION, HIDDEN);
    };
    let remedy = wanted.alter(
        &topic.name,
        &format!("retention.ms={}", wanted.retention.num_milliseconds()),
    );
    // Kafka's word for "for ever".
    let kept = if kept < 0 {
        TimeDelta::MAX
    } else {
        TimeDelta::try_milliseconds(kept).unwrap_or(TimeDelta::MAX)
    };
    if kept > wanted.seen_retention {
        let said = if kept == TimeDelta::MAX {
            "for ever".to_owned()
        } else {
            span(kept)
        };
        return Finding::error(
            RETENTION,
            format!(
                "retention is {said}, above [ledger] seen_retention ({}): what the ledger reads anew after that could be entered twice",
                span(wanted.seen_retention)
            ),
            remedy,
        );
    }
    if let Some(history) = wanted.history
        && kept < history
    {
        return Finding::warning(
            RETENTION,
            format!(
                "retention is {}, less than [board] history ({}): a board that starts does not know of longer calls",
                span(kept),
                span(history)
            ),
            remedy,
        );
    }
    if kept < wanted.retention {
        return Finding::warning(
            RETENTION,
            format!(
                "retention is {}, less than [kafka] retention ({}): a ledger that is away for longer loses what it has not entered",
                span(kept),
                span(wanted.retention)
            ),
            remedy,
        );
    }
    if let Some(bytes) = value(topic, "retention.bytes").filter(|bytes| *bytes >= 0) {
        return Finding::warning(
            RETENTION,
            format!(
                "retention.bytes is {bytes}: much traffic drives out what the ledger has not entered before its time"
            ),
            wanted.alter(&topic.name, "retention.bytes=-1"),
        );
    }
    Finding::ok(RETENTION, span(kept))
}

fn cleanup(wanted: &Wanted<'_>, topic: &TopicCondition) -> Finding {
    let policy = topic.settings.as_ref();
    let Some(policy) = policy.and_then(|settings| settings.get("cleanup.policy")) else {
        return Finding::unknown(CLEANUP, HIDDEN);
    };
    if policy == "delete" {
        return Finding::ok(CLEANUP, "delete");
    }
    Finding::error(
        CLEANUP,
        format!("cleanup.policy is {policy}: Kafka removes all but the last message of each key"),
        wanted.alter(&topic.name, "cleanup.policy=delete"),
    )
}

fn value(topic: &TopicCondition, name: &str) -> Option<i64> {
    topic.settings.as_ref()?.get(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::stream::PartitionCondition;

    fn wanted() -> Wanted<'static> {
        Wanted {
            brokers: "kafka:9092",
            partitions: 12,
            retention: TimeDelta::days(7),
            seen_retention: TimeDelta::days(35),
            history: Some(TimeDelta::hours(26)),
        }
    }

    fn topic(settings: &[(&str, &str)]) -> TopicCondition {
        let usual = [
            ("min.insync.replicas", "2"),
            ("max.message.bytes", LARGEST_MESSAGE),
            ("retention.ms", "604800000"),
            ("retention.bytes", "-1"),
            ("cleanup.policy", "delete"),
        ];
        let all = usual.iter().chain(settings);
        TopicCondition {
            name: "calling-events.v1".to_owned(),
            partitions: (0..12)
                .map(|partition| PartitionCondition {
                    partition,
                    has_leader: true,
                    replicas: 3,
                    in_sync: 3,
                    next_offset: Some(0),
                })
                .collect(),
            settings: Some(
                all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
        }
    }

    fn of(topic: &TopicCondition, code: &str) -> Finding {
        let findings = topic_findings(&wanted(), topic);
        findings.into_iter().find(|f| f.code == code).unwrap()
    }

    #[test]
    fn a_topic_as_we_make_it_is_well() {
        for found in topic_findings(&wanted(), &topic(&[])) {
            assert_eq!(found.level, Level::Ok, "{found:?}");
        }
    }

    #[test]
    fn a_topic_that_is_not_there_is_one_error_and_the_rest_is_unknown() {
        let findings = topic_findings(&wanted(), &TopicCondition::default());
        let levels: Vec<Level> = findings.iter().map(|f| f.level).collect();
        assert_eq!(levels[0], Level::Error);
        assert!(levels[1..].iter().all(|level| *level == Level::Unknown));
    }

    #[test]
    fn a_partition_without_a_leader_is_an_error() {
        let mut topic = topic(&[]);
        topic.partitions[7].has_leader = false;
        let found = of(&topic, TOPIC);
        assert_eq!(found.level, Level::Error);
        assert!(found.sentence.contains("partition 7"), "{found:?}");
    }

    #[test]
    fn another_number_of_partitions_than_the_settings_is_a_warning() {
        let mut topic = topic(&[]);
        topic.partitions.truncate(4);
        assert_eq!(of(&topic, PARTITIONS).level, Level::Warning);
    }

    #[test]
    fn few_replicas_are_a_warning() {
        let mut topic = topic(&[("min.insync.replicas", "1")]);
        for partition in &mut topic.partitions {
            (partition.replicas, partition.in_sync) = (1, 1);
        }
        assert_eq!(of(&topic, REPLICAS).level, Level::Warning);
        let found = of(&topic, IN_SYNC);
        assert_eq!(found.level, Level::Warning);
        assert!(found.remedy.unwrap().starts_with("three replicas first"));
    }

    #[test]
    fn replicas_that_are_not_in_sync_are_a_warning_until_nothing_is_taken() {
        let mut topic = topic(&[]);
        topic.partitions[0].in_sync = 2;
        assert_eq!(of(&topic, IN_SYNC).level, Level::Warning);
        topic.partitions[0].in_sync = 1;
        assert_eq!(of(&topic, IN_SYNC).level, Level::Error);
    }

    #[test]
    fn more_in_sync_than_there_are_replicas_is_an_error() {
        let topic = topic(&[("min.insync.replicas", "4")]);
        assert_eq!(of(&topic, IN_SYNC).level, Level::Error);
    }

    #[test]
    fn too_small_a_message_is_an_error_with_the_command_that_mends_it() {
        let found = of(&topic(&[("max.message.bytes", "1048588")]), MESSAGE_SIZE);
        assert_eq!(found.level, Level::Error);
        assert!(found.remedy.unwrap().contains("max.message.bytes=12582912"));
    }

    #[test]
    fn retention_is_never_above_that_of_seen_and_not_too_short() {
        for (retention, level) in [
            ("-1", Level::Error),
            ("3110400000", Level::Error),
            ("3600000", Level::Warning),
            ("172800000", Level::Warning),
            ("604800000", Level::Ok),
        ] {
            let found = of(&topic(&[("retention.ms", retention)]), RETENTION);
            assert_eq!(found.level, level, "{found:?}");
        }
        let found = of(&topic(&[("retention.bytes", "1000000")]), RETENTION);
        assert_eq!(found.level, Level::Warning);
    }

    #[test]
    fn compaction_is_an_error() {
        for policy in ["compact", "compact,delete"] {
            assert_eq!(
                of(&topic(&[("cleanup.policy", policy)]), CLEANUP).level,
                Level::Error
            );
        }
    }

    #[test]
    fn settings_that_are_hidden_from_us_are_unknown() {
        let mut topic = topic(&[]);
        topic.settings = None;
        for code in [IN_SYNC, MESSAGE_SIZE, RETENTION, CLEANUP] {
            assert_eq!(of(&topic, code).level, Level::Unknown);
        }
        assert_eq!(auto_create(None).level, Level::Unknown);
        assert_eq!(auto_create(Some(true)).level, Level::Warning);
    }

    #[test]
    fn while_kafka_is_away_everything_else_is_unknown() {
        let away = KafkaAway::Unreachable("Connection refused".to_owned());
        let findings = findings(&wanted(), &Err(away));
        assert_eq!(findings[0].level, Level::Error);
        assert!(findings[0].sentence.contains("Connection refused"));
        assert!(findings[1..].iter().all(|f| f.level == Level::Unknown));
    }
}
