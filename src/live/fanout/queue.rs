//! The bounded queue of one subscriber, between the live state and its stream session.
//!
//! Two limits apply. [`MAX_QUEUED_MESSAGES`] is the hard one: a message beyond it is not queued.
//! The setting `[streams] queue` is the soft one: a subscriber that has more messages waiting for
//! too long is dropped (see [`StreamSubscriber::send`](super::subscriber::StreamSubscriber::send)).
//!
//! # Why
//!
//! *Levels are queued as names of calls.* A subscriber of many calls may have to be stated thousands of
//! levels at once, and may read none of them. So its queue has the calls whose level is still to be
//! stated, and the message is built when the connection takes it.
//!
//! *Not tokio's channel.* It takes two kilobytes per queue, and nearly all queues are empty: ten
//! thousand idle subscribers would take twenty megabytes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::message::StreamMessage;
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum number of messages in a queue, for however short a time.
const MAX_QUEUED_MESSAGES: usize = 1 << 18;
/// Capacity that an empty queue keeps.
const IDLE_CAPACITY: usize = 4;

#[derive(Default)]
struct QueueState {
    messages: VecDeque<StreamMessage>,
    /// The calls whose level is to be stated after the messages.
    levels: BTreeSet<Anchor>,
    /// Wakes the task that waits for the next message.
    waker: Option<Waker>,
    /// One of the two ends is dropped.
    closed: bool,
}

/// What a stream sends next.
#[derive(Debug)]
pub(crate) enum Queued {
    Message(StreamMessage),
    /// The level that this call has when the message is built.
    Level(Anchor),
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

/// Ends a queue from elsewhere.
pub(crate) struct QueueEnd(SharedQueue);

impl QueueEnd {
    /// Ends the queue: what waits in it is not received any more, and nothing more is queued.
    pub(crate) fn close(self) {
        close(&self.0);
    }
}

fn close(queue: &SharedQueue) {
    let mut state = lock(queue);
    state.closed = true;
    state.messages.clear();
    state.levels.clear();
    wake(state);
}

/// Why a message was not put into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// The queue is full, or more than the soft limit have been waiting for too long.
    Full,
    /// The receiver is dropped, or the queue was ended.
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

    /// Queues the calls whose level is to be stated.
    pub(crate) fn send_levels(&self, calls: BTreeSet<Anchor>) {
        let mut state = lock(&self.0);
        if !state.closed && !calls.is_empty() {
            if state.levels.is_empty() {
                state.levels = calls;
            } else {
                state.levels.extend(calls);
            }
            wake(state);
        }
    }

    /// Whether the level of a call is still to be stated.
    pub(crate) fn has_level(&self, call: &Anchor) -> bool {
        lock(&self.0).levels.contains(call)
    }

    /// The number of waiting messages.
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
    /// What ends the queue.
    pub(crate) fn end(&self) -> QueueEnd {
        QueueEnd(Arc::clone(&self.0))
    }

    /// What is sent next; `None` after the last message. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Queued> {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.0);
            if let Some(message) = state.messages.pop_front() {
                if state.messages.is_empty() {
                    state.messages.shrink_to(IDLE_CAPACITY);
                }
                return Poll::Ready(Some(Queued::Message(message)));
            }
            // The levels of a removed subscriber are not known any more.
            if state.closed {
                return Poll::Ready(None);
            }
            if let Some(call) = state.levels.pop_first() {
                return Poll::Ready(Some(Queued::Level(call)));
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
        let state = lock(&self.0);
        state.messages.is_empty() && state.levels.is_empty()
    }

    /// What is sent next, if there is anything.
    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Option<Queued> {
        futures_util::FutureExt::now_or_never(self.next())?
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        close(&self.0);
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
            while let Some(Queued::Message(message)) = receiver.next().await {
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
    fn a_level_is_queued_once_and_follows_the_messages() {
        let (sender, mut receiver) = queue();
        let calls = ["b", "a"].map(Anchor::correlation);
        sender.send_levels(BTreeSet::from(calls.clone()));
        sender.send_levels(BTreeSet::from(calls.clone()));
        sender.send(message("m")).unwrap();
        assert!(matches!(receiver.try_next(), Some(Queued::Message(_))));
        assert!(sender.has_level(&calls[0]));
        for call in ["a", "b"] {
            assert!(!receiver.is_empty());
            let next = receiver.try_next();
            assert!(matches!(next, Some(Queued::Level(it)) if it == Anchor::correlation(call)));
        }
        assert!(!sender.has_level(&calls[0]) && receiver.is_empty());
    }

    #[test]
    fn nothing_is_received_after_a_queue_was_ended() {
        let (sender, mut receiver) = queue();
        sender.send(message("a")).unwrap();
        assert!(futures_util::FutureExt::now_or_never(receiver.next()).flatten().is_some());
        sender.send(message("b")).unwrap();
        receiver.end().close();
        assert!(matches!(futures_util::FutureExt::now_or_never(receiver.next()), Some(None)));
        assert_eq!(sender.send(message("c")), Err(NotQueued::Closed));
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
