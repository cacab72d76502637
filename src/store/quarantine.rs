//! Where the not-understood is kept whole.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::domain::ids::Digest;

/// One row of the quarantine.
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
    pub content_type: Option<String>,
    pub size: i64,
    pub sha256: Digest,
    pub redacted: Vec<String>,
    pub received: DateTime<Utc>,
}

/// Keeps it; the same thing twice is one row. Returns whether it is new. NUL, which Postgres text
/// cannot hold, is replaced in the describing columns; the content is bytes.
///
/// # Errors
///
/// [`StoreError`].
pub async fn insert_quarantine(
    connection: &mut PgConnection,
    row: &NewQuarantine,
) -> Result<bool, StoreError> {
    let text = |text: &str| text.replace('\0', "\u{fffd}");
    let inserted = sqlx::query(
        "insert into quarantine (id, tenant, key, source, reason, detail, pointer, content, content_type, size, sha256, redacted, received)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) on conflict (key) do nothing",
    )
    .bind(row.id)
    .bind(text(&row.tenant))
    .bind(row.key.as_bytes().as_slice())
    .bind(text(&row.source))
    .bind(text(&row.reason))
    .bind(text(&row.detail))
    .bind(row.pointer.as_deref().map(text))
    .bind(row.content.as_deref())
    .bind(row.content_type.as_deref().map(text))
    .bind(row.size)
    .bind(row.sha256.as_bytes().as_slice())
    .bind(row.redacted.iter().map(|pointer| text(pointer)).collect::<Vec<_>>())
    .bind(row.received)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}
