//! Keeps when each source made its last handshake, and writes it in the background.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::lifecycle::Lifecycle;
use crate::lifecycle::background_writer::{BackgroundWriter, Merge, WriteEntries};
use crate::postgres::{AnsweredHandshake, HandshakeSchema, Postgres, StoreError};

/// Tenant and source.
type HandshakeKey = (String, String);

/// The handshakes that are not stored yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandshakeLog {
    writer: BackgroundWriter<HandshakeKey, AnsweredHandshake>,
}

impl Merge for AnsweredHandshake {
    fn merge(&mut self, other: Self) {
        if other.at > self.at {
            *self = other;
        }
    }
}

struct HandshakeTable(Postgres);

impl WriteEntries<HandshakeKey, AnsweredHandshake> for HandshakeTable {
    type Error = StoreError;
    const NAME: &'static str = "handshakes";

    async fn write(
        &self,
        handshakes: &BTreeMap<HandshakeKey, AnsweredHandshake>,
    ) -> Result<(), StoreError> {
        let rows: Vec<AnsweredHandshake> = handshakes.values().cloned().collect();
        self.0.record_handshakes(&rows).await
    }
}

impl HandshakeLog {
    /// Adds a handshake that is answered.
    pub(crate) fn add(
        &self,
        tenant: &str,
        source: &str,
        schema: HandshakeSchema,
        now: DateTime<Utc>,
    ) {
        let key = (tenant.to_owned(), source.to_owned());
        let answered = AnsweredHandshake {
            tenant: tenant.to_owned(),
            source: source.to_owned(),
            schema,
            at: now,
        };
        self.writer.add(key, answered);
    }

    /// Starts the background writer, which runs until the shutdown.
    pub(crate) fn start(&self, store: Postgres, lifecycle: &Lifecycle) {
        let writing = self.writer.clone().run(HandshakeTable(store), lifecycle.clone());
        lifecycle.run("handshake log", writing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_handshake_of_a_source_counts() {
        let log = HandshakeLog::default();
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        log.add("contoso", "eg", HandshakeSchema::CloudEvents, at(20));
        log.add("contoso", "eg", HandshakeSchema::EventGrid, at(10));
        let written: Vec<AnsweredHandshake> = log.writer.take().into_values().collect();
        assert_eq!(written.len(), 1);
        assert_eq!((written[0].at, written[0].schema), (at(20), HandshakeSchema::CloudEvents));
    }
}
