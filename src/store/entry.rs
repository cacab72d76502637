//! The audit book, and what is known of duplicates.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::ids::Digest;

/// One line of the audit book.
#[derive(Debug)]
pub struct NewEntry<'a> {
    pub id: Uuid,
    pub tenant: &'a str,
    pub received: DateTime<Utc>,
    pub anchor: Option<String>,
    pub kind: &'static str,
    pub source_type: &'a str,
    pub provenance: &'static str,
    pub source: &'a str,
    pub ce_source: &'a str,
    pub ce_id: &'a str,
    pub ce_time: Option<&'a str>,
    pub t: i64,
    pub key: Digest,
    pub sha256: Digest,
    pub original: &'a str,
    /// The normalized event, JSON.
    pub event: &'a str,
    pub flags: Vec<&'static str>,
}

/// One fact-bearing event, at its anchor.
#[derive(Debug)]
pub struct NewFact<'a> {
    pub tenant: &'a str,
    pub anchor: String,
    pub key: Digest,
    pub content: Digest,
    pub kind: &'static str,
    pub t: i64,
    pub event: &'a str,
}

/// What the book knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// Not seen before.
    New,
    /// Seen with the same content: no second effect.
    Duplicate,
    /// Seen with another content.
    Conflict,
}

/// Remembers keys with the digest of their content, and says of each whether it is new. Two of one
/// key within the call are judged in the order given.
///
/// # Errors
///
/// [`StoreError`].
pub async fn recognize(
    connection: &mut PgConnection,
    keys: &[(Digest, Digest)],
    day: NaiveDate,
) -> Result<Vec<Recognition>, StoreError> {
    // One order for everybody, so that two transactions cannot wait for each other.
    let mut sorted: Vec<(Digest, Digest)> = keys.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let (key_bytes, content_bytes): (Vec<&[u8]>, Vec<&[u8]>) = sorted
        .iter()
        .map(|(key, content)| (key.as_bytes().as_slice(), content.as_bytes().as_slice()))
        .unzip();
    // What `returning` asks for is as it was before the statement.
    let inserted: Vec<(Vec<u8>, Vec<u8>, bool)> = sqlx::query_as(
        "insert into seen (key, content, day) select key, content, $3 from unnest($1::bytea[], $2::bytea[]) as _ (key, content)
         on conflict do nothing
         returning key, content, exists (select from seen as other where other.key = seen.key)",
    )
    .bind(&key_bytes)
    .bind(&content_bytes)
    .bind(day)
    .fetch_all(&mut *connection)
    .await?;
    let mut fresh: HashSet<(Digest, Digest)> = HashSet::with_capacity(inserted.len());
    // Keys that have a content by now.
    let mut known: HashSet<Digest> = HashSet::new();
    for (key, content, before) in &inserted {
        if let (Some(key), Some(content)) = (Digest::from_bytes(key), Digest::from_bytes(content)) {
            fresh.insert((key, content));
            if *before {
                known.insert(key);
            }
        }
    }
    let mut recognitions = Vec::with_capacity(keys.len());
    for pair @ (key, _) in keys {
        recognitions.push(if !fresh.remove(pair) {
            Recognition::Duplicate
        } else {
            if known.insert(*key) {
                Recognition::New
            } else {
                Recognition::Conflict
            }
        });
    }
    Ok(recognitions)
}

/// Writes lines of the book.
///
/// # Errors
///
/// [`StoreError`]; [`StoreError::Content`] if Postgres refuses one of them.
pub async fn insert_entries(
    connection: &mut PgConnection,
    entries: &[NewEntry<'_>],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into entry (id, tenant, received, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                            t, key, sha256, original, event, flags)
         select id, tenant, received, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                t, key, sha256, original, event::jsonb, string_to_array(flags, ' ')
         from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bytea[], $14::bytea[], $15::bytea[],
                     $16::text[], $17::text[])
              as _ (id, tenant, received, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                    t, key, sha256, original, event, flags)",
    )
    .bind(entries.iter().map(|entry| entry.id).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.tenant).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.received).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.anchor.as_deref()).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.kind).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.source_type).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.provenance).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.source).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.ce_source).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.ce_id).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.ce_time).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.t).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.key.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.sha256.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.original.as_bytes()).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.event).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.flags.join(" ")).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes facts.
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
    sqlx::query(
        "insert into fact (tenant, anchor, key, content, kind, t, event)
         select tenant, anchor, key, content, kind, t, event
         from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::text[], $6::bigint[], $7::text[])
              as _ (tenant, anchor, key, content, kind, t, event)
         on conflict do nothing",
    )
    .bind(facts.iter().map(|fact| fact.tenant).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.anchor.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.key.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.content.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.kind).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.t).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.event).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Another copy of a fact came that was received earlier: that instant counts. Returns the anchors
/// of those that have changed.
///
/// # Errors
///
/// [`StoreError`].
pub async fn antedate_facts(
    connection: &mut PgConnection,
    facts: &[NewFact<'_>],
) -> Result<Vec<(String, String)>, StoreError> {
    if facts.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(
        "update fact set t = earlier.t, past = fact.past || jsonb_build_array(jsonb_build_array(pg_current_xact_id()::text::bigint, fact.t))
         from (select tenant, anchor, key, content, min(t) as t
               from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[]) as _ (tenant, anchor, key, content, t)
               group by tenant, anchor, key, content) as earlier
         where (fact.tenant, fact.anchor, fact.key, fact.content) = (earlier.tenant, earlier.anchor, earlier.key, earlier.content)
           and fact.t > earlier.t
         returning fact.tenant, fact.anchor",
    )
    .bind(facts.iter().map(|fact| fact.tenant).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.anchor.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.key.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.content.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.t).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?)
}

/// Forgets keys that were seen before `day`, at most 10,000 a call. Returns how many.
///
/// # Errors
///
/// [`StoreError`].
pub async fn forget_seen(store: &Store, day: NaiveDate) -> Result<u64, StoreError> {
    let forgotten = sqlx::query("delete from seen where ctid = any(array(select ctid from seen where day < $1 limit 10000))")
        .bind(day)
        .execute(&store.pool)
        .await?;
    Ok(forgotten.rows_affected())
}
