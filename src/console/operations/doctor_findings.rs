//! What the doctor finds, for the pages of all readers.
//!
//! # Why
//!
//! An examination opens connections of its own and takes some hundred milliseconds. Readers who look at the page
//! at the same time share one, and none is made without them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::clock;
use crate::config::{Settings, Source};
use crate::doctor::checks::{DoctorInputs, run_checks};
use crate::doctor::examination::examine;
use crate::doctor::finding::CheckedFinding;
use onrecord_evidence::event::ids::Tenant;

/// Minimum interval between two examinations.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// The sources as they are configured now.
pub(crate) type ConfiguredSources = Arc<dyn Fn() -> BTreeMap<String, Source> + Send + Sync>;

/// The doctor of a node.
#[derive(Clone)]
pub(crate) struct NodeDoctor {
    settings: Arc<Settings>,
    sources: ConfiguredSources,
    last: Arc<tokio::sync::Mutex<Option<LastExamination>>>,
}

/// The last examination, and when it was made.
struct LastExamination {
    made: Instant,
    at: DateTime<Utc>,
    inputs: Arc<DoctorInputs>,
}

impl NodeDoctor {
    pub(crate) fn new(settings: Settings, sources: ConfiguredSources) -> Self {
        Self { settings: Arc::new(settings), sources, last: Arc::default() }
    }

    /// The configured sources of a tenant, by name.
    pub(in crate::console) fn sources_of(&self, tenant: &Tenant) -> BTreeMap<String, Source> {
        let mut sources = (self.sources)();
        sources.retain(|_, source| source.tenant == *tenant);
        sources
    }

    /// The findings for a tenant, at most [`MIN_INTERVAL`] old, and the instant of the examination.
    pub(super) async fn findings_of(
        &self,
        tenant: &Tenant,
    ) -> (DateTime<Utc>, Vec<CheckedFinding>) {
        let mut last = self.last.lock().await;
        let fresh = last.as_ref().filter(|last| last.made.elapsed() < MIN_INTERVAL);
        let (at, inputs) = match fresh {
            Some(last) => (last.at, Arc::clone(&last.inputs)),
            None => {
                let mut settings = Settings::clone(&self.settings);
                settings.sources = (self.sources)();
                let (at, inputs) = (clock::now(), Arc::new(examine(settings).await));
                let kept = Arc::clone(&inputs);
                *last = Some(LastExamination { made: Instant::now(), at, inputs: kept });
                (at, inputs)
            }
        };
        drop(last);
        (at, run_checks(&inputs.of_tenant(tenant)))
    }
}
