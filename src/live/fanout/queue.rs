//! The bounded queue of one subscriber, between the live state and its stream session.
//!
//! Two limits apply. [`MAX_QUEUED_MESSAGES`] is the hard one: a message beyond it is not queued.
//! The setting `[streams] queue` is the soft one: a subscriber that has more messages waiting for
//! too long is dropped (see [`StreamSubscriber::send`](super::subscriber::StreamSubscriber::send)).
//!
//! # Why
//!
//! *Not tokio's channel.* It takes two kilobytes per queue, and nearly all queues are empty: ten
//! thousand idle subscribers would take twenty megabytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::message::StreamMessage;

/// Maximum number of messages in a queue, for however short a time.
const MAX_QUEUED_MESSAGES: usize = 1 << 18;
/// Capacity that an empty queue keeps.
const IDLE_CAPACITY: usize = 4;

#[derive(Default)]
struct QueueState {
    messages: VecDeque<StreamMessage>,
    /// Wakes the task that waits for the next message.
    waker: Option<Waker>,
    /// One of the two ends is dropped.
    closed: bool,
}

type SharedQueue = Arc<Mutex<QueueState>>;

fn lock(state: &SharedQueue) -> MutexGuard<'_, QueueState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the waiting task, after the lock is released.
fn wake(mut state: MutexGuard<'_, QueueState>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The sending end, held by the live state.
pub(crate) struct Sender(SharedQueue);

/// The receiving end, held by the stream session.
pub(crate) struct Receiver(SharedQueue);

/// Why a message was not put into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// The queue is full, or more than the soft limit have been waiting for too long.
    Full,
    /// The receiver is dropped.
    Closed,
}

/// Creates an empty queue.
pub(crate) fn queue() -> (Sender, Receiver) {
    let shared = SharedQueue::default();
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl Sender {
    pub(crate) fn send(&self, message: StreamMessage) -> Result<(), NotQueued> {
        let mut state = lock(&self.0);
        if state.closed {
            return Err(NotQueued::Closed);
        }
        if state.messages.len() >= MAX_QUEUED_MESSAGES {
            return Err(NotQueued::Full);
        }
        state.messages.push_back(message);
        wake(state);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.0).messages.len()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        wake(state);
    }
}

impl Receiver {
    /// The next message; `None` after the last one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<StreamMessage> {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.0);
            if let Some(message) = state.messages.pop_front() {
                if state.messages.is_empty() {
                    state.messages.shrink_to(IDLE_CAPACITY);
                }
                return Poll::Ready(Some(message));
            }
            if state.closed {
                return Poll::Ready(None);
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => state.waker = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).messages.is_empty()
    }

    /// The next message, if there is one.
    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Option<StreamMessage> {
        lock(&self.0).messages.pop_front()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.closed = true;
        state.messages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::fanout::message::{BuildInstant, MessageKind};

    fn message(reason: &str) -> StreamMessage {
        StreamMessage::reason(MessageKind::Gap, reason, BuildInstant { at: 0, now: 0 })
    }

    #[tokio::test]
    async fn messages_keep_their_order_and_those_before_the_end_are_received() {
        let (sender, mut receiver) = queue();
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            while let Some(message) = receiver.next().await {
                read.push(message.body(None));
            }
            read
        });
        for reason in ["a", "b"] {
            tokio::task::yield_now().await;
            sender.send(message(reason)).unwrap();
        }
        sender.send(message("c")).unwrap();
        drop(sender);
        let all = ["a", "b", "c"].map(|reason| message(reason).body(None));
        assert_eq!(reading.await.unwrap(), all);
    }

    #[test]
    fn a_message_to_a_dropped_receiver_is_refused() {
        let (sender, receiver) = queue();
        sender.send(message("a")).unwrap();
        assert_eq!((sender.len(), receiver.is_empty()), (1, false));
        drop(receiver);
        assert_eq!(sender.send(message("b")), Err(NotQueued::Closed));
        assert_eq!(sender.len(), 0);
    }
}
