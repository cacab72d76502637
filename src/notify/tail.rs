//! Keeps the board up to date: the spool, which holds what Kafka did not confirm in time.

use std::time::Duration;

use tokio::time::Instant;

use super::board::{Arrival, Board, Way};
use super::follow::{PAUSE, arrival};
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::store::{SpoolTail, SpooledMessage, Store, StoreError};
use crate::stream::{Topic, WireMessage};

/// The spool is looked at so often even if nothing wakes us.
const LOOK: Duration = Duration::from_secs(1);
/// Who was not woken for so long listens anew: a connection can die without a word.
const LISTEN_ANEW: Duration = Duration::from_secs(30);
/// The spool counts as followed so long after a look.
const FOLLOWED: Duration = Duration::from_secs(15);

pub(super) async fn follow_spool(board: Board, store: Store, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    let readiness = lifecycle.readiness().clone();
    let mut tail = SpoolTail::default();
    let reading = async {
        loop {
            let followed = || readiness.well("spool", FOLLOWED);
            if let Err(error) = follow(&board, &store, &mut tail, followed).await {
                readiness.unwell("spool", error.to_string());
                // What was collected must not wait for the rest.
                board.tell_collected(clock::now_ms());
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = soft.cancelled() => {}
    }
}

/// Follows for a while, with one listener.
async fn follow(
    board: &Board,
    store: &Store,
    tail: &mut SpoolTail,
    followed: impl Fn(),
) -> Result<(), StoreError> {
    // Listen first, then look: what is spooled between the two wakes us.
    let mut listener = store.listen_to_spool().await?;
    let mut woken = Instant::now();
    while woken.elapsed() < LISTEN_ANEW {
        look(board, store, tail).await?;
        followed();
        if let Ok(outcome) = tokio::time::timeout(LOOK, listener.woken()).await {
            outcome?;
            woken = Instant::now();
        }
    }
    Ok(())
}

/// Brings everything that is new to the board. What fills more than one page is told at its end.
async fn look(board: &Board, store: &Store, tail: &mut SpoolTail) -> Result<(), StoreError> {
    let mut collecting = false;
    loop {
        let page = store.spooled_since(tail).await?;
        let arrivals: Vec<Arrival> = page.messages.iter().filter_map(arrived).collect();
        let now = clock::now_ms();
        if collecting || page.more {
            collecting = true;
            board.collect(arrivals, now);
        } else if !arrivals.is_empty() {
            board.enter(arrivals, Way::Spool, now);
        }
        if !page.more {
            break;
        }
    }
    if collecting {
        board.tell_collected(clock::now_ms());
    }
    Ok(())
}

fn arrived(spooled: &SpooledMessage) -> Option<Arrival> {
    let wire: WireMessage = serde_json::from_slice(&spooled.message).ok()?;
    (wire.topic == Topic::Events).then(|| arrival(&wire, spooled.stored.timestamp_millis()))?
}
