//! Findings about what is on its way: spool, quarantine, gaps, and how far the ledger is.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::finding::{Finding, looked, number, span};
use super::kafka;
use crate::store::{
    GapCondition, Look, PositionCondition, PostgresCondition, QuarantineCondition, SpoolCondition,
};
use crate::stream::{KafkaAway, KafkaCondition, PartitionCondition, TopicCondition};

const SPOOL: &str = "spool.age";
const QUARANTINE: &str = "quarantine.recent";
const GAPS: &str = "stream.gaps";
const OWNERS: &str = "ledger.owners";
const LAG: &str = "ledger.lag";
const STRANGERS: &str = "ledger.strangers";
const COMPLETE: &str = "ledger.complete_through";

const CODES: [&str; 7] = [SPOOL, QUARANTINE, GAPS, OWNERS, LAG, STRANGERS, COMPLETE];

/// The drainer needs seconds; after a minute Kafka is away or nobody drains.
const SPOOL_WARNING: TimeDelta = TimeDelta::minutes(1);
const SPOOL_ERROR: TimeDelta = TimeDelta::minutes(15);
/// A gap is an error for a day, in which dead letters can still be looked for.
const GAP_ERROR: TimeDelta = TimeDelta::hours(24);
/// A few batches.
const LAG_WARNING: i64 = 1000;
/// 45 s are by design: so long may be on its way.
const COMPLETE_WARNING: TimeDelta = TimeDelta::minutes(2);
const COMPLETE_ERROR: TimeDelta = TimeDelta::minutes(15);

const SERVE: &str =
    "onrecord serve, with the room ledger, on one node at least; its log says what it waits for";

/// What is known of our topics; `None` while Kafka is away.
type Topics<'a> = Option<&'a [TopicCondition]>;

/// Nothing is known while Postgres is away.
pub(super) fn unseen(why: &str) -> Vec<Finding> {
    CODES.map(|code| Finding::unknown(code, why)).into()
}

pub(super) fn findings(
    postgres: &PostgresCondition,
    kafka: &Result<KafkaCondition, KafkaAway>,
) -> Vec<Finding> {
    let now = postgres.server.now;
    let topics: Topics<'_> = kafka.as_ref().ok().map(|kafka| kafka.topics.as_slice());
    let positions = &postgres.positions;
    vec![
        looked(SPOOL, &postgres.spool, |rows| spool(rows, now)),
        looked(QUARANTINE, &postgres.quarantine, |rows| {
            quarantine(rows, now)
        }),
        looked(GAPS, &postgres.gaps, |rows| gaps(rows, now)),
        looked(OWNERS, positions, |rows| owners(rows, topics, now)),
        looked(LAG, &with_topics(positions, topics), |(rows, topics)| {
            lag(rows, topics)
        }),
        looked(
            STRANGERS,
            &with_topics(positions, topics),
            |(rows, topics)| strangers(rows, topics),
        ),
        looked(COMPLETE, positions, |rows| complete(rows, now)),
    ]
}

/// What can be said only if both stores were seen.
fn with_topics<'a>(
    positions: &'a Look<Vec<PositionCondition>>,
    topics: Topics<'a>,
) -> Look<(&'a [PositionCondition], &'a [TopicCondition])> {
    let positions = positions.as_ref().map_err(String::clone)?;
    let topics = topics.ok_or_else(|| kafka::AWAY.to_owned())?;
    Ok((positions, topics))
}

fn spool(spool: &SpoolCondition, now: DateTime<Utc>) -> Finding {
    let Some(oldest) = spool.oldest else {
        return Finding::ok(SPOOL, "empty");
    };
    let age = now - oldest;
    let sentence = format!(
        "{} in the spool, the oldest for {}",
        number(spool.rows, "message"),
        span(age)
    );
    let remedy = "if Kafka is well, some node must run the room ledger: it drains; its log says why it does not";
    if age > SPOOL_ERROR {
        Finding::error(SPOOL, sentence, remedy)
    } else if age > SPOOL_WARNING {
        Finding::warning(SPOOL, sentence, remedy)
    } else {
        Finding::ok(SPOOL, sentence)
    }
}

fn quarantine(quarantine: &QuarantineCondition, now: DateTime<Utc>) -> Finding {
    let Some(oldest) = quarantine.oldest else {
        return Finding::ok(QUARANTINE, "empty");
    };
    let all = format!(
        "{} in all, the oldest from {} ago",
        quarantine.rows,
        span(now - oldest)
    );
    if quarantine.recent.is_empty() {
        return Finding::ok(QUARANTINE, format!("none in the last 24 h; {all}"));
    }
    let reasons = quarantine.recent.iter();
    let reasons: Vec<String> = reasons
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    Finding::warning(
        QUARANTINE,
        format!(
            "not understood in the last 24 h: {}; {all}",
            reasons.join(", ")
        ),
        "GET /v1/quarantine?reason=…, with an auditor's key: the detail says which member is wrong",
    )
}

fn gaps(gaps: &[GapCondition], now: DateTime<Utc>) -> Finding {
    let Some(last) = gaps.first() else {
        return Finding::ok(GAPS, "none in the last 30 d");
    };
    let gone: i64 = gaps
        .iter()
        .map(|gap| (gap.resumed - gap.wanted).max(0))
        .sum();
    let sentence = format!(
        "{} of the log in the last 30 d ({} gone unread), the last {} ago in {} partition {}: {}",
        number(gaps.len(), "gap"),
        number(gone, "message"),
        span(now - last.noticed),
        last.topic,
        last.partition,
        last.reason
    );
    let remedy = "select * from stream_gap order by noticed desc; what is gone from the log may be in Event Grid's dead letters";
    let lost = |gap: &GapCondition| gap.resumed > gap.wanted && now - gap.noticed <= GAP_ERROR;
    if gaps.iter().any(lost) {
        return Finding::error(GAPS, sentence, remedy);
    }
    Finding::warning(GAPS, sentence, remedy)
}

/// Every partition of our topics; without Kafka those that a ledger has once claimed.
fn owners(positions: &[PositionCondition], topics: Topics<'_>, now: DateTime<Utc>) -> Finding {
    let known: BTreeSet<(&str, i32)> = match topics {
        Some(topics) => topics
            .iter()
            .flat_map(partitions_of)
            .map(|(name, p)| (name, p.partition))
            .collect(),
        None => positions
            .iter()
            .map(|p| (p.topic.as_str(), p.partition))
            .collect(),
    };
    let mut lapsed: Option<TimeDelta> = None;
    let (mut owned, mut nodes) = (0, BTreeSet::new());
    for (topic, partition) in &known {
        let position = position(positions, topic, *partition);
        let lease = position.and_then(|p| Some((p.owner.as_deref()?, p.lease_until?)));
        match lease {
            Some((owner, until)) if until >= now => {
                owned += 1;
                nodes.insert(owner);
            }
            Some((_, until)) => lapsed = lapsed.max(Some(now - until)),
            None => {}
        }
    }
    let all = known.len();
    if all == 0 || positions.is_empty() {
        return Finding::error(
            OWNERS,
            "no ledger has ever run here: nothing is entered",
            SERVE,
        );
    }
    if owned == all {
        let nodes = number(nodes.len(), "node");
        return Finding::ok(OWNERS, format!("all {all} partitions, by {nodes}"));
    }
    let lapsed = lapsed.map_or_else(String::new, |ago| {
        format!("; the lease of a stale owner ended {} ago", span(ago))
    });
    Finding::error(
        OWNERS,
        format!(
            "{} of {all} partitions have no ledger{lapsed}: nothing of them is entered",
            all - owned
        ),
        SERVE,
    )
}

fn lag(positions: &[PositionCondition], topics: &[TopicCondition]) -> Finding {
    let mut behind = 0;
    for (topic, partition) in topics.iter().flat_map(partitions_of) {
        let Some(end) = partition.next_offset else {
            continue;
        };
        let next = position(positions, topic, partition.partition).map_or(0, |p| p.next_offset);
        if next > end {
            return Finding::error(
                LAG,
                format!(
                    "the position of {topic} partition {} is {next}, beyond the log's end {end}: the topic was made anew, or this is another Kafka",
                    partition.partition
                ),
                "is kafka_brokers that of this database? Else let the ledger run: it reads such a partition from its beginning, and notes it in stream_gap",
            );
        }
        behind += end - next;
    }
    if behind > LAG_WARNING {
        return Finding::warning(
            LAG,
            format!("{} of the log are not entered", number(behind, "message")),
            SERVE,
        );
    }
    Finding::ok(LAG, format!("{} behind", number(behind, "message")))
}

/// `complete_through` is the least of all positions, so one that nobody moves holds it for ever.
fn strangers(positions: &[PositionCondition], topics: &[TopicCondition]) -> Finding {
    let known: BTreeSet<(&str, i32)> = topics
        .iter()
        .flat_map(partitions_of)
        .map(|(name, partition)| (name, partition.partition))
        .collect();
    let strange = positions
        .iter()
        .filter(|p| !known.contains(&(p.topic.as_str(), p.partition)));
    let topics: BTreeSet<&str> = strange.map(|p| p.topic.as_str()).collect();
    let Some(first) = topics.first() else {
        return Finding::ok(STRANGERS, "none");
    };
    let all: Vec<&str> = topics.iter().copied().collect();
    Finding::warning(
        STRANGERS,
        format!(
            "there are positions in partitions that Kafka does not have, of {}: complete_through waits for them for ever",
            all.join(", ")
        ),
        format!(
            "is topic_prefix right, and kafka_brokers that of this database? If that log is gone for good: delete from stream_position where topic = '{first}';"
        ),
    )
}

fn complete(positions: &[PositionCondition], now: DateTime<Utc>) -> Finding {
    let through = positions.iter().map(|p| p.complete_through);
    let Some(least) = through.min() else {
        return Finding::warning(
            COMPLETE,
            "no answer is complete yet: no ledger has run",
            SERVE,
        );
    };
    let Some(least) = least else {
        return Finding::warning(
            COMPLETE,
            "no answer is complete yet: some partition was never read to its end",
            SERVE,
        );
    };
    let age = now - least;
    let sentence = format!(
        "answers of /v1 are complete through {}, {} ago",
        least.to_rfc3339_opts(SecondsFormat::Secs, true),
        span(age)
    );
    if age > COMPLETE_ERROR {
        Finding::error(COMPLETE, sentence, SERVE)
    } else if age > COMPLETE_WARNING {
        Finding::warning(COMPLETE, sentence, SERVE)
    } else {
        Finding::ok(COMPLETE, format!("{} ago", span(age)))
    }
}

fn partitions_of(topic: &TopicCondition) -> impl Iterator<Item = (&str, &PartitionCondition)> {
    let name = topic.name.as_str();
    topic
        .partitions
        .iter()
        .map(move |partition| (name, partition))
}

fn position<'a>(
    positions: &'a [PositionCondition],
    topic: &str,
    partition: i32,
) -> Option<&'a PositionCondition> {
    positions
        .iter()
        .find(|p| p.topic == topic && p.partition == partition)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
    const NAME: &str = "calling-events.v1";

    fn topic(ends: &[i64]) -> TopicCondition {
        let partitions = (0..).zip(ends).map(|(partition, end)| PartitionCondition {
            partition,
            has_leader: true,
            replicas: 3,
            in_sync: 3,
            next_offset: Some(*end),
        });
        TopicCondition {
            name: NAME.to_owned(),
            partitions: partitions.collect(),
            settings: None,
        }
    }

    fn position_at(partition: i32, next_offset: i64) -> PositionCondition {
        PositionCondition {
            topic: NAME.to_owned(),
            partition,
            next_offset,
            owner: Some("a".to_owned()),
            lease_until: Some(NOW + TimeDelta::seconds(10)),
            complete_through: Some(NOW - TimeDelta::seconds(1)),
        }
    }

    fn spooled(seconds: i64) -> Level {
        let rows = SpoolCondition {
            rows: 1,
            oldest: Some(NOW - TimeDelta::seconds(seconds)),
        };
        spool(&rows, NOW).level
    }

    #[test]
    fn a_spool_row_is_an_error_once_it_is_old() {
        let empty = SpoolCondition {
            rows: 0,
            oldest: None,
        };
        assert_eq!(spool(&empty, NOW).level, Level::Ok);
        assert_eq!(
            (spooled(5), spooled(100), spooled(3600)),
            (Level::Ok, Level::Warning, Level::Error)
        );
    }

    #[test]
    fn what_came_into_quarantine_today_is_a_warning_by_reason() {
        let mut rows = QuarantineCondition {
            rows: 3,
            oldest: Some(NOW - TimeDelta::days(40)),
            recent: Vec::new(),
        };
        assert_eq!(quarantine(&rows, NOW).level, Level::Ok);
        rows.recent = vec![("invalid-json".to_owned(), 2), ("no-type".to_owned(), 1)];
        let found = quarantine(&rows, NOW);
        assert_eq!(found.level, Level::Warning);
        assert!(
            found.sentence.contains("2 invalid-json, 1 no-type"),
            "{found:?}"
        );
        assert!(found.sentence.contains("40 d"), "{found:?}");
    }

    #[test]
    fn a_gap_with_loss_is_an_error_for_a_day() {
        let gap = |resumed, hours| GapCondition {
            topic: NAME.to_owned(),
            partition: 0,
            wanted: 10,
            resumed,
            reason: "the log does not have the position any more".to_owned(),
            noticed: NOW - TimeDelta::hours(hours),
        };
        assert_eq!(gaps(&[], NOW).level, Level::Ok);
        assert_eq!(gaps(&[gap(15, 1)], NOW).level, Level::Error);
        assert_eq!(gaps(&[gap(15, 30)], NOW).level, Level::Warning);
        assert_eq!(gaps(&[gap(0, 1)], NOW).level, Level::Warning);
        assert!(
            gaps(&[gap(15, 1)], NOW)
                .sentence
                .contains("5 messages gone unread")
        );
    }

    #[test]
    fn every_partition_has_a_ledger_whose_lease_holds() {
        let topics = [topic(&[5, 5])];
        let mut positions = vec![position_at(0, 5), position_at(1, 5)];
        assert_eq!(owners(&positions, Some(&topics), NOW).level, Level::Ok);
        positions[1].lease_until = Some(NOW - TimeDelta::minutes(7));
        let stale = owners(&positions, Some(&topics), NOW);
        assert_eq!(stale.level, Level::Error);
        assert!(
            stale.sentence.contains("1 of 2") && stale.sentence.contains("7 min"),
            "{stale:?}"
        );
        positions[1].owner = None;
        assert_eq!(owners(&positions, None, NOW).level, Level::Error);
        positions.pop();
        assert_eq!(owners(&positions, Some(&topics), NOW).level, Level::Error);
        assert_eq!(owners(&positions, None, NOW).level, Level::Ok);
        assert_eq!(owners(&[], Some(&topics), NOW).level, Level::Error);
    }

    #[test]
    fn a_ledger_far_behind_is_a_warning_and_one_beyond_the_log_an_error() {
        let topics = [topic(&[5, 2000])];
        let at = |first, second| lag(&[position_at(0, first), position_at(1, second)], &topics);
        assert_eq!(at(5, 1990).level, Level::Ok);
        assert_eq!(at(5, 500).level, Level::Warning);
        assert_eq!(at(6, 2000).level, Level::Error);
        assert_eq!(lag(&[], &topics).level, Level::Warning);
    }

    #[test]
    fn positions_of_a_log_that_is_not_there_hold_complete_through() {
        let topics = [topic(&[5])];
        assert_eq!(strangers(&[position_at(0, 5)], &topics).level, Level::Ok);
        let mut other = position_at(0, 5);
        other.topic = "old.calling-events.v1".to_owned();
        let found = strangers(&[position_at(0, 5), other], &topics);
        assert_eq!(found.level, Level::Warning);
        assert!(found.remedy.unwrap().contains("'old.calling-events.v1'"));
    }

    #[test]
    fn complete_through_is_the_least_of_all_and_may_not_stand_still() {
        let at = |seconds| PositionCondition {
            complete_through: Some(NOW - TimeDelta::seconds(seconds)),
            ..position_at(0, 5)
        };
        assert_eq!(complete(&[at(1), at(30)], NOW).level, Level::Ok);
        assert_eq!(complete(&[at(1), at(300)], NOW).level, Level::Warning);
        assert_eq!(complete(&[at(1), at(4000)], NOW).level, Level::Error);
        let never = PositionCondition {
            complete_through: None,
            ..position_at(0, 5)
        };
        assert_eq!(complete(&[at(1), never], NOW).level, Level::Warning);
        assert_eq!(complete(&[], NOW).level, Level::Warning);
    }

    #[test]
    fn lag_is_unknown_while_kafka_is_away() {
        let positions = Ok(vec![position_at(0, 5)]);
        assert_eq!(with_topics(&positions, None).unwrap_err(), "Kafka is away");
    }
}
