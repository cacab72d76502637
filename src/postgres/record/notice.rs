//! Notice facts, and the texts of notices.
//!
//! # Why
//!
//! *A query compares facts with the registered texts when it reads them*, not the ledger when it appends
//! them: texts may be registered after a client shows them, and an answer must not depend on the order
//! (`ORDER_FREE`). The same holds for a client that acknowledges a notice which was never sent. That
//! comparison is by type and level, not by the id of the notice: nodes give notices different ids, and
//! the second node that sends a level stores nothing.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::http::timestamp::{serialize_instant, serialize_micros};
use crate::postgres::call::locks::lock_key;
use crate::postgres::column::column;
use crate::postgres::{DedupOutcome, Postgres, StoreError, TenantSnapshot};
use futures_util::FutureExt as _;
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::Millis;
use utoipa::ToSchema;

/// A notice fact to append.
#[derive(Debug)]
pub struct NewNoticeFact<'a> {
    /// Its id in the timeline.
    pub timeline_id: Uuid,
    pub tenant: &'a str,
    pub anchor: String,
    pub fact_id: Digest,
    pub content_digest: Digest,
    pub at_ms: Millis,
    pub kind: &'static str,
    /// JSON.
    pub fact: String,
}

/// A row that was inserted, or whose instant was lowered.
#[derive(sqlx::FromRow)]
struct ChangedNoticeFact {
    tenant: String,
    anchor: String,
    fact_id: Vec<u8>,
    content_digest: Vec<u8>,
    new: bool,
}

/// Appends notice facts that differ in (tenant, id, content). Returns tenant, anchor and outcome of those
/// that changed a row: new facts, facts with another content under a stored id, and duplicates with an
/// earlier instant, which replaces the stored one.
///
/// # Errors
///
/// [`StoreError`].
pub async fn append_notice_facts(
    connection: &mut PgConnection,
    facts: &[NewNoticeFact<'_>],
    entered_at: DateTime<Utc>,
) -> Result<Vec<(String, String, DedupOutcome)>, StoreError> {
    let changed: Vec<ChangedNoticeFact> = sqlx::query_as(UPSERT_NOTICE_FACTS)
        .bind(column(facts, |fact| fact.timeline_id))
        .bind(column(facts, |fact| fact.tenant))
        .bind(column(facts, |fact| fact.anchor.as_str()))
        .bind(column(facts, |fact| fact.fact_id.as_bytes().as_slice()))
        .bind(column(facts, |fact| fact.content_digest.as_bytes().as_slice()))
        .bind(column(facts, |fact| fact.at_ms))
        .bind(column(facts, |fact| fact.kind))
        .bind(column(facts, |fact| fact.fact.as_str()))
        .bind(entered_at)
        .fetch_all(&mut *connection)
        .await?;
    let new = changed.iter().filter(|it| it.new);
    let (tenants, ids): (Vec<&str>, Vec<&[u8]>) =
        new.map(|it| (it.tenant.as_str(), it.fact_id.as_slice())).unzip();
    // All contents of an id but the first are conflicts; timeline ids are in the order of appending.
    let query = sqlx::query_as(FLAG_CONFLICTS).bind(&tenants).bind(&ids);
    let conflicts: Vec<(String, Vec<u8>, Vec<u8>)> = query.fetch_all(connection).await?;
    let outcomes = changed.into_iter().map(|it| {
        let row = (it.tenant, it.fact_id, it.content_digest);
        let outcome = match it.new {
            false => DedupOutcome::Duplicate,
            true if conflicts.contains(&row) => DedupOutcome::Conflict,
            true => DedupOutcome::New,
        };
        (row.0, it.anchor, outcome)
    });
    Ok(outcomes.collect())
}

/// How far a notice got, or what a participant answered.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = NoticeFactEntry)]
pub struct NoticeRow {
    /// The id.
    #[serde(rename = "id")]
    pub timeline_id: Uuid,
    /// The call. Null: none is known.
    #[schema(required = true)]
    pub call: Option<String>,
    /// `notice.dispatched`, `notice.delivered`, `notice.displayed`, `notice.hidden`,
    /// `notice.acknowledged`, `consent.given` or `consent.declined`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The instant that the rules of evidence use, by the clock of the service.
    #[serde(rename = "at", serialize_with = "serialize_instant")]
    #[schema(value_type = String, format = DateTime)]
    pub at_ms: i64,
    /// When it was appended to the ledger.
    #[serde(serialize_with = "serialize_micros")]
    pub entered_at: DateTime<Utc>,
    /// `conflict`, `notice_unknown`, `text_unknown`, `text_differs`.
    pub flags: Vec<String>,
    /// The notice fact.
    #[schema(value_type = Object)]
    pub fact: Value,
}

/// The text of a notice in one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow, ToSchema)]
pub struct NoticeText {
    /// The locale.
    pub locale: String,
    /// SHA-256 of the text in UTF-8, in hexadecimal digits.
    pub sha256: String,
    /// The words.
    pub text: String,
    /// When it was registered.
    #[serde(serialize_with = "serialize_micros")]
    pub registered_at: DateTime<Utc>,
}

/// The result of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRegistration {
    New,
    /// The same texts were registered before.
    Same,
    /// Other texts are registered under this version.
    Other,
}

impl Postgres {
    /// Registers the texts of a version, each with its locale. Registered texts never change.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn register_texts(
        &self,
        tenant: &Tenant,
        version: &str,
        texts: &[(String, String)],
        registered_at: DateTime<Utc>,
    ) -> Result<TextRegistration, StoreError> {
        let tenant = tenant.as_str();
        self.run_tx("register texts", move |tx| {
            async move {
                // Two simultaneous registrations of one version must not both be new.
                let key = lock_key(&["notice text", tenant, version]);
                sqlx::query(LOCK_TEXT_VERSION).bind(key).execute(&mut **tx).await?;
                let known = sqlx::query_as(SELECT_TEXTS_OF_VERSION).bind(tenant).bind(version);
                let known: Vec<(String, String)> = known.fetch_all(&mut **tx).await?;
                if !known.is_empty() {
                    let same =
                        known.len() == texts.len() && texts.iter().all(|text| known.contains(text));
                    return Ok(if same { TextRegistration::Same } else { TextRegistration::Other });
                }
                sqlx::query(INSERT_TEXTS)
                    .bind(tenant)
                    .bind(version)
                    .bind(column(texts, |(locale, _)| locale.as_str()))
                    .bind(column(texts, |(_, text)| text.as_str()))
                    .bind(registered_at)
                    .execute(&mut **tx)
                    .await?;
                Ok(TextRegistration::New)
            }
            .boxed()
        })
        .await
    }
}

impl TenantSnapshot {
    /// The notice facts of a call in the order of their instants, after `after`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn notice_timeline(
        &mut self,
        anchors: &[String],
        after: Option<(i64, Uuid)>,
        limit: i64,
    ) -> Result<Vec<NoticeRow>, StoreError> {
        let (after_ms, after_id) = after.unzip();
        let query = sqlx::query_as(SELECT_NOTICE_TIMELINE).bind(self.tenant.as_str());
        let query = query.bind(anchors).bind(after_ms).bind(after_id).bind(limit);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    /// The versions of notice texts, newest first: version, locales, instant of registration.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn notice_versions(
        &mut self,
        after: Option<(DateTime<Utc>, String)>,
        limit: i64,
    ) -> Result<Vec<(String, Vec<String>, DateTime<Utc>)>, StoreError> {
        let (after_registered, after_version) = after.unzip();
        let query = sqlx::query_as(SELECT_TEXT_VERSIONS).bind(self.tenant.as_str());
        let query = query.bind(after_registered).bind(after_version).bind(limit);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    /// The texts of a version, by locale; empty if it is not registered.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn notice_texts(&mut self, version: &str) -> Result<Vec<NoticeText>, StoreError> {
        let query = sqlx::query_as(SELECT_TEXTS).bind(self.tenant.as_str()).bind(version);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }
}

statements! {
    const UPSERT_NOTICE_FACTS: &str =
        "insert into notice_fact (timeline_id, tenant, anchor, fact_id, content_digest, at_ms, kind, fact, entered_at)
         select timeline_id, tenant, anchor, fact_id, content_digest, at_ms, kind, fact::jsonb, $9
         from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bigint[], $7::text[], $8::text[])
              as _ (timeline_id, tenant, anchor, fact_id, content_digest, at_ms, kind, fact)
         on conflict (tenant, fact_id, content_digest) do update
         set at_ms = excluded.at_ms, fact = excluded.fact,
             at_history = notice_fact.at_history || jsonb_build_array(jsonb_build_array(write_id()::text::bigint, notice_fact.at_ms))
         where excluded.at_ms < notice_fact.at_ms
         returning tenant, anchor, fact_id, content_digest, timeline_id = any($1) as new";

    const FLAG_CONFLICTS: &str =
        "update notice_fact as later set flags = array['conflict']
         from unnest($1::text[], $2::bytea[]) as new (tenant, fact_id)
         where later.tenant = new.tenant and later.fact_id = new.fact_id and later.flags = '{}'
           and exists (select from notice_fact as other where other.tenant = later.tenant and other.fact_id = later.fact_id
                       and other.timeline_id < later.timeline_id)
         returning later.tenant, later.fact_id, later.content_digest";

    const LOCK_TEXT_VERSION: &str = "select pg_advisory_xact_lock($1)";

    const SELECT_TEXTS_OF_VERSION: &str = "select locale, text from notice_text where tenant = $1 and version = $2";

    const INSERT_TEXTS: &str =
        "insert into notice_text (tenant, version, locale, text, sha256, registered_at)
         select $1, $2, locale, text, sha256(convert_to(text, 'UTF8')), $5 from unnest($3::text[], $4::text[]) as _ (locale, text)";

    const SELECT_NOTICE_TIMELINE: &str =
        "select notice.timeline_id, alias.resolves_to as call, notice.kind, notice.at_ms, notice.fact, notice.entered_at,
                notice.flags || case
                    when notice.fact -> 'text' is null then '{}'::text[]
                    when text.sha256 is null then array['text_unknown']
                    when encode(text.sha256, 'hex') <> lower(notice.fact -> 'text' ->> 'sha256') then array['text_differs']
                    else '{}'::text[] end
                || case when notice.fact ->> 'client_id' is not null and notice.fact ->> 'notice' is not null
                        and (notice.fact #>> '{by,raw_id}', notice.fact ->> 'type', coalesce(notice.fact ->> 'state', 'any')) not in (
                            select distinct sent.fact #>> '{by,raw_id}', sent.fact ->> 'type', level.state
                            from notice_fact as sent cross join lateral (values (sent.fact ->> 'state'), ('any')) as level (state)
                            where sent.tenant = $1 and sent.anchor = any($2) and sent.kind = 'notice.dispatched' and level.state is not null)
                    then array['notice_unknown'] else '{}'::text[] end as flags
         from notice_fact as notice
         left join call_alias as alias on alias.tenant = notice.tenant and alias.anchor = notice.anchor
         left join notice_text as text on text.tenant = notice.tenant and text.version = notice.fact -> 'text' ->> 'version'
              and text.locale = notice.fact -> 'text' ->> 'locale'
         where notice.tenant = $1 and notice.anchor = any($2)
           and ($3::bigint is null or (notice.at_ms, notice.timeline_id) > ($3, $4)) order by notice.at_ms, notice.timeline_id limit $5";

    const SELECT_TEXT_VERSIONS: &str =
        "select version, array_agg(locale order by locale), registered_at from notice_text
         where tenant = $1 and ($2::timestamptz is null or (registered_at, version) < ($2, $3))
         group by version, registered_at order by registered_at desc, version desc limit $4";

    const SELECT_TEXTS: &str = "select locale, text, encode(sha256, 'hex') as sha256, registered_at from notice_text where tenant = $1 and version = $2 order by locale";
}
