//! Who was refused for what he showed, noted in the background.
//!
//! # Why
//!
//! A delivery must not wait for Postgres, and a refusal must not be forgotten because Postgres was
//! away. So refusals are counted in memory, by source and reason, and written down every few
//! seconds; what cannot be written stays. Sources and reasons are few, so that is bounded whoever
//! knocks. A name that no source has is nobody's, and is only a metric.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::lifecycle::Lifecycle;
use crate::store::{Refused, Store};

/// How often what was noted is written down.
const EVERY: Duration = Duration::from_secs(2);

/// Tenant, source, reason.
type Matter = (String, String, &'static str);

/// What is not written down yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    noted: Arc<Mutex<BTreeMap<Matter, Refused>>>,
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Matter, Refused>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A delivery was refused.
    pub fn note(&self, tenant: &str, source: &str, reason: &'static str, now: DateTime<Utc>) {
        self.add(Refused {
            tenant: tenant.to_owned(),
            source: source.to_owned(),
            reason,
            first: now,
            last: now,
            deliveries: 1,
        });
    }

    fn add(&self, refused: Refused) {
        let matter = (
            refused.tenant.clone(),
            refused.source.clone(),
            refused.reason,
        );
        self.lock()
            .entry(matter)
            .and_modify(|noted| {
                noted.first = noted.first.min(refused.first);
                noted.last = noted.last.max(refused.last);
                noted.deliveries += refused.deliveries;
            })
            .or_insert(refused);
    }

    fn take(&self) -> Vec<Refused> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }

    /// Writes down what was noted, until the stop.
    pub async fn write_down(self, store: Store, lifecycle: Lifecycle) {
        let soft = lifecycle.soft().clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = soft.cancelled() => {}
            }
            let taken = self.take();
            if !taken.is_empty()
                && let Err(error) = store.note_refusals(&taken).await
            {
                tracing::debug!(error = %error, "refusals stay in memory for now: {error}");
                taken.into_iter().for_each(|refused| self.add(refused));
            }
            if soft.is_cancelled() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_source_and_reason_are_counted_as_one_and_come_back_if_they_cannot_be_written()
     {
        let refusals = Refusals::default();
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        refusals.note("contoso", "eg", "wrong_key", at(10));
        let taken = refusals.take();
        assert_eq!(refusals.take(), []);
        refusals.note("contoso", "eg", "wrong_key", at(20));
        refusals.note("contoso", "eg", "no_credential", at(20));
        taken.into_iter().for_each(|refused| refusals.add(refused));
        let mut taken = refusals.take();
        taken.sort_by_key(|refused| refused.deliveries);
        assert_eq!(taken.len(), 2);
        let both = &taken[1];
        assert_eq!(
            (both.first, both.last, both.deliveries),
            (at(10), at(20), 2)
        );
    }
}
