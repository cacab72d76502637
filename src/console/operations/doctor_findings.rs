//! What the doctor finds, for the pages of all readers.
//!
//! # Why
//!
//! An examination opens connections of its own and takes from some hundred milliseconds to seconds. Readers who look
//! at the page at the same time share one, none is made without them, and a page does not wait for its end: it shows
//! the last one until then if that is recent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::clock;
use crate::config::{Settings, Source};
use crate::doctor::checks::{DoctorInputs, run_checks};
use crate::doctor::examination::examine;
use crate::doctor::finding::CheckedFinding;
use crate::lifecycle::detached::spawn_detached;
use onrecord_evidence::event::ids::Tenant;

/// Minimum interval between two examinations.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// Maximum age of findings that are shown while an examination goes on: longer than the page is read again.
const MAX_AGE: Duration = Duration::from_secs(30);
/// Timeout of an examination: a store that is frozen answers none of its queries.
const MAX_EXAMINATION: Duration = Duration::from_secs(60);
/// How long a page waits for the examination that it asked for.
const MAX_WAIT: Duration = Duration::from_millis(30);

/// The sources as they are configured now.
pub(crate) type ConfiguredSources = Arc<dyn Fn() -> BTreeMap<String, Source> + Send + Sync>;

/// The doctor of a node.
#[derive(Clone)]
pub(crate) struct NodeDoctor {
    settings: Arc<Settings>,
    sources: ConfiguredSources,
    last: watch::Sender<Option<LastExamination>>,
    is_examining: Arc<AtomicBool>,
}

/// The last examination, and when it was made.
#[derive(Clone)]
struct LastExamination {
    made: Instant,
    at: DateTime<Utc>,
    inputs: Arc<DoctorInputs>,
}

impl LastExamination {
    fn is_fresh(&self) -> bool {
        self.made.elapsed() < MIN_INTERVAL
    }
}

/// Says that an examination has ended, also one that panicked.
struct EndsExamination(Arc<AtomicBool>);

impl Drop for EndsExamination {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl NodeDoctor {
    pub(crate) fn new(settings: Settings, sources: ConfiguredSources) -> Self {
        Self {
            settings: Arc::new(settings),
            sources,
            last: watch::Sender::default(),
            is_examining: Arc::default(),
        }
    }

    /// The configured sources of a tenant, by name.
    pub(in crate::console) fn sources_of(&self, tenant: &Tenant) -> BTreeMap<String, Source> {
        let mut sources = (self.sources)();
        sources.retain(|_, source| source.tenant == *tenant);
        sources
    }

    /// The findings of the last examination for a tenant, and its instant. One that is older than
    /// [`MIN_INTERVAL`] is made again meanwhile. `None`: one goes on, and the last is older than [`MAX_AGE`].
    pub(super) async fn findings_of(
        &self,
        tenant: &Tenant,
    ) -> Option<(DateTime<Utc>, Vec<CheckedFinding>)> {
        let mut last = self.last.subscribe();
        let is_fresh =
            |last: &Option<LastExamination>| last.as_ref().is_some_and(LastExamination::is_fresh);
        if !is_fresh(&last.borrow()) {
            self.begin_examination();
            // Without an answer in time, or at all, the one before it counts.
            let _ = tokio::time::timeout(MAX_WAIT, last.wait_for(is_fresh)).await;
        }
        let shown = last.borrow().clone().filter(|last| last.made.elapsed() < MAX_AGE);
        let LastExamination { at, inputs, .. } = shown?;
        Some((at, run_checks(&inputs.of_tenant(tenant))))
    }

    /// Begins an examination unless one goes on.
    fn begin_examination(&self) {
        if self.is_examining.swap(true, Ordering::AcqRel) {
            return;
        }
        let ends = EndsExamination(Arc::clone(&self.is_examining));
        let mut settings = Settings::clone(&self.settings);
        settings.sources = (self.sources)();
        let last = self.last.clone();
        spawn_detached(async move {
            let _ends = ends;
            let at = clock::now();
            let Ok(inputs) = tokio::time::timeout(MAX_EXAMINATION, examine(settings)).await else {
                tracing::warn!("the doctor of the console did not end within {MAX_EXAMINATION:?}");
                return;
            };
            let inputs = Arc::new(inputs);
            last.send_replace(Some(LastExamination { made: Instant::now(), at, inputs }));
        });
    }
}
