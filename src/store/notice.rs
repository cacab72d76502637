//! Notice facts at rest, and the words of notices.
//!
//! # Why
//!
//! *What is wrong with the words of a fact is found when it is read*, not when it is entered: texts
//! may be registered later than a client shows them, and an answer must not depend on which of the
//! two came first (law 5). So is that a client answers a notice that nobody was handed. By type and
//! level, not by its id: another node may number it differently, and the second one that states a
//! level writes nothing down.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::alias::number_of;
use super::{ReadingRoom, Recognition, Store, StoreError};
use crate::domain::ids::{Digest, Tenant};
use crate::domain::instant::Millis;
use futures_util::FutureExt as _;

/// A notice fact to be entered.
#[derive(Debug)]
pub struct NewNoticeFact<'a> {
    /// Its line in the timeline.
    pub line: Uuid,
    pub tenant: &'a str,
    pub anchor: String,
    pub id: Digest,
    pub content: Digest,
    pub t: Millis,
    pub kind: &'static str,
    /// JSON.
    pub fact: String,
}

/// A row that was inserted, or whose instant was brought forward.
#[derive(sqlx::FromRow)]
struct Changed {
    tenant: String,
    anchor: String,
    id: Vec<u8>,
    content: Vec<u8>,
    new: bool,
}

/// Enters notice facts that differ in (tenant, id, content). Gives those that changed anything,
/// with tenant and anchor: new ones, those that contradict one that was there, and duplicates
/// that came earlier, whose instant counts.
///
/// # Errors
///
/// [`StoreError`].
pub async fn enter_notice_facts(
    connection: &mut PgConnection,
    facts: &[NewNoticeFact<'_>],
    entered: DateTime<Utc>,
) -> Result<Vec<(String, String, Recognition)>, StoreError> {
    let changed: Vec<Changed> = sqlx::query_as(
        "insert into notice_fact (line, tenant, anchor, id, content, t, kind, fact, entered)
         select line, tenant, anchor, id, content, t, kind, fact::jsonb, $9
         from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bigint[], $7::text[], $8::text[])
              as _ (line, tenant, anchor, id, content, t, kind, fact)
         on conflict (tenant, id, content) do update
         set t = excluded.t, fact = excluded.fact,
             past = notice_fact.past || jsonb_build_array(jsonb_build_array(pg_current_xact_id()::text::bigint, notice_fact.t))
         where excluded.t < notice_fact.t
         returning tenant, anchor, id, content, line = any($1) as new",
    )
    .bind(facts.iter().map(|fact| fact.line).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.tenant).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.anchor.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.id.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.content.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.t).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.kind).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.fact.as_str()).collect::<Vec<_>>())
    .bind(entered)
    .fetch_all(&mut *connection)
    .await?;
    let (tenants, ids): (Vec<&str>, Vec<&[u8]>) = changed
        .iter()
        .filter(|changed| changed.new)
        .map(|changed| (changed.tenant.as_str(), changed.id.as_slice()))
        .unzip();
    // All but the one that was there first: a line's id tells the order of entry.
    let conflicts: Vec<(String, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "update notice_fact as later set flags = array['conflict']
         from unnest($1::text[], $2::bytea[]) as new (tenant, id)
         where later.tenant = new.tenant and later.id = new.id and later.flags = '{}'
           and exists (select from notice_fact as other where other.tenant = later.tenant and other.id = later.id
                       and other.line < later.line)
         returning later.tenant, later.id, later.content",
    )
    .bind(&tenants)
    .bind(&ids)
    .fetch_all(&mut *connection)
    .await?;
    let contradicts = |it: &Changed| {
        let mut conflicts = conflicts.iter();
        conflicts
            .any(|(tenant, id, content)| (tenant, id, content) == (&it.tenant, &it.id, &it.content))
    };
    let recognized = changed.iter().map(|it| {
        let recognition = match it.new {
            false => Recognition::Duplicate,
            true if contradicts(it) => Recognition::Conflict,
            true => Recognition::New,
        };
        (it.tenant.clone(), it.anchor.clone(), recognition)
    });
    Ok(recognized.collect())
}

/// A notice fact as it is read.
#[derive(Debug, sqlx::FromRow)]
pub struct NoticeRow {
    pub line: Uuid,
    pub call: Option<String>,
    pub kind: String,
    pub t: i64,
    pub fact: Value,
    pub entered: DateTime<Utc>,
    /// `conflict`: something else was stated under its id before; `text_unknown`: no text of that
    /// version and locale is registered; `text_differs`: the registered one has another SHA-256;
    /// `notice_unknown`: it names a notice, and none of that type and level was handed to its
    /// person in this call.
    pub flags: Vec<String>,
}

/// The words of a notice in one language.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct NoticeText {
    pub locale: String,
    pub text: String,
    /// Of the words in UTF-8.
    pub sha256: Vec<u8>,
    pub registered: DateTime<Utc>,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    New,
    /// The same words were registered before.
    Same,
    /// Other words are registered under this version.
    Other,
}

impl Store {
    /// Registers the words of a version, by locale. They never change.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn register_texts(
        &self,
        tenant: &Tenant,
        version: &str,
        texts: &[(String, String)],
        registered: DateTime<Utc>,
    ) -> Result<Registration, StoreError> {
        let tenant = tenant.as_str();
        self.run("register texts", move |work| {
            async move {
                // Two who register one version at one time must not both be right.
                sqlx::query("select pg_advisory_xact_lock($1)")
                    .bind(number_of(&["notice text", tenant, version]))
                    .execute(&mut **work)
                    .await?;
                let known: Vec<(String, String)> = sqlx::query_as(
                    "select locale, text from notice_text where tenant = $1 and version = $2",
                )
                .bind(tenant)
                .bind(version)
                .fetch_all(&mut **work)
                .await?;
                if !known.is_empty() {
                    let same = known.len() == texts.len()
                        && texts.iter().all(|text| known.contains(text));
                    return Ok(if same {
                        Registration::Same
                    } else {
                        Registration::Other
                    });
                }
                for (locale, text) in texts {
                    sqlx::query(
                        "insert into notice_text (tenant, version, locale, text, sha256, registered) values ($1, $2, $3, $4, $5, $6)",
                    )
                    .bind(tenant)
                    .bind(version)
                    .bind(locale)
                    .bind(text)
                    .bind(Digest::of(text.as_bytes()).as_bytes().as_slice())
                    .bind(registered)
                    .execute(&mut **work)
                    .await?;
                }
                Ok(Registration::New)
            }
            .boxed()
        })
        .await
    }
}

impl ReadingRoom {
    /// A call's notice facts in the order in which they happened, after `after`.
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
        let (after_t, after_line) = after.unzip();
        Ok(sqlx::query_as(
            "select notice.line, lead.call, notice.kind, notice.t, notice.fact, notice.entered,
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
             left join alias_lead as lead on lead.tenant = notice.tenant and lead.anchor = notice.anchor
             left join notice_text as text on text.tenant = notice.tenant and text.version = notice.fact -> 'text' ->> 'version'
                  and text.locale = notice.fact -> 'text' ->> 'locale'
             where notice.tenant = $1 and notice.anchor = any($2)
               and ($3::bigint is null or (notice.t, notice.line) > ($3, $4)) order by notice.t, notice.line limit $5",
        )
        .bind(self.tenant.as_str())
        .bind(anchors)
        .bind(after_t)
        .bind(after_line)
        .bind(limit)
        .fetch_all(&mut *self.transaction)
        .await?)
    }

    /// The versions of notice texts, newest first: version, locales, when registered.
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
        Ok(sqlx::query_as(
            "select version, array_agg(locale order by locale), registered from notice_text
             where tenant = $1 and ($2::timestamptz is null or (registered, version) < ($2, $3))
             group by version, registered order by registered desc, version desc limit $4",
        )
        .bind(self.tenant.as_str())
        .bind(after_registered)
        .bind(after_version)
        .bind(limit)
        .fetch_all(&mut *self.transaction)
        .await?)
    }

    /// The words of a version, by locale; none: it is not registered.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn notice_texts(&mut self, version: &str) -> Result<Vec<NoticeText>, StoreError> {
        Ok(sqlx::query_as(
            "select locale, text, sha256, registered from notice_text where tenant = $1 and version = $2 order by locale",
        )
        .bind(self.tenant.as_str())
        .bind(version)
        .fetch_all(&mut *self.transaction)
        .await?)
    }
}
