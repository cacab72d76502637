//! What librdkafka reports about a consumer of the log: how far it is behind each partition, and its errors.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use metrics::gauge;
use rdkafka::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::statistics::{Partition, Statistics};

use crate::telemetry::names;

/// The context of a consumer: sets its gauges, and logs its errors.
pub(super) struct ConsumerMonitor {
    /// What reads: `ledger` or `live`.
    client: &'static str,
    /// Topic and number of the partitions whose lag was set.
    reported: Mutex<BTreeSet<(String, i32)>>,
}

impl ConsumerMonitor {
    pub(super) fn new(client: &'static str) -> Self {
        Self { client, reported: Mutex::default() }
    }

    fn set_lag(&self, topic: &str, partition: i32, lag: i64) {
        let labels = [
            ("client", self.client.to_owned()),
            ("topic", topic.to_owned()),
            ("partition", partition.to_string()),
        ];
        gauge!(names::KAFKA_CONSUMER_LAG, &labels).set(lag as f64);
    }

    /// Sets the lag of these partitions, and 0 for those that this client no longer reads.
    fn report(&self, lags: &[(String, i32, i64)]) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let current =
            lags.iter().map(|(topic, partition, _)| (topic.clone(), *partition)).collect();
        let before = std::mem::replace(&mut *reported, current);
        for (topic, partition) in before.difference(&reported) {
            self.set_lag(topic, *partition, 0);
        }
        for (topic, partition, lag) in lags {
            self.set_lag(topic, *partition, *lag);
        }
    }
}

impl ClientContext for ConsumerMonitor {
    fn stats(&self, statistics: Statistics) {
        let mut lags = Vec::new();
        for topic in statistics.topics.into_values() {
            for partition in topic.partitions.values() {
                if let Some(lag) = lag(partition) {
                    lags.push((topic.topic.clone(), partition.partition, lag));
                }
            }
        }
        self.report(&lags);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Those that matter are returned by a read as well.
        tracing::debug!(error = %error, "kafka consumer: {reason}");
    }
}

impl ConsumerContext for ConsumerMonitor {}

impl Drop for ConsumerMonitor {
    fn drop(&mut self) {
        self.report(&[]);
    }
}

/// The messages of a partition that were not read yet. `None`: it is not read by this client, or its end is
/// not known yet. `consumer_lag` of librdkafka counts from committed offsets, which this service has in
/// PostgreSQL.
fn lag(partition: &Partition) -> Option<i64> {
    // Offsets below 0 are librdkafka's words for "none".
    let position = [partition.app_offset, partition.next_offset].into_iter().find(|at| *at >= 0)?;
    let is_read = partition.desired && partition.hi_offset >= 0;
    is_read.then(|| (partition.hi_offset - position).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `RD_KAFKA_OFFSET_INVALID`.
    const INVALID: i64 = -1001;

    fn partition(app_offset: i64, next_offset: i64, hi_offset: i64) -> Partition {
        Partition { desired: true, app_offset, next_offset, hi_offset, ..Partition::default() }
    }

    #[test]
    fn the_lag_counts_from_what_was_read_else_from_where_reading_begins() {
        assert_eq!(lag(&partition(40, 90, 100)), Some(60));
        assert_eq!(lag(&partition(INVALID, 90, 100)), Some(10));
        assert_eq!(lag(&partition(100, 100, 100)), Some(0));
    }

    #[test]
    fn a_partition_that_is_not_read_or_has_no_known_end_has_no_lag() {
        assert_eq!(lag(&partition(INVALID, INVALID, 100)), None);
        assert_eq!(lag(&partition(40, 90, INVALID)), None);
        assert_eq!(lag(&Partition { desired: false, ..partition(40, 90, 100) }), None);
    }
}
