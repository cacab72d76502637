//! Positions of the ledger in the log, and the leases of partitions: which node may move which position.
//! The end of a lease is computed by the clock of Postgres, which is the same for all nodes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use crate::postgres::column::column;
use crate::postgres::exception::history::ExceptionCounts;
use crate::postgres::exception::record_occurrence::{record_occurrences, tenants};
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::exception::{ExceptionKind, Occurrence};

/// A partition that this worker owns until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLease {
    pub partition: i32,
    pub epoch: i64,
    pub next_offset: i64,
    /// Digest of the last message appended.
    pub last_digest: Option<Digest>,
}

/// The move of a position over a batch of messages.
#[derive(Clone, Debug)]
pub struct PartitionPosition {
    pub partition: i32,
    pub epoch: i64,
    /// Offset before the move.
    pub expected: i64,
    /// Offset after the move.
    pub next_offset: i64,
    pub last_digest: Option<Digest>,
}

type LeaseRow = (i32, i64, i64, Option<Vec<u8>>);

/// A partition of a topic that was created again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewoundPartition {
    pub partition: i32,
    pub epoch: i64,
    /// The offset at which reading continues.
    pub resumed: i64,
}

/// Records that these workers follow the topic, and returns all workers that do, in a fixed order.
///
/// # Errors
///
/// [`StoreError`].
pub async fn register_followers(
    connection: &mut PgConnection,
    topic: &str,
    owners: &[String],
    lease: Duration,
) -> Result<Vec<String>, StoreError> {
    let upsert = sqlx::query(UPSERT_FOLLOWERS).bind(topic).bind(owners).bind(lease);
    upsert.execute(&mut *connection).await?;
    sqlx::query(DELETE_EXPIRED_FOLLOWERS).execute(&mut *connection).await?;
    Ok(sqlx::query_scalar(SELECT_FOLLOWERS).bind(topic).fetch_all(connection).await?)
}

/// Renews the lease of each partition that this owner holds, and returns these partitions in order,
/// except those that a transaction has locked at the moment.
///
/// # Errors
///
/// [`StoreError`].
pub async fn renew_partitions(
    connection: &mut PgConnection,
    topic: &str,
    partitions: i32,
    owner: &str,
    lease: Duration,
) -> Result<Vec<PartitionLease>, StoreError> {
    // Each partition gets a row, so that one that was never leased holds `complete_through` back. The
    // statement leaves out rows that exist: to insert them would wait for a transaction that moves one.
    sqlx::query(INSERT_POSITIONS).bind(topic).bind(partitions).execute(&mut *connection).await?;
    // The topic may have been created again with fewer partitions.
    let delete = sqlx::query(DELETE_SURPLUS_POSITIONS).bind(topic).bind(partitions);
    delete.execute(&mut *connection).await?;
    let renew = sqlx::query_as(RENEW_PARTITIONS).bind(topic).bind(partitions);
    let renew = renew.bind(owner).bind(lease);
    Ok(partition_leases(renew.fetch_all(connection).await?))
}

/// Releases partitions, so that other workers can take them at once.
///
/// # Errors
///
/// [`StoreError`].
pub async fn release_partitions(
    connection: &mut PgConnection,
    topic: &str,
    partitions: &[i32],
    owner: &str,
) -> Result<(), StoreError> {
    let release = sqlx::query(RELEASE_PARTITIONS).bind(topic).bind(partitions).bind(owner);
    release.execute(connection).await?;
    Ok(())
}

/// Takes up to `limit` partitions that are free, or whose lease has ended, each with a new epoch, which
/// fences off the former owner.
///
/// # Errors
///
/// [`StoreError`].
pub async fn take_partitions(
    connection: &mut PgConnection,
    topic: &str,
    partitions: i32,
    owner: &str,
    lease: Duration,
    limit: i64,
) -> Result<Vec<PartitionLease>, StoreError> {
    let take = sqlx::query_as(TAKE_PARTITIONS).bind(topic).bind(partitions);
    let take = take.bind(owner).bind(lease).bind(limit);
    Ok(partition_leases(take.fetch_all(connection).await?))
}

fn partition_leases(rows: Vec<LeaseRow>) -> Vec<PartitionLease> {
    let mut leases: Vec<PartitionLease> = rows
        .into_iter()
        .map(|(partition, epoch, next_offset, digest)| {
            // Only digests are stored.
            let last_digest = digest.as_deref().and_then(Digest::from_bytes);
            PartitionLease { partition, epoch, next_offset, last_digest }
        })
        .collect();
    leases.sort_unstable_by_key(|lease| lease.partition);
    leases
}

/// Moves positions, as the first statement of the transaction that writes the rows.
///
/// # Errors
///
/// [`StoreError::Fenced`] if another node owns any of them, or if one is not at the expected offset.
pub async fn advance(
    connection: &mut PgConnection,
    topic: &str,
    positions: &[PartitionPosition],
) -> Result<(), StoreError> {
    let digests = column(positions, |position| {
        let digest = position.last_digest.as_ref();
        digest.map(|digest| digest.as_bytes().as_slice())
    });
    // The statement locks in order, so that two owners of the same positions cannot deadlock.
    let moved = sqlx::query(ADVANCE_POSITIONS)
        .bind(topic)
        .bind(column(positions, |position| position.partition))
        .bind(column(positions, |position| position.epoch))
        .bind(column(positions, |position| position.expected))
        .bind(column(positions, |position| position.next_offset))
        .bind(digests)
        .execute(connection)
        .await?;
    if moved.rows_affected() != positions.len() as u64 {
        return Err(StoreError::Fenced);
    }
    Ok(())
}

/// The epoch and next offset of a position, read after the answer to COMMIT was lost.
///
/// # Errors
///
/// [`StoreError`].
pub async fn position_of(
    store: &Postgres,
    topic: &str,
    partition: i32,
) -> Result<Option<(i64, i64)>, StoreError> {
    let query = sqlx::query_as(SELECT_POSITION).bind(topic).bind(partition);
    Ok(query.fetch_optional(&store.pool).await?)
}

/// Raises the low watermark of partitions that this owner holds: all messages that the log received
/// before `through` are appended. It is never lowered.
///
/// # Errors
///
/// [`StoreError`].
pub async fn raise_complete_through(
    store: &Postgres,
    topic: &str,
    owner: &str,
    through: &[(i32, DateTime<Utc>)],
) -> Result<(), StoreError> {
    let (partitions, instants): (Vec<i32>, Vec<DateTime<Utc>>) = through.iter().copied().unzip();
    let raise = sqlx::query(RAISE_COMPLETE_THROUGH).bind(topic).bind(owner);
    raise.bind(&partitions).bind(&instants).execute(&store.pool).await?;
    Ok(())
}

/// The low watermark of the tables: every event received before this instant is in them. `None` before
/// the ledger first reads the log.
///
/// # Errors
///
/// [`StoreError`].
pub async fn complete_through(store: &Postgres) -> Result<Option<DateTime<Utc>>, StoreError> {
    Ok(sqlx::query_scalar(SELECT_COMPLETE_THROUGH).fetch_one(&store.pool).await?)
}

/// The same in a transaction: what it reads after this has every event received before this instant.
///
/// # Errors
///
/// [`StoreError`].
pub async fn complete_through_before(
    connection: &mut PgConnection,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    Ok(sqlx::query_scalar(SELECT_COMPLETE_THROUGH).fetch_one(connection).await?)
}

/// Releases all partitions of a topic that a worker holds, and its record as a follower, so that other
/// workers can take them at once.
///
/// # Errors
///
/// [`StoreError`].
pub async fn release_all_partitions(
    store: &Postgres,
    topic: &str,
    owner: &str,
) -> Result<(), StoreError> {
    sqlx::query(DELETE_FOLLOWER).bind(topic).bind(owner).execute(&store.pool).await?;
    Ok(())
}

/// Records a gap of the log, and moves the position to the offset at which reading continues. The gap
/// is an exception of each tenant, because the tenants of the missing events are unknown.
///
/// # Errors
///
/// [`StoreError::Fenced`] if another node owns the position.
pub async fn record_gap(
    store: &Postgres,
    topic: &str,
    gap: &PartitionPosition,
    reason: &'static str,
    noticed_at: DateTime<Utc>,
) -> Result<ExceptionCounts, StoreError> {
    let (partition, expected, resumed) = (gap.partition, gap.expected, gap.next_offset);
    let mut transaction = store.pool.begin("begin").await?;
    let query = sqlx::query(MOVE_POSITION).bind(topic).bind(partition);
    let moved = query.bind(gap.epoch).bind(resumed).execute(&mut *transaction).await?;
    if moved.rows_affected() != 1 {
        return Err(StoreError::Fenced);
    }
    // The gap begins at the low watermark: all messages that the log received before it are appended.
    let insert = sqlx::query(INSERT_GAP).bind(topic).bind(partition).bind(expected).bind(resumed);
    insert.bind(reason).bind(noticed_at).execute(&mut *transaction).await?;
    let gap = [(partition, expected, resumed)];
    let counts = record_gap_exceptions(&mut transaction, topic, &gap, reason, noticed_at).await?;
    transaction.commit().await?;
    Ok(counts)
}

/// Records gaps of a topic that was created again, moves the positions of these partitions to the offsets at
/// which reading continues, and ends their leases, so that every owner starts to read there. Returns the
/// number of messages of the former topic that were acknowledged and never read.
///
/// # Errors
///
/// [`StoreError::Fenced`] if a position has another owner by now.
pub async fn record_recreation(
    store: &Postgres,
    topic: &str,
    rewound: &[RewoundPartition],
    reason: &'static str,
    noticed_at: DateTime<Utc>,
) -> Result<(i64, ExceptionCounts), StoreError> {
    let mut transaction = store.pool.begin("begin").await?;
    let gaps: Vec<(i32, i64, i64, i64)> = sqlx::query_as(REWIND_POSITIONS)
        .bind(topic)
        .bind(column(rewound, |partition| partition.partition))
        .bind(column(rewound, |partition| partition.epoch))
        .bind(column(rewound, |partition| partition.resumed))
        .bind(reason)
        .bind(noticed_at)
        .fetch_all(&mut *transaction)
        .await?;
    if gaps.len() != rewound.len() {
        return Err(StoreError::Fenced);
    }
    let unread = gaps.iter().map(|(_, _, _, unread)| unread).sum();
    let gaps: Vec<(i32, i64, i64)> = gaps
        .into_iter()
        .map(|(partition, expected, resumed, _)| (partition, expected, resumed))
        .collect();
    let counts = record_gap_exceptions(&mut transaction, topic, &gaps, reason, noticed_at).await?;
    transaction.commit().await?;
    Ok((unread, counts))
}

/// Records an exception of each tenant for each of these gaps: partition, expected and resumed offset.
async fn record_gap_exceptions(
    connection: &mut PgConnection,
    topic: &str,
    gaps: &[(i32, i64, i64)],
    reason: &'static str,
    noticed_at: DateTime<Utc>,
) -> Result<ExceptionCounts, StoreError> {
    let occurrence = |(partition, expected, resumed): &(i32, i64, i64)| {
        let facts = json!({
            "topic": topic, "partition": partition, "expected_offset": expected, "resumed_offset": resumed, "reason": reason,
        });
        Occurrence::once(ExceptionKind::StreamGap, facts, noticed_at)
    };
    let occurrences: Vec<Occurrence> = gaps.iter().map(occurrence).collect();
    let mut counts = ExceptionCounts::default();
    for tenant in tenants(connection).await? {
        counts.add(&record_occurrences(connection, &tenant, &occurrences, noticed_at).await?);
    }
    Ok(counts)
}

statements! {
    const UPSERT_FOLLOWERS: &str =
        "insert into ledger_follower (topic, owner, expires_at)
         select $1, owner, clock_timestamp() + $3 from unnest($2::text[]) as _ (owner) order by owner
         on conflict (topic, owner) do update set expires_at = excluded.expires_at";

    const DELETE_EXPIRED_FOLLOWERS: &str = "delete from ledger_follower where expires_at < clock_timestamp() - interval '1 hour'";

    const SELECT_FOLLOWERS: &str = "select owner from ledger_follower where topic = $1 and expires_at >= clock_timestamp() order by owner";

    const INSERT_POSITIONS: &str =
        "insert into stream_position (topic, partition) select $1, wanted.partition from generate_series(0, $2 - 1) as wanted (partition)
         where not exists (select from stream_position as known where known.topic = $1 and known.partition = wanted.partition)
         on conflict do nothing";

    const DELETE_SURPLUS_POSITIONS: &str = "delete from stream_position where topic = $1 and partition >= $2 and lease_ends_at < clock_timestamp() - interval '1 hour'";

    const RENEW_PARTITIONS: &str =
        "with mine as (
             select partition from stream_position where topic = $1 and partition < $2 and owner = $3
             for update skip locked)
         update stream_position as position set lease_ends_at = clock_timestamp() + $4
         from mine where position.topic = $1 and position.partition = mine.partition
         returning position.partition, position.epoch, position.next_offset, position.last_digest";

    const RELEASE_PARTITIONS: &str = "update stream_position set owner = null where topic = $1 and partition = any($2) and owner = $3";

    const TAKE_PARTITIONS: &str =
        "with free as (
             select partition from stream_position
             where topic = $1 and partition < $2 and cluster_is_adopted()
               and (owner is null or (owner <> $3 and lease_ends_at < clock_timestamp()))
             order by partition limit $5
             for update skip locked)
         update stream_position as position set epoch = epoch + 1, owner = $3, lease_ends_at = clock_timestamp() + $4
         from free where position.topic = $1 and position.partition = free.partition
         returning position.partition, position.epoch, position.next_offset, position.last_digest";

    const ADVANCE_POSITIONS: &str =
        "with held as (
             select partition from stream_position where topic = $1 and partition = any($2)
             order by partition for update)
         update stream_position as position
         set next_offset = moved.next_offset, last_digest = moved.last_digest
         from held, unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
              as moved (partition, epoch, expected, next_offset, last_digest)
         where position.topic = $1 and position.partition = held.partition
             and moved.partition = held.partition
             and position.epoch = moved.epoch and position.next_offset = moved.expected";

    const SELECT_POSITION: &str = "select epoch, next_offset from stream_position where topic = $1 and partition = $2";

    const RAISE_COMPLETE_THROUGH: &str =
        "update stream_position set complete_through = greatest(complete_through, through)
         from unnest($3::int[], $4::timestamptz[]) as _ (of, through)
         where topic = $1 and owner = $2 and partition = of";

    const SELECT_COMPLETE_THROUGH: &str = "select nullif(complete_through(), '-infinity')";

    const DELETE_FOLLOWER: &str =
        "with gone as (delete from ledger_follower where topic = $1 and owner = $2)
         update stream_position set owner = null where topic = $1 and owner = $2";

    const MOVE_POSITION: &str = "update stream_position set next_offset = $4, last_digest = null where topic = $1 and partition = $2 and epoch = $3";

    const INSERT_GAP: &str =
        "insert into stream_gap (topic, partition, expected_offset, resumed_offset, reason, noticed_at, started_at, unread_messages)
         select $1, $2, $3, $4, $5, $6, nullif(complete_through, '-infinity'), greatest($4::bigint - $3::bigint, 0) from stream_position where topic = $1 and partition = $2";

    /// What was acknowledged beyond the position was in the former topic.
    const REWIND_POSITIONS: &str =
        "with held as (
             select position.partition, position.next_offset, position.complete_through, rewound.resumed
             from stream_position as position
             join unnest($2::int[], $3::bigint[], $4::bigint[]) as rewound (partition, epoch, resumed)
                 on position.partition = rewound.partition and position.epoch = rewound.epoch
             where position.topic = $1 order by position.partition for update of position),
         moved as (
             update stream_position as position
             set next_offset = held.resumed, last_digest = null, epoch = position.epoch + 1, owner = null
             from held where position.topic = $1 and position.partition = held.partition),
         reset as (
             insert into log_end (topic, partition, next_offset, known_at, reset_at)
             select $1, partition, 0, $6, $6 from held order by partition
             on conflict (topic, partition) do update
             set next_offset = 0, former_offset = 0, known_at = excluded.known_at, reset_at = excluded.reset_at)
         insert into stream_gap (topic, partition, expected_offset, resumed_offset, reason, noticed_at, started_at, unread_messages)
         select $1, held.partition, held.next_offset, held.resumed, $5, $6, nullif(held.complete_through, '-infinity'),
             greatest(coalesce(nullif(known.former_offset, 0), known.next_offset, 0) - held.next_offset, 0)
         from held left join log_end as known on known.topic = $1 and known.partition = held.partition
         returning partition, expected_offset, resumed_offset, unread_messages";
}
