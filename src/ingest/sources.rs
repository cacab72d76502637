//! The configured sources. SIGHUP replaces them while the process runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Source;

/// All sources by name.
#[derive(Clone, Default)]
pub struct Sources {
    sources: Arc<RwLock<Arc<BTreeMap<String, Source>>>>,
}

impl Sources {
    /// Holds these sources.
    #[must_use]
    pub fn new(sources: BTreeMap<String, Source>) -> Self {
        let all = Self::default();
        all.replace(sources);
        all
    }

    /// Replaces all sources.
    pub fn replace(&self, sources: BTreeMap<String, Source>) {
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(sources);
    }

    /// The current sources.
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<String, Source>> {
        Arc::clone(&self.sources.read().unwrap_or_else(PoisonError::into_inner))
    }
}
