//! The configured sources; they can be replaced while the process runs (SIGHUP).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Source;

/// Every source by its name.
#[derive(Clone, Default)]
pub struct Sources {
    sources: Arc<RwLock<Arc<BTreeMap<String, Source>>>>,
}

impl Sources {
    /// With these.
    #[must_use]
    pub fn new(sources: BTreeMap<String, Source>) -> Self {
        let all = Self::default();
        all.replace(sources);
        all
    }

    /// With others from now on.
    pub fn replace(&self, sources: BTreeMap<String, Source>) {
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sources);
    }

    /// All of them, as they are now.
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<String, Source>> {
        Arc::clone(&self.sources.read().unwrap_or_else(PoisonError::into_inner))
    }
}
