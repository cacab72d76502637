//! Start, readiness and the end of the process.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After the soft signal, what is still going on is ended this much later.
pub const HARD_AFTER: Duration = Duration::from_secs(25);

/// The one who says when to stop, and waits until all have.
///
/// Soft: accept nothing new, say `bye`, finish what was begun. Hard: end now.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    /// What a delivery began must be finished even when its client is gone; awaited first.
    deliveries: TaskTracker,
    readiness: Readiness,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A life that has just begun.
    #[must_use]
    pub fn new() -> Self {
        Self {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            tasks: TaskTracker::new(),
            deliveries: TaskTracker::new(),
            readiness: Readiness::default(),
        }
    }

    /// Is cancelled when the stop begins.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Which components are well.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Whether a stop has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Runs a room's loop; it must end by itself soon after [`Lifecycle::soft`], and is dropped
    /// at the hard stop.
    pub fn run<F>(&self, name: &'static str, room: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (soft, hard) = (self.soft.clone(), self.hard.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = room => if !soft.is_cancelled() {
                    // A loop that ends by itself is a fault: nobody would notice the silence.
                    tracing::error!(task.name = name, "the task {name} ended by itself, stopping the process");
                    soft.cancel();
                },
                () = hard.cancelled() => tracing::warn!(task.name = name, "the task {name} did not stop in time"),
            }
        });
    }

    /// Runs work to its end although the one who asked for it may be gone by then.
    pub fn finish<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.deliveries.spawn(work)
    }

    /// Begins the stop. Idempotent.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits until all work and all rooms have ended, at most [`HARD_AFTER`] from now.
    pub async fn ended(&self) {
        self.soft.cancel();
        self.deliveries.close();
        self.tasks.close();
        let everything = async {
            self.deliveries.wait().await;
            self.tasks.wait().await;
        };
        if tokio::time::timeout(HARD_AFTER, everything).await.is_err() {
            self.hard.cancel();
            // Dropping a task is immediate once it is polled; a second is ample.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
        }
    }
}

/// How well a component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not yet well since the start.
    Starting,
    /// Well.
    Well,
    /// It says what is wrong.
    Unwell(String),
    /// It promised to report and did not.
    Silent,
}

#[derive(Debug)]
struct Component {
    health: Health,
    well_until: Option<Instant>,
}

/// What each component last said of itself. A component that said it is well must say so again
/// within the time that it gave.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    components: Arc<Mutex<BTreeMap<&'static str, Component>>>,
}

impl Readiness {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Component>> {
        self.components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The component exists and is not well yet.
    pub fn starting(&self, name: &'static str) {
        self.lock().entry(name).or_insert(Component {
            health: Health::Starting,
            well_until: None,
        });
    }

    /// The component is well for at least `for_at_least`.
    pub fn well(&self, name: &'static str, for_at_least: Duration) {
        let component = Component {
            health: Health::Well,
            well_until: Some(Instant::now() + for_at_least),
        };
        if let Some(before) = self.lock().insert(name, component)
            && before.health != Health::Well
        {
            tracing::info!(component.name = name, "{name} is well");
        }
    }

    /// The component is not well; logs the change.
    pub fn unwell(&self, name: &'static str, why: impl Into<String>) {
        let health = Health::Unwell(why.into());
        let before = self.lock().insert(
            name,
            Component {
                health: health.clone(),
                well_until: None,
            },
        );
        if let Health::Unwell(why) = &health
            && before.is_none_or(|before| !matches!(before.health, Health::Unwell(_)))
        {
            tracing::warn!(component.name = name, "{name} is not well: {why}");
        }
    }

    /// How each component is now.
    #[must_use]
    pub fn view(&self) -> BTreeMap<&'static str, Health> {
        let now = Instant::now();
        let read = |component: &Component| match component.well_until {
            Some(until) if until < now => Health::Silent,
            _ => component.health.clone(),
        };
        self.lock()
            .iter()
            .map(|(name, component)| (*name, read(component)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_falls_silent_is_not_well() {
        let readiness = Readiness::default();
        readiness.starting("kafka");
        assert_eq!(readiness.view()["kafka"], Health::Starting);
        readiness.well("kafka", Duration::from_secs(60));
        assert_eq!(readiness.view()["kafka"], Health::Well);
        readiness.well("kafka", Duration::ZERO);
        assert_eq!(readiness.view()["kafka"], Health::Silent);
        readiness.unwell("kafka", "no broker answers");
        assert_eq!(
            readiness.view()["kafka"],
            Health::Unwell("no broker answers".to_owned())
        );
    }

    #[tokio::test]
    async fn what_was_begun_is_finished_before_the_end() {
        let lifecycle = Lifecycle::new();
        let (send, mut receive) = tokio::sync::mpsc::channel(1);
        lifecycle.finish(async move { send.send(()).await });
        lifecycle.ended().await;
        assert!(receive.try_recv().is_ok());
    }
}
