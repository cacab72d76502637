//! What the record has about one person, by a raw id.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::snapshot::{SessionDetailRow, TenantSnapshot};
use crate::http::timestamp::{serialize_instant, serialize_millis};
use crate::openapi::named_schemas::{CaptureTypeSchema, WitnessSchema};
use crate::postgres::StoreError;

/// What the record of some calls has about a person.
#[derive(Debug)]
pub struct PersonRows {
    pub sessions: Vec<SessionOfCall>,
    pub obligations: Vec<ObligationRow>,
    pub notices: Vec<StatementRow>,
    pub events: Vec<MentionRow>,
}

/// A session of a person.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
pub struct SessionOfCall {
    #[serde(skip)]
    pub call: String,
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub session: SessionDetailRow,
}

/// What a person had to be told, and when that happened.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = Obligation)]
pub struct ObligationRow {
    #[serde(skip)]
    pub call: String,
    /// The session that had to be notified.
    pub session: String,
    /// What is captured.
    #[schema(value_type = CaptureTypeSchema)]
    pub r#type: String,
    /// The status, for example `MET`, `LATE`, `NEVER`.
    pub status: String,
    /// The consent of the session.
    pub consent: String,
    /// When the notice was due.
    #[serde(serialize_with = "serialize_millis")]
    pub due_at: DateTime<Utc>,
    /// When the capture or the session ended. Null: it goes on.
    #[serde(serialize_with = "serialize_millis")]
    #[schema(required = true)]
    pub ends_at: Option<DateTime<Utc>>,
    /// When the notice was dispatched. Null: never.
    #[serde(serialize_with = "serialize_millis")]
    #[schema(required = true)]
    pub dispatched_at: Option<DateTime<Utc>>,
    /// When it was delivered. Null: never.
    #[serde(serialize_with = "serialize_millis")]
    #[schema(required = true)]
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it was shown. Null: never.
    #[serde(serialize_with = "serialize_millis")]
    #[schema(required = true)]
    pub shown_at: Option<DateTime<Utc>>,
    /// When the participant acknowledged it. Null: never.
    #[serde(serialize_with = "serialize_millis")]
    #[schema(required = true)]
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Milliseconds captured before the notice was shown. Null: not ours, or not known.
    #[schema(required = true)]
    pub exposure_ms: Option<i64>,
    /// How the clients of the session belong to the call. Null: no client reports.
    #[schema(value_type = Option<WitnessSchema>, required = true)]
    pub proof: Option<String>,
}

/// A statement about a notice to a person, or an answer of the person.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = NoticeStatement)]
pub struct StatementRow {
    #[serde(skip)]
    pub call: String,
    /// The id.
    pub id: Uuid,
    /// The type of the notice fact.
    #[serde(rename = "type")]
    pub kind: String,
    /// When, by the clock of the service.
    #[serde(rename = "at", serialize_with = "serialize_instant")]
    #[schema(value_type = String, format = DateTime)]
    pub at_ms: i64,
    /// The notice fact.
    #[schema(value_type = Object)]
    pub fact: Value,
}

/// An event that names a person.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = EventMention)]
pub struct MentionRow {
    #[serde(skip)]
    pub call: String,
    /// The id of the event.
    pub id: Uuid,
    /// The type of the event.
    pub r#type: String,
    /// When.
    #[serde(rename = "at", serialize_with = "serialize_instant")]
    #[schema(value_type = String, format = DateTime)]
    pub at_ms: i64,
}

impl ObligationRow {
    /// What was captured. Templates cannot name the field.
    pub fn type_name(&self) -> &str {
        &self.r#type
    }
}

impl MentionRow {
    /// The type of the event. Templates cannot name the field.
    pub fn type_name(&self) -> &str {
        &self.r#type
    }
}

impl TenantSnapshot {
    /// What these calls have about a person.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn person_in(
        &mut self,
        raw_id: &str,
        calls: &[String],
    ) -> Result<PersonRows, StoreError> {
        self.avoid_scans().await?;
        let tenant = self.tenant.as_str();
        let sessions = sqlx::query_as(SELECT_SESSIONS_OF_PERSON);
        let sessions = sessions.bind(tenant).bind(calls).bind(raw_id);
        let sessions = sessions.fetch_all(&mut *self.transaction).await?;
        let obligations = sqlx::query_as(SELECT_OBLIGATIONS_OF_PERSON);
        let obligations = obligations.bind(tenant).bind(calls).bind(raw_id);
        let obligations = obligations.fetch_all(&mut *self.transaction).await?;
        let notices = sqlx::query_as(SELECT_STATEMENTS_OF_PERSON);
        let notices = notices.bind(tenant).bind(calls).bind(raw_id);
        let notices = notices.fetch_all(&mut *self.transaction).await?;
        let events = sqlx::query_as(SELECT_MENTIONS_OF_PERSON);
        let events = events.bind(tenant).bind(calls).bind(raw_id);
        let events = events.fetch_all(&mut *self.transaction).await?;
        Ok(PersonRows { sessions, obligations, notices, events })
    }
}

statements! {
    /// `is not distinct from` uses no index: the sessions of the call are few, those of the person may be many.
    const SELECT_SESSIONS_OF_PERSON: &str =
        "select found.* from unnest($2::text[]) with ordinality as asked (call, place)
         cross join lateral (
             select * from session where session.tenant = $1 and session.call = asked.call and session.raw_id is not distinct from $3 offset 0) as found
         order by asked.place, found.joined_at, found.session";

    const SELECT_OBLIGATIONS_OF_PERSON: &str =
        "select found.* from unnest($2::text[]) with ordinality as asked (call, place)
         cross join lateral (
             select obligation.* from session
             join obligation on obligation.tenant = session.tenant and obligation.call = session.call and obligation.session = session.session
             where session.tenant = $1 and session.call = asked.call and session.raw_id is not distinct from $3 offset 0) as found
         order by asked.place, found.due_at, found.type, found.session";

    const SELECT_STATEMENTS_OF_PERSON: &str =
        "select asked.call, found.id, found.kind, found.at_ms, found.fact from unnest($2::text[]) with ordinality as asked (call, place)
         cross join lateral (
             select stated.timeline_id as id, stated.kind, stated.at_ms, stated.fact from call_alias as alias
             join notice_fact as stated on stated.tenant = alias.tenant and stated.anchor = alias.anchor
             where alias.tenant = $1 and alias.resolves_to = asked.call and stated.fact #>> '{by,raw_id}' = $3 offset 0) as found
         order by asked.place, found.at_ms, found.id";

    /// A raw id stands in the text of an event as JSON writes it.
    const SELECT_MENTIONS_OF_PERSON: &str =
        "select asked.call, found.id, found.type, found.at_ms from unnest($2::text[]) with ordinality as asked (call, place)
         cross join lateral (
             select entry.id, entry.type, entry.at_ms from call_alias as alias
             join entry on entry.tenant = alias.tenant and entry.anchor = alias.anchor
             where alias.tenant = $1 and alias.resolves_to = asked.call and position(to_jsonb($3::text)::text in entry.event::text) > 0 offset 0) as found
         order by asked.place, found.at_ms, found.id";
}
