//! Exceptions at rest, and their stories.
//!
//! What becomes of an exception is decided in `domain::exception`; here it is written down, line by
//! line. Nothing of a story is ever changed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::exception::{ExceptionKind, Known, Standing, sentence};
use crate::domain::instant::Millis;

/// An exception with its place in the store.
#[derive(Clone, Debug)]
pub struct StoredException {
    pub tenant: String,
    pub call: Option<String>,
    pub source: Option<String>,
    pub known: Known,
}

/// An id that was seen with several calls, and the call of which this is said: it is one of them, or
/// the id stands for a call by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambiguity {
    pub call: String,
    pub id: String,
    pub calls: Vec<String>,
}

/// A line of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Opened,
    Changed,
    /// By itself.
    Closed,
    Reopened,
    /// It was closed by hand, and is called for no more.
    Cured,
}

impl Turn {
    fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Changed | Self::Cured => "changed",
            Self::Closed => "closed",
            Self::Reopened => "reopened",
        }
    }
}

/// What becomes of an exception, with the line of its story that says so.
#[derive(Clone, Debug)]
pub struct ExceptionStep {
    pub id: Uuid,
    pub kind: ExceptionKind,
    pub call: Option<String>,
    pub source: Option<String>,
    pub subject: String,
    pub at: Option<Millis>,
    pub facts: Map<String, Value>,
    /// None: the facts are brought up to date, and nothing is told.
    pub turn: Option<Turn>,
    pub reason: String,
    /// What the line rests on.
    pub told: Value,
    pub version: Option<i32>,
}

/// How many exceptions of each kind were opened and closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExceptionTally {
    pub opened: BTreeMap<ExceptionKind, u64>,
    pub closed: BTreeMap<ExceptionKind, u64>,
}

impl ExceptionTally {
    /// What these steps come to.
    #[must_use]
    pub fn of(steps: &[ExceptionStep]) -> Self {
        let mut tally = Self::default();
        for step in steps {
            match step.turn {
                Some(Turn::Opened | Turn::Reopened) => {
                    *tally.opened.entry(step.kind).or_default() += 1;
                }
                Some(Turn::Closed) => *tally.closed.entry(step.kind).or_default() += 1,
                Some(Turn::Changed | Turn::Cured) | None => {}
            }
        }
        tally
    }

    /// Takes another one in.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.opened {
            *self.opened.entry(*kind).or_default() += count;
        }
        for (kind, count) in &other.closed {
            *self.closed.entry(*kind).or_default() += count;
        }
    }
}

#[derive(sqlx::FromRow)]
struct ExceptionLookup {
    tenant: String,
    call: Option<String>,
    source: Option<String>,
    id: Option<Uuid>,
    kind: String,
    subject: String,
    at: Option<i64>,
    facts: Value,
    standing: String,
}

impl ExceptionLookup {
    /// None: a kind that this version does not know.
    fn read(self) -> Option<StoredException> {
        let standing = match self.standing.as_str() {
            "open" => Standing::Open,
            "hand" => Standing::ClosedByHand,
            _ => Standing::Cured,
        };
        Some(StoredException {
            known: Known {
                id: self.id?,
                kind: ExceptionKind::parse(&self.kind)?,
                subject: self.subject,
                at: self.at,
                facts: object(self.facts),
                standing,
            },
            tenant: self.tenant,
            call: self.call,
            source: self.source,
        })
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

const COLUMNS: &str = "tenant, call, source, id, kind, subject, at, facts,
    case when closed is null then 'open' when closed_by_key is not null and not cured then 'hand' else 'cured' end as standing";

/// What stands in place of a kind where an id of a call is ambiguous.
const AMBIGUOUS: &str = "ambiguous";

/// All exceptions of these calls, and the ambiguous ids that concern them.
///
/// # Errors
///
/// [`StoreError`].
pub async fn exceptions_of_calls(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<(Vec<StoredException>, Vec<Ambiguity>), StoreError> {
    // One question for both, with every batch; each id by itself, which no statistics can turn into a
    // look at everything of the tenant.
    let statement = format!(
        "with lead as materialized (
             select asked.call, lead.anchor, lead.ambiguous from unnest($2::text[]) as asked (call)
             cross join lateral (select anchor, ambiguous from alias_lead where tenant = $1 and call = asked.call offset 0) as lead
             where exists (select from alias_lead where tenant = $1 and ambiguous))
         select stored.* from unnest($2::text[]) as asked (call)
         cross join lateral (select {COLUMNS} from exception where tenant = $1 and call = asked.call offset 0) as stored
         union all
         select $1, concerned.call, null, null, $3, concerned.id, null,
                (select coalesce(jsonb_agg(distinct lead.call order by lead.call), '[]')
                 from alias_link as link join alias_lead as lead on (lead.tenant, lead.anchor) = (link.tenant, link.upper_id)
                 where link.tenant = $1 and link.lower_id = concerned.id), ''
         from (
             select call, anchor from lead where ambiguous
             union
             select lead.call, link.lower_id from lead
             cross join lateral (select lower_id from alias_link where tenant = $1 and upper_id = lead.anchor offset 0) as link
             cross join lateral (select from alias_lead where tenant = $1 and anchor = link.lower_id and ambiguous offset 0) as id
         ) as concerned (call, id)"
    );
    // The columns are a constant of ours, every value is bound.
    let rows: Vec<ExceptionLookup> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(tenant)
        .bind(calls)
        .bind(AMBIGUOUS)
        .fetch_all(connection)
        .await?;
    let (ambiguous, stored): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.kind == AMBIGUOUS);
    let ambiguities = ambiguous.into_iter().filter_map(|row| {
        let calls = serde_json::from_value(row.facts).ok()?;
        Some(Ambiguity {
            call: row.call?,
            id: row.subject,
            calls,
        })
    });
    Ok((
        stored
            .into_iter()
            .filter_map(ExceptionLookup::read)
            .collect(),
        ambiguities.collect(),
    ))
}

/// All exceptions of sources, whatever their tenant; nobody else moves them meanwhile.
///
/// # Errors
///
/// [`StoreError`].
pub async fn exceptions_of_sources(
    connection: &mut PgConnection,
) -> Result<Vec<StoredException>, StoreError> {
    // Literals, for which there is an index.
    let statement = format!(
        "select {COLUMNS} from exception where kind in ('REFUSED_CREDENTIALS', 'SILENT_SOURCE') order by tenant, id for update"
    );
    let rows: Vec<ExceptionLookup> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().filter_map(ExceptionLookup::read).collect())
}

/// Those of these subjects that one tenant has; nobody else moves them meanwhile.
pub(super) async fn exceptions_of_subjects(
    connection: &mut PgConnection,
    tenant: &str,
    kind: ExceptionKind,
    subjects: &[&str],
) -> Result<Vec<StoredException>, StoreError> {
    let statement = format!(
        "select {COLUMNS} from exception where tenant = $1 and kind = $2 and subject = any($3) order by id for update"
    );
    let rows: Vec<ExceptionLookup> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(tenant)
        .bind(kind.as_str())
        .bind(subjects)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().filter_map(ExceptionLookup::read).collect())
}

/// Writes down what becomes of a tenant's exceptions. Returns the ids of those that could not be
/// opened, because another transaction has opened the same.
///
/// # Errors
///
/// [`StoreError`].
pub async fn store_exception_steps(
    connection: &mut PgConnection,
    tenant: &str,
    steps: &[ExceptionStep],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, StoreError> {
    let (opened, moved): (Vec<&ExceptionStep>, Vec<&ExceptionStep>) = steps
        .iter()
        .partition(|step| step.turn == Some(Turn::Opened));
    let there = insert_exceptions(connection, tenant, &opened, now).await?;
    update_exceptions(connection, tenant, &moved, now).await?;
    let refused: Vec<Uuid> = opened
        .iter()
        .map(|step| step.id)
        .filter(|id| !there.contains(id))
        .collect();
    let told: Vec<&ExceptionStep> = steps
        .iter()
        .filter(|step| step.turn.is_some() && !refused.contains(&step.id))
        .collect();
    insert_story(connection, tenant, &told, now).await?;
    Ok(refused)
}

async fn insert_exceptions(
    connection: &mut PgConnection,
    tenant: &str,
    steps: &[&ExceptionStep],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, StoreError> {
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar(
        "insert into exception (tenant, id, kind, severity, call, source, subject, at, facts, sentence, opened)
         select $1, id, kind, severity, call, source, subject, at, facts, sentence, $2
         from unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::jsonb[], $11::text[])
              as _ (id, kind, severity, call, source, subject, at, facts, sentence)
         order by kind, subject
         on conflict do nothing returning id",
    )
    .bind(tenant)
    .bind(now)
    .bind(steps.iter().map(|step| step.id).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.kind.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.kind.severity().as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.call.as_deref()).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.source.as_deref()).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.subject.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.at).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| Value::Object(step.facts.clone())).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| sentence(step.kind, &step.facts)).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?)
}

async fn update_exceptions(
    connection: &mut PgConnection,
    tenant: &str,
    steps: &[&ExceptionStep],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if steps.is_empty() {
        return Ok(());
    }
    // Somebody may have closed one by hand since it was read: what he said stays.
    let becomes = |step: &ExceptionStep| match step.turn {
        Some(Turn::Closed) => "closed",
        Some(Turn::Cured) => "cured",
        Some(Turn::Opened | Turn::Reopened) => "open",
        Some(Turn::Changed) | None => "as it was",
    };
    sqlx::query(
        "update exception set
             at = step.at, facts = step.facts, sentence = step.sentence, lines = lines + is_told::int,
             closed = case becomes when 'closed' then coalesce(closed, $2) when 'open' then null else closed end,
             closed_by = case becomes when 'closed' then coalesce(closed_by, 'itself') when 'open' then null else closed_by end,
             closed_by_key = case becomes when 'open' then null else closed_by_key end,
             reason = case becomes when 'closed' then coalesce(exception.reason, step.reason) when 'open' then null else exception.reason end,
             cured = case becomes when 'cured' then true when 'closed' then true when 'open' then false else cured end
         from unnest($3::uuid[], $4::text[], $5::bigint[], $6::jsonb[], $7::text[], $8::bool[], $9::text[])
              as step (id, becomes, at, facts, sentence, is_told, reason)
         where exception.tenant = $1 and exception.id = step.id",
    )
    .bind(tenant)
    .bind(now)
    .bind(steps.iter().map(|step| step.id).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| becomes(step)).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.at).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| Value::Object(step.facts.clone())).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| sentence(step.kind, &step.facts)).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.turn.is_some()).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.reason.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_story(
    connection: &mut PgConnection,
    tenant: &str,
    steps: &[&ExceptionStep],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if steps.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into exception_story (tenant, exception, line, what, at, actor, reason, facts, version)
         select $1, exception.id, exception.lines, what, $2, 'itself', step.reason, step.facts, step.version
         from unnest($3::uuid[], $4::text[], $5::text[], $6::jsonb[], $7::int[])
              as step (id, what, reason, facts, version)
         join exception on exception.tenant = $1 and exception.id = step.id",
    )
    .bind(tenant)
    .bind(now)
    .bind(steps.iter().map(|step| step.id).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.turn.map_or("changed", Turn::as_str)).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.reason.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.told.clone()).collect::<Vec<_>>())
    .bind(steps.iter().map(|step| step.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// What is part of another call now takes its exceptions there.
///
/// # Errors
///
/// [`StoreError`].
pub async fn move_exceptions(
    connection: &mut PgConnection,
    tenant: &str,
    gone: &[&str],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if gone.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "with moved as (
             update exception set call = lead.call, lines = lines + 1
             from alias_lead as lead
             where exception.tenant = $1 and exception.call = any($2)
                 and lead.tenant = $1 and lead.anchor = exception.call and lead.call <> exception.call
             returning exception.id, exception.lines, lead.anchor as former, lead.call)
         insert into exception_story (tenant, exception, line, what, at, actor, reason, facts)
         select $1, id, lines, 'changed', $3, 'itself', format('the call %s is part of the call %s now', former, call),
                jsonb_build_object('call', call, 'former_call', former)
         from moved",
    )
    .bind(tenant)
    .bind(gone)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// How many are open of each kind.
///
/// # Errors
///
/// [`StoreError`].
pub async fn open_exceptions(store: &Store) -> Result<Vec<(ExceptionKind, i64)>, StoreError> {
    let counts: Vec<(String, i64)> =
        sqlx::query_as("select kind, count(*) from exception where closed is null group by kind")
            .fetch_all(&store.pool)
            .await?;
    Ok(counts
        .into_iter()
        .filter_map(|(kind, count)| Some((ExceptionKind::parse(&kind)?, count)))
        .collect())
}
