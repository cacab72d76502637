//! Checks of the spool, the quarantine, the gaps of the log, and the positions of the ledger.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::finding::{Finding, FindingLevel, list, number, span};
use crate::kafka::{PartitionDiagnostics, TopicDiagnostics};
use crate::postgres::{
    GapDiagnostics, PositionDiagnostics, PostponedWork, QuarantineDiagnostics, SpoolDiagnostics,
};

/// Maximum age of a spooled message before a warning. The drain needs seconds.
const SPOOL_WARNING: TimeDelta = TimeDelta::minutes(1);
/// Maximum age of a spooled message before an error.
const SPOOL_ERROR: TimeDelta = TimeDelta::minutes(15);
/// Time for which a gap is an error: dead letters can still be found.
const GAP_ERROR: TimeDelta = TimeDelta::hours(24);
/// Maximum lag in messages before a warning: a few batches.
const LAG_WARNING: i64 = 1000;
/// Maximum age of `complete_through` before a warning; 45 s are by design.
const COMPLETE_WARNING: TimeDelta = TimeDelta::minutes(2);
/// Maximum age of `complete_through` before an error.
const COMPLETE_ERROR: TimeDelta = TimeDelta::minutes(15);

/// Maximum age of work of the maintenance before a warning; that of large calls takes a minute.
const POSTPONED_WARNING: TimeDelta = TimeDelta::minutes(5);
/// Maximum age of work of the maintenance before an error.
const POSTPONED_ERROR: TimeDelta = TimeDelta::minutes(60);

const POSTPONED_REMEDY: &str = "GET /v1/exceptions?kind=NOT_EVALUATED names the calls that cannot be evaluated; the others need a node that runs onrecord serve with the role ledger";
const SERVE: &str = "onrecord serve, with the role ledger, on one node at least; its log says what it is waiting for";

/// The topics; `None` while Kafka is unavailable.
type Topics<'a> = Option<&'a [TopicDiagnostics]>;

pub(super) fn spool(spool: &SpoolDiagnostics, now: DateTime<Utc>) -> Finding {
    let Some(oldest) = spool.oldest else {
        return Finding::ok("empty");
    };
    let age = now - oldest;
    let sentence =
        format!("{} in the spool, the oldest for {}", number(spool.rows, "message"), span(age));
    let level = FindingLevel::of_age(age, SPOOL_WARNING, SPOOL_ERROR);
    let remedy = "if Kafka is healthy, some node must run the role ledger, which drains the spool; its log has the reason why it does not";
    Finding::new(level, sentence, remedy)
}

pub(super) fn quarantine(quarantine: &QuarantineDiagnostics, now: DateTime<Utc>) -> Finding {
    let Some(oldest) = quarantine.oldest else {
        return Finding::ok("empty");
    };
    let all = format!("{} in all, the oldest from {} ago", quarantine.rows, span(now - oldest));
    if quarantine.recent.is_empty() {
        return Finding::ok(format!("none in the last 24 h; {all}"));
    }
    let reasons = quarantine.recent.iter();
    let reasons = list(reasons.map(|(reason, count)| format!("{count} {reason}")));
    Finding::warning(
        format!("quarantined in the last 24 h: {reasons}; {all}"),
        "GET /v1/quarantine?reason=…, with an auditor's key: the detail says which member is wrong",
    )
}

pub(super) fn gaps(gaps: &[GapDiagnostics], now: DateTime<Utc>) -> Finding {
    let Some(last) = gaps.first() else {
        return Finding::ok("none in the last 30 d");
    };
    let unread: i64 = gaps.iter().map(|gap| gap.unread_messages).sum();
    let sentence = format!(
        "{} of the log in the last 30 d ({} acknowledged and never read), the last {} ago in {} partition {}: {}",
        number(gaps.len(), "gap"),
        number(unread, "message"),
        span(now - last.noticed_at),
        last.topic,
        last.partition,
        last.reason
    );
    let remedy = "select * from stream_gap order by noticed_at desc; messages that were never read may be among Event Grid's dead letters";
    let lost = |gap: &GapDiagnostics| gap.unread_messages > 0 && now - gap.noticed_at <= GAP_ERROR;
    let level = if gaps.iter().any(lost) { FindingLevel::Error } else { FindingLevel::Warning };
    Finding::new(level, sentence, remedy)
}

/// Whether each partition has an owner; while Kafka is unavailable, each one that was ever leased.
pub(super) fn owners(
    positions: &[PositionDiagnostics],
    topics: Topics<'_>,
    now: DateTime<Utc>,
) -> Finding {
    let all: BTreeSet<(&str, i32)> = match topics {
        Some(topics) => known(topics),
        None => positions.iter().map(|p| (p.topic.as_str(), p.partition)).collect(),
    };
    let mut lapsed: Option<TimeDelta> = None;
    let (mut owned, mut nodes) = (0, BTreeSet::new());
    for (topic, partition) in &all {
        let position = position(positions, topic, *partition);
        let lease = position.and_then(|p| Some((p.owner.as_deref()?, p.lease_ends_at?)));
        match lease {
            Some((owner, until)) if until >= now => {
                owned += 1;
                nodes.insert(owner);
            }
            Some((_, until)) => lapsed = lapsed.max(Some(now - until)),
            None => {}
        }
    }
    let all = all.len();
    if all == 0 || positions.is_empty() {
        return Finding::error("no ledger has ever run here: nothing is appended", SERVE);
    }
    if owned == all {
        let nodes = number(nodes.len(), "node");
        return Finding::ok(format!("all {all} partitions, by {nodes}"));
    }
    let lapsed = lapsed.map_or_else(String::new, |ago| {
        format!("; the lease of a stale owner ended {} ago", span(ago))
    });
    Finding::error(
        format!(
            "{} of {all} partitions have no ledger{lapsed}: nothing of them is appended",
            all - owned
        ),
        SERVE,
    )
}

pub(super) fn lag(positions: &[PositionDiagnostics], topics: &[TopicDiagnostics]) -> Finding {
    if positions.is_empty() {
        return Finding::warning("unknown: no ledger has read the log yet", SERVE);
    }
    let (mut behind, mut unread) = (0, 0);
    let mut shorter = Vec::new();
    let (mut read, mut unknown) = (0_usize, 0_usize);
    for (topic, partition) in topics.iter().flat_map(partitions_of) {
        let Some(end) = partition.next_offset else {
            unknown += 1;
            continue;
        };
        read += 1;
        let position = position(positions, topic, partition.partition);
        let (next, known_end) = position.map_or((0, 0), |p| (p.next_offset, p.log_end));
        if next.max(known_end) > end {
            shorter.push(format!("{topic} partition {}", partition.partition));
            unread += (known_end - next).max(0);
            continue;
        }
        behind += end - next;
    }
    if let Some(first) = shorter.first() {
        return Finding::error(
            format!(
                "the log of {} ends before messages that were appended or acknowledged, the first is {first}: the topic was created again, or this is another Kafka; {} acknowledged and never read",
                number(shorter.len(), "partition"),
                number(unread, "message"),
            ),
            "is kafka_brokers that of this database? Else let the ledger run: it reads the topic from its beginning, and records that in stream_gap",
        );
    }
    if behind > LAG_WARNING {
        return Finding::warning(
            format!("{} of the log are not appended", number(behind, "message")),
            SERVE,
        );
    }
    if unknown > 0 || read == 0 {
        return Finding::warning(
            format!(
                "{} behind in {}, unknown in {unknown}: Kafka did not state where they end",
                number(behind, "message"),
                number(read, "partition")
            ),
            "is each partition's leader available? kafka.topics names those without one; then ask again",
        );
    }
    Finding::ok(format!("{} behind", number(behind, "message")))
}

/// `complete_through` is the minimum of all positions, so one that never moves holds it back forever.
pub(super) fn unknown_partitions(
    positions: &[PositionDiagnostics],
    topics: &[TopicDiagnostics],
) -> Finding {
    let known = known(topics);
    let unknown = positions.iter().filter(|p| !known.contains(&(p.topic.as_str(), p.partition)));
    let topics: BTreeSet<&str> = unknown.map(|p| p.topic.as_str()).collect();
    let Some(first) = topics.first() else {
        return Finding::ok("none");
    };
    Finding::warning(
        format!(
            "there are positions in partitions that Kafka does not have, of {}: complete_through waits for them forever",
            list(&topics)
        ),
        format!(
            "is topic_prefix right, and kafka_brokers that of this database? If that log is gone: delete from stream_position where topic = '{first}';"
        ),
    )
}

pub(super) fn complete_through(positions: &[PositionDiagnostics], now: DateTime<Utc>) -> Finding {
    let through = positions.iter().map(|p| p.complete_through);
    let least = through.min().ok_or("no ledger has run");
    let least = match least.and_then(|least| least.ok_or("a partition was never read to its end")) {
        Ok(least) => least,
        Err(reason) => {
            return Finding::warning(format!("no answer is complete yet: {reason}"), SERVE);
        }
    };
    let age = now - least;
    Finding::new(
        FindingLevel::of_age(age, COMPLETE_WARNING, COMPLETE_ERROR),
        format!(
            "answers of /v1 are complete through {}, {} ago",
            least.to_rfc3339_opts(SecondsFormat::Secs, true),
            span(age)
        ),
        SERVE,
    )
}

/// What is left to the maintenance, and since when: that holds `complete_through` of the tenants back.
pub(super) fn postponed(work: &PostponedWork, now: DateTime<Utc>) -> Finding {
    if (work.calls, work.merges) == (0, 0) {
        return Finding::ok("nothing waits for the maintenance");
    }
    let work_text = format!(
        "{} and {} wait for the maintenance",
        number(work.calls, "call"),
        number(work.merges, "merge")
    );
    let Some(since) = work.since_at else {
        return Finding::warning(format!("{work_text}; since when is not known"), POSTPONED_REMEDY);
    };
    let age = now - since;
    Finding::new(
        FindingLevel::of_age(age, POSTPONED_WARNING, POSTPONED_ERROR),
        format!("{work_text}; what was received in the last {} may not be evaluated", span(age)),
        POSTPONED_REMEDY,
    )
}

fn known(topics: &[TopicDiagnostics]) -> BTreeSet<(&str, i32)> {
    let all = topics.iter().flat_map(partitions_of);
    all.map(|(topic, partition)| (topic, partition.partition)).collect()
}

fn partitions_of(topic: &TopicDiagnostics) -> impl Iterator<Item = (&str, &PartitionDiagnostics)> {
    let name = topic.name.as_str();
    topic.partitions.iter().map(move |partition| (name, partition))
}

fn position<'a>(
    positions: &'a [PositionDiagnostics],
    topic: &str,
    partition: i32,
) -> Option<&'a PositionDiagnostics> {
    positions.iter().find(|p| p.topic == topic && p.partition == partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
    const NAME: &str = "calling-events.v1";

    fn topic(ends: &[i64]) -> TopicDiagnostics {
        let partitions = (0..).zip(ends).map(|(partition, end)| PartitionDiagnostics {
            partition,
            has_leader: true,
            replicas: 3,
            in_sync: 3,
            next_offset: Some(*end),
        });
        TopicDiagnostics {
            name: NAME.to_owned(),
            partitions: partitions.collect(),
            settings: None,
            newest_batches: Err("no answer".to_owned()),
        }
    }

    fn position_at(partition: i32, next_offset: i64) -> PositionDiagnostics {
        PositionDiagnostics {
            topic: NAME.to_owned(),
            partition,
            next_offset,
            log_end: 0,
            owner: Some("a".to_owned()),
            lease_ends_at: Some(NOW + TimeDelta::seconds(10)),
            complete_through: Some(NOW - TimeDelta::seconds(1)),
        }
    }

    fn spooled(seconds: i64) -> FindingLevel {
        let rows = SpoolDiagnostics { rows: 1, oldest: Some(NOW - TimeDelta::seconds(seconds)) };
        spool(&rows, NOW).level
    }

    #[test]
    fn a_spool_row_is_an_error_once_it_is_old() {
        let empty = SpoolDiagnostics { rows: 0, oldest: None };
        assert_eq!(spool(&empty, NOW).level, FindingLevel::Ok);
        assert_eq!(
            (spooled(5), spooled(100), spooled(3600)),
            (FindingLevel::Ok, FindingLevel::Warning, FindingLevel::Error)
        );
    }

    #[test]
    fn recently_quarantined_events_are_a_warning_by_reason() {
        let mut rows = QuarantineDiagnostics {
            rows: 3,
            oldest: Some(NOW - TimeDelta::days(40)),
            recent: Vec::new(),
        };
        assert_eq!(quarantine(&rows, NOW).level, FindingLevel::Ok);
        rows.recent = vec![("invalid-json".to_owned(), 2), ("no-type".to_owned(), 1)];
        let found = quarantine(&rows, NOW);
        assert_eq!(found.level, FindingLevel::Warning);
        assert!(found.sentence.contains("2 invalid-json, 1 no-type"), "{found:?}");
        assert!(found.sentence.contains("40 d"), "{found:?}");
    }

    #[test]
    fn a_gap_with_loss_is_an_error_for_a_day() {
        let gap = |unread_messages, hours| GapDiagnostics {
            topic: NAME.to_owned(),
            partition: 0,
            expected_offset: 10,
            resumed_offset: 0,
            unread_messages,
            reason: "the log does not have the position any more".to_owned(),
            noticed_at: NOW - TimeDelta::hours(hours),
        };
        assert_eq!(gaps(&[], NOW).level, FindingLevel::Ok);
        assert_eq!(gaps(&[gap(5, 1)], NOW).level, FindingLevel::Error);
        assert_eq!(gaps(&[gap(5, 30)], NOW).level, FindingLevel::Warning);
        assert_eq!(gaps(&[gap(0, 1)], NOW).level, FindingLevel::Warning);
        let found = gaps(&[gap(5, 1), gap(3, 2)], NOW);
        assert!(found.sentence.contains("8 messages acknowledged and never read"), "{found:?}");
    }

    #[test]
    fn every_partition_has_a_ledger_whose_lease_holds() {
        let topics = [topic(&[5, 5])];
        let mut positions = vec![position_at(0, 5), position_at(1, 5)];
        assert_eq!(owners(&positions, Some(&topics), NOW).level, FindingLevel::Ok);
        positions[1].lease_ends_at = Some(NOW - TimeDelta::minutes(7));
        let stale = owners(&positions, Some(&topics), NOW);
        assert_eq!(stale.level, FindingLevel::Error);
        assert!(stale.sentence.contains("1 of 2") && stale.sentence.contains("7 min"), "{stale:?}");
        positions[1].owner = None;
        assert_eq!(owners(&positions, None, NOW).level, FindingLevel::Error);
        positions.pop();
        assert_eq!(owners(&positions, Some(&topics), NOW).level, FindingLevel::Error);
        assert_eq!(owners(&positions, None, NOW).level, FindingLevel::Ok);
        assert_eq!(owners(&[], Some(&topics), NOW).level, FindingLevel::Error);
    }

    #[test]
    fn a_ledger_far_behind_is_a_warning_and_one_beyond_the_log_an_error() {
        let topics = [topic(&[5, 2000])];
        let at = |first, second| lag(&[position_at(0, first), position_at(1, second)], &topics);
        assert_eq!(at(5, 1990).level, FindingLevel::Ok);
        assert_eq!(at(5, 500).level, FindingLevel::Warning);
        assert_eq!(at(6, 2000).level, FindingLevel::Error);
    }

    #[test]
    fn the_lag_is_unknown_before_a_ledger_has_read_and_where_kafka_states_no_end() {
        let none = lag(&[], &[topic(&[0])]);
        assert_eq!(none.level, FindingLevel::Warning);
        assert!(none.sentence.starts_with("unknown"), "{none:?}");
        let mut topics = [topic(&[5, 5])];
        topics[0].partitions[1].next_offset = None;
        let partly = lag(&[position_at(0, 5), position_at(1, 5)], &topics);
        assert_eq!(partly.level, FindingLevel::Warning);
        assert!(partly.sentence.contains("unknown in 1"), "{partly:?}");
    }

    #[test]
    fn the_acknowledged_messages_that_a_recreated_topic_no_longer_has_are_counted() {
        let acknowledged =
            |next_offset, log_end| PositionDiagnostics { log_end, ..position_at(0, next_offset) };
        assert_eq!(lag(&[acknowledged(3, 9)], &[topic(&[9])]).level, FindingLevel::Ok);
        let found = lag(&[acknowledged(3, 9)], &[topic(&[4])]);
        assert_eq!(found.level, FindingLevel::Error);
        assert!(found.sentence.contains("6 messages acknowledged and never read"), "{found:?}");
    }

    #[test]
    fn positions_of_an_unknown_log_hold_complete_through_back() {
        let topics = [topic(&[5])];
        assert_eq!(unknown_partitions(&[position_at(0, 5)], &topics).level, FindingLevel::Ok);
        let mut other = position_at(0, 5);
        other.topic = "old.calling-events.v1".to_owned();
        let found = unknown_partitions(&[position_at(0, 5), other], &topics);
        assert_eq!(found.level, FindingLevel::Warning);
        assert!(found.remedy.unwrap().contains("'old.calling-events.v1'"));
    }

    #[test]
    fn complete_through_is_the_minimum_of_all_positions_and_must_advance() {
        let at = |seconds| PositionDiagnostics {
            complete_through: Some(NOW - TimeDelta::seconds(seconds)),
            ..position_at(0, 5)
        };
        assert_eq!(complete_through(&[at(1), at(30)], NOW).level, FindingLevel::Ok);
        assert_eq!(complete_through(&[at(1), at(300)], NOW).level, FindingLevel::Warning);
        assert_eq!(complete_through(&[at(1), at(4000)], NOW).level, FindingLevel::Error);
        let never = PositionDiagnostics { complete_through: None, ..position_at(0, 5) };
        assert_eq!(complete_through(&[at(1), never], NOW).level, FindingLevel::Warning);
        assert_eq!(complete_through(&[], NOW).level, FindingLevel::Warning);
    }

    #[test]
    fn work_that_the_maintenance_does_not_do_is_found() {
        let of = |calls, age: Option<i64>| {
            let since_at = age.map(|seconds| NOW - TimeDelta::seconds(seconds));
            postponed(&PostponedWork { calls, merges: 0, since_at }, NOW)
        };
        assert_eq!(of(0, None).level, FindingLevel::Ok);
        assert_eq!(of(3, Some(60)).level, FindingLevel::Ok);
        assert_eq!(of(3, Some(600)).level, FindingLevel::Warning);
        assert_eq!(of(3, Some(7200)).level, FindingLevel::Error);
        assert_eq!(of(3, None).level, FindingLevel::Warning);
        assert!(of(3, None).sentence.starts_with("3 calls and 0 merges"), "{:?}", of(3, None));
    }
}
