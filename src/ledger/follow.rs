//! Follows one topic: claim, read, enter, and say how complete the book is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, histogram};

use super::Ledger;
use super::claim::Claims;
use super::enter::enter;
use super::landmark::Landmarks;
use super::prepared::{Prepared, digest_of};
use crate::clock;
use crate::domain::ids::Digest;
use crate::store::{self, StoreError};
use crate::stream::{Gap, Incoming, Peek, Reader, ReaderError, Start, Topic};
use crate::telemetry::names;

/// How long a pass waits for the first message.
const PATIENCE: Duration = Duration::from_millis(250);
/// After a failure of either store.
const PAUSE: Duration = Duration::from_millis(300);
/// How often a quiet log is looked at to say how complete the book is.
const THROUGH_EVERY: Duration = Duration::from_secs(1);
/// What was received so long before a look is on the log by then, or never will be: a delivery has
/// 15 s, and what it handed to the client library another 30.
const ON_THE_WAY: TimeDelta = TimeDelta::seconds(45);

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Follower {
    ledger: Ledger,
    topic: Topic,
    name: String,
    reader: Reader,
    peek: Peek,
    claims: Claims,
    /// Messages of the next batch at most: halved when a batch does not get through.
    most: usize,
    landmarks: Landmarks,
    /// The message before our position, where it must still be the one that we entered last.
    predecessors: BTreeMap<i32, (i64, Digest)>,
    through_said: Option<Instant>,
}

/// Follows the topic until the stop.
pub(super) async fn follow(ledger: Ledger, topic: Topic) {
    let soft = ledger.lifecycle.soft().clone();
    let opened = Reader::open(&ledger.connection, topic)
        .and_then(|reader| Ok((reader, Peek::open(&ledger.connection, topic)?)));
    let (reader, peek) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(error = %error, "the ledger cannot read the log: {error}");
            return;
        }
    };
    let name = ledger.connection.topic(topic);
    let component = match topic {
        Topic::Events => "ledger",
        Topic::Quarantine => "quarantine",
    };
    ledger.lifecycle.readiness().starting(component);
    let mut follower = Follower {
        most: ledger.batch,
        ledger,
        peek,
        landmarks: Landmarks::default(),
        topic,
        name,
        reader,
        claims: Claims::default(),
        predecessors: BTreeMap::new(),
        through_said: None,
    };
    while !soft.is_cancelled() {
        match follower.pass().await {
            Ok(()) => follower
                .ledger
                .lifecycle
                .readiness()
                .well(component, Duration::from_secs(30)),
            Err(error) => {
                follower
                    .ledger
                    .lifecycle
                    .readiness()
                    .unwell(component, error.to_string());
                follower.recover(error).await;
            }
        }
    }
    if let Err(error) = store::retire(
        &follower.ledger.store,
        &follower.name,
        &follower.ledger.owner,
    )
    .await
    {
        tracing::debug!(error = %error, "the claims of the ledger end by themselves: {error}");
    }
}

impl Follower {
    /// One step: renew the claims if it is time, enter the next batch if there is one.
    async fn pass(&mut self) -> Result<(), PassError> {
        if self.claims.due() {
            self.renew().await?;
        }
        self.look_back().await?;
        let incoming = self.reader.batch(self.most, PATIENCE).await?;
        let began = Instant::now();
        let prepared = self.admit(incoming).await?;
        if prepared.is_empty() {
            return self.say_complete_through().await;
        }
        self.enter_whole(prepared).await?;
        self.most = (2 * self.most).min(self.ledger.batch);
        histogram!(names::LEDGER_SECONDS).record(began.elapsed().as_secs_f64());
        if self
            .through_said
            .is_none_or(|said| said.elapsed() >= THROUGH_EVERY)
        {
            self.say_complete_through().await?;
        }
        Ok(())
    }

    async fn recover(&mut self, error: PassError) {
        match error {
            // Claimed anew, every position is compared with the log, and a gap is kept on record.
            PassError::Reader(ReaderError::OutOfRange) => self.let_go(),
            PassError::Store(StoreError::Fenced) => {
                tracing::info!(
                    topic.name = self.name,
                    "another node owns a partition of {} now, claiming anew",
                    self.name
                );
                self.let_go();
            }
            error => {
                tracing::debug!(error = %error, "the ledger waits: {error}");
                // What was read and not entered is read again. A batch may also be too much work
                // for the time that a transaction has.
                self.most = (self.most / 2).max(1);
                self.let_go();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Drops everything on the way; positions are read from Postgres again.
    fn let_go(&mut self) {
        self.claims.drop_all();
        self.predecessors.clear();
        let partitions: Vec<i32> = self.reader.positions().keys().copied().collect();
        if let Err(error) = self.reader.unassign(&partitions) {
            tracing::warn!(error = %error, "partitions cannot be given back to the client library: {error}");
        }
    }

    async fn renew(&mut self) -> Result<(), PassError> {
        let partitions = self.reader.partitions().await?;
        let (gained, lost) = self
            .claims
            .renew(&self.ledger, &self.name, partitions)
            .await?;
        for partition in &lost {
            self.landmarks.forget(*partition);
        }
        self.reader.unassign(&lost)?;
        // A partition that changed hands meanwhile is read from its stored position.
        self.reader.unassign(&gained)?;
        let mut failed = None;
        let mut begun = gained.is_empty();
        for partition in gained {
            match self.begin(partition).await {
                Ok(()) => begun = true,
                Err(error) => {
                    // One without a leader keeps nobody else waiting; it is begun at the next
                    // renewal.
                    tracing::debug!(error = %error, topic.partition = partition, "partition {partition} cannot be read now: {error}");
                    self.claims.forget(partition);
                    self.landmarks.forget(partition);
                    self.predecessors.remove(&partition);
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if !begun => Err(error),
            _ => Ok(()),
        }
    }

    /// Begins to read a partition that is newly ours.
    async fn begin(&mut self, partition: i32) -> Result<(), PassError> {
        let Some(owned) = self.claims.get(partition).cloned() else {
            return Ok(());
        };
        let start = match owned.last_digest {
            // One earlier: the message before must be the one that was entered last.
            Some(digest)
                if owned.next_offset > 0
                    && self.is_on_the_log(partition, owned.next_offset - 1).await? =>
            {
                self.predecessors
                    .insert(partition, (owned.next_offset - 1, digest));
                Start::Offset(owned.next_offset - 1)
            }
            _ if owned.next_offset == 0 => Start::Beginning,
            _ => Start::Offset(owned.next_offset),
        };
        let gaps = self.reader.assign(&[(partition, start)]).await?;
        let reads_from = self.reader.positions().get(&partition).copied();
        // The log's beginning has moved past offset 0 before we first came.
        if owned.next_offset == 0
            && let Some(resumed) = reads_from.filter(|reads_from| *reads_from > 0)
        {
            let gap = Gap {
                partition,
                wanted: 0,
                resumed,
            };
            self.keep_gaps(vec![gap], "the log began later than our first position")
                .await?;
        }
        self.keep_gaps(gaps, "the log does not have the position any more")
            .await?;
        Ok(())
    }

    /// Looks whether the log is still the one that was read a while ago.
    async fn look_back(&mut self) -> Result<(), PassError> {
        if !self.landmarks.due() {
            return Ok(());
        }
        let made_anew = self
            .landmarks
            .look(&self.claims, &self.reader, &self.peek)
            .await;
        for partition in made_anew {
            self.rewind(partition).await?;
        }
        Ok(())
    }

    async fn is_on_the_log(&self, partition: i32, offset: i64) -> Result<bool, ReaderError> {
        let (low, high) = self.reader.watermarks(partition).await?;
        Ok((low..high).contains(&offset))
    }

    async fn keep_gaps(&mut self, gaps: Vec<Gap>, reason: &'static str) -> Result<(), StoreError> {
        for gap in gaps {
            let Some(owned) = self.claims.get(gap.partition) else {
                continue;
            };
            tracing::error!(
                topic.name = self.name,
                topic.partition = gap.partition,
                offset.wanted = gap.wanted,
                offset.resumed = gap.resumed,
                "stream gap in {} partition {}: {reason}; reading goes on at {}",
                self.name,
                gap.partition,
                gap.resumed,
            );
            counter!(names::STREAM_GAPS, "reader" => "ledger").increment(1);
            let noticed = clock::now();
            store::note_gap(
                &self.ledger.store,
                &self.name,
                gap.partition,
                owned.epoch,
                gap.wanted,
                gap.resumed,
                reason,
                noticed,
            )
            .await?;
            self.claims.resumed(gap.partition, gap.resumed);
            self.predecessors.remove(&gap.partition);
            self.landmarks.forget(gap.partition);
        }
        Ok(())
    }

    /// Takes out the predecessors after comparing them, and what is not ours (any more).
    async fn admit(&mut self, incoming: Vec<Incoming>) -> Result<Vec<Prepared>, PassError> {
        let mut prepared = Vec::with_capacity(incoming.len());
        let mut recreated = BTreeSet::new();
        for message in incoming {
            if let Some((offset, digest)) = self.predecessors.remove(&message.partition)
                && message.offset <= offset
            {
                if message.offset != offset || digest_of(message.wire.as_ref()) != digest {
                    recreated.insert(message.partition);
                }
                continue;
            }
            let Some(owned) = self.claims.get(message.partition) else {
                continue;
            };
            if message.offset >= owned.next_offset && !recreated.contains(&message.partition) {
                prepared.push(Prepared::of(self.topic, message));
            }
        }
        for partition in recreated {
            self.rewind(partition).await?;
        }
        Ok(prepared)
    }

    /// The log is another one than that which we read before: everything in it may be new.
    async fn rewind(&mut self, partition: i32) -> Result<(), PassError> {
        let Some(wanted) = self.claims.get(partition).map(|owned| owned.next_offset) else {
            return Ok(());
        };
        self.reader.unassign(&[partition])?;
        self.reader.assign(&[(partition, Start::Beginning)]).await?;
        let resumed = self
            .reader
            .positions()
            .get(&partition)
            .copied()
            .unwrap_or(0);
        self.keep_gaps(
            vec![Gap {
                partition,
                wanted,
                resumed,
            }],
            "another message stands where an entered one stood: the topic was made anew",
        )
        .await?;
        Ok(())
    }

    /// Enters a batch; one that Postgres refuses is halved until the culprit stands alone.
    async fn enter_whole(&mut self, prepared: Vec<Prepared>) -> Result<(), PassError> {
        let mut pending = vec![prepared];
        while let Some(batch) = pending.pop() {
            match enter(&self.ledger, &self.name, &mut self.claims, &batch, None).await {
                Ok(()) => {}
                Err(StoreError::Content(error)) if batch.len() > 1 => {
                    tracing::debug!(error = %error, "a batch of {} is refused for its content and halved", batch.len());
                    let mut first = batch;
                    let second = first.split_off(first.len() / 2);
                    // Offsets must rise within a partition: the earlier half comes first.
                    pending.push(second);
                    pending.push(first);
                }
                Err(StoreError::Content(error)) => {
                    enter(
                        &self.ledger,
                        &self.name,
                        &mut self.claims,
                        &batch,
                        Some(&error.to_string()),
                    )
                    .await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Everything that the log had received before the look is in the book, if the position is at
    /// the log's end.
    async fn say_complete_through(&mut self) -> Result<(), PassError> {
        if self
            .through_said
            .is_some_and(|said| said.elapsed() < THROUGH_EVERY)
        {
            return Ok(());
        }
        self.through_said = Some(Instant::now());
        // Before the log is looked at: a message that is drained after this look is not claimed,
        // one that was drained before it is on the log.
        let spooled = self.ledger.store.oldest_in_spool().await?;
        let mut through: Vec<(i32, DateTime<Utc>)> = Vec::new();
        let mut failed = None;
        let mut seen = false;
        for partition in self.claims.partitions() {
            let looked = clock::now() - ON_THE_WAY;
            let (_, high) = match self.reader.watermarks(partition).await {
                Ok(watermarks) => watermarks,
                // One without a leader says nothing, and keeps nobody else from saying something.
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            seen = true;
            let next = self.claims.get(partition).map(|owned| owned.next_offset);
            match next {
                Some(next) if next > high => return Err(ReaderError::OutOfRange.into()),
                Some(next) if next == high => through.push((
                    partition,
                    spooled.map_or(looked, |spooled| spooled.min(looked)),
                )),
                _ => {}
            }
        }
        if let Some(error) = failed
            && !seen
        {
            return Err(error.into());
        }
        store::complete_through(&self.ledger.store, &self.name, &self.ledger.owner, &through)
            .await?;
        Ok(())
    }
}
