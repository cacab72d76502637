//! The known end of each partition of the log: what Kafka acknowledged, whether or not the ledger read it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::postgres::column::column;
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Digest;

/// Maximum time by which the acknowledgement of a message is reported later than that of one behind it, by
/// another node.
const MAX_REPORT_DELAY: Duration = Duration::from_secs(5);

/// An end of the log that a node found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The full name of the topic.
    pub topic: String,
    pub partition: i32,
    /// An offset that was acknowledged no earlier than the others that were found with it.
    pub first_offset: i64,
    pub next_offset: i64,
    pub known_at: DateTime<Utc>,
}

/// What is stored about a partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPosition {
    pub partition: i32,
    pub epoch: i64,
    pub next_offset: i64,
    /// Digest of the last message appended.
    pub last_digest: Option<Digest>,
    /// The known end of the log.
    pub log_end: i64,
    /// The known end of a former topic of this name, whose gap is not recorded yet; 0 if there is none.
    pub former_end: i64,
    /// Whether nothing was appended since a gap was recorded.
    pub is_reset: bool,
}

impl Postgres {
    /// Notes ends of the log. A known end is lowered only if an offset before it was acknowledged later: it
    /// was of a former topic.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn raise_log_ends(&self, ends: &[LogEnd]) -> Result<(), StoreError> {
        if ends.is_empty() {
            return Ok(());
        }
        sqlx::query(RAISE_LOG_ENDS)
            .bind(column(ends, |end| end.topic.as_str()))
            .bind(column(ends, |end| end.partition))
            .bind(column(ends, |end| end.next_offset))
            .bind(column(ends, |end| end.known_at))
            .bind(column(ends, |end| end.first_offset))
            .bind(MAX_REPORT_DELAY)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// The position in each partition of a topic, with the known end of the log.
///
/// # Errors
///
/// [`StoreError`].
pub async fn stored_positions(
    store: &Postgres,
    topic: &str,
) -> Result<Vec<StoredPosition>, StoreError> {
    type Row = (i32, i64, i64, Option<Vec<u8>>, i64, i64, bool);
    let rows: Vec<Row> =
        sqlx::query_as(SELECT_STORED_POSITIONS).bind(topic).fetch_all(&store.pool).await?;
    let rows = rows.into_iter();
    let position = |(partition, epoch, next_offset, digest, log_end, former_end, is_reset): Row| {
        // Only digests are stored.
        let last_digest = digest.as_deref().and_then(Digest::from_bytes);
        StoredPosition { partition, epoch, next_offset, last_digest, log_end, former_end, is_reset }
    };
    Ok(rows.map(position).collect())
}

statements! {
    /// An end that was found before the topic was created again is of the former topic.
    const RAISE_LOG_ENDS: &str =
        "with found as (
             select * from unnest($1::text[], $2::int[], $3::bigint[], $4::timestamptz[], $5::bigint[])
                  as _ (topic, partition, next_offset, known_at, first_offset)),
         restarted as (
             update log_end as known
             set next_offset = found.next_offset, known_at = found.known_at, former_offset = greatest(known.former_offset, known.next_offset)
             from found
             where (known.topic, known.partition) = (found.topic, found.partition)
                 and found.first_offset < known.next_offset and found.known_at > known.known_at + $6 and found.known_at > known.reset_at
             returning known.topic, known.partition)
         insert into log_end as known (topic, partition, next_offset, known_at)
         select topic, partition, next_offset, known_at from found
         where (topic, partition) not in (select topic, partition from restarted)
         order by topic, partition
         on conflict (topic, partition) do update set next_offset = excluded.next_offset, known_at = excluded.known_at
         where excluded.next_offset > known.next_offset and excluded.known_at > known.reset_at";

    const SELECT_STORED_POSITIONS: &str =
        "select position.partition, position.epoch, position.next_offset, position.last_digest, coalesce(log_end.next_offset, 0), coalesce(log_end.former_offset, 0),
             position.last_digest is null and exists (
                 select from stream_gap as gap
                 where gap.topic = position.topic and gap.partition = position.partition and gap.resumed_offset = position.next_offset)
         from stream_position as position left join log_end using (topic, partition)
         where position.topic = $1 order by position.partition";
}
