//! How far the set-up of a source is: its handshake, its first events, and a call with a client's report.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use crate::postgres::{Postgres, StoreError, TenantSnapshot};
use onrecord_evidence::event::ids::Tenant;

/// By which schema a subscription was validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::EnumString, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HandshakeSchema {
    EventGrid,
    CloudEvents,
}

/// A handshake that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnsweredHandshake {
    pub tenant: String,
    pub source: String,
    pub schema: HandshakeSchema,
    pub at: DateTime<Utc>,
}

/// The last handshake of a source.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct LastHandshake {
    pub schema: String,
    pub last_at: DateTime<Utc>,
}

/// An event of a source.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct EventOfSource {
    pub id: Uuid,
    pub source_type: String,
    pub received_at: DateTime<Utc>,
}

/// A call in which a client reported.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ReportedCall {
    pub call: String,
    pub started_at: DateTime<Utc>,
}

impl Postgres {
    /// Stores the last handshakes. An instant is never lowered.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn record_handshakes(
        &self,
        handshakes: &[AnsweredHandshake],
    ) -> Result<(), StoreError> {
        sqlx::query(UPSERT_HANDSHAKES).bind(Json(handshakes)).execute(&self.pool).await?;
        Ok(())
    }

    /// The last handshake of a source of a tenant.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn last_handshake(
        &self,
        tenant: &Tenant,
        source: &str,
    ) -> Result<Option<LastHandshake>, StoreError> {
        let query = sqlx::query_as(SELECT_HANDSHAKE).bind(tenant.as_str()).bind(source);
        Ok(query.fetch_optional(&self.readers).await?)
    }
}

impl TenantSnapshot {
    /// The last event of a source that was received after an instant.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn last_event_of_source(
        &mut self,
        source: &str,
        after: DateTime<Utc>,
    ) -> Result<Option<EventOfSource>, StoreError> {
        let query = sqlx::query_as(SELECT_LAST_EVENT).bind(self.tenant.as_str()).bind(source);
        // Ids of entries are in the order of appending, and begin with its instant.
        let millis = u64::try_from(after.timestamp_millis()).unwrap_or(0);
        let first = Uuid::from_u128(u128::from(millis) << 80);
        Ok(query.bind(after).bind(first).fetch_optional(&mut *self.transaction).await?)
    }

    /// Among the last calls, the last one with an event of a source and a client's report.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn last_reported_call(
        &mut self,
        source: &str,
    ) -> Result<Option<ReportedCall>, StoreError> {
        let query = sqlx::query_as(SELECT_REPORTED_CALL).bind(self.tenant.as_str()).bind(source);
        Ok(query.fetch_optional(&mut *self.transaction).await?)
    }
}

statements! {
    const UPSERT_HANDSHAKES: &str =
        "insert into source_handshake as known (tenant, source, schema, last_at)
         select tenant, source, schema, at
         from jsonb_to_recordset($1) as made (tenant text, source text, schema text, at timestamptz)
         order by tenant, source
         on conflict (tenant, source) do update
             set schema = case when excluded.last_at > known.last_at then excluded.schema else known.schema end,
                 last_at = greatest(known.last_at, excluded.last_at)";

    const SELECT_HANDSHAKE: &str = "select schema, last_at from source_handshake where tenant = $1 and source = $2";

    /// The instant limits the partitions, and the id the rows that are looked at.
    const SELECT_LAST_EVENT: &str =
        "select id, source_type, received_at from entry
         where tenant = $1 and source = $2 and received_at > $3 and id >= $4
         order by id desc limit 1";

    const SELECT_REPORTED_CALL: &str =
        "select recent.call, recent.started_at
         from (select call, started_at from call where tenant = $1 order by started_at desc limit 50) as recent
         where exists (
                 select from call_alias as alias
                 join entry on entry.tenant = alias.tenant and entry.anchor = alias.anchor
                 where alias.tenant = $1 and alias.resolves_to = recent.call and entry.source = $2)
             and exists (
                 select from call_alias as alias
                 join entry on entry.tenant = alias.tenant and entry.anchor = alias.anchor
                 where alias.tenant = $1 and alias.resolves_to = recent.call and entry.provenance = 'client')
         order by recent.started_at desc limit 1";
}
