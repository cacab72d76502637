//! Where the ledger is, and who may move it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;

use super::exception::ExceptionTally;
use super::raise::{Raised, raise, tenants};
use super::{Store, StoreError};
use crate::domain::exception::ExceptionKind;
use crate::domain::ids::Digest;

/// A partition that this node owns until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub partition: i32,
    pub epoch: i64,
    pub next_offset: i64,
    /// Digest of the last message entered.
    pub last_digest: Option<Digest>,
}

/// What is written to a position when its messages are entered.
#[derive(Clone, Debug)]
pub struct Position {
    pub partition: i32,
    pub epoch: i64,
    /// What it must be before.
    pub expected: i64,
    /// What it is afterwards.
    pub next_offset: i64,
    pub last_digest: Option<Digest>,
}

#[derive(sqlx::FromRow)]
struct ClaimLookup {
    partition: i32,
    epoch: i64,
    next_offset: i64,
    last_digest: Option<Vec<u8>>,
}

/// States that this node's ledger follows the topic, and gives all that do, in a fixed order.
///
/// # Errors
///
/// [`StoreError`].
pub async fn followers(
    connection: &mut PgConnection,
    topic: &str,
    owner: &str,
    lease: Duration,
) -> Result<Vec<String>, StoreError> {
    sqlx::query(
        "insert into ledger_follower (topic, owner, until) values ($1, $2, clock_timestamp() + $3)
         on conflict (topic, owner) do update set until = excluded.until",
    )
    .bind(topic)
    .bind(owner)
    .bind(interval(lease))
    .execute(&mut *connection)
    .await?;
    sqlx::query("delete from ledger_follower where until < clock_timestamp() - interval '1 hour'")
        .execute(&mut *connection)
        .await?;
    Ok(sqlx::query_scalar(
        "select owner from ledger_follower where topic = $1 and until >= clock_timestamp() order by owner",
    )
    .bind(topic)
    .fetch_all(connection)
    .await?)
}

/// Renews the lease of every partition that is this owner's, and gives them in order. One that a
/// transaction holds just now is left out.
///
/// # Errors
///
/// [`StoreError`].
pub async fn renew(
    connection: &mut PgConnection,
    topic: &str,
    partitions: i32,
    owner: &str,
    lease: Duration,
) -> Result<Vec<Claim>, StoreError> {
    // All of them, so that one that nobody ever claimed holds `complete_through` back. Those that are
    // there are not tried: that would wait for whoever moves one.
    sqlx::query(
        "insert into stream_position (topic, partition) select $1, wanted.partition from generate_series(0, $2 - 1) as wanted (partition)
         where not exists (select from stream_position as known where known.topic = $1 and known.partition = wanted.partition)
         on conflict do nothing",
    )
    .bind(topic)
    .bind(partitions)
    .execute(&mut *connection)
    .await?;
    // A log that was made anew with fewer partitions: nothing will ever come of the others.
    sqlx::query(
        "delete from stream_position where topic = $1 and partition >= $2 and lease_until < clock_timestamp() - interval '1 hour'",
    )
    .bind(topic)
    .bind(partitions)
    .execute(&mut *connection)
    .await?;
    let rows: Vec<ClaimLookup> = sqlx::query_as(
        "with mine as (
             select partition from stream_position where topic = $1 and partition < $2 and owner = $3
             for update skip locked)
         update stream_position as position set lease_until = clock_timestamp() + $4
         from mine where position.topic = $1 and position.partition = mine.partition
         returning position.partition, position.epoch, position.next_offset, position.last_digest",
    )
    .bind(topic)
    .bind(partitions)
    .bind(owner)
    .bind(interval(lease))
    .fetch_all(connection)
    .await?;
    Ok(read_claims(rows))
}

/// Gives partitions back, so that another node may take them at once.
///
/// # Errors
///
/// [`StoreError`].
pub async fn let_go(
    connection: &mut PgConnection,
    topic: &str,
    partitions: &[i32],
    owner: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "update stream_position set owner = null where topic = $1 and partition = any($2) and owner = $3",
    )
    .bind(topic)
    .bind(partitions)
    .bind(owner)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes partitions that are nobody's, or whose lease has ended, at most `most`: each with a new
/// epoch, which fences the former owner off.
///
/// # Errors
///
/// [`StoreError`].
pub async fn take(
    connection: &mut PgConnection,
    topic: &str,
    partitions: i32,
    owner: &str,
    lease: Duration,
    most: i64,
) -> Result<Vec<Claim>, StoreError> {
    let rows: Vec<ClaimLookup> = sqlx::query_as(
        "with free as (
             select partition from stream_position
             where topic = $1 and partition < $2
               and (owner is null or (owner <> $3 and lease_until < clock_timestamp()))
             order by partition limit $5
             for update skip locked)
         update stream_position as position set epoch = epoch + 1, owner = $3, lease_until = clock_timestamp() + $4
         from free where position.topic = $1 and position.partition = free.partition
         returning position.partition, position.epoch, position.next_offset, position.last_digest",
    )
    .bind(topic)
    .bind(partitions)
    .bind(owner)
    .bind(interval(lease))
    .bind(most)
    .fetch_all(connection)
    .await?;
    Ok(read_claims(rows))
}

fn read_claims(rows: Vec<ClaimLookup>) -> Vec<Claim> {
    let mut claims: Vec<Claim> = rows
        .into_iter()
        .map(|row| Claim {
            partition: row.partition,
            epoch: row.epoch,
            next_offset: row.next_offset,
            last_digest: row.last_digest.as_deref().and_then(Digest::from_bytes),
        })
        .collect();
    claims.sort_unstable_by_key(|claim| claim.partition);
    claims
}

/// Leases go by the clock of Postgres: all nodes have the same one there.
pub(super) fn interval(lease: Duration) -> PgInterval {
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(lease.as_micros()).unwrap_or(i64::MAX),
    }
}

/// Moves positions, as the first statement of the transaction that writes the rows.
///
/// # Errors
///
/// [`StoreError::Fenced`] if any of them is not ours any more or not where it should be.
pub async fn advance(
    connection: &mut PgConnection,
    topic: &str,
    positions: &[Position],
) -> Result<(), StoreError> {
    let digests = positions.iter().map(|position| {
        let digest = position.last_digest.as_ref();
        digest.map(|digest| digest.as_bytes().as_slice())
    });
    // Locked in one order: two owners of the same positions cannot wait for each other.
    let moved = sqlx::query(
        "with held as (
             select partition from stream_position where topic = $1 and partition = any($2)
             order by partition for update)
         update stream_position as position
         set next_offset = moved.next_offset, last_digest = moved.last_digest
         from held, unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
              as moved (partition, epoch, expected, next_offset, last_digest)
         where position.topic = $1 and position.partition = held.partition
             and moved.partition = held.partition
             and position.epoch = moved.epoch and position.next_offset = moved.expected",
    )
    .bind(topic)
    .bind(column(positions, |position| position.partition))
    .bind(column(positions, |position| position.epoch))
    .bind(column(positions, |position| position.expected))
    .bind(column(positions, |position| position.next_offset))
    .bind(digests.collect::<Vec<_>>())
    .execute(connection)
    .await?;
    if moved.rows_affected() != positions.len() as u64 {
        return Err(StoreError::Fenced);
    }
    Ok(())
}

fn column<T>(positions: &[Position], of: impl Fn(&Position) -> T) -> Vec<T> {
    positions.iter().map(of).collect()
}

/// The epoch and next offset of a position, to settle a lost answer to COMMIT.
///
/// # Errors
///
/// [`StoreError`].
pub async fn position_of(
    store: &Store,
    topic: &str,
    partition: i32,
) -> Result<Option<(i64, i64)>, StoreError> {
    Ok(sqlx::query_as(
        "select epoch, next_offset from stream_position where topic = $1 and partition = $2",
    )
    .bind(topic)
    .bind(partition)
    .fetch_optional(&store.pool)
    .await?)
}

/// States that everything the log received before `through` is entered, for partitions that are
/// ours. It never goes back.
///
/// # Errors
///
/// [`StoreError`].
pub async fn complete_through(
    store: &Store,
    topic: &str,
    owner: &str,
    through: &[(i32, DateTime<Utc>)],
) -> Result<(), StoreError> {
    let (partitions, instants): (Vec<i32>, Vec<DateTime<Utc>>) = through.iter().copied().unzip();
    sqlx::query(
        "update stream_position set complete_through = greatest(complete_through, through)
         from unnest($3::int[], $4::timestamptz[]) as _ (of, through)
         where topic = $1 and owner = $2 and partition = of",
    )
    .bind(topic)
    .bind(owner)
    .bind(&partitions)
    .bind(&instants)
    .execute(&store.pool)
    .await?;
    Ok(())
}

/// All that reached us before this instant is in the book; `None` before the first look at the log.
///
/// # Errors
///
/// [`StoreError`].
pub async fn book_complete_through(store: &Store) -> Result<Option<DateTime<Utc>>, StoreError> {
    Ok(
        sqlx::query_scalar("select nullif(complete_through(), '-infinity')")
            .fetch_one(&store.pool)
            .await?,
    )
}

/// Gives all that a node has of a topic back, so that others need not wait for its leases' end.
///
/// # Errors
///
/// [`StoreError`].
pub async fn retire(store: &Store, topic: &str, owner: &str) -> Result<(), StoreError> {
    sqlx::query(
        "with gone as (delete from ledger_follower where topic = $1 and owner = $2)
         update stream_position set owner = null where topic = $1 and owner = $2",
    )
    .bind(topic)
    .bind(owner)
    .execute(&store.pool)
    .await?;
    Ok(())
}

/// Keeps a gap of the log on record, and moves the position to where reading goes on. It is an
/// exception of every tenant: nobody knows whose events are missing.
///
/// # Errors
///
/// [`StoreError::Fenced`] if the position is not ours any more.
#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
pub async fn note_gap(
    store: &Store,
    topic: &str,
    partition: i32,
    epoch: i64,
    wanted: i64,
    resumed: i64,
    reason: &'static str,
    noticed: DateTime<Utc>,
) -> Result<ExceptionTally, StoreError> {
    let mut transaction = store.pool.begin("begin").await?;
    let moved = sqlx::query("update stream_position set next_offset = $4, last_digest = null where topic = $1 and partition = $2 and epoch = $3")
        .bind(topic)
        .bind(partition)
        .bind(epoch)
        .bind(resumed)
        .execute(&mut *transaction)
        .await?;
    if moved.rows_affected() != 1 {
        return Err(StoreError::Fenced);
    }
    // What the log had received before the last look at its end was entered.
    sqlx::query(
        "insert into stream_gap (topic, partition, wanted, resumed, reason, noticed, since)
         select $1, $2, $3, $4, $5, $6, nullif(complete_through, '-infinity') from stream_position where topic = $1 and partition = $2",
    )
    .bind(topic)
    .bind(partition)
    .bind(wanted)
    .bind(resumed)
    .bind(reason)
    .bind(noticed)
    .execute(&mut *transaction)
    .await?;
    let facts = json!({
        "topic": topic, "partition": partition, "wanted": wanted, "resumed": resumed, "reason": reason,
    });
    let raised = Raised {
        kind: ExceptionKind::StreamGap,
        subject: format!("{topic}/{partition}"),
        call: None,
        source: None,
        count: 1,
        first: noticed,
        last: noticed,
        facts: facts.as_object().cloned().unwrap_or_default(),
        is_told: true,
    };
    let mut tally = ExceptionTally::default();
    for tenant in tenants(&mut transaction).await? {
        let raised = std::slice::from_ref(&raised);
        tally.add(&raise(&mut transaction, &tenant, raised, noticed).await?);
    }
    transaction.commit().await?;
    Ok(tally)
}
