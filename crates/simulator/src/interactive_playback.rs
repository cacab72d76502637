//! Plays an interactive call: posts what Azure posts when its user starts or stops a capture, and
//! states at its time what the SDK of each participant states.
//!
//! # Why
//!
//! *Two loops.* A delivery may wait for a server that does not answer, and the SDKs must not wait for
//! it. Deliveries are posted in order, so that a start cannot be overtaken by its stop.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use crate::call::interactive_call::{InteractiveCall, SdkState};
use crate::call::script::SimulatedDelivery;
use crate::senders::http_sender::{CallTokens, HttpSender, NotAccepted};
use onrecord_evidence::fact::kinds::{CaptureType, ProviderState};

/// Maximum number of changes of a call that wait.
const MAX_WAITING: usize = 16;

/// What the user of an interactive call wants to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InteractiveChange {
    Capture(CaptureType, ProviderState),
    End,
}

/// Why a call did not change, or why not all of its change is known to the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InteractiveChangeError {
    #[error("the call has ended")]
    Ended,
    #[error("an event was not accepted: {}", .0.0)]
    NotAccepted(NotAccepted),
}

/// Whether the server has accepted all deliveries of the start of a call, or of a change.
pub type PostedAnswer = oneshot::Sender<Result<(), NotAccepted>>;

/// Changes an interactive call, and observes its SDKs.
#[derive(Clone, Debug)]
pub struct InteractiveControl {
    changes: mpsc::Sender<(InteractiveChange, PostedAnswer)>,
    sdks: watch::Sender<Vec<SdkState>>,
}

impl InteractiveControl {
    /// Changes the call, and waits until the server has accepted all that Azure posts then.
    ///
    /// # Errors
    ///
    /// [`InteractiveChangeError`].
    pub async fn change(&self, change: InteractiveChange) -> Result<(), InteractiveChangeError> {
        let (answer, answered) = oneshot::channel();
        self.changes.send((change, answer)).await.map_err(|_| InteractiveChangeError::Ended)?;
        let outcome = answered.await.map_err(|_| InteractiveChangeError::Ended)?;
        outcome.map_err(InteractiveChangeError::NotAccepted)
    }

    /// What the SDKs state, in the order of the participants. The channel closes at the end of the
    /// call, when no control is left.
    #[must_use]
    pub fn sdks(&self) -> watch::Receiver<Vec<SdkState>> {
        self.sdks.subscribe()
    }

    /// Waits until [`Self::sdks`] has no receiver, and has none after this interval either.
    pub async fn until_unobserved(&self, interval: Duration) {
        loop {
            self.sdks.closed().await;
            sleep(interval).await;
            if self.sdks.is_closed() {
                return;
            }
        }
    }
}

/// The control of a call, and the future that plays it from its start to [`InteractiveChange::End`]. Without a
/// control it stops where it is.
pub fn play_interactive(
    call: InteractiveCall,
    sender: HttpSender,
    clock: fn() -> DateTime<Utc>,
    started: PostedAnswer,
) -> (InteractiveControl, impl Future<Output = ()> + Send + 'static) {
    let (changes, received) = mpsc::channel(MAX_WAITING);
    let (sdks, _) = watch::channel(call.sdks().to_vec());
    let (queue, queued) = mpsc::channel(MAX_WAITING);
    let control = InteractiveControl { changes, sdks: sdks.clone() };
    let playing = async move {
        tokio::join!(decide(call, received, sdks, queue, clock, started), post(queued, sender));
    };
    (control, playing)
}

/// Decides what is posted and stated, until the end of the call.
async fn decide(
    mut call: InteractiveCall,
    mut changes: mpsc::Receiver<(InteractiveChange, PostedAnswer)>,
    sdks: watch::Sender<Vec<SdkState>>,
    queue: mpsc::Sender<(Vec<SimulatedDelivery>, PostedAnswer)>,
    clock: fn() -> DateTime<Utc>,
    started: PostedAnswer,
) {
    let deliveries = call.start();
    publish(&call, &sdks);
    if queue.send((deliveries, started)).await.is_err() {
        return;
    }
    let mut due = FuturesUnordered::new();
    loop {
        let (change, answer) = tokio::select! {
            changed = changes.recv() => match changed {
                Some(changed) => changed,
                None => return,
            },
            Some(participant) = due.next() => {
                call.update_sdk(participant);
                publish(&call, &sdks);
                continue;
            }
        };
        let deliveries = match change {
            InteractiveChange::Capture(capture_type, state) => {
                due.extend(InteractiveCall::sdk_delays().map(|(participant, delay)| async move {
                    sleep(delay).await;
                    participant
                }));
                call.set_capture(capture_type, state, clock())
            }
            InteractiveChange::End => call.end(clock()),
        };
        publish(&call, &sdks);
        // The other loop ends after this one.
        if queue.send((deliveries, answer)).await.is_err() || change == InteractiveChange::End {
            return;
        }
    }
}

/// Publishes what the SDKs state, if it has changed.
fn publish(call: &InteractiveCall, sdks: &watch::Sender<Vec<SdkState>>) {
    sdks.send_if_modified(|published| {
        let is_new = *published != call.sdks();
        call.sdks().clone_into(published);
        is_new
    });
}

/// Posts the deliveries in order.
async fn post(
    mut queued: mpsc::Receiver<(Vec<SimulatedDelivery>, PostedAnswer)>,
    sender: HttpSender,
) {
    // Only clients need tokens.
    let tokens = CallTokens::new();
    while let Some((deliveries, answer)) = queued.recv().await {
        let mut outcome = Ok(());
        for delivery in &deliveries {
            outcome = outcome.and(sender.post(delivery, &tokens).await);
        }
        // The page that asked may be gone: then its call ends soon, and the server has logged what it refused.
        let _ = answer.send(outcome);
    }
}
