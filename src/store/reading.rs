//! What the reading room asks. Every question names its tenant; row-level security is the backstop.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::StoreError;
use super::lending::Transaction;
use crate::domain::alias::Anchor;
use crate::domain::ids::Tenant;

mod exceptions;
mod unseen;

pub use exceptions::{ExceptionFilter, ExceptionRow, StoryRow};
pub use unseen::{UnseenInterval, UnseenKind, WATCHED_ROOMS};

/// A read-only transaction of one tenant: all answers are of one instant.
pub struct ReadingRoom {
    pub(super) transaction: Transaction,
    pub(super) tenant: Tenant,
}

/// Which calls, newest first.
#[derive(Debug, Default)]
pub struct CallFilter {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub open: Option<bool>,
    pub participant: Option<String>,
    /// Only calls after this one in the order of the list.
    pub after: Option<(DateTime<Utc>, String)>,
    pub limit: i64,
}

#[derive(Debug, sqlx::FromRow)]
pub struct CallRow {
    pub call: String,
    pub started: DateTime<Utc>,
    pub ended: Option<DateTime<Utc>>,
    pub end_presumed: bool,
    pub recording: String,
    pub recording_stale: bool,
    pub transcription: String,
    pub transcription_stale: bool,
    pub group_id: Option<String>,
    pub flags: Vec<String>,
    pub sessions: i64,
    pub recorded: bool,
    pub transcribed: bool,
    pub folded: DateTime<Utc>,
}

#[derive(Debug, sqlx::FromRow)]
pub struct SessionView {
    pub session: String,
    pub identity: String,
    pub ours: bool,
    pub raw_id: Option<String>,
    pub display_name: Option<String>,
    pub kind: Option<String>,
    pub participant_id: Option<String>,
    /// `[{attachment, raw_id, trust}]`.
    pub attachments: Value,
    pub user_agent: Option<String>,
    pub joined: DateTime<Utc>,
    pub left_at: Option<DateTime<Utc>>,
    pub join_inferred: bool,
    pub left_inferred: bool,
}

#[derive(Debug, sqlx::FromRow)]
pub struct StretchView {
    pub r#type: String,
    pub started: DateTime<Utc>,
    pub ended: Option<DateTime<Utc>>,
    pub start_source: String,
    pub sources: Vec<String>,
    pub recordings: Vec<String>,
    pub kinds: Vec<String>,
}

/// One call, whole.
#[derive(Debug)]
pub struct CallPage {
    pub call: CallRow,
    /// Every anchor that leads to it, as public ids.
    pub anchors: Vec<String>,
    /// The ids themselves: kind and canonical id.
    pub ids: Vec<(String, String)>,
    pub sessions: Vec<SessionView>,
    pub stretches: Vec<StretchView>,
}

/// Which lines of the book, in the order of entry.
#[derive(Debug, Default)]
pub struct EntryFilter {
    pub r#type: Option<String>,
    pub source: Option<String>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Only lines of these anchors.
    pub anchors: Option<Vec<String>>,
    /// Only lines after this one.
    pub after: Option<(i64, Uuid)>,
    pub limit: i64,
}

#[derive(Debug, sqlx::FromRow)]
pub struct EntryRow {
    pub id: Uuid,
    pub xid: i64,
    pub received: DateTime<Utc>,
    pub anchor: Option<String>,
    pub call: Option<String>,
    pub r#type: String,
    pub source_type: String,
    pub provenance: String,
    pub source: String,
    pub ce_source: String,
    pub ce_id: String,
    pub ce_time: Option<String>,
    pub t: i64,
    pub sha256: Vec<u8>,
    pub event: Value,
    pub flags: Vec<String>,
}

/// Which quarantined things, newest first.
#[derive(Debug, Default)]
pub struct QuarantineFilter {
    pub reason: Option<String>,
    pub source: Option<String>,
    pub after: Option<(DateTime<Utc>, Uuid)>,
    pub limit: i64,
}

#[derive(Debug, sqlx::FromRow)]
pub struct QuarantineRow {
    pub id: Uuid,
    pub source: String,
    pub reason: String,
    pub detail: String,
    pub pointer: Option<String>,
    pub content: Option<Vec<u8>>,
    pub content_type: Option<String>,
    pub size: i64,
    pub sha256: Vec<u8>,
    pub redacted: Vec<String>,
    pub received: DateTime<Utc>,
}

/// Contents in quarantine may have 4 MiB each; a page of them has this and one more.
pub const PAGE_BYTES: i64 = 16 * 1024 * 1024;

const CALL_COLUMNS: &str = "call.call, call.started, call.ended, call.end_presumed, call.recording, call.recording_stale,
    call.transcription, call.transcription_stale, call.group_id, call.flags, call.folded,
    (select count(*) from session where session.tenant = call.tenant and session.call = call.call) as sessions,
    exists (select from stretch where stretch.tenant = call.tenant and stretch.call = call.call and stretch.type = 'recording') as recorded,
    exists (select from stretch where stretch.tenant = call.tenant and stretch.call = call.call and stretch.type = 'transcription') as transcribed";

const ENTRY_COLUMNS: &str = "entry.id, entry.xid::text::bigint as xid, entry.received, entry.anchor, lead.call, entry.type, entry.source_type,
    entry.provenance, entry.source, entry.ce_source, entry.ce_id, entry.ce_time, entry.t, entry.sha256, entry.event, entry.flags
    from entry left join alias_lead as lead on lead.tenant = entry.tenant and lead.anchor = entry.anchor";

impl ReadingRoom {
    pub(super) fn new(transaction: Transaction, tenant: Tenant) -> Self {
        Self {
            transaction,
            tenant,
        }
    }

    /// All that reached us before this instant is in every answer; `None` before the ledger's
    /// first look at the log.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn complete_through(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let through: Option<DateTime<Utc>> =
            sqlx::query_scalar("select nullif(complete_through(), '-infinity')")
                .fetch_one(&mut *self.transaction)
                .await?;
        Ok(through)
    }

    /// The same for one call: where its next fold is due and has not been made, its account is as of
    /// the last one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn call_complete_through(
        &mut self,
        call: &str,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let behind: Option<DateTime<Utc>> = sqlx::query_scalar(
            "select folded from call where tenant = $1 and call = $2 and refold_at <= now()",
        )
        .bind(self.tenant.as_str())
        .bind(call)
        .fetch_optional(&mut *self.transaction)
        .await?;
        let through = self.complete_through().await?;
        Ok(through.map(|through| behind.map_or(through, |behind| behind.min(through))))
    }

    /// The same for [`ReadingRoom::entries`], which leaves out what was written beside a
    /// transaction that is still going on, be it in another database of the same server.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn entries_complete_through(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let left_out: Option<DateTime<Utc>> = sqlx::query_scalar(
            "select min(received) from entry where tenant = $1 and xid >= pg_snapshot_xmin(pg_current_snapshot())",
        )
        .bind(self.tenant.as_str())
        .fetch_one(&mut *self.transaction)
        .await?;
        let through = self.complete_through().await?;
        Ok(through.map(|through| left_out.map_or(through, |left_out| left_out.min(through))))
    }

    /// A list of calls.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn calls(&mut self, filter: &CallFilter) -> Result<Vec<CallRow>, StoreError> {
        let (after_started, after_call) = filter.after.clone().unzip();
        let statement = format!(
            "select {CALL_COLUMNS} from call
             where call.tenant = $1
               and ($2::timestamptz is null or call.started >= $2) and ($3::timestamptz is null or call.started < $3)
               and ($4::bool is null or (call.ended is null) = $4)
               and ($5::text is null or exists (select from session where session.tenant = call.tenant and session.call = call.call and session.raw_id = $5))
               and ($6::timestamptz is null or (call.started, call.call) < ($6, $7))
             order by call.started desc, call.call desc limit $8"
        );
        // The columns are a constant of ours, every value is bound.
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(self.tenant.as_str())
            .bind(filter.from)
            .bind(filter.to)
            .bind(filter.open)
            .bind(filter.participant.as_deref())
            .bind(after_started)
            .bind(after_call)
            .bind(filter.limit)
            .fetch_all(&mut *self.transaction)
            .await?;
        Ok(rows)
    }

    /// The call that one of these anchors is part of, whole.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn call(&mut self, candidates: &[Anchor]) -> Result<Option<CallPage>, StoreError> {
        let Some(name) = self.call_of(candidates).await? else {
            return Ok(None);
        };
        let statement =
            format!("select {CALL_COLUMNS} from call where call.tenant = $1 and call.call = $2");
        let call: Option<CallRow> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(self.tenant.as_str())
            .bind(&name)
            .fetch_optional(&mut *self.transaction)
            .await?;
        let Some(call) = call else { return Ok(None) };
        let anchors = self.anchors_of(&name).await?;
        let ids = sqlx::query_as(
            "select distinct id.key, id.value from entry, jsonb_each_text(entry.event -> 'ids') as id
             where entry.tenant = $1 and entry.anchor = any($2) and id.value is not null and id.key <> 'participant_id' order by 1, 2",
        )
        .bind(self.tenant.as_str())
        .bind(&anchors)
        .fetch_all(&mut *self.transaction)
        .await?;
        let sessions = sqlx::query_as(
            "select * from session where tenant = $1 and call = $2 order by joined, session",
        )
        .bind(self.tenant.as_str())
        .bind(&name)
        .fetch_all(&mut *self.transaction)
        .await?;
        let stretches = sqlx::query_as(
            "select * from stretch where tenant = $1 and call = $2 order by type, started",
        )
        .bind(self.tenant.as_str())
        .bind(&name)
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(Some(CallPage {
            call,
            anchors,
            ids,
            sessions,
            stretches,
        }))
    }

    /// The name of the call that one of these anchors is part of.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn call_of(&mut self, candidates: &[Anchor]) -> Result<Option<String>, StoreError> {
        let names: Vec<&str> = candidates.iter().map(Anchor::as_str).collect();
        // An id that is a correlationId itself wins over one that is an alias by the same text.
        Ok(sqlx::query_scalar(
            "select call from alias_lead where tenant = $1 and anchor = any($2) order by array_position($2, anchor) limit 1",
        )
        .bind(self.tenant.as_str())
        .bind(&names)
        .fetch_optional(&mut *self.transaction)
        .await?)
    }

    /// Every anchor of a call.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn anchors_of(&mut self, call: &str) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "select anchor from alias_lead where tenant = $1 and call = $2 order by anchor",
        )
        .bind(self.tenant.as_str())
        .bind(call)
        .fetch_all(&mut *self.transaction)
        .await?)
    }

    /// A call's events in the order in which they happened, after `after`.
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
        let (after_t, after_id) = after.unzip();
        let statement = format!(
            "select {ENTRY_COLUMNS} where entry.tenant = $1 and entry.anchor = any($2)
               and ($3::bigint is null or (entry.t, entry.id) > ($3, $4)) order by entry.t, entry.id limit $5"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(self.tenant.as_str())
            .bind(anchors)
            .bind(after_t)
            .bind(after_id)
            .bind(limit)
            .fetch_all(&mut *self.transaction)
            .await?)
    }

    /// Lines of the book in the order of entry. Only lines before every transaction that is still
    /// going on: a reader that goes on from the last one misses none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn entries(&mut self, filter: &EntryFilter) -> Result<Vec<EntryRow>, StoreError> {
        let (after_xid, after_id) = filter.after.unzip();
        let statement = format!(
            "select {ENTRY_COLUMNS} where entry.tenant = $1 and entry.xid < pg_snapshot_xmin(pg_current_snapshot())
               and ($2::text is null or entry.type = $2) and ($3::text is null or entry.source = $3)
               and ($4::timestamptz is null or entry.received >= $4) and ($5::timestamptz is null or entry.received < $5)
               and ($6::text[] is null or entry.anchor = any($6))
               and ($7::text is null or (entry.xid, entry.id) > ($7::xid8, $8))
             order by entry.xid, entry.id limit $9"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(statement))
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

    /// One line of the book, and its original.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn entry(&mut self, id: Uuid) -> Result<Option<(EntryRow, Vec<u8>)>, StoreError> {
        let statement = format!("select {ENTRY_COLUMNS} where entry.tenant = $1 and entry.id = $2");
        let row: Option<EntryRow> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(self.tenant.as_str())
            .bind(id)
            .fetch_optional(&mut *self.transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let original =
            sqlx::query_scalar("select original from entry where tenant = $1 and id = $2")
                .bind(self.tenant.as_str())
                .bind(id)
                .fetch_one(&mut *self.transaction)
                .await?;
        Ok(Some((row, original)))
    }

    /// What could not be understood. A page ends with the row by which its contents reach
    /// [`PAGE_BYTES`].
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn quarantine(
        &mut self,
        filter: &QuarantineFilter,
    ) -> Result<Vec<QuarantineRow>, StoreError> {
        let (after_received, after_id) = filter.after.unzip();
        Ok(sqlx::query_as(
            "select id, source, reason, detail, pointer, content, content_type, size, sha256, redacted, received
             from quarantine where id in (
                 select id from (
                     select id, sum(bytes) over (order by received desc, id desc) - bytes as before
                     from (select id, received, coalesce(octet_length(content), 0) as bytes from quarantine
                           where tenant = $1 and ($2::text is null or reason = $2) and ($3::text is null or source = $3)
                             and ($4::timestamptz is null or (received, id) < ($4, $5))
                           order by received desc, id desc limit $6) as sized) as page
                 where before < $7)
             order by received desc, id desc",
        )
        .bind(self.tenant.as_str())
        .bind(filter.reason.as_deref())
        .bind(filter.source.as_deref())
        .bind(after_received)
        .bind(after_id)
        .bind(filter.limit)
        .bind(PAGE_BYTES)
        .fetch_all(&mut *self.transaction)
        .await?)
    }
}
