//! Keeps the board up to date: the log, the spool, the clock.

use std::time::Duration;

use metrics::counter;

use super::board::{Arrival, Board};
use crate::clock;
use crate::config::{History, Settings};
use crate::domain::ids::Digest;
use crate::domain::instant::Millis;
use crate::lifecycle::Lifecycle;
use crate::store::{Store, StoreError};
use crate::stream::{
    Connection, EventMessage, Incoming, Reader, ReaderError, Start, Topic, WireMessage,
};
use crate::telemetry::names;

/// After a failure of either store.
const PAUSE: Duration = Duration::from_millis(300);
/// New partitions are looked for so often.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(15);
/// The spool is looked at so often even if nothing wakes us.
const LOOK_AT_SPOOL: Duration = Duration::from_secs(1);
/// Levels that change with time change so late at most.
const TICK: Duration = Duration::from_millis(50);
/// So many messages that are there already are folded together.
const BURST: usize = 256;
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Starts the tasks that feed the board.
pub fn start(
    settings: &Settings,
    board: &Board,
    store: &Store,
    connection: &Connection,
    lifecycle: &Lifecycle,
) {
    lifecycle.readiness().starting("board");
    let history = settings.board.history;
    lifecycle.run(
        "board log",
        follow_log(
            board.clone(),
            connection.clone(),
            history,
            lifecycle.clone(),
        ),
    );
    lifecycle.run(
        "board spool",
        follow_spool(board.clone(), store.clone(), lifecycle.clone()),
    );
    lifecycle.run(
        "board clock",
        follow_clock(board.clone(), history, lifecycle.clone()),
    );
}

/// What the board has a use for. The ledger keeps what is not in our form.
fn arrival(wire: &WireMessage, at: Millis) -> Option<Arrival> {
    let message = EventMessage::from_wire(wire).ok()?;
    let testimony = message
        .event
        .statement
        .bears_facts()
        .then(|| message.testimony())?;
    Some(Arrival {
        tenant: message.tenant,
        testimony,
        at,
    })
}

fn arrived(incoming: &Incoming) -> Option<Arrival> {
    arrival(incoming.wire.as_ref()?, incoming.broker_time)
}

async fn follow_log(board: Board, connection: Connection, history: History, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    let mut reader = match Reader::open(&connection, Topic::Events) {
        Ok(reader) => reader,
        Err(error) => {
            tracing::error!(error = %error, "the board cannot read the log: {error}");
            return;
        }
    };
    let reading = async {
        loop {
            match catch_up(&board, &mut reader, &connection, history).await {
                Ok(()) => break,
                Err(error) => {
                    lifecycle.readiness().unwell("board", error.to_string());
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        lifecycle
            .readiness()
            .well("board", Duration::from_secs(3600 * 24 * 365));
        loop {
            if let Err(error) = follow_live(&board, &mut reader).await {
                tracing::debug!(error = %error, "the board waits for the log: {error}");
                if matches!(error, ReaderError::OutOfRange) {
                    mend(&board, &mut reader).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = soft.cancelled() => {}
    }
}

/// Reads from the start of the history to where the log's end is now.
async fn catch_up(
    board: &Board,
    reader: &mut Reader,
    connection: &Connection,
    history: History,
) -> Result<(), ReaderError> {
    let partitions = reader.partitions().await?;
    let began = clock::now_ms();
    let start = match history {
        History::All => Start::Beginning,
        History::Since(history) => {
            Start::At(began - i64::try_from(history.as_millis()).unwrap_or(i64::MAX))
        }
    };
    let missing: Vec<(i32, Start)> = (0..partitions)
        .filter(|partition| !reader.reads(*partition))
        .map(|partition| (partition, start))
        .collect();
    let cluster = reader.cluster().await.unwrap_or_default();
    board.catch_up(Digest::of_parts(&[&connection.topic(Topic::Events), &cluster]).to_string());
    reader.assign(&missing).await?;
    let mut ends = Vec::new();
    for partition in 0..partitions {
        ends.push((partition, reader.watermarks(partition).await?.1));
    }
    let reached = |reader: &Reader| {
        ends.iter().all(|(partition, end)| {
            reader
                .positions()
                .get(partition)
                .is_some_and(|next| next >= end)
        })
    };
    let mut read = 0_u64;
    while !reached(reader) {
        match reader.next().await {
            Ok(incoming) => {
                read += 1;
                board.enter(arrived(&incoming).into_iter().collect(), began);
            }
            Err(ReaderError::OutOfRange) => mend(board, reader).await,
            Err(error) => return Err(error),
        }
    }
    let now = clock::now_ms();
    board.go_live(now);
    tracing::info!(
        board.messages = read,
        board.milliseconds = now - began,
        "the board has read {read} messages in {} ms and is live",
        now - began
    );
    Ok(())
}

async fn follow_live(board: &Board, reader: &mut Reader) -> Result<(), ReaderError> {
    let mut look = tokio::time::interval(LOOK_FOR_PARTITIONS);
    look.reset();
    loop {
        tokio::select! {
            incoming = reader.next() => {
                let mut arrivals: Vec<Arrival> = arrived(&incoming?).into_iter().collect();
                let mut failed = None;
                while arrivals.len() < BURST && let Some(ready) = reader.next_ready() {
                    match ready {
                        Ok(incoming) => arrivals.extend(arrived(&incoming)),
                        Err(error) => {
                            failed = Some(error);
                            break;
                        }
                    }
                }
                board.enter(arrivals, clock::now_ms());
                if let Some(error) = failed {
                    return Err(error);
                }
            }
            _ = look.tick() => {
                let partitions = reader.partitions().await?;
                let new: Vec<(i32, Start)> = (0..partitions).filter(|partition| !reader.reads(*partition)).map(|partition| (partition, Start::Beginning)).collect();
                reader.assign(&new).await?;
            }
        }
    }
}

async fn mend(board: &Board, reader: &mut Reader) {
    match reader.mend().await {
        Ok(gaps) => {
            for gap in gaps {
                counter!(names::STREAM_GAPS, "reader" => "board").increment(1);
                tracing::error!(
                    topic.partition = gap.partition,
                    offset.wanted = gap.wanted,
                    offset.resumed = gap.resumed,
                    "the board's position in partition {} is gone, reading goes on at {}",
                    gap.partition,
                    gap.resumed
                );
            }
            board.say_gap(
                "a part of the log is gone; what it told is unknown here",
                clock::now_ms(),
            );
        }
        Err(error) => {
            tracing::warn!(error = %error, "the board's position cannot be mended yet: {error}")
        }
    }
}

async fn follow_spool(board: Board, store: Store, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    let mut since = 0;
    let reading = async {
        loop {
            if let Err(error) = tail_spool(&board, &store, &mut since).await {
                tracing::debug!(error = %error, "the board cannot follow the spool now: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = soft.cancelled() => {}
    }
}

async fn tail_spool(board: &Board, store: &Store, since: &mut i64) -> Result<(), StoreError> {
    // Listen first, then look: what is spooled between the two wakes us.
    let mut listener = store.listen_to_spool().await?;
    loop {
        let (rows, next) = store.spooled_since(*since).await?;
        let arrivals: Vec<Arrival> = rows
            .iter()
            .filter_map(|row| {
                let wire: WireMessage = serde_json::from_slice(&row.message).ok()?;
                (wire.topic == Topic::Events)
                    .then(|| arrival(&wire, row.stored.timestamp_millis()))?
            })
            .collect();
        if !arrivals.is_empty() {
            board.enter(arrivals, clock::now_ms());
        }
        *since = next;
        if let Ok(woken) = tokio::time::timeout(LOOK_AT_SPOOL, listener.woken()).await {
            woken?;
        }
    }
}

async fn follow_clock(board: Board, history: History, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    let quiet = match history {
        History::All => None,
        History::Since(history) => i64::try_from(history.as_millis()).ok(),
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut tidied = tokio::time::Instant::now();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = soft.cancelled() => return,
        }
        let now = clock::now_ms();
        board.tick(now);
        if tidied.elapsed() >= TIDY_EVERY {
            tidied = tokio::time::Instant::now();
            board.tidy(now, quiet);
        }
    }
}
