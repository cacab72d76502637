//! Intervals that the deployment did not observe, or observed late: for the evidence of a call, and for
//! operators.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::snapshot::TenantSnapshot;
use crate::http::timestamp::serialize_millis;
use crate::postgres::StoreError;
use onrecord_evidence::capture::span::{OPEN_END, Span};
use onrecord_evidence::exception::outage::{known_period, outages};

/// The roles without which events are lost or late.
const OBSERVING_ROLES: [&str; 3] = ["ingest", "ledger", "live"];

/// Maximum delay of a heartbeat while Postgres accepts it, ms.
const MAX_HEARTBEAT_DELAY: i64 = 15_000;

/// An interval in which something was not observed, or observed late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = Outage)]
pub struct UnseenInterval {
    /// The cause.
    pub kind: UnseenKind,
    /// The role, the source, or topic and partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The start. Null: it is not known.
    #[serde(serialize_with = "serialize_millis")]
    #[schema(required = true)]
    pub from: Option<DateTime<Utc>>,
    /// The end. Null: it continues.
    #[serde(serialize_with = "serialize_millis")]
    #[schema(required = true)]
    pub to: Option<DateTime<Utc>>,
    /// The consequence as a sentence.
    pub detail: String,
}

/// The cause: no node was healthy in a role (`outage`); deliveries of a source were rejected
/// (`rejected`); Kafka was unavailable (`spool`); a part of the log is missing or was read again
/// (`stream_gap`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[schema(as = OutageKind)]
pub enum UnseenKind {
    /// No node was healthy in a role.
    Outage,
    /// Deliveries of a source were rejected, and it delivered nothing else.
    Rejected,
    /// Kafka was unavailable: events are late.
    Spool,
    /// A part of the log is missing, or was read again.
    StreamGap,
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
        let query = sqlx::query_as(SELECT_LATE_OR_LOST).bind(self.tenant.as_str());
        let mut unseen: Vec<UnseenInterval> =
            query.bind(from).bind(to).fetch_all(&mut *self.transaction).await?;
        unseen.extend(self.outages(from, to).await?);
        unseen.sort_by_cached_key(|it| (it.from, it.kind, it.subject.clone(), it.to));
        Ok(unseen)
    }

    async fn outages(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<UnseenInterval>, StoreError> {
        let extents: Vec<(String, DateTime<Utc>, DateTime<Utc>)> =
            sqlx::query_as(SELECT_HEARTBEAT_EXTENTS).fetch_all(&mut *self.transaction).await?;
        let present = sqlx::query_as(SELECT_HEARTBEATS).bind(from).bind(to);
        let present: Vec<(String, DateTime<Utc>, DateTime<Utc>)> =
            present.fetch_all(&mut *self.transaction).await?;
        let mut healthy: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
        for (role, since, until) in &present {
            let span = Span::new(since.timestamp_millis(), until.timestamp_millis());
            healthy.entry(role).or_default().extend(span);
        }
        let last_of_all = extents.iter().map(|(_, _, last)| last.timestamp_millis()).max();
        let asked = Span::new(from.timestamp_millis(), to.timestamp_millis());
        let (Some(last_of_all), Some(asked)) = (last_of_all, asked) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for (role, first, last) in &extents {
            if !OBSERVING_ROLES.contains(&role.as_str()) {
                continue;
            }
            let last = last.timestamp_millis();
            let recorded =
                known_period(first.timestamp_millis(), last, last_of_all, MAX_HEARTBEAT_DELAY);
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
}

fn time(at: i64) -> Option<DateTime<Utc>> {
    (at != OPEN_END).then(|| DateTime::from_timestamp_millis(at)).flatten()
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

    /// Uses of the spool, gaps of the log, and rejected deliveries that may be of the source itself.
    const SELECT_LATE_OR_LOST: &str =
        "select 'spool' as kind, null as subject, started_at as \"from\", ended_at as \"to\",
                format('Kafka did not confirm in time: events waited in the spool, and are appended late (%s drained)', drained_messages) as detail
         from spool_use where started_at < $3 and coalesce(ended_at, 'infinity') > $2
         union all
         select 'stream_gap', format('%s/%s', topic, partition), started_at, noticed_at,
                format('%s: offset %s was expected, reading continued at %s', reason, expected_offset, resumed_offset)
         from stream_gap where noticed_at > $2 and coalesce(started_at, '-infinity') < $3
         union all
         select 'rejected', source, silent_from, silent_until,
                format('%s deliveries were answered 503 (%s), and none was accepted: their sender repeats them, or gives up', deliveries, reason)
         from rejection where tenant = $1 and ended_at >= $2 and silent_until >= $2 and silent_from < $3";
}
