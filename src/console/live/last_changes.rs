//! The last change of the calls of each tenant that is watched.
//!
//! # Why
//!
//! Many open pages of a tenant ask whether anything changed. One of them asks the store, the others wait for its
//! answer: the load does not grow with the pages, and without one there is none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::http::problem::Problem;
use crate::query::context::Reader;
use onrecord_evidence::event::ids::Tenant;

/// Minimum interval between two questions to the store about a tenant.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(2);

/// The last known change of a tenant, and when it was read.
type LastChange = Arc<tokio::sync::Mutex<Option<(Instant, i64)>>>;

/// The last known change of each tenant.
#[derive(Clone, Default)]
pub(crate) struct LastChanges(Arc<Mutex<HashMap<Tenant, LastChange>>>);

impl LastChanges {
    /// The number of the last change of the tenant of a reader, at most [`MIN_INTERVAL`] old.
    ///
    /// # Errors
    ///
    /// The store does not answer.
    pub(super) async fn of(&self, reader: &Reader) -> Result<i64, Problem> {
        let of_tenant = {
            let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tenants.entry(reader.caller.tenant.clone()).or_default())
        };
        let mut known = of_tenant.lock().await;
        if let Some((_, change)) = known.filter(|(at, _)| at.elapsed() < MIN_INTERVAL) {
            return Ok(change);
        }
        let change = reader.snapshot().await?.last_change().await?;
        *known = Some((Instant::now(), change));
        Ok(change)
    }
}
