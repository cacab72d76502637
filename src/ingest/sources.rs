//! The configured sources, and what each holds of the capacity. SIGHUP replaces them while the
//! process runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::capacity::Shares;
use super::counters::{start_common_counters, start_counters_of};
use crate::config::Source;

/// All sources by name.
#[derive(Clone, Default)]
pub struct Sources {
    current: Arc<RwLock<Arc<SourceSet>>>,
}

/// The sources at one time.
#[derive(Debug, Default)]
pub struct SourceSet {
    /// The settings by name.
    pub settings: BTreeMap<String, Source>,
    pub(crate) shares: Shares,
}

impl Sources {
    /// Holds these sources.
    #[must_use]
    pub fn new(sources: BTreeMap<String, Source>) -> Self {
        start_common_counters();
        let all = Self::default();
        all.replace(sources);
        all
    }

    /// Replaces all sources.
    pub fn replace(&self, settings: BTreeMap<String, Source>) {
        settings.keys().for_each(|source| start_counters_of(source));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let tenants = settings.iter().map(|(name, source)| (name, &source.tenant));
        let shares = Shares::of(&current.shares, tenants);
        *current = Arc::new(SourceSet { settings, shares });
    }

    /// The current sources.
    #[must_use]
    pub fn all(&self) -> Arc<SourceSet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}
