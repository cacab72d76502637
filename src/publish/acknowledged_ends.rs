//! Notes in the background how far Kafka acknowledged messages, so that those which the ledger never reads
//! are counted: the ledger itself may be away when they are acknowledged.

use std::collections::BTreeMap;

use crate::kafka::{AcknowledgedEnd, KafkaClientConfig, Publisher, Topic};
use crate::lifecycle::Lifecycle;
use crate::lifecycle::background_writer::WriteEntries;
use crate::postgres::{LogEnd, Postgres, StoreError};

/// Writes the ends to `log_end`.
struct LogEndTable {
    store: Postgres,
    connection: KafkaClientConfig,
}

impl WriteEntries<(Topic, i32), AcknowledgedEnd> for LogEndTable {
    type Error = StoreError;
    const NAME: &'static str = "ends of the log";

    async fn write(
        &self,
        ends: &BTreeMap<(Topic, i32), AcknowledgedEnd>,
    ) -> Result<(), StoreError> {
        let ends: Vec<LogEnd> = ends
            .iter()
            .map(|(&(topic, partition), end)| LogEnd {
                topic: self.connection.topic(topic),
                partition,
                first_offset: end.first_offset,
                next_offset: end.next_offset,
                known_at: end.acknowledged_at,
            })
            .collect();
        self.store.raise_log_ends(&ends).await
    }
}

/// Writes the ends until the stop.
pub(crate) fn start(
    publisher: &Publisher,
    store: &Postgres,
    connection: &KafkaClientConfig,
    lifecycle: &Lifecycle,
) {
    let table = LogEndTable { store: store.clone(), connection: connection.clone() };
    let ends = publisher.acknowledged_ends().clone();
    lifecycle.run("ends of the log", ends.run(table, lifecycle.clone()));
}
