//! Start, readiness and the end of the process.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// From the soft signal to the end of everything it takes so long at most.
pub const HARD_AFTER: Duration = Duration::from_secs(25);
/// So much of that is left for closing, when what is still going on is ended.
const FOR_CLOSING: Duration = Duration::from_secs(2);

/// The one who says when to stop, and waits until all have.
///
/// Soft: accept nothing new, say `bye`, finish what was begun. Hard: end now.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    /// When the stop began.
    stopped: Arc<OnceLock<tokio::time::Instant>>,
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
            stopped: Arc::default(),
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
        self.stopped.get().is_some()
    }

    /// Runs a room's loop; it must end by itself soon after [`Lifecycle::soft`], and is dropped
    /// at the hard stop.
    pub fn run<F>(&self, name: &'static str, room: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hard = self.hard.clone();
        let fuse = Fuse {
            name,
            lifecycle: self.clone(),
        };
        self.tasks.spawn(async move {
            let _fuse = fuse;
            tokio::select! {
                () = room => {}
                () = hard.cancelled() => tracing::warn!(task.name = name, "the task {name} did not stop in time"),
            }
        });
    }

    /// The same on a thread of its own: what must never wait behind all that the others have to do.
    pub fn run_apart<R, F>(&self, name: &'static str, room: R)
    where
        R: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let (ends, ended) = tokio::sync::oneshot::channel::<()>();
        let live = move || {
            // Gone with the thread, however that ends.
            let _ends = ends;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(room());
                    // Questions that nobody waits for any more hold threads.
                    runtime.shutdown_background();
                }
                Err(error) => tracing::error!(task.name = name, error = %error, "{error}"),
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        if let Err(error) = thread.spawn(live) {
            tracing::error!(task.name = name, error = %error, "the system gives no thread: {error}");
        }
        self.run(name, async {
            // Nobody sends: it ends when the thread does.
            let _ = ended.await;
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

    /// A place for somebody from outside who stays longer than a request: the end waits until they
    /// have gone, and sends them away at the hard stop.
    #[must_use]
    pub fn stay(&self) -> Stay {
        Stay {
            _counted: self.tasks.token(),
            hard: self.hard.clone(),
        }
    }

    /// Begins the stop. Idempotent.
    pub fn stop(&self) {
        self.stopped.get_or_init(tokio::time::Instant::now);
        self.soft.cancel();
    }

    /// Ends when so much is left of the time that a stop may take; never before the stop.
    pub async fn nearly_over(&self, left: Duration) {
        self.soft.cancelled().await;
        let stopped = *self.stopped.get_or_init(tokio::time::Instant::now);
        tokio::time::sleep_until(stopped + HARD_AFTER.saturating_sub(left)).await;
    }

    /// Waits until all work and all rooms have ended, and ends them when little is left of
    /// [`HARD_AFTER`].
    pub async fn ended(&self) {
        self.stop();
        self.deliveries.close();
        self.tasks.close();
        let everything = async {
            self.deliveries.wait().await;
            self.tasks.wait().await;
        };
        let in_time = tokio::select! {
            () = everything => true,
            () = self.nearly_over(FOR_CLOSING) => false,
        };
        if !in_time {
            self.hard.cancel();
            // Dropping a task is immediate once it is polled; a second is ample.
            let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
        }
    }
}

/// See [`Lifecycle::stay`].
pub struct Stay {
    _counted: TaskTrackerToken,
    hard: CancellationToken,
}

impl Stay {
    /// Ends with the visit, or at the hard stop.
    pub async fn of<F: Future<Output = ()>>(self, visit: F) {
        tokio::select! {
            () = visit => {}
            () = self.hard.cancelled() => {}
        }
    }
}

/// A room's loop that ends by itself, or panics, is a fault: nobody would notice the silence.
struct Fuse {
    name: &'static str,
    lifecycle: Lifecycle,
}

impl Drop for Fuse {
    fn drop(&mut self) {
        if !self.lifecycle.is_stopping() {
            let (name, how) = (
                self.name,
                if std::thread::panicking() {
                    "panicked"
                } else {
                    "ended by itself"
                },
            );
            tracing::error!(
                task.name = name,
                "the task {name} {how}, stopping the process"
            );
            self.lifecycle.stop();
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
    /// When it said so, and until when it counts.
    well: Option<(Instant, Instant)>,
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
            well: None,
        });
    }

    /// The component is well for at least `for_at_least`.
    pub fn well(&self, name: &'static str, for_at_least: Duration) {
        let now = Instant::now();
        let component = Component {
            health: Health::Well,
            well: Some((now, now + for_at_least)),
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
                well: None,
            },
        );
        if let Health::Unwell(why) = &health
            && before.is_none_or(|before| !matches!(before.health, Health::Unwell(_)))
        {
            tracing::warn!(component.name = name, "{name} is not well: {why}");
        }
    }

    /// How long ago a component that counts as well said so.
    #[must_use]
    pub fn said_well(&self, name: &str) -> Option<Duration> {
        let now = Instant::now();
        let (said, until) = self.lock().get(name)?.well?;
        (now <= until).then(|| now.saturating_duration_since(said))
    }

    /// How each component is now.
    #[must_use]
    pub fn view(&self) -> BTreeMap<&'static str, Health> {
        let now = Instant::now();
        let read = |component: &Component| match component.well {
            Some((_, until)) if until < now => Health::Silent,
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
        assert!(readiness.said_well("kafka").is_some());
        readiness.well("kafka", Duration::ZERO);
        assert_eq!(readiness.view()["kafka"], Health::Silent);
        assert_eq!(readiness.said_well("kafka"), None);
        readiness.unwell("kafka", "no broker answers");
        assert_eq!(
            readiness.view()["kafka"],
            Health::Unwell("no broker answers".to_owned())
        );
    }

    #[tokio::test]
    async fn a_room_that_panics_stops_the_process() {
        let lifecycle = Lifecycle::new();
        lifecycle.run("a room", async {
            tokio::task::yield_now().await;
            panic!("a fault");
        });
        lifecycle.soft().cancelled().await;
    }

    #[tokio::test]
    async fn a_thread_of_its_own_that_panics_stops_the_process_too() {
        let lifecycle = Lifecycle::new();
        lifecycle.run_apart("a room", || async { panic!("a fault") });
        lifecycle.soft().cancelled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_stop_is_ended_25_s_after_the_soft_signal_at_the_latest() {
        let lifecycle = Lifecycle::new();
        lifecycle.run("a room", std::future::pending());
        lifecycle.finish(std::future::pending::<()>());
        lifecycle.stop();
        let began = tokio::time::Instant::now();
        // Somebody was slow before.
        tokio::time::sleep(Duration::from_secs(20)).await;
        lifecycle.ended().await;
        assert!(began.elapsed() <= HARD_AFTER, "{:?}", began.elapsed());
        assert!(began.elapsed() >= Duration::from_secs(20));
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
