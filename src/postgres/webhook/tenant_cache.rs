//! Remembers for a moment which tenants have subscriptions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Interval at which the tenants with subscriptions are read again. A new subscription gets its challenge
/// later than that, so that an active one misses no event.
const TENANTS_INTERVAL: Duration = Duration::from_secs(1);

/// The tenants that had subscriptions a moment ago.
#[derive(Debug, Default)]
pub(crate) struct TenantCache(Mutex<Option<(Instant, Arc<BTreeSet<String>>)>>);

impl TenantCache {
    pub(super) fn get(&self) -> Option<Arc<BTreeSet<String>>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, tenants) = cached.as_ref()?;
        (at.elapsed() < TENANTS_INTERVAL).then(|| Arc::clone(tenants))
    }

    pub(super) fn set(&self, read_at: Instant, tenants: Arc<BTreeSet<String>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((read_at, tenants));
    }
}
