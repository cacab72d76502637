//! Follows one topic: claim, read, enter, and say how complete the book is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::{counter, histogram};

use super::Ledger;
use super::claim::Claims;
use super::enter::enter;
use super::prepared::{Prepared, digest_of};
use crate::clock;
use crate::domain::ids::Digest;
use crate::store::{self, StoreError};
use crate::stream::{Gap, Incoming, Reader, ReaderError, Start, Topic};
use crate::telemetry::names;

/// How long a pass waits for the first message.
const PATIENCE: Duration = Duration::from_millis(250);
/// After a failure of either store.
const PAUSE: Duration = Duration::from_millis(300);
/// How often a quiet log is looked at to say how complete the book is.
const THROUGH_EVERY: Duration = Duration::from_secs(1);

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
    claims: Claims,
    /// The message before our position, where it must still be the one that we entered last.
    predecessors: BTreeMap<i32, (i64, Digest)>,
    through_said: Option<Instant>,
}

/// Follows the topic until the stop.
pub(super) async fn follow(ledger: Ledger, topic: Topic) {
    let soft = ledger.lifecycle.soft().clone();
    let reader = match Reader::open(&ledger.connection, topic) {
        Ok(reader) => reader,
        Err(error) => {
            tracing::error!(error = %error, "the ledger cannot read the log: {error}");
            return;
        }
    };
    let name = ledger.connection.topic(topic);
    let mut follower = Follower {
        ledger,
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
                .well("ledger", Duration::from_secs(30)),
            Err(error) => {
                follower
                    .ledger
                    .lifecycle
                    .readiness()
                    .unwell("ledger", error.to_string());
                follower.recover(error).await;
            }
        }
    }
    if let Err(error) = store::give_back(
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
        let incoming = self.reader.batch(self.ledger.batch, PATIENCE).await?;
        let began = Instant::now();
        let prepared = self.admit(incoming).await?;
        if prepared.is_empty() {
            return self.say_complete_through().await;
        }
        self.enter_whole(prepared).await?;
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
            PassError::Reader(ReaderError::OutOfRange) => match self.reader.mend().await {
                Ok(gaps) => {
                    if let Err(error) = self
                        .keep_gaps(gaps, "the log does not have the position any more")
                        .await
                    {
                        tracing::warn!(error = %error, "a gap of the log cannot be kept on record: {error}");
                        self.let_go();
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the position cannot be mended yet: {error}")
                }
            },
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
                // What was read and not entered is read again.
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
            .renew(&self.ledger, &self.name, partitions, clock::now())
            .await?;
        self.reader.unassign(&lost)?;
        // A partition that changed hands meanwhile is read from its stored position.
        self.reader.unassign(&gained)?;
        let mut starts = Vec::with_capacity(gained.len());
        for partition in gained {
            let Some(owned) = self.claims.get(partition) else {
                continue;
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
            starts.push((partition, start));
        }
        let gaps = self.reader.assign(&starts).await?;
        for (partition, _) in &starts {
            let reads_from = self.reader.positions().get(partition).copied().unwrap_or(0);
            // The log's beginning has moved past offset 0 before we first came.
            if self
                .claims
                .get(*partition)
                .is_some_and(|owned| owned.next_offset == 0)
                && reads_from > 0
            {
                let gap = Gap {
                    partition: *partition,
                    wanted: 0,
                    resumed: reads_from,
                };
                self.keep_gaps(vec![gap], "the log began later than our first position")
                    .await?;
            }
        }
        self.keep_gaps(gaps, "the log does not have the position any more")
            .await?;
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
            "the message before the position is another one: the topic was made anew",
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
        for partition in self.claims.partitions() {
            let looked = clock::now();
            let (_, high) = self.reader.watermarks(partition).await?;
            if self
                .claims
                .get(partition)
                .is_some_and(|owned| owned.next_offset >= high)
            {
                through.push((
                    partition,
                    spooled.map_or(looked, |spooled| spooled.min(looked)),
                ));
            }
        }
        store::complete_through(&self.ledger.store, &self.name, &self.ledger.owner, &through)
            .await?;
        Ok(())
    }
}
