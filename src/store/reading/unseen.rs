//! What the deployment could not see, or saw late: for the evidence of a call, and for operators.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::ReadingRoom;
use crate::domain::outage::{known, outages};
use crate::domain::span::{FOR_EVER, Span};
use crate::store::StoreError;

/// The rooms without which something goes unseen: the door, the book, the bell.
pub const WATCHED_ROOMS: [&str; 3] = ["board", "intake", "ledger"];

/// Presences are noted so late at most, as long as Postgres takes them, ms.
const NOTED_LATE: i64 = 15_000;

/// A time in which something could not be seen, or only late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnseenInterval {
    pub kind: UnseenKind,
    /// The room, the topic and its partition, or the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Absent: it is not known since when.
    #[serde(serialize_with = "as_text")]
    pub from: Option<DateTime<Utc>>,
    /// Absent: it goes on.
    #[serde(serialize_with = "as_text")]
    pub to: Option<DateTime<Utc>>,
    /// What it means.
    pub detail: String,
}

/// Why something could not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnseenKind {
    /// No node was well in a room.
    Outage,
    /// A source was refused.
    Refused,
    /// Kafka was away: events came late.
    Spool,
    /// A part of the log is gone, or was read anew.
    StreamGap,
}

fn as_text<S: serde::Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true)),
        None => serializer.serialize_none(),
    }
}

#[derive(sqlx::FromRow)]
struct GapLookup {
    topic: String,
    partition: i32,
    since: Option<DateTime<Utc>>,
    noticed: DateTime<Utc>,
    reason: String,
    wanted: i64,
    resumed: i64,
}

#[derive(sqlx::FromRow)]
struct RefusalLookup {
    source: String,
    reason: String,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    deliveries: i64,
}

impl ReadingRoom {
    /// Everything that could not be seen between two instants, by its beginning. Outages are cut to
    /// what was asked for; the rest is given whole.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn unseen(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<UnseenInterval>, StoreError> {
        let mut unseen = self.outages(from, to).await?;
        unseen.extend(self.uses_of_the_spool(from, to).await?);
        unseen.extend(self.stream_gaps(from, to).await?);
        unseen.extend(self.refusals(from, to).await?);
        unseen.sort_by(|one, other| {
            let key = |it: &UnseenInterval| (it.from, it.kind, it.subject.clone(), it.to);
            key(one).cmp(&key(other))
        });
        Ok(unseen)
    }

    async fn outages(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<UnseenInterval>, StoreError> {
        let extents: Vec<(String, DateTime<Utc>, DateTime<Utc>)> =
            sqlx::query_as("select room, min(since), max(until) from room_presence group by room")
                .fetch_all(&mut *self.transaction)
                .await?;
        let present: Vec<(String, DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
            "select room, since, until from room_presence where until > $1 and since < $2",
        )
        .bind(from)
        .bind(to)
        .fetch_all(&mut *self.transaction)
        .await?;
        let mut well: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
        for (room, since, until) in &present {
            let span = Span::new(since.timestamp_millis(), until.timestamp_millis());
            well.entry(room).or_default().extend(span);
        }
        let last_of_all = extents.iter().map(|(_, _, last)| *last).max();
        let Some(last_of_all) = last_of_all.map(|last| last.timestamp_millis()) else {
            return Ok(Vec::new());
        };
        let Some(asked) = Span::new(from.timestamp_millis(), to.timestamp_millis()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for (room, first, last) in &extents {
            if !WATCHED_ROOMS.contains(&room.as_str()) {
                continue;
            }
            let last = last.timestamp_millis();
            let noted = known(first.timestamp_millis(), last, last_of_all, NOTED_LATE);
            let spans = well.remove(room.as_str()).unwrap_or_default();
            for out in outages(spans, noted, asked) {
                // Nothing of the room was noted after it.
                let goes_on = last <= out.from();
                found.push(UnseenInterval {
                    kind: UnseenKind::Outage,
                    subject: Some(room.clone()),
                    from: time(out.from()),
                    to: if goes_on { None } else { time(out.to()) },
                    detail: what_an_outage_means(room).to_owned(),
                });
            }
        }
        Ok(found)
    }

    async fn uses_of_the_spool(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<UnseenInterval>, StoreError> {
        let uses: Vec<(DateTime<Utc>, Option<DateTime<Utc>>, i64)> = sqlx::query_as(
            "select since, until, drained from spool_use where since < $2 and coalesce(until, 'infinity') > $1",
        )
        .bind(from)
        .bind(to)
        .fetch_all(&mut *self.transaction)
        .await?;
        let uses = uses.into_iter().map(|(since, until, drained)| UnseenInterval {
            kind: UnseenKind::Spool,
            subject: None,
            from: Some(since),
            to: until,
            detail: format!(
                "Kafka did not confirm in time: events waited in the spool, and are entered late ({drained} drained)"
            ),
        });
        Ok(uses.collect())
    }

    async fn stream_gaps(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<UnseenInterval>, StoreError> {
        let gaps: Vec<GapLookup> = sqlx::query_as(
            "select topic, partition, since, noticed, reason, wanted, resumed from stream_gap
             where noticed > $1 and coalesce(since, '-infinity') < $2",
        )
        .bind(from)
        .bind(to)
        .fetch_all(&mut *self.transaction)
        .await?;
        let gaps = gaps.into_iter().map(|gap| UnseenInterval {
            kind: UnseenKind::StreamGap,
            subject: Some(format!("{}/{}", gap.topic, gap.partition)),
            from: gap.since,
            to: Some(gap.noticed),
            detail: format!(
                "{}: offset {} was wanted, reading went on at {}",
                gap.reason, gap.wanted, gap.resumed
            ),
        });
        Ok(gaps.collect())
    }

    async fn refusals(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<UnseenInterval>, StoreError> {
        let refusals: Vec<RefusalLookup> = sqlx::query_as(
            "select source, reason, since, until, deliveries from refusal
             where tenant = $1 and until >= $2 and since < $3",
        )
        .bind(self.tenant.as_str())
        .bind(from)
        .bind(to)
        .fetch_all(&mut *self.transaction)
        .await?;
        let refusals = refusals.into_iter().map(|refusal| UnseenInterval {
            kind: UnseenKind::Refused,
            subject: Some(refusal.source),
            from: Some(refusal.since),
            to: Some(refusal.until),
            detail: format!(
                "{} deliveries were answered 503 ({}): their sender repeats them, or gives up",
                refusal.deliveries, refusal.reason
            ),
        });
        Ok(refusals.collect())
    }
}

fn time(at: i64) -> Option<DateTime<Utc>> {
    (at != FOR_EVER)
        .then(|| DateTime::from_timestamp_millis(at))
        .flatten()
}

fn what_an_outage_means(room: &str) -> &'static str {
    match room {
        "board" => "no node was well to tell clients: notices may not have been sent in time",
        "intake" => "no node was well to take events: senders were to repeat them",
        _ => "no node was well to enter events: what came is entered late",
    }
}
