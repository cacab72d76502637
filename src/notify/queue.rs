//! What waits for one listener, between the board and its conversation.
//!
//! # Why
//!
//! *Not tokio's channel.* That takes two kilobytes for each queue, and nearly all queues are empty:
//! ten thousand listeners at rest would have twenty megabytes of nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::message::Message;

/// Nobody may have more waiting, for however short a time.
const MOST_WAITING: usize = 1 << 18;
/// Room for so many is kept when nothing waits.
const ROOM_KEPT: usize = 4;

#[derive(Default)]
struct State {
    waiting: VecDeque<Message>,
    /// Of whoever waits for the next message.
    waker: Option<Waker>,
    /// One of both ends is gone.
    over: bool,
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The board's end.
pub(super) struct Mouth(Shared);

/// The conversation's end.
pub struct Ear(Shared);

/// Why a message was not put into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    Full,
    /// Nobody will take it.
    Gone,
}

/// A queue that is empty.
pub(super) fn queue() -> (Mouth, Ear) {
    let shared = Shared::default();
    (Mouth(Arc::clone(&shared)), Ear(shared))
}

impl Mouth {
    pub fn say(&self, message: Message) -> Result<(), NotQueued> {
        let waker = {
            let mut state = lock(&self.0);
            if state.over {
                return Err(NotQueued::Gone);
            }
            if state.waiting.len() >= MOST_WAITING {
                return Err(NotQueued::Full);
            }
            state.waiting.push_back(message);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    pub fn waiting(&self) -> usize {
        lock(&self.0).waiting.len()
    }
}

impl Drop for Mouth {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.0);
            state.over = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Ear {
    /// The next message; `None`: there will be none any more. May be dropped and asked again.
    pub async fn next(&mut self) -> Option<Message> {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.0);
            if let Some(message) = state.waiting.pop_front() {
                if state.waiting.is_empty() {
                    state.waiting.shrink_to(ROOM_KEPT);
                }
                return Poll::Ready(Some(message));
            }
            if state.over {
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

    pub fn is_empty(&self) -> bool {
        lock(&self.0).waiting.is_empty()
    }

    /// What waits, without waiting for more.
    #[cfg(test)]
    pub fn try_next(&mut self) -> Option<Message> {
        lock(&self.0).waiting.pop_front()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.over = true;
        state.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(reason: &str) -> Message {
        Message::gap(reason, 0, 0)
    }

    #[tokio::test]
    async fn messages_come_in_order_and_what_was_said_before_the_end_is_heard() {
        let (mouth, mut ear) = queue();
        let hearing = tokio::spawn(async move {
            let mut heard = Vec::new();
            while let Some(message) = ear.next().await {
                heard.push(message.body(None));
            }
            heard
        });
        for reason in ["a", "b"] {
            tokio::task::yield_now().await;
            mouth.say(message(reason)).unwrap();
        }
        mouth.say(message("c")).unwrap();
        drop(mouth);
        let all = ["a", "b", "c"].map(|reason| message(reason).body(None));
        assert_eq!(hearing.await.unwrap(), all);
    }

    #[test]
    fn nobody_hears_what_is_said_to_who_is_gone() {
        let (mouth, ear) = queue();
        mouth.say(message("a")).unwrap();
        assert_eq!((mouth.waiting(), ear.is_empty()), (1, false));
        drop(ear);
        assert_eq!(mouth.say(message("b")), Err(NotQueued::Gone));
        assert_eq!(mouth.waiting(), 0);
    }
}
