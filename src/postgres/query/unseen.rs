//! Intervals that the deployment did not observe, or observed late: for the evidence of a call, and for
//! operators.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::snapshot::TenantSnapshot;
use crate::postgres::StoreError;
use onrecord_evidence::capture::span::{OPEN_END, Span};
use onrecord_evidence::exception::outage::{known_period, outages};

/// The roles without which events are lost or late.
const OBSERVING_ROLES: [&str; 3] = ["ingest", "ledger", "live"];

/// Maximum delay of a heartbeat while Postgres accepts it, ms.
const MAX_HEARTBEAT_DELAY: i64 = 15_000;

/// An interval in which something was not observed, or observed late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnseenInterval {
    pub kind: UnseenKind,
    /// The role, the source, or topic and partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Absent: the start is not known.
    #[serde(serialize_with = "serialize_instant")]
    pub from: Option<DateTime<Utc>>,
    /// Absent: it continues.
    #[serde(serialize_with = "serialize_instant")]
    pub to: Option<DateTime<Utc>>,
    /// A sentence on the consequence.
    pub detail: String,
}

/// The cause of an unobserved interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnseenKind {
    /// No node was healthy in a role.
    Outage,
    /// Deliveries of a source were rejected.
    Refused,
    /// Kafka was unavailable: events are late.
    Spool,
    /// A part of the log is missing, or was read again.
    StreamGap,
}

fn serialize_instant<S: serde::Serializer>(
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
    started_at: Option<DateTime<Utc>>,
    noticed_at: DateTime<Utc>,
    reason: String,
    expected_offset: i64,
    resumed_offset: i64,
}

#[derive(sqlx::FromRow)]
struct RejectionLookup {
    source: String,
    reason: String,
    started_at: DateTime<Utc>,
    ended_at: DateTime<Utc>,
    deliveries: i64,
}

impl TenantSnapshot {
    /// All intervals without observation between two instants, ordered by their start. Outages are cut to
    /// these instants; the others are given in full.
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
        unseen.extend(self.spool_uses(from, to).await?);
        unseen.extend(self.stream_gaps(from, to).await?);
        unseen.extend(self.rejections(from, to).await?);
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
            sqlx::query_as(SELECT_HEARTBEAT_EXTENTS)
                .fetch_all(&mut *self.transaction)
                .await?;
        let present: Vec<(String, DateTime<Utc>, DateTime<Utc>)> =
            sqlx::query_as(SELECT_HEARTBEATS)
                .bind(from)
                .bind(to)
                .fetch_all(&mut *self.transaction)
                .await?;
        let mut healthy: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
        for (role, since, until) in &present {
            let span = Span::new(since.timestamp_millis(), until.timestamp_millis());
            healthy.entry(role).or_default().extend(span);
        }
        let last_of_all = extents.iter().map(|(_, _, last)| *last).max();
        let Some(last_of_all) = last_of_all.map(|last| last.timestamp_millis()) else {
            return Ok(Vec::new());
        };
        let Some(asked) = Span::new(from.timestamp_millis(), to.timestamp_millis()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for (role, first, last) in &extents {
            if !OBSERVING_ROLES.contains(&role.as_str()) {
                continue;
            }
            let last = last.timestamp_millis();
            let recorded = known_period(
                first.timestamp_millis(),
                last,
                last_of_all,
                MAX_HEARTBEAT_DELAY,
            );
            let spans = healthy.remove(role.as_str()).unwrap_or_default();
            for out in outages(spans, recorded, asked) {
                // The role has no later heartbeat.
                let continues = last <= out.from();
                found.push(UnseenInterval {
                    kind: UnseenKind::Outage,
                    subject: Some(role.clone()),
                    from: time(out.from()),
                    to: if continues { None } else { time(out.to()) },
                    detail: outage_detail(role).to_owned(),
                });
            }
        }
        Ok(found)
    }

    async fn spool_uses(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<UnseenInterval>, StoreError> {
        let uses: Vec<(DateTime<Utc>, Option<DateTime<Utc>>, i64)> =
            sqlx::query_as(SELECT_SPOOL_USES)
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
                "Kafka did not confirm in time: events waited in the spool, and are appended late ({drained} drained)"
            ),
        });
        Ok(uses.collect())
    }

    async fn stream_gaps(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<UnseenInterval>, StoreError> {
        let gaps: Vec<GapLookup> = sqlx::query_as(SELECT_STREAM_GAPS)
            .bind(from)
            .bind(to)
            .fetch_all(&mut *self.transaction)
            .await?;
        let gaps = gaps.into_iter().map(|gap| UnseenInterval {
            kind: UnseenKind::StreamGap,
            subject: Some(format!("{}/{}", gap.topic, gap.partition)),
            from: gap.started_at,
            to: Some(gap.noticed_at),
            detail: format!(
                "{}: offset {} was expected, reading continued at {}",
                gap.reason, gap.expected_offset, gap.resumed_offset
            ),
        });
        Ok(gaps.collect())
    }

    async fn rejections(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<UnseenInterval>, StoreError> {
        let rejections: Vec<RejectionLookup> = sqlx::query_as(SELECT_REJECTIONS)
            .bind(self.tenant.as_str())
            .bind(from)
            .bind(to)
            .fetch_all(&mut *self.transaction)
            .await?;
        let rejections = rejections.into_iter().map(|rejection| UnseenInterval {
            kind: UnseenKind::Refused,
            subject: Some(rejection.source),
            from: Some(rejection.started_at),
            to: Some(rejection.ended_at),
            detail: format!(
                "{} deliveries were answered 503 ({}): their sender repeats them, or gives up",
                rejection.deliveries, rejection.reason
            ),
        });
        Ok(rejections.collect())
    }
}

fn time(at: i64) -> Option<DateTime<Utc>> {
    (at != OPEN_END)
        .then(|| DateTime::from_timestamp_millis(at))
        .flatten()
}

fn outage_detail(role: &str) -> &'static str {
    match role {
        "live" => "no node was able to notify clients: notices may not have been sent in time",
        "ingest" => "no node was able to accept events: senders have to repeat them",
        _ => "no node was able to append events: those received are appended late",
    }
}

statements! {
    const SELECT_HEARTBEAT_EXTENTS: &str = "select role, min(started_at), max(last_seen_at) from role_heartbeat group by role";

    const SELECT_HEARTBEATS: &str = "select role, started_at, last_seen_at from role_heartbeat where last_seen_at > $1 and started_at < $2";

    const SELECT_SPOOL_USES: &str = "select started_at, ended_at, drained_messages from spool_use where started_at < $2 and coalesce(ended_at, 'infinity') > $1";

    const SELECT_STREAM_GAPS: &str =
        "select topic, partition, started_at, noticed_at, reason, expected_offset, resumed_offset from stream_gap
         where noticed_at > $1 and coalesce(started_at, '-infinity') < $2";

    const SELECT_REJECTIONS: &str =
        "select source, reason, started_at, ended_at, deliveries from refusal
         where tenant = $1 and ended_at >= $2 and started_at < $3";
}
