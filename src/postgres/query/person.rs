//! What the record has about one person, by a raw id.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::snapshot::{SessionDetailRow, TenantSnapshot};
use crate::http::timestamp::{serialize_instant, serialize_millis};
use crate::postgres::StoreError;

/// What the record of some calls has about a person.
#[derive(Debug)]
pub struct PersonRows {
    pub sessions: Vec<SessionOfCall>,
    pub obligations: Vec<ObligationRow>,
    pub notices: Vec<StatementRow>,
    pub events: Vec<MentionRow>,
}

/// A session with its call.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct SessionOfCall {
    #[serde(skip)]
    pub call: String,
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub session: SessionDetailRow,
}

/// An obligation towards a person.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct ObligationRow {
    #[serde(skip)]
    pub call: String,
    pub session: String,
    pub r#type: String,
    pub status: String,
    pub consent: String,
    #[serde(serialize_with = "serialize_millis")]
    pub due_at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_millis")]
    pub ends_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_millis")]
    pub dispatched_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_millis")]
    pub delivered_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_millis")]
    pub shown_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_millis")]
    pub acknowledged_at: Option<DateTime<Utc>>,
    pub exposure_ms: Option<i64>,
    pub proof: Option<String>,
}

/// A statement about a notice to a person, or an answer of the person.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct StatementRow {
    #[serde(skip)]
    pub call: String,
    pub id: Uuid,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "at", serialize_with = "serialize_instant")]
    pub at_ms: i64,
    pub fact: Value,
}

/// An event that names a person.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub struct MentionRow {
    #[serde(skip)]
    pub call: String,
    pub id: Uuid,
    pub r#type: String,
    #[serde(rename = "at", serialize_with = "serialize_instant")]
    pub at_ms: i64,
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
