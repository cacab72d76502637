//! The quarantine: content that was not understood.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::postgres::StoreError;
use crate::postgres::column::column;
use onrecord_evidence::event::ids::Digest;

/// A new row of the quarantine.
#[derive(Debug)]
pub struct NewQuarantine {
    pub id: Uuid,
    pub tenant: String,
    pub key: Digest,
    pub source: String,
    pub reason: String,
    pub detail: String,
    pub pointer: Option<String>,
    pub content: Option<Vec<u8>>,
    pub sealed: Option<Vec<u8>>,
    pub content_type: Option<String>,
    pub content_coding: Option<String>,
    pub charset: Option<String>,
    pub size: i64,
    pub sha256: Digest,
    pub redacted: Vec<String>,
    pub received_at: DateTime<Utc>,
}

/// Stores a row, and returns whether it is new: the same key is one row. NUL, which text of Postgres
/// cannot hold, is replaced in all columns but those of bytes.
///
/// # Errors
///
/// [`StoreError`].
pub(crate) async fn insert_quarantine(
    connection: &mut PgConnection,
    row: &NewQuarantine,
) -> Result<bool, StoreError> {
    let text = |text: &str| text.replace('\0', "\u{fffd}");
    let inserted = sqlx::query(INSERT_QUARANTINE)
        .bind(row.id)
        .bind(text(&row.tenant))
        .bind(row.key.as_bytes().as_slice())
        .bind(text(&row.source))
        .bind(text(&row.reason))
        .bind(text(&row.detail))
        .bind(row.pointer.as_deref().map(text))
        .bind(row.content.as_deref())
        .bind(row.sealed.as_deref())
        .bind(row.content_type.as_deref().map(text))
        .bind(row.content_coding.as_deref().map(text))
        .bind(row.charset.as_deref())
        .bind(row.size)
        .bind(row.sha256.as_bytes().as_slice())
        .bind(column(&row.redacted, |pointer| text(pointer)))
        .bind(row.received_at)
        .execute(connection)
        .await?;
    Ok(inserted.rows_affected() == 1)
}

statements! {
    const INSERT_QUARANTINE: &str =
        "insert into quarantine (id, tenant, key, source, reason, detail, pointer, content, sealed, content_type, content_coding, charset, size, sha256, redacted, received_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) on conflict (key) do nothing";
}
