//! Queries of the query API in a read-only snapshot. Each query names its tenant; row-level security is
//! the second line of defence (`TENANT_ISOLATION`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow as _, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::timestamp::{serialize_instant, serialize_micros, serialize_millis};
use crate::openapi::named_schemas::{CallingEventSchema, CaptureTypeSchema, WitnessSchema};
use crate::postgres::StoreError;
use crate::postgres::connect::timed_pool::Tx;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::identity::alias_graph::Anchor;

pub use super::exceptions::{
    ExceptionActor, ExceptionFilter, ExceptionHistoryRow, ExceptionRow, MAX_COUNTED_OPEN,
    OpenExceptionCount, Unassigned,
};
pub use super::unseen::{UnseenInterval, UnseenKind};

/// A read-only transaction of one tenant: all its answers are of one instant.
pub struct TenantSnapshot {
    pub(crate) transaction: Tx<'static>,
    pub(crate) tenant: Tenant,
}

/// A call, without its sessions and captures.
#[derive(Debug)]
pub struct CallRow {
    pub call: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub end_presumed: bool,
    pub recording: String,
    pub recording_stale: bool,
    pub transcription: String,
    pub transcription_stale: bool,
    pub duration_ms: Option<i64>,
    pub group_id: Option<String>,
    pub kind: Option<String>,
    pub apps: Vec<String>,
    pub flags: Vec<String>,
    pub verdict: Option<String>,
    pub consent: Option<String>,
    pub sessions: i64,
    pub participants_ours: i64,
    pub participants_others: i64,
    pub outsiders: i64,
    /// Display names, at most 20 of them.
    pub names: Vec<String>,
    pub recorded: bool,
    pub transcribed: bool,
    pub recording_captured_ms: i64,
    pub transcription_captured_ms: i64,
    pub open_captures: i64,
    pub exceptions: i64,
    pub open_exceptions: i64,
    pub evaluated_at: DateTime<Utc>,
}

/// A session: one presence of a participant on one endpoint.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = Session)]
pub struct SessionDetailRow {
    /// The id of the session.
    pub session: String,
    /// What the participant is: `acs`, `teams_custom`, `acs_foreign`, `teams_user`, `teams_app`,
    /// `phone`, `bot`, `outsider` or `unknown`.
    pub identity: String,
    /// Whether the tenant must notify the participant.
    pub ours: bool,
    /// The raw id of the participant. Personal data. Null: not known.
    #[schema(required = true)]
    pub raw_id: Option<String>,
    /// The display name. Personal data. Null: not known.
    #[schema(required = true)]
    pub display_name: Option<String>,
    /// The kind of identifier as Azure names it. Null: not known.
    #[schema(required = true)]
    pub kind: Option<String>,
    /// The participantId of the session. Null: not known.
    #[schema(required = true)]
    pub participant_id: Option<String>,
    /// The clients of the session: `attachment`, `raw_id`, `trust` (how the client belongs to the
    /// call).
    #[schema(value_type = Vec<Object>)]
    pub attachments: Value,
    /// What the platform states about the client. Null: nothing.
    #[schema(required = true)]
    pub user_agent: Option<String>,
    /// The start of the session.
    #[serde(serialize_with = "serialize_millis")]
    pub joined_at: DateTime<Utc>,
    /// The end of the session. Null: it goes on.
    #[serde(serialize_with = "serialize_millis")]
    #[schema(required = true)]
    pub left_at: Option<DateTime<Utc>>,
    /// No source stated the start.
    pub join_inferred: bool,
    /// No source stated the end.
    pub left_inferred: bool,
    /// `CLAIM_REFUSED`, `OUTSIDER`.
    pub flags: Vec<String>,
    /// How the clients of the session belong to the call. Null: no client reports.
    #[schema(value_type = Option<WitnessSchema>, required = true)]
    pub proof: Option<String>,
}

/// A capture: one uninterrupted interval of recording or transcription.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = Capture)]
pub struct CaptureDetailRow {
    /// What is captured.
    #[schema(value_type = CaptureTypeSchema)]
    pub r#type: String,
    /// The start.
    #[serde(serialize_with = "serialize_millis")]
    pub started_at: DateTime<Utc>,
    /// The end. Null: it goes on.
    #[serde(serialize_with = "serialize_millis")]
    #[schema(required = true)]
    pub ended_at: Option<DateTime<Utc>>,
    /// The source of its start: `file`, `provider` or `report`.
    pub start_source: String,
    /// The sources that state it.
    pub sources: Vec<String>,
    /// The ids of the recordings in it.
    pub recordings: Vec<String>,
    /// What the provider calls them.
    pub kinds: Vec<String>,
}

/// A call with its sessions and captures.
#[derive(Debug)]
pub struct CallDetails {
    pub call: CallRow,
    /// All anchors that resolve to it, as public ids.
    pub anchors: Vec<String>,
    /// The ids evaluated the anchors: kind and canonical id.
    pub ids: Vec<(String, String)>,
    pub sessions: Vec<SessionDetailRow>,
    pub captures: Vec<CaptureDetailRow>,
}

/// The direction of a list of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryOrder {
    /// The order of appending.
    #[default]
    Appended,
    LastAppendedFirst,
}

/// Selects entries.
#[derive(Debug, Default)]
pub struct EntryFilter {
    pub order: EntryOrder,
    pub r#type: Option<String>,
    pub source: Option<String>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Only entries of these anchors.
    pub anchors: Option<Vec<String>>,
    /// Position in the list after which the answer begins.
    pub after: Option<(i64, Uuid)>,
    pub limit: i64,
}

/// An event of the ledger.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = Event)]
pub struct EntryRow {
    /// The id of the event.
    pub id: Uuid,
    #[serde(skip)]
    pub xid: i64,
    /// The call, or the anchor of an event that belongs to none. Null: no id of a call.
    #[schema(required = true)]
    pub call: Option<String>,
    /// The type of the event, for example `session.joined`.
    pub r#type: String,
    /// The type as the source names it.
    pub source_type: String,
    /// `eg` (Event Grid), `ca` (Call Automation), `client`, or `maintenance`.
    pub provenance: String,
    /// The configured source, or the app of a client.
    pub source: String,
    /// The source of CloudEvents, in lower case.
    pub ce_source: String,
    /// The source's id of the event.
    pub ce_id: String,
    /// The time that the source stated, verbatim. Null: none.
    #[schema(required = true)]
    pub ce_time: Option<String>,
    /// The instant that the rules of evidence use.
    #[serde(rename = "at", serialize_with = "serialize_instant")]
    #[schema(value_type = String, format = DateTime)]
    pub at_ms: i64,
    /// When the service received it.
    #[serde(serialize_with = "serialize_micros")]
    pub received_at: DateTime<Utc>,
    /// SHA-256 of the bytes as received, in hexadecimal digits.
    pub sha256: String,
    /// The content codings of the delivery. Null: it had none.
    #[schema(required = true)]
    pub content_coding: Option<String>,
    /// The charset of the delivery. Null: UTF-8.
    #[schema(required = true)]
    pub charset: Option<String>,
    /// For example `conflict`: another content came under the same id before.
    pub flags: Vec<String>,
    /// The normalized event.
    #[schema(value_type = CallingEventSchema)]
    pub event: Value,
}

/// Selects rows of the quarantine, newest first.
#[derive(Debug, Default)]
pub struct QuarantineFilter {
    pub reason: Option<String>,
    pub source: Option<String>,
    pub after: Option<(DateTime<Utc>, Uuid)>,
    pub limit: i64,
}

/// Content that was not understood.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = Quarantined)]
pub struct QuarantineRow {
    /// The id.
    pub id: Uuid,
    /// The configured source.
    pub source: String,
    /// Why it was not understood.
    pub reason: String,
    /// The reason as a sentence.
    pub detail: String,
    /// The JSON pointer of the member concerned. Null: none.
    #[schema(required = true)]
    pub pointer: Option<String>,
    /// What of it is JSON, without the members that `redacted` lists. Null: nothing.
    #[serde(serialize_with = "serialize_text")]
    #[schema(value_type = Option<String>, required = true)]
    pub content: Option<Vec<u8>>,
    /// The sealed box of the bytes in base64, if `content` is not all of them. Null: none.
    #[serde(serialize_with = "serialize_base64")]
    #[schema(value_type = Option<String>, required = true)]
    pub sealed: Option<Vec<u8>>,
    /// The content type of the delivery. Null: none.
    #[schema(required = true)]
    pub content_type: Option<String>,
    /// The content codings of the delivery. Null: it had none.
    #[schema(required = true)]
    pub content_coding: Option<String>,
    /// The charset of the delivery. Null: UTF-8.
    #[schema(required = true)]
    pub charset: Option<String>,
    /// Size in bytes.
    pub size: i64,
    /// SHA-256 of the bytes, in hexadecimal digits.
    pub sha256: String,
    /// The JSON pointers of the members that were redacted.
    pub redacted: Vec<String>,
    /// When the service received it.
    #[serde(serialize_with = "serialize_micros")]
    pub received_at: DateTime<Utc>,
}

fn serialize_text<S: serde::Serializer>(
    content: &Option<Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    content.as_deref().map(String::from_utf8_lossy).serialize(serializer)
}

fn serialize_base64<S: serde::Serializer>(
    bytes: &Option<Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(|bytes| STANDARD.encode(bytes)).serialize(serializer)
}

/// Maximum size of the contents on a page of the quarantine before its last row, which may have 4 MiB.
pub const MAX_QUARANTINE_PAGE_BYTES: i64 = 16 * 1024 * 1024;

impl TenantSnapshot {
    /// The low watermark: every event received before this instant is in the answers. `None` before the
    /// ledger first reads the log.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn complete_through(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let query = sqlx::query_scalar(SELECT_COMPLETE_THROUGH);
        Ok(query.fetch_one(&mut *self.transaction).await?)
    }

    /// The low watermark of what is evaluated: every event received before this instant is in the calls
    /// and exceptions of the tenant. `None` also while that is not known of a call that waits for the
    /// maintenance.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn evaluated_through(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let query = sqlx::query_scalar(SELECT_EVALUATED_THROUGH).bind(self.tenant.as_str());
        Ok(query.fetch_one(&mut *self.transaction).await?)
    }

    /// The low watermark of one call. While its evaluation is overdue or postponed, that is the last one
    /// or the instant from which facts may be missing; `None` if that is not known.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn call_complete_through(
        &mut self,
        call: &str,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let query = sqlx::query_scalar(SELECT_CALL_COMPLETE_THROUGH);
        let query = query.bind(self.tenant.as_str()).bind(call);
        Ok(query.fetch_one(&mut *self.transaction).await?)
    }

    /// The low watermark of [`TenantSnapshot::entries`], which leaves out rows from the oldest transaction
    /// in progress on, in whichever database of the server.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn entries_complete_through(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let query = sqlx::query_scalar(SELECT_OLDEST_UNSETTLED_ENTRY).bind(self.tenant.as_str());
        let left_out: Option<DateTime<Utc>> = query.fetch_one(&mut *self.transaction).await?;
        let through = self.complete_through().await?;
        Ok(through.map(|through| left_out.map_or(through, |left_out| left_out.min(through))))
    }

    /// The call that one of these anchors is part of, with its sessions and captures.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn call(&mut self, candidates: &[Anchor]) -> Result<Option<CallDetails>, StoreError> {
        let Some(name) = self.call_of(candidates).await? else {
            return Ok(None);
        };
        let Some(call) = self.call_rows(std::slice::from_ref(&name)).await?.pop() else {
            return Ok(None);
        };
        let anchors = self.anchors_of(&name).await?;
        let ids = sqlx::query_as(SELECT_IDS_OF_CALL).bind(self.tenant.as_str()).bind(&anchors);
        let ids = ids.fetch_all(&mut *self.transaction).await?;
        let sessions = self.sessions_of(&name).await?;
        let captures = sqlx::query_as(SELECT_CAPTURES).bind(self.tenant.as_str()).bind(&name);
        let captures = captures.fetch_all(&mut *self.transaction).await?;
        Ok(Some(CallDetails { call, anchors, ids, sessions, captures }))
    }

    /// The sessions of a call in the order of joining.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn sessions_of(&mut self, call: &str) -> Result<Vec<SessionDetailRow>, StoreError> {
        let query = sqlx::query_as(SELECT_SESSIONS).bind(self.tenant.as_str()).bind(call);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    /// The id of the call that one of these anchors is part of.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn call_of(&mut self, candidates: &[Anchor]) -> Result<Option<String>, StoreError> {
        let names: Vec<&str> = candidates.iter().map(Anchor::as_str).collect();
        // The same text may name several anchors: the first candidate that exists counts.
        let query = sqlx::query_scalar(SELECT_CALL_OF_ANCHORS);
        let query = query.bind(self.tenant.as_str()).bind(&names);
        Ok(query.fetch_optional(&mut *self.transaction).await?)
    }

    /// All anchors of a call.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn anchors_of(&mut self, call: &str) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query_scalar(SELECT_ANCHORS_OF_CALL);
        let query = query.bind(self.tenant.as_str()).bind(call);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    /// The events of a call in the order of their instants, after `after`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn timeline(
        &mut self,
        anchors: &[String],
        after: Option<(i64, Uuid)>,
        limit: i64,
    ) -> Result<Vec<EntryRow>, StoreError> {
        let (after_ms, after_id) = after.unzip();
        let query = sqlx::query_as(SELECT_TIMELINE).bind(self.tenant.as_str());
        let query = query.bind(anchors).bind(after_ms).bind(after_id).bind(limit);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    /// Entries up to the oldest transaction in progress: a reader that continues after the last one misses
    /// none, and gets none twice.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn entries(&mut self, filter: &EntryFilter) -> Result<Vec<EntryRow>, StoreError> {
        let (after_xid, after_id) = filter.after.unzip();
        let statement = match filter.order {
            EntryOrder::Appended => SELECT_ENTRIES,
            EntryOrder::LastAppendedFirst => SELECT_LAST_ENTRIES,
        };
        Ok(sqlx::query_as(statement)
            .bind(self.tenant.as_str())
            .bind(filter.r#type.as_deref())
            .bind(filter.source.as_deref())
            .bind(filter.from)
            .bind(filter.to)
            .bind(filter.anchors.as_deref())
            .bind(after_xid.map(|xid| xid.to_string()))
            .bind(after_id)
            .bind(filter.limit)
            .fetch_all(&mut *self.transaction)
            .await?)
    }

    /// One entry, and its original.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn entry(&mut self, id: Uuid) -> Result<Option<(EntryRow, Vec<u8>)>, StoreError> {
        let query = sqlx::query(SELECT_ENTRY).bind(self.tenant.as_str()).bind(id);
        let Some(row) = query.fetch_optional(&mut *self.transaction).await? else {
            return Ok(None);
        };
        Ok(Some((EntryRow::from_row(&row)?, row.try_get("original")?)))
    }

    /// The sealed box of a row of the quarantine.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn sealed_content(&mut self, id: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query_scalar(SELECT_SEALED).bind(self.tenant.as_str()).bind(id);
        let sealed: Option<Option<Vec<u8>>> = query.fetch_optional(&mut *self.transaction).await?;
        Ok(sealed.flatten())
    }

    /// Rows of the quarantine. A page ends with the row at which its contents reach
    /// [`MAX_QUARANTINE_PAGE_BYTES`].
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn quarantine(
        &mut self,
        filter: &QuarantineFilter,
    ) -> Result<Vec<QuarantineRow>, StoreError> {
        let (after_received, after_id) = filter.after.unzip();
        Ok(sqlx::query_as(SELECT_QUARANTINE)
            .bind(self.tenant.as_str())
            .bind(filter.reason.as_deref())
            .bind(filter.source.as_deref())
            .bind(after_received)
            .bind(after_id)
            .bind(filter.limit)
            .bind(MAX_QUARANTINE_PAGE_BYTES)
            .fetch_all(&mut *self.transaction)
            .await?)
    }
}

macro_rules! entry_columns {
    () => {
        "entry.id, entry.xid::text::bigint as xid, entry.received_at, coalesce(alias.resolves_to, entry.anchor) as call, entry.type, entry.source_type,
         entry.provenance, entry.source, entry.ce_source, entry.ce_id, entry.ce_time, entry.at_ms, encode(entry.sha256, 'hex') as sha256, entry.content_coding, entry.charset, entry.event, entry.flags
         from entry left join call_alias as alias on alias.tenant = entry.tenant and alias.anchor = entry.anchor"
    };
}

/// The list of entries in one direction: the comparison with the position before, and the order.
macro_rules! entries {
    ($after:literal, $order:literal) => {
        concat!(
            "select ",
            entry_columns!(),
            " where entry.tenant = $1 and entry.xid < write_horizon()
           and ($2::text is null or entry.type = $2) and ($3::text is null or entry.source = $3)
           and ($4::timestamptz is null or entry.received_at >= $4) and ($5::timestamptz is null or entry.received_at < $5)
           and ($6::text[] is null or entry.anchor = any($6))
           and ($7::text is null or (entry.xid, entry.id) ", $after, " ($7::xid8, $8))
         order by entry.xid", $order, ", entry.id", $order, " limit $9"
        )
    };
}

statements! {
    const SELECT_COMPLETE_THROUGH: &str = "select nullif(complete_through(), '-infinity')";

    /// `least` leaves out nulls: without work that waits, it is the low watermark. In the tables -infinity
    /// means: not known.
    const SELECT_EVALUATED_THROUGH: &str =
        "select case when complete_through() is not null then nullif(least(complete_through(),
             (select min(since_at) from postponed_call where tenant = $1),
             (select min(since_at) from pending_merge where tenant = $1)), '-infinity') end";

    const SELECT_CALL_COMPLETE_THROUGH: &str =
        "select case when complete_through() is not null then nullif(least(complete_through(),
             (select evaluated_at from call where tenant = $1 and call = $2 and next_evaluation_at <= now()),
             (select since_at from postponed_call where tenant = $1 and call = $2),
             (select min(pending.since_at) from pending_merge as pending
              join call_alias as alias on alias.tenant = pending.tenant and alias.anchor = pending.upper_id
              where pending.tenant = $1 and alias.resolves_to = $2)), '-infinity') end";

    const SELECT_OLDEST_UNSETTLED_ENTRY: &str = "select min(received_at) from entry where tenant = $1 and xid >= write_horizon()";

    const SELECT_IDS_OF_CALL: &str =
        "select distinct id.key, id.value from entry, jsonb_each_text(entry.event -> 'ids') as id
         where entry.tenant = $1 and entry.anchor = any($2) and id.value is not null and id.key <> 'participant_id' order by 1, 2";

    const SELECT_SESSIONS: &str = "select * from session where tenant = $1 and call = $2 order by joined_at, session";

    const SELECT_CAPTURES: &str = "select * from capture where tenant = $1 and call = $2 order by type, started_at";

    const SELECT_CALL_OF_ANCHORS: &str = "select resolves_to from call_alias where tenant = $1 and anchor = any($2) order by array_position($2, anchor) limit 1";

    const SELECT_ANCHORS_OF_CALL: &str = "select anchor from call_alias where tenant = $1 and resolves_to = $2 order by anchor";

    const SELECT_TIMELINE: &str = concat!(
        "select ",
        entry_columns!(),
        " where entry.tenant = $1 and entry.anchor = any($2)
         and ($3::bigint is null or (entry.at_ms, entry.id) > ($3, $4)) order by entry.at_ms, entry.id limit $5",
    );

    const SELECT_ENTRIES: &str = entries!(">", "");

    const SELECT_LAST_ENTRIES: &str = entries!("<", " desc");

    const SELECT_ENTRY: &str = concat!(
        "select entry.original, ",
        entry_columns!(),
        " where entry.tenant = $1 and entry.id = $2",
    );

    const SELECT_SEALED: &str = "select sealed from quarantine where tenant = $1 and id = $2";

    const SELECT_QUARANTINE: &str =
        "select id, source, reason, detail, pointer, content, sealed, content_type, content_coding, charset, size, encode(sha256, 'hex') as sha256, redacted, received_at
         from quarantine where id in (
             select id from (
                 select id, sum(bytes) over (order by received_at desc, id desc) - bytes as before
                 from (select id, received_at, coalesce(octet_length(content), 0) + coalesce(octet_length(sealed), 0) as bytes from quarantine
                       where tenant = $1 and ($2::text is null or reason = $2) and ($3::text is null or source = $3)
                         and ($4::timestamptz is null or (received_at, id) < ($4, $5))
                       order by received_at desc, id desc limit $6) as sized) as page
             where before < $7)
         order by received_at desc, id desc";
}
