//! Where the ledger is, and who may move it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Store, StoreError};
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

/// Claims partitions that are free, whose lease has ended, or that are ours already, and renews
/// the lease of ours. A partition that changes hands gets a new epoch; one that stays keeps its.
///
/// # Errors
///
/// [`StoreError`].
pub async fn claim(
    store: &Store,
    topic: &str,
    partitions: &[i32],
    owner: &str,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Claim>, StoreError> {
    let rows: Vec<ClaimLookup> = sqlx::query_as(
        "insert into stream_position as mine (topic, partition, epoch, owner, lease_until)
         select $1, partition, 1, $3, $5 from unnest($2::int[]) as _ (partition)
         on conflict (topic, partition) do update
             set epoch = mine.epoch + (case when mine.owner is not distinct from $3 and mine.lease_until >= $4 then 0 else 1 end),
                 owner = $3, lease_until = $5
             where mine.owner is not distinct from $3 or mine.owner is null or mine.lease_until < $4
         returning partition, epoch, next_offset, last_digest",
    )
    .bind(topic)
    .bind(partitions)
    .bind(owner)
    .bind(now)
    .bind(until)
    .fetch_all(&store.pool)
    .await?;
    let claims = rows.into_iter().map(|row| Claim {
        partition: row.partition,
        epoch: row.epoch,
        next_offset: row.next_offset,
        last_digest: row.last_digest.as_deref().and_then(Digest::from_bytes),
    });
    Ok(claims.collect())
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
    let mut sorted: Vec<&Position> = positions.iter().collect();
    sorted.sort_by_key(|position| position.partition);
    for position in sorted {
        let moved = sqlx::query(
            "update stream_position set next_offset = $5, last_digest = $6
             where topic = $1 and partition = $2 and epoch = $3 and next_offset = $4",
        )
        .bind(topic)
        .bind(position.partition)
        .bind(position.epoch)
        .bind(position.expected)
        .bind(position.next_offset)
        .bind(
            position
                .last_digest
                .as_ref()
                .map(|digest| digest.as_bytes().as_slice()),
        )
        .execute(&mut *connection)
        .await?;
        if moved.rows_affected() != 1 {
            return Err(StoreError::Fenced);
        }
    }
    Ok(())
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

/// Gives the partitions of a topic back, so that another node need not wait for the leases' end.
///
/// # Errors
///
/// [`StoreError`].
pub async fn give_back(store: &Store, topic: &str, owner: &str) -> Result<(), StoreError> {
    sqlx::query("update stream_position set owner = null where topic = $1 and owner = $2")
        .bind(topic)
        .bind(owner)
        .execute(&store.pool)
        .await?;
    Ok(())
}

/// Keeps a gap of the log on record, and moves the position to where reading goes on.
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
) -> Result<(), StoreError> {
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
    sqlx::query("insert into stream_gap (topic, partition, wanted, resumed, reason, noticed) values ($1, $2, $3, $4, $5, $6)")
        .bind(topic)
        .bind(partition)
        .bind(wanted)
        .bind(resumed)
        .bind(reason)
        .bind(noticed)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
