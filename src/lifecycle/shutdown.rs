//! The tasks of the process, and its shutdown in two stages.
//!
//! The *soft* stop is a request: accept nothing new, send `bye` to streams, finish what was begun.
//! The *hard* stop ends what still runs shortly before [`STOP_TIMEOUT`].

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::readiness::Readiness;

/// Timeout of a stop, from the soft stop to the end of all tasks.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// Part of [`STOP_TIMEOUT`] that remains after the hard stop.
const HARD_STOP_RESERVE: Duration = Duration::from_secs(2);

/// Runs the tasks of the process, signals the stop, and waits for their end.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    /// When the stop began.
    stopped_at: Arc<OnceLock<Instant>>,
    tasks: TaskTracker,
    /// Work that must be completed although its requester may be gone; awaited before `tasks`.
    deliveries: TaskTracker,
    readiness: Readiness,
}

impl Lifecycle {
    /// The lifecycle of a process that has just started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The token of the soft stop; it is cancelled when the stop begins.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// The health of the components.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Whether a stop has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopped_at.get().is_some()
    }

    /// Runs a task. It must end soon after the soft stop, and is dropped at the hard stop. A task
    /// that ends before the stop, or panics, stops the process.
    pub fn run<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hard = self.hard.clone();
        let fuse = FailureFuse { name, lifecycle: self.clone() };
        self.tasks.spawn(async move {
            let _fuse = fuse;
            tokio::select! {
                () = task => {}
                () = hard.cancelled() => tracing::warn!(task.name = name, "the task {name} did not stop in time"),
            }
        });
    }

    /// Runs a task like [`Self::run`], but on a thread with a runtime of its own, so that it does
    /// not wait for the tasks of the shared runtime.
    pub fn run_on_own_thread<R, F>(&self, name: &'static str, task: R)
    where
        R: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let (thread_alive, thread_ended) = tokio::sync::oneshot::channel::<()>();
        let body = move || {
            // Dropped with the thread, also after a panic.
            let _thread_alive = thread_alive;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(task());
                    // Blocking calls without a receiver would keep the thread.
                    runtime.shutdown_background();
                }
                Err(error) => tracing::error!(task.name = name, error = %error, "{error}"),
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        if let Err(error) = thread.spawn(body) {
            tracing::error!(task.name = name, error = %error, "the system provides no thread: {error}");
        }
        self.run(name, async {
            // The sender only closes the channel, at the end of the thread.
            let _ = thread_ended.await;
        });
    }

    /// Runs work to its end, also when its requester is gone.
    pub fn run_to_completion<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.deliveries.spawn(work)
    }

    /// Delays the end of the shutdown for a connection that outlives its request. The hold ends at
    /// the hard stop.
    #[must_use]
    pub fn hold_shutdown(&self) -> ShutdownHold {
        ShutdownHold { _tracked: self.tasks.token(), hard: self.hard.clone() }
    }

    /// Begins the soft stop. Further calls have no effect.
    pub fn stop(&self) {
        self.stopped_at.get_or_init(Instant::now);
        self.soft.cancel();
    }

    /// Completes when only `remaining` of [`STOP_TIMEOUT`] remains; never before the stop.
    pub async fn until_remaining(&self, remaining: Duration) {
        self.soft.cancelled().await;
        let stopped_at = *self.stopped_at.get_or_init(Instant::now);
        tokio::time::sleep_until(stopped_at + STOP_TIMEOUT.saturating_sub(remaining)).await;
    }

    /// Begins the soft stop and waits for all tasks. Begins the hard stop shortly before
    /// [`STOP_TIMEOUT`].
    pub async fn shut_down(&self) {
        self.stop();
        self.deliveries.close();
        self.tasks.close();
        let all_ended = async {
            self.deliveries.wait().await;
            self.tasks.wait().await;
        };
        tokio::select! {
            () = all_ended => return,
            () = self.until_remaining(HARD_STOP_RESERVE) => self.hard.cancel(),
        }
        // A task is dropped at its next poll, so one second suffices.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
    }
}

/// A connection that the shutdown waits for. See [`Lifecycle::hold_shutdown`].
pub struct ShutdownHold {
    _tracked: TaskTrackerToken,
    hard: CancellationToken,
}

impl ShutdownHold {
    /// Runs a connection to its end, at most until the hard stop.
    pub async fn run<F: Future<Output = ()>>(self, connection: F) {
        self.hard.run_until_cancelled(connection).await;
    }
}

/// Stops the process when a task ends before the stop: a task that is gone would otherwise go
/// unnoticed.
struct FailureFuse {
    name: &'static str,
    lifecycle: Lifecycle,
}

impl Drop for FailureFuse {
    fn drop(&mut self) {
        if !self.lifecycle.is_stopping() {
            let (name, how) =
                (self.name, if std::thread::panicking() { "panicked" } else { "ended by itself" });
            tracing::error!(task.name = name, "the task {name} {how}, stopping the process");
            self.lifecycle.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_stops_the_process() {
        let lifecycle = Lifecycle::new();
        lifecycle.run("a task", async {
            tokio::task::yield_now().await;
            panic!("a fault");
        });
        lifecycle.soft().cancelled().await;
    }

    #[tokio::test]
    async fn a_thread_of_its_own_that_panics_stops_the_process_too() {
        let lifecycle = Lifecycle::new();
        lifecycle.run_on_own_thread("a task", || async { panic!("a fault") });
        lifecycle.soft().cancelled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_do_not_stop_are_ended_25_s_after_the_soft_stop_at_the_latest() {
        let lifecycle = Lifecycle::new();
        lifecycle.run("a task", std::future::pending());
        lifecycle.run_to_completion(std::future::pending::<()>());
        lifecycle.stop();
        let began = Instant::now();
        // Other parts of the shutdown took most of the time.
        tokio::time::sleep(Duration::from_secs(20)).await;
        lifecycle.shut_down().await;
        assert!(began.elapsed() <= STOP_TIMEOUT, "{:?}", began.elapsed());
        assert!(began.elapsed() >= Duration::from_secs(20));
    }

    #[tokio::test]
    async fn work_that_was_begun_is_completed_before_the_end() {
        let lifecycle = Lifecycle::new();
        let (send, mut receive) = tokio::sync::mpsc::channel(1);
        lifecycle.run_to_completion(async move { send.send(()).await });
        lifecycle.shut_down().await;
        assert!(receive.try_recv().is_ok());
    }
}
