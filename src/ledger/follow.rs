//! Follows one topic: claim, read, enter, and say how complete the book is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, histogram};

use super::Ledger;
use super::claim::Claims;
use super::enter::enter;
use super::exceptions::tell;
use super::landmark::Landmarks;
use super::prepared::{Prepared, digest_of};
use super::unison::Voice;
use crate::clock;
use crate::domain::ids::Digest;
use crate::store::{self, StoreError};
use crate::stream::{Gap, Haste, Incoming, Peek, Reader, ReaderError, Start, Topic};
use crate::telemetry::names;

/// How long a pass waits for the first message.
const PATIENCE: Duration = Duration::from_millis(250);
/// A follower that reads what is so old, ms, does not keep up with the log.
const BEHIND: i64 = 5_000;
/// After a failure of either store.
const PAUSE: Duration = Duration::from_millis(300);
/// A partition that did not answer is asked again after so long.
const UNREADABLE_AGAIN: Duration = Duration::from_secs(15);
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
    voice: Voice,
    claims: Claims,
    /// Messages of the next batch at most: halved when a batch does not get through.
    most: usize,
    landmarks: Landmarks,
    /// Partitions of ours that do not answer, and when they were asked last.
    unreadable: BTreeMap<i32, Instant>,
    /// Per partition an end of the log, and through when all is entered once it is reached.
    looks: BTreeMap<i32, (i64, DateTime<Utc>)>,
    /// The message before our position, where it must still be the one that we entered last.
    predecessors: BTreeMap<i32, (i64, Digest)>,
    through_said: Option<Instant>,
}

/// Follows the topic until the stop: so many followers beside each other, each with its share of the
/// partitions, as if it were a node.
pub(super) fn follow(ledger: &Ledger, topic: Topic, followers: usize) {
    let (component, task) = match topic {
        Topic::Events => ("ledger", "ledger events"),
        Topic::NoticeFacts => ("notice_facts", "ledger notice facts"),
        Topic::Quarantine => ("quarantine", "ledger quarantine"),
    };
    for voice in Voice::of(followers, component, &ledger.lifecycle) {
        let ledger = ledger.clone();
        ledger
            .lifecycle
            .clone()
            .run(task, follow_alone(ledger, topic, voice));
    }
}

async fn follow_alone(ledger: Ledger, topic: Topic, voice: Voice) {
    let soft = ledger.lifecycle.soft().clone();
    let opened = Reader::open(&ledger.connection, topic, Haste::Soon)
        .and_then(|reader| Ok((reader, Peek::open(&ledger.connection, topic)?)));
    let (reader, peek) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(error = %error, "the ledger cannot read the log: {error}");
            return;
        }
    };
    let name = ledger.connection.topic(topic);
    let mut follower = Follower {
        most: ledger.batch,
        claims: Claims::of_a_new_owner(),
        ledger,
        peek,
        landmarks: Landmarks::default(),
        unreadable: BTreeMap::new(),
        looks: BTreeMap::new(),
        topic,
        name,
        reader,
        voice,
        predecessors: BTreeMap::new(),
        through_said: None,
    };
    while !soft.is_cancelled() {
        match follower.pass().await {
            Ok(()) => follower.say_how_it_is(),
            Err(error) => {
                follower.voice.say(Err(error.to_string()));
                follower.recover(error).await;
            }
        }
    }
    if let Err(error) = store::retire(
        &follower.ledger.store,
        &follower.name,
        follower.claims.owner(),
    )
    .await
    {
        tracing::debug!(error = %error, "the claims of the ledger end by themselves: {error}");
    }
}

impl Follower {
    fn say_how_it_is(&self) {
        let partitions: Vec<String> = self.unreadable.keys().map(ToString::to_string).collect();
        self.voice.say(match partitions.as_slice() {
            [] => Ok(()),
            partitions => Err(format!(
                "no leader answers for partition {}",
                partitions.join(", ")
            )),
        });
    }

    /// One step: renew the claims if it is time, enter the next batch if there is one.
    async fn pass(&mut self) -> Result<(), PassError> {
        if self.claims.due() {
            self.renew().await?;
        }
        self.look_back().await?;
        let incoming = self.reader.batch(self.most, PATIENCE).await?;
        let prepared = self.admit(incoming).await?;
        if prepared.is_empty() {
            return self.say_complete_through().await;
        }
        let is_behind = self.is_behind(&prepared);
        let turn = self.ledger.turns.take(is_behind).await;
        let began = Instant::now();
        self.enter_whole(prepared).await?;
        drop(turn);
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

    /// There is more of the log than fits into a batch, or what there is has been there for a while.
    fn is_behind(&self, batch: &[Prepared]) -> bool {
        let oldest = batch.iter().map(|prepared| prepared.broker_time).min();
        let age = oldest.map_or(0, |oldest| clock::now_ms() - oldest);
        batch.len() >= self.most || age > BEHIND
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
        self.looks.clear();
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
        for partition in lost.iter().chain(&gained) {
            self.landmarks.forget(*partition);
            self.looks.remove(partition);
        }
        self.reader.unassign(&lost)?;
        // A partition that changed hands meanwhile is read from its stored position.
        self.reader.unassign(&gained)?;
        self.unreadable
            .retain(|partition, _| gained.contains(partition));
        let due: Vec<i32> = gained
            .iter()
            .copied()
            .filter(|partition| {
                let failed = self.unreadable.get(partition);
                failed.is_none_or(|failed| failed.elapsed() >= UNREADABLE_AGAIN)
            })
            .collect();
        let marks = self.reader.all_watermarks(&due).await;
        for partition in &gained {
            let Some((low, high)) = marks.get(partition) else {
                // One without a leader keeps nobody else waiting. It is begun at a later renewal.
                self.claims.forget(*partition);
                self.landmarks.forget(*partition);
                if due.contains(partition) {
                    self.unreadable.insert(*partition, Instant::now());
                }
                continue;
            };
            self.unreadable.remove(partition);
            self.begin(*partition, *low, *high).await?;
        }
        if !gained.is_empty() && self.unreadable.len() == gained.len() && self.claims.is_empty() {
            return Err(ReaderError::NoLeader.into());
        }
        Ok(())
    }

    /// Begins to read a partition that is newly ours, and whose log has `low..high`.
    async fn begin(&mut self, partition: i32, low: i64, high: i64) -> Result<(), PassError> {
        let Some(owned) = self.claims.get(partition).cloned() else {
            return Ok(());
        };
        let next = owned.next_offset;
        let gap = |resumed| Gap {
            partition,
            wanted: next,
            resumed,
        };
        let (from, gap) = match owned.last_digest {
            // One earlier: the message before must be the one that was entered last.
            Some(digest) if next > 0 && (low..high).contains(&(next - 1)) => {
                self.predecessors.insert(partition, (next - 1, digest));
                (next - 1, None)
            }
            _ if (low..=high).contains(&next) => (next, None),
            _ if next == 0 => (
                low,
                Some((gap(low), "the log began later than our first position")),
            ),
            _ => (
                low,
                Some((gap(low), "the log does not have the position any more")),
            ),
        };
        self.reader.read_from(vec![(partition, from)])?;
        if let Some((gap, reason)) = gap {
            self.keep_gaps(vec![gap], reason).await?;
        }
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
            let tally = store::note_gap(
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
            tell(&tally);
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
        let looked = clock::now() - ON_THE_WAY;
        let looked = spooled.map_or(looked, |spooled| spooled.min(looked));
        let partitions: Vec<i32> = self.claims.partitions().collect();
        let marks = self.reader.all_watermarks(&partitions).await;
        if marks.is_empty() && !partitions.is_empty() {
            return Err(ReaderError::NoLeader.into());
        }
        let mut through: Vec<(i32, DateTime<Utc>)> = Vec::new();
        for (partition, (_, high)) in marks {
            let Some(next) = self.claims.get(partition).map(|owned| owned.next_offset) else {
                continue;
            };
            if next > high {
                return Err(ReaderError::OutOfRange.into());
            }
            // Under load the log has always grown by the time of a look: what it had at an earlier
            // one is entered by now.
            let (goal, at) = *self.looks.entry(partition).or_insert((high, looked));
            if next >= high {
                through.push((partition, looked));
                self.looks.remove(&partition);
            } else if next >= goal {
                through.push((partition, at));
                self.looks.insert(partition, (high, looked));
            }
        }
        store::complete_through(
            &self.ledger.store,
            &self.name,
            self.claims.owner(),
            &through,
        )
        .await?;
        Ok(())
    }
}
