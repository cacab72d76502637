//! Entries and facts, and the detection of duplicate events.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::binary_copy::copy_rows;
use crate::postgres::column::column;
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Digest;

/// Copies entries in the binary format; the other columns have their defaults.
const COPY_ENTRIES: &str =
    "copy entry (id, tenant, received_at, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                 at_ms, key, sha256, original, content_coding, charset, event, flags) from stdin (format binary)";
/// The number of columns in [`COPY_ENTRIES`].
const ENTRY_COLUMNS: i16 = 19;

/// One entry of the audit trail.
#[derive(Debug)]
pub struct NewEntry<'a> {
    pub id: Uuid,
    pub tenant: &'a str,
    pub received_at: DateTime<Utc>,
    pub anchor: Option<String>,
    pub kind: &'static str,
    pub source_type: &'a str,
    pub provenance: &'static str,
    pub source: &'a str,
    pub ce_source: &'a str,
    pub ce_id: &'a str,
    pub ce_time: Option<&'a str>,
    pub at_ms: i64,
    pub key: Digest,
    pub sha256: Digest,
    pub original: &'a str,
    pub content_coding: Option<&'a str>,
    pub charset: Option<&'a str>,
    /// The normalized event, JSON.
    pub event: &'a str,
    pub flags: Vec<&'static str>,
}

/// One event that bears facts, at its anchor.
#[derive(Debug)]
pub struct NewFact<'a> {
    pub tenant: &'a str,
    pub anchor: String,
    pub key: Digest,
    pub content_digest: Digest,
    pub kind: &'static str,
    pub at_ms: i64,
    /// When it was received, if that is much later.
    pub received_ms: Option<i64>,
    pub event: &'a str,
}

/// Whether the key of an event was stored before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupOutcome {
    /// The key is new.
    New,
    /// The key was stored with the same content: the event has no second effect (`ONCE`).
    Duplicate,
    /// The key was stored with another content.
    Conflict,
}

/// Stores keys with the digests of their contents, and returns an outcome for each. Equal keys in the
/// same batch are compared in the given order.
///
/// # Errors
///
/// [`StoreError`].
pub async fn deduplicate(
    connection: &mut PgConnection,
    keys: &[(Digest, Digest)],
    day: NaiveDate,
) -> Result<Vec<DedupOutcome>, StoreError> {
    // All transactions insert in the same order, so that two of them cannot deadlock.
    let mut sorted: Vec<(Digest, Digest)> = keys.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let (key_bytes, content_bytes): (Vec<&[u8]>, Vec<&[u8]>) = sorted
        .iter()
        .map(|(key, content)| (key.as_bytes().as_slice(), content.as_bytes().as_slice()))
        .unzip();
    // The sub-select in `returning` reads the table as it was before the statement.
    let inserted: Vec<(Vec<u8>, Vec<u8>, bool)> = sqlx::query_as(INSERT_EVENT_KEYS)
        .bind(&key_bytes)
        .bind(&content_bytes)
        .bind(day)
        .fetch_all(&mut *connection)
        .await?;
    let mut fresh: HashSet<(Digest, Digest)> = HashSet::with_capacity(inserted.len());
    // Keys with another content that was stored before, by this batch or earlier.
    let mut known: HashSet<Digest> = HashSet::new();
    for (key, content, is_known) in &inserted {
        if let (Some(key), Some(content)) = (Digest::from_bytes(key), Digest::from_bytes(content)) {
            fresh.insert((key, content));
            if *is_known {
                known.insert(key);
            }
        }
    }
    let outcomes = keys.iter().map(|pair @ (key, _)| {
        if !fresh.remove(pair) {
            DedupOutcome::Duplicate
        } else if known.insert(*key) {
            DedupOutcome::New
        } else {
            DedupOutcome::Conflict
        }
    });
    Ok(outcomes.collect())
}

/// Inserts entries.
///
/// # Errors
///
/// [`StoreError`]; [`StoreError::Content`] if Postgres cannot store one of them.
pub async fn insert_entries(
    connection: &mut PgConnection,
    entries: &[NewEntry<'_>],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    copy_rows(connection, COPY_ENTRIES, ENTRY_COLUMNS, entries, |entry, row| {
        row.row()
            .uuid(entry.id)
            .text(entry.tenant)
            .instant(entry.received_at)
            .optional_text(entry.anchor.as_deref())
            .text(entry.kind)
            .text(entry.source_type)
            .text(entry.provenance)
            .text(entry.source)
            .text(entry.ce_source)
            .text(entry.ce_id)
            .optional_text(entry.ce_time)
            .int64(entry.at_ms)
            .bytes(entry.key.as_bytes())
            .bytes(entry.sha256.as_bytes())
            .bytes(entry.original.as_bytes())
            .optional_text(entry.content_coding)
            .optional_text(entry.charset)
            .json(entry.event)
            .texts(&entry.flags);
    })
    .await
}

/// Inserts facts.
///
/// # Errors
///
/// [`StoreError`].
pub async fn insert_facts(
    connection: &mut PgConnection,
    facts: &[NewFact<'_>],
) -> Result<(), StoreError> {
    if facts.is_empty() {
        return Ok(());
    }
    sqlx::query(INSERT_FACTS)
        .bind(column(facts, |fact| fact.tenant))
        .bind(column(facts, |fact| fact.anchor.as_str()))
        .bind(column(facts, |fact| fact.key.as_bytes().as_slice()))
        .bind(column(facts, |fact| fact.content_digest.as_bytes().as_slice()))
        .bind(column(facts, |fact| fact.kind))
        .bind(column(facts, |fact| fact.at_ms))
        .bind(column(facts, |fact| fact.event))
        .bind(column(facts, |fact| fact.received_ms))
        .execute(connection)
        .await?;
    Ok(())
}

/// Lowers the instants of facts to those of copies that were received earlier and arrive later. Returns
/// tenant and anchor of each fact that changed.
///
/// # Errors
///
/// [`StoreError`].
pub async fn lower_fact_times(
    connection: &mut PgConnection,
    facts: &[NewFact<'_>],
) -> Result<Vec<(String, String)>, StoreError> {
    if facts.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(LOWER_FACT_TIMES)
        .bind(column(facts, |fact| fact.tenant))
        .bind(column(facts, |fact| fact.anchor.as_str()))
        .bind(column(facts, |fact| fact.key.as_bytes().as_slice()))
        .bind(column(facts, |fact| fact.content_digest.as_bytes().as_slice()))
        .bind(column(facts, |fact| fact.at_ms))
        .fetch_all(connection)
        .await?)
}

/// Deletes up to 10,000 keys that were stored before `day`. Returns their number.
///
/// # Errors
///
/// [`StoreError`].
pub async fn delete_event_keys(store: &Postgres, day: NaiveDate) -> Result<u64, StoreError> {
    let deleted = sqlx::query(DELETE_EVENT_KEYS).bind(day).execute(&store.pool).await?;
    Ok(deleted.rows_affected())
}

statements! {
    const INSERT_EVENT_KEYS: &str =
        "insert into event_key (key, content_digest, entered_on) select key, content_digest, $3 from unnest($1::bytea[], $2::bytea[]) as _ (key, content_digest)
         on conflict do nothing
         returning key, content_digest, exists (select from event_key as other where other.key = event_key.key)";

    const INSERT_FACTS: &str =
        "insert into fact (tenant, anchor, key, content_digest, kind, at_ms, event, received_ms)
         select tenant, anchor, key, content_digest, kind, at_ms, event, received_ms
         from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::text[], $6::bigint[], $7::text[], $8::bigint[])
              as _ (tenant, anchor, key, content_digest, kind, at_ms, event, received_ms)
         on conflict do nothing";

    const LOWER_FACT_TIMES: &str =
        "update fact set at_ms = earlier.at_ms, at_history = fact.at_history || jsonb_build_array(jsonb_build_array(write_id()::text::bigint, fact.at_ms))
         from (select tenant, anchor, key, content_digest, min(at_ms) as at_ms
               from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[]) as _ (tenant, anchor, key, content_digest, at_ms)
               group by tenant, anchor, key, content_digest) as earlier
         where (fact.tenant, fact.anchor, fact.key, fact.content_digest) = (earlier.tenant, earlier.anchor, earlier.key, earlier.content_digest)
           and fact.at_ms > earlier.at_ms
         returning fact.tenant, fact.anchor";

    const DELETE_EVENT_KEYS: &str = "delete from event_key where ctid = any(array(select ctid from event_key where entered_on < $1 limit 10000))";
}
