//! How far a reader of the log is behind each partition, as a metric.
//!
//! # Why
//!
//! librdkafka's own lag counts from committed offsets, which this service has in PostgreSQL. Its statistics
//! also queue up in a client that is not polled, as during an outage of PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};

use metrics::gauge;

use crate::telemetry::names;

/// The lag of one reader of one topic. It is unknown (`NaN`) for partitions that the reader does not read any more.
pub(crate) struct ConsumerLag {
    /// What reads: `ledger` or `live`.
    client: &'static str,
    /// The full name of the topic.
    topic: String,
    reported: BTreeSet<i32>,
}

impl ConsumerLag {
    pub(crate) fn new(client: &'static str, topic: String) -> Self {
        Self { client, topic, reported: BTreeSet::new() }
    }

    /// Sets the lag of each partition that is read, by its next offset and the end of its log.
    pub(crate) fn report(&mut self, partitions: impl IntoIterator<Item = (i32, i64, i64)>) {
        let lags: BTreeMap<i32, i64> = partitions
            .into_iter()
            .map(|(partition, next, end)| (partition, (end - next).max(0)))
            .collect();
        let former = std::mem::replace(&mut self.reported, lags.keys().copied().collect());
        for partition in former.difference(&self.reported) {
            self.set(*partition, f64::NAN);
        }
        for (partition, lag) in lags {
            self.set(partition, lag as f64);
        }
    }

    fn set(&self, partition: i32, lag: f64) {
        let labels = [
            ("client", self.client.to_owned()),
            ("topic", self.topic.clone()),
            ("partition", partition.to_string()),
        ];
        gauge!(names::KAFKA_CONSUMER_LAG, &labels).set(lag);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn the_lag_of_a_partition_is_what_is_not_read_and_unknown_when_it_is_read_elsewhere() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let value = |partition: i32| {
            let line = format!(
                "onrecord_kafka_consumer_lag_messages{{client=\"ledger\",topic=\"t\",partition=\"{partition}\"}} "
            );
            let text = metrics.render();
            text.lines().find_map(|it| it.strip_prefix(&line).map(str::to_owned)).unwrap()
        };
        metrics::with_local_recorder(&recorder, || {
            let mut lag = ConsumerLag::new("ledger", "t".to_owned());
            lag.report([(0, 40, 100), (1, 5, 5)]);
            assert_eq!((value(0).as_str(), value(1).as_str()), ("60", "0"));
            // A topic that was created again may end before the position.
            lag.report([(0, 90, 80)]);
            assert_eq!((value(0).as_str(), value(1).as_str()), ("0", "NaN"));
        });
    }
}
