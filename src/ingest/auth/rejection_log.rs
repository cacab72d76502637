//! Counts the deliveries that were not authenticated and writes the counts in the background.
//!
//! # Why
//!
//! The counts are in memory by source and reason. Both are few, so the memory is limited for any
//! number of deliveries. Deliveries to an unknown source are counted by the metric only.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::lifecycle::Lifecycle;
use crate::lifecycle::background_writer::{BackgroundWriter, Merge, WriteEntries};
use crate::postgres::{Postgres, RejectedDeliveries, StoreError};

/// Tenant, source, reason.
type RejectionKey = (String, String, &'static str);

/// The rejections that are not stored yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct RejectionLog {
    writer: BackgroundWriter<RejectionKey, RejectedDeliveries>,
}

impl Merge for RejectedDeliveries {
    fn merge(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.deliveries += other.deliveries;
    }
}

struct RejectionTable(Postgres);

impl WriteEntries<RejectionKey, RejectedDeliveries> for RejectionTable {
    type Error = StoreError;
    const NAME: &'static str = "rejected deliveries";

    async fn write(
        &self,
        rejections: &BTreeMap<RejectionKey, RejectedDeliveries>,
    ) -> Result<(), StoreError> {
        let rows: Vec<RejectedDeliveries> = rejections.values().cloned().collect();
        self.0.record_rejections(&rows).await
    }
}

impl RejectionLog {
    /// Adds a rejected delivery.
    pub(crate) fn add(&self, tenant: &str, source: &str, reason: &'static str, now: DateTime<Utc>) {
        let key = (tenant.to_owned(), source.to_owned(), reason);
        let rejected = RejectedDeliveries {
            tenant: tenant.to_owned(),
            source: source.to_owned(),
            reason,
            first: now,
            last: now,
            deliveries: 1,
        };
        self.writer.add(key, rejected);
    }

    /// Starts the background writer, which runs until the shutdown.
    pub(crate) fn start(&self, store: Postgres, lifecycle: &Lifecycle) {
        let writing = self.writer.clone().run(RejectionTable(store), lifecycle.clone());
        lifecycle.run("rejection log", writing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_of_one_source_and_reason_are_merged_and_kept_if_a_write_fails() {
        let rejections = RejectionLog::default();
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        rejections.add("contoso", "eg", "wrong_key", at(10));
        let written = rejections.writer.take();
        assert!(rejections.writer.take().is_empty());
        rejections.add("contoso", "eg", "wrong_key", at(20));
        rejections.add("contoso", "eg", "no_credential", at(20));
        for (key, rejected) in written {
            rejections.writer.add(key, rejected);
        }
        let mut merged: Vec<RejectedDeliveries> = rejections.writer.take().into_values().collect();
        merged.sort_by_key(|rejected| rejected.deliveries);
        assert_eq!(merged.len(), 2);
        let both = &merged[1];
        assert_eq!((both.first, both.last, both.deliveries), (at(10), at(20), 2));
    }
}
