//! The stored facts of a call beside the entries that they were made from, to compare them.

use futures_util::TryStreamExt as _;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use crate::postgres::{StoreError, TenantSnapshot};
use onrecord_evidence::notice::notice_fact::NoticeFact;

/// The fact of an event, and an entry with its key.
#[derive(Debug)]
pub(crate) struct FactWithEntry {
    /// The key of the event.
    pub key: Vec<u8>,
    /// The digest of the content of the event.
    pub content_digest: Vec<u8>,
    /// The event, as the rules read it.
    pub event: String,
    /// `None`: there is no entry with the key at the anchor of the fact.
    pub entry: Option<EntryOriginal>,
}

/// An entry with its original.
#[derive(Debug, FromRow)]
pub(crate) struct EntryOriginal {
    pub id: Uuid,
    pub provenance: String,
    pub source_type: String,
    pub ce_source: String,
    pub ce_id: String,
    pub sha256: Vec<u8>,
    pub original: Vec<u8>,
    pub entry_event: Value,
}

impl FromRow<'_, PgRow> for FactWithEntry {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let id: Option<Uuid> = row.try_get("id")?;
        Ok(Self {
            key: row.try_get("key")?,
            content_digest: row.try_get("content_digest")?,
            event: row.try_get("event")?,
            entry: id.map(|_| EntryOriginal::from_row(row)).transpose()?,
        })
    }
}

/// A statement about a notice.
#[derive(Debug, FromRow)]
pub(crate) struct StoredNoticeFact {
    pub fact_id: Vec<u8>,
    pub content_digest: Vec<u8>,
    pub fact: Json<NoticeFact>,
}

impl TenantSnapshot {
    /// Calls `check` with each fact at these anchors and each entry that has its key.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn check_facts(
        &mut self,
        anchors: &[String],
        mut check: impl FnMut(FactWithEntry),
    ) -> Result<(), StoreError> {
        let query = sqlx::query_as(SELECT_FACTS_WITH_ENTRIES).bind(self.tenant.as_str());
        // One after the other: the originals of a large call take much memory.
        let mut rows = query.bind(anchors).fetch(&mut *self.transaction);
        while let Some(row) = rows.try_next().await? {
            check(row);
        }
        Ok(())
    }

    /// Calls `check` with each statement about a notice at these anchors.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn check_notice_facts(
        &mut self,
        anchors: &[String],
        mut check: impl FnMut(StoredNoticeFact),
    ) -> Result<(), StoreError> {
        let query = sqlx::query_as(SELECT_NOTICE_FACTS).bind(self.tenant.as_str());
        let mut rows = query.bind(anchors).fetch(&mut *self.transaction);
        while let Some(row) = rows.try_next().await? {
            check(row);
        }
        Ok(())
    }
}

statements! {
    const SELECT_FACTS_WITH_ENTRIES: &str =
        "select fact.key, fact.content_digest, fact.event, entry.id, entry.provenance, entry.source_type, entry.ce_source, entry.ce_id,
                entry.sha256, entry.original, entry.event as entry_event
         from fact
         left join entry on entry.tenant = fact.tenant and entry.anchor = fact.anchor and entry.key = fact.key
         where fact.tenant = $1 and fact.anchor = any($2)";

    const SELECT_NOTICE_FACTS: &str =
        "select fact_id, content_digest, fact from notice_fact where tenant = $1 and anchor = any($2)";
}
