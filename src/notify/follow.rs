//! Keeps the board up to date: the log and the clock. The spool is in `tail.rs`.
//!
//! # Why
//!
//! *A thread of its own.* A change that ten thousand hear of makes ten thousand tasks ready; a
//! reader that waited behind all of them would find the next changes together, and state only the
//! last of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use metrics::counter;
use tokio::time::Instant;

use super::board::{Arrival, Board, Way};
use super::course::{Course, Stage};
use super::gear::Gear;
use super::tail::follow_spool;
use crate::clock;
use crate::config::{History, Settings};
use crate::domain::alias::Naming;
use crate::domain::calling_event::Testimony;
use crate::domain::ids::Digest;
use crate::domain::instant::Millis;
use crate::lifecycle::{Lifecycle, Readiness};
use crate::store::Store;
use crate::stream::{
    Connection, EventMessage, Haste, Incoming, Reader, ReaderError, Start, Successor, Topic,
    WireMessage,
};
use crate::telemetry::names;

/// After a failure of either store.
pub(super) const PAUSE: Duration = Duration::from_millis(300);
/// New partitions are looked for so often.
const LOOK_FOR_PARTITIONS: Duration = Duration::from_secs(15);
/// Those that are known and cannot be read, so often.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(1);
/// The ends of the log are awaited so long before somebody is told that may be late.
const ENDS_PATIENCE: Duration = Duration::from_secs(2);
/// Whether the reading still moves is looked at so often.
const LOOK_AT_COURSE: Duration = Duration::from_millis(500);
/// Levels that change with time change so late at most.
const TICK: Duration = Duration::from_millis(50);
/// So many messages that are there already are folded together.
const BURST: usize = 256;
/// So many calls are folded at one go at the end of the log.
const FOLDED_AT_ONCE: usize = 256;
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// And so often while the log is read.
const TIDY_EVERY_MESSAGES: usize = 50_000;

/// Starts the tasks that feed the board.
pub fn start(
    settings: &Settings,
    board: &Board,
    store: &Store,
    connection: &Connection,
    lifecycle: &Lifecycle,
) {
    lifecycle.readiness().starting("board");
    lifecycle.readiness().starting("spool");
    let history = settings.board.history;
    let (own, connection, life) = (board.clone(), connection.clone(), lifecycle.clone());
    lifecycle.run_apart("board", move || async move {
        tokio::select! {
            () = follow_log(own.clone(), connection, history, life.clone()) => {}
            () = follow_clock(own, history, life) => {}
        }
    });
    // Not on that thread: if it fails, the streams must hear of the stop all the same.
    let (own, soft) = (board.clone(), lifecycle.soft().clone());
    lifecycle.run("streams", async move {
        soft.cancelled().await;
        own.close();
    });
    lifecycle.run(
        "board spool",
        follow_spool(board.clone(), store.clone(), lifecycle.clone()),
    );
}

/// What the board has a use for. The ledger keeps what is not in our form.
pub(super) fn arrival(wire: &WireMessage, at: Millis) -> Option<Arrival> {
    let message = EventMessage::from_wire(wire).ok()?;
    let bears_facts = message.event.statement.bears_facts();
    Some(Arrival {
        naming: Naming::of(&message.event.ids),
        tenant: message.tenant.clone(),
        received: message.received.timestamp_millis(),
        testimony: bears_facts.then(|| {
            let testimony = message.into_testimony();
            Testimony {
                event: testimony.event.lean(),
                ..testimony
            }
        }),
        at,
    })
}

fn quiet(history: History) -> Option<Millis> {
    match history {
        History::All => None,
        History::Since(history) => i64::try_from(history.as_millis()).ok(),
    }
}

async fn follow_log(board: Board, connection: Connection, history: History, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    let readiness = lifecycle.readiness().clone();
    let mut log = match Log::open(board, &connection, history, readiness) {
        Ok(log) => log,
        Err(error) => {
            tracing::error!(error = %error, "the board cannot read the log: {error}");
            return;
        }
    };
    let reading = async {
        loop {
            let error = log.follow().await;
            tracing::debug!(error = %error, "the board waits for the log: {error}");
            if matches!(error, ReaderError::OutOfRange) {
                log.mend().await;
            }
            log.turn().await;
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = soft.cancelled() => {}
    }
}

/// A client of another haste, on its way.
type Shifting = BoxFuture<'static, (Haste, Result<Successor, ReaderError>)>;

/// The log as it is seen from outside: how many partitions, and the ends of those that answer.
struct Sight {
    partitions: i32,
    ends: Vec<(i32, i64)>,
    cluster: Option<String>,
}

async fn ask(scout: Arc<Reader>) -> Result<Sight, ReaderError> {
    let partitions = scout.partitions().await?;
    let marks = (0..partitions).map(async |partition| {
        let marks = scout.watermarks(partition).await.ok();
        marks.map(|(_, end)| (partition, end))
    });
    let (ends, cluster) = tokio::join!(join_all(marks), scout.cluster());
    Ok(Sight {
        partitions,
        ends: ends.into_iter().flatten().collect(),
        cluster,
    })
}

/// The log, as far as it has been read.
struct Log {
    board: Board,
    topic: String,
    reader: Reader,
    /// Asks, so that the reading need not wait for an answer.
    scout: Arc<Reader>,
    start: Start,
    quiet: Option<Millis>,
    readiness: Readiness,
    course: Course,
    gear: Gear,
    /// What the board was told last: the stage, and whether something is still to be read.
    told: (Stage, bool),
    /// It was live, and nobody was told since that something was not followed.
    was_live: bool,
    /// Messages since it was live last, and since the last tidying.
    read: usize,
    untidied: usize,
    began: Millis,
}

impl Log {
    fn open(
        board: Board,
        connection: &Connection,
        history: History,
        readiness: Readiness,
    ) -> Result<Self, ReaderError> {
        let began = clock::now_ms();
        let quiet = quiet(history);
        let from = quiet.map(|quiet| began - quiet);
        Ok(Self {
            board,
            topic: connection.topic(Topic::Events),
            reader: Reader::open(connection, Topic::Events, Haste::Now)?,
            scout: Arc::new(Reader::open(connection, Topic::Events, Haste::Now)?),
            start: from.map_or(Start::Beginning, Start::At),
            quiet,
            readiness,
            course: Course::new(from.unwrap_or(0)),
            gear: Gear::new(began),
            told: (Stage::Blind, true),
            was_live: false,
            read: 0,
            untidied: 0,
            began,
        })
    }

    /// Reads until that fails.
    async fn follow(&mut self) -> ReaderError {
        let mut asking: Option<BoxFuture<'static, _>> = Some(ask(self.scout.clone()).boxed());
        let mut answered = Instant::now();
        let mut shifting: Option<Shifting> = None;
        loop {
            let look = if self.course.is_complete() {
                LOOK_FOR_PARTITIONS
            } else {
                LOOK_FOR_MISSING
            };
            let is_asking = asking.is_some();
            let answer = async {
                match &mut asking {
                    Some(asking) => asking.await,
                    None => std::future::pending().await,
                }
            };
            let is_shifting = shifting.is_some();
            let shifted = async {
                match &mut shifting {
                    Some(shifting) => shifting.await,
                    None => std::future::pending().await,
                }
            };
            let read = tokio::select! {
                incoming = self.reader.next() => match incoming {
                    Ok(incoming) => self.read(incoming).await,
                    Err(error) => Err(error),
                },
                answer = answer => {
                    asking = None;
                    answered = Instant::now();
                    self.see(answer).await;
                    Ok(())
                }
                (haste, successor) = shifted => {
                    shifting = None;
                    self.shifted(haste, successor);
                    Ok(())
                }
                () = tokio::time::sleep_until(answered + look), if !is_asking => {
                    asking = Some(ask(self.scout.clone()).boxed());
                    Ok(())
                }
                () = tokio::time::sleep(LOOK_AT_COURSE) => Ok(()),
            };
            if let Err(error) = read {
                return error;
            }
            self.turn().await;
            if !is_shifting {
                shifting = self.shift();
            }
        }
    }

    /// Begins to read as hastily as the traffic calls for, if it is read with another haste.
    fn shift(&mut self) -> Option<Shifting> {
        // While it catches up, the log gives what it has in any case.
        let is_live = self.told.0 == Stage::Live;
        let haste = self.gear.wanted(clock::now_ms()).filter(|_| is_live)?;
        let successor = self.reader.successor(haste);
        Some(async move { (haste, successor.await) }.boxed())
    }

    fn shifted(&mut self, haste: Haste, successor: Result<Successor, ReaderError>) {
        match successor.and_then(|successor| self.reader.hand_over(successor)) {
            Ok(()) => self.gear.shifted(haste),
            Err(error) => {
                tracing::debug!(error = %error, "the board's reading keeps its pace: {error}");
            }
        }
    }

    /// Takes up partitions that are there and not yet read.
    async fn see(&mut self, answer: Result<Sight, ReaderError>) {
        let sight = match answer {
            Ok(sight) => sight,
            Err(error) => {
                if self.told.0 == Stage::Blind {
                    self.readiness.unwell("board", error.to_string());
                }
                return;
            }
        };
        let new = self.course.see(sight.partitions, &sight.ends);
        if let Some(cluster) = sight.cluster.filter(|_| !new.is_empty()) {
            let incarnation = Digest::of_parts(&[&self.topic, &cluster]);
            self.board.set_incarnation(incarnation.to_string());
        }
        for partition in new {
            match self.reader.assign(&[(partition, self.start)]).await {
                Ok(_) => {
                    let next = self.reader.positions().get(&partition).copied();
                    let end = sight.ends.iter().find(|(seen, _)| *seen == partition);
                    if let (Some(next), Some((_, end))) = (next, end) {
                        self.course.begin(partition, next, *end, clock::now_ms());
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %error, "the board cannot read partition {partition} yet: {error}");
                }
            }
        }
    }

    /// Enters a message with those that are there already.
    async fn read(&mut self, first: Incoming) -> Result<(), ReaderError> {
        let now = clock::now_ms();
        let mut arrivals = Vec::new();
        let mut oldest = Millis::MAX;
        let mut read = 0;
        let mut next = Some(Ok(first));
        let mut outcome = Ok(());
        while let Some(incoming) = next.take() {
            let incoming = match incoming {
                Ok(incoming) => incoming,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            let at = incoming.broker_time;
            self.course
                .read(incoming.partition, incoming.offset, at, now);
            oldest = oldest.min(at);
            arrivals.extend(incoming.wire.and_then(|wire| arrival(&wire, at)));
            read += 1;
            if read < BURST {
                next = self.reader.next_ready();
            }
        }
        if self.told.0 == Stage::Live {
            self.gear.read(read);
        } else {
            self.read += read;
        }
        self.untidied += read;
        // What was read in silence is entered in silence, be it the last that was to be read: levels
        // are stated with it, and not before it.
        let in_silence = self.told.1;
        if in_silence {
            self.hush();
            self.board
                .enter(std::mem::take(&mut arrivals), Way::Log, clock::now_ms());
        }
        if self.course.seems_late(oldest, now) {
            let answer = tokio::time::timeout(ENDS_PATIENCE, ask(self.scout.clone())).await;
            let ends = match answer {
                Ok(Ok(sight)) => sight.ends,
                Ok(Err(_)) | Err(_) => Vec::new(),
            };
            self.course.aim(&ends, clock::now_ms());
            if !in_silence {
                self.turn().await;
            }
        }
        if !in_silence {
            self.board.enter(arrivals, Way::Log, clock::now_ms());
        }
        outcome
    }

    /// The log moves again: a board that told what it knows without it tells nothing for now.
    fn hush(&mut self) {
        if self.told.0 == Stage::Blind {
            self.told = (Stage::CatchingUp, true);
            self.board.turn(Stage::CatchingUp, true, clock::now_ms());
        }
    }

    /// Tells the board what it may tell now.
    async fn turn(&mut self) {
        let now = clock::now_ms();
        let (stage, unread) = (self.course.stage(now), self.course.is_unread());
        if stage == Stage::CatchingUp && self.untidied >= TIDY_EVERY_MESSAGES {
            self.untidied = 0;
            self.board.tidy(self.course.read_to(), self.quiet, now);
        }
        if self.told == (stage, unread) {
            return;
        }
        if stage != Stage::CatchingUp && !unread {
            while self.board.fold_put_off(FOLDED_AT_ONCE, now) {
                tokio::task::yield_now().await;
            }
            if self.was_live && self.told.0 == Stage::CatchingUp {
                self.board.say_gap(
                    "this node fell behind; changes meanwhile were not told, the levels follow",
                    now,
                );
            }
        }
        self.board.turn(stage, unread, now);
        match stage {
            Stage::Live => {
                self.was_live = true;
                self.readiness
                    .well("board", Duration::from_secs(3600 * 24 * 365));
                let read = std::mem::take(&mut self.read);
                let took = now - self.began;
                tracing::info!(
                    board.messages = read,
                    "the board is live, {took} ms after its start; it has read {read} messages to get there"
                );
            }
            Stage::CatchingUp => {}
            Stage::Blind => {
                self.readiness.unwell(
                    "board",
                    "the log does not come; what the spool brings is told",
                );
            }
        }
        self.told = (stage, unread);
    }

    async fn mend(&mut self) {
        match self.reader.mend().await {
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
                let now = clock::now_ms();
                self.course.begin_anew(self.reader.positions(), now);
                self.was_live = false;
                self.board.say_gap(
                    "a part of the log is gone; what it told is unknown here",
                    now,
                );
            }
            Err(error) => {
                tracing::warn!(error = %error, "the board's position cannot be mended yet: {error}");
            }
        }
    }
}

async fn follow_clock(board: Board, history: History, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    let quiet = quiet(history);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut tidied = Instant::now();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = soft.cancelled() => return,
        }
        let now = clock::now_ms();
        board.tick(now);
        if tidied.elapsed() >= TIDY_EVERY {
            tidied = Instant::now();
            board.tidy(None, quiet, now);
        }
    }
}
