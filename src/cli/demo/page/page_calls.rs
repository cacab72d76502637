//! The calls of the pages, each in progress until its page ends it or is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock;
use crate::http::problem::{Problem, ProblemKind};
use crate::lifecycle::Lifecycle;
use onrecord_simulator::{
    HttpSender, InteractiveCall, InteractiveCallInfo, InteractiveChange, InteractiveChangeError,
    InteractiveControl, SimulatedResource, play_interactive,
};

/// Maximum number of calls in progress. A browser has six connections to a server, and the stream of
/// each page takes one of them.
const MAX_CALLS: usize = 4;
/// Timeout of a call whose page is gone. A browser reconnects a stream within it.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The calls in progress.
#[derive(Clone)]
pub(in crate::cli::demo) struct PageCalls(Arc<PageCallsState>);

struct PageCallsState {
    resource: SimulatedResource,
    seed: u64,
    sender: HttpSender,
    lifecycle: Lifecycle,
    next: AtomicU64,
    /// By correlation id.
    in_progress: Mutex<BTreeMap<String, InteractiveControl>>,
}

impl PageCallsState {
    fn in_progress(&self) -> MutexGuard<'_, BTreeMap<String, InteractiveControl>> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a call among those in progress. Dropping it gives the place back.
struct CallPlace {
    state: Arc<PageCallsState>,
    correlation_id: String,
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        self.state.in_progress().remove(&self.correlation_id);
    }
}

impl PageCalls {
    pub(in crate::cli::demo) fn new(
        resource: SimulatedResource,
        seed: u64,
        sender: HttpSender,
        lifecycle: Lifecycle,
    ) -> Self {
        let (next, in_progress) = (AtomicU64::new(0), Mutex::default());
        Self(Arc::new(PageCallsState { resource, seed, sender, lifecycle, next, in_progress }))
    }

    /// Starts a call. It ends when its page ends it, or when nothing has observed its SDKs for
    /// [`PAGE_TIMEOUT`]; the end of the demonstration stops it.
    ///
    /// # Errors
    ///
    /// Too many calls are in progress, or the server did not accept the events of the start.
    pub(super) async fn start(&self) -> Result<InteractiveCallInfo, Problem> {
        let state = &self.0;
        let (started, has_started) = oneshot::channel();
        let number = state.next.fetch_add(1, Ordering::Relaxed);
        let call = InteractiveCall::new(state.resource.clone(), state.seed, number, clock::now());
        let info = call.info();
        let (control, playing) = play_interactive(call, state.sender.clone(), clock::now, started);
        // Until the page knows the call, this receiver stands for it.
        let _sdks = control.sdks();
        let place = self.take_place(&info.correlation_id, control.clone())?;
        let soft = state.lifecycle.soft().clone();
        // Its end is awaited by the shutdown.
        drop(state.lifecycle.run_to_completion(async move {
            let _place = place;
            soft.run_until_cancelled(until_ended(control, playing)).await;
        }));
        match has_started.await {
            Ok(Ok(())) => Ok(info),
            Ok(Err(reason)) => Err(problem(InteractiveChangeError::NotAccepted(reason))),
            Err(_) => Err(problem(InteractiveChangeError::Ended)),
        }
    }

    fn take_place(
        &self,
        correlation_id: &str,
        control: InteractiveControl,
    ) -> Result<CallPlace, Problem> {
        let mut in_progress = self.0.in_progress();
        if in_progress.len() >= MAX_CALLS {
            let detail = format!("{MAX_CALLS} calls are in progress; end one of them");
            return Err(Problem::too_many(detail, PAGE_TIMEOUT));
        }
        in_progress.insert(correlation_id.to_owned(), control);
        Ok(CallPlace { state: Arc::clone(&self.0), correlation_id: correlation_id.to_owned() })
    }

    /// Changes a call in progress.
    ///
    /// # Errors
    ///
    /// There is no such call in progress, or the server did not accept an event of the change.
    pub(super) async fn change(
        &self,
        correlation_id: &str,
        change: InteractiveChange,
    ) -> Result<(), Problem> {
        self.control(correlation_id)?.change(change).await.map_err(problem)
    }

    /// The control of a call in progress.
    ///
    /// # Errors
    ///
    /// There is no such call in progress.
    pub(super) fn control(&self, correlation_id: &str) -> Result<InteractiveControl, Problem> {
        let control = self.0.in_progress().get(correlation_id).cloned();
        control.ok_or_else(|| problem(InteractiveChangeError::Ended))
    }
}

/// Plays a call to its end, and ends it when its page is gone.
async fn until_ended(control: InteractiveControl, playing: impl Future<Output = ()>) {
    tokio::pin!(playing);
    let end_without_page = async {
        control.until_unobserved(PAGE_TIMEOUT).await;
        if let Err(error) = control.change(InteractiveChange::End).await {
            tracing::warn!(error = %error, "the end of a call without page: {error}");
        }
    };
    tokio::select! {
        () = &mut playing => return,
        () = end_without_page => {}
    }
    playing.await;
}

fn problem(error: InteractiveChangeError) -> Problem {
    match error {
        InteractiveChangeError::Ended => {
            Problem::not_found("the call is not in progress; start another one")
        }
        InteractiveChangeError::NotAccepted(reason) => Problem::new(
            ProblemKind::Internal,
            format!("an event of the call was not accepted: {}", reason.0),
        ),
    }
}
