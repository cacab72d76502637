//! Exceptions and their histories.
//!
//! [`reconcile`](onrecord_evidence::exception::reconcile) decides how an exception changes; this file
//! writes the change. Lines of a history are never changed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::exception::{
    ExceptionChange, ExceptionKind, ExceptionState, ExistingException, ExpectedException,
    ReconcileStep,
};

/// Existing exceptions, by call or by tenant.
pub type ExceptionsByKey = BTreeMap<String, Vec<ExistingException>>;

/// An id that appears in several calls, and a call that it affects: one of them, or the call that the id
/// itself is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmbiguousId {
    pub call: String,
    pub id: String,
    pub calls: Vec<String>,
}

/// A change of an exception, with the line of its history.
#[derive(Clone, Debug)]
pub struct ExceptionStep {
    pub id: Uuid,
    pub call: Option<String>,
    pub content: ExpectedException,
    pub change: ExceptionChange,
    /// `None`: only the facts are updated, and the history does not record it.
    pub line: Option<HistoryLine>,
}

/// The content of a line of a history, besides the change.
#[derive(Clone, Debug)]
pub struct HistoryLine {
    pub reason: String,
    /// The facts that the change rests on.
    pub facts: Value,
    /// Version of the verdict of the call.
    pub version: Option<i32>,
}

impl ExceptionStep {
    #[must_use]
    pub fn new(step: &ReconcileStep<'_>, call: Option<&str>, line: Option<HistoryLine>) -> Self {
        Self {
            id: step.existing.map_or_else(Uuid::now_v7, |one| one.id),
            call: call.map(str::to_owned),
            content: step.content.clone(),
            change: step.change,
            line,
        }
    }
}

/// Number of exceptions that were opened and closed, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExceptionCounts {
    pub opened: BTreeMap<ExceptionKind, u64>,
    pub closed: BTreeMap<ExceptionKind, u64>,
}

impl ExceptionCounts {
    /// Counts these steps.
    #[must_use]
    pub fn of(steps: &[ExceptionStep]) -> Self {
        let mut sum = Self::default();
        for step in steps {
            let counts = match step.change {
                ExceptionChange::Opened | ExceptionChange::Reopened => &mut sum.opened,
                ExceptionChange::Closed => &mut sum.closed,
                ExceptionChange::Changed | ExceptionChange::Resolved => continue,
            };
            *counts.entry(step.content.kind).or_default() += 1;
        }
        sum
    }

    /// Adds other counts.
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
    id: Option<Uuid>,
    kind: String,
    subject: String,
    at_ms: Option<i64>,
    facts: Value,
    state: String,
}

impl ExceptionLookup {
    /// `None`: this version of the service does not have the kind.
    fn parse(self) -> Option<ExistingException> {
        Some(ExistingException {
            id: self.id?,
            state: match self.state.as_str() {
                "open" => ExceptionState::Open,
                "hand" => ExceptionState::ClosedByHand,
                _ => ExceptionState::Resolved,
            },
            content: ExpectedException {
                kind: ExceptionKind::parse(&self.kind)?,
                subject: self.subject,
                at: self.at_ms,
                facts: match self.facts {
                    Value::Object(facts) => facts,
                    _ => Map::new(),
                },
            },
        })
    }
}

fn grouped(
    rows: Vec<ExceptionLookup>,
    key: impl Fn(&ExceptionLookup) -> Option<&String>,
) -> ExceptionsByKey {
    let mut grouped = ExceptionsByKey::new();
    for row in rows {
        let Some(key) = key(&row).cloned() else {
            continue;
        };
        grouped.entry(key).or_default().extend(row.parse());
    }
    grouped
}

/// The kind in rows that state an ambiguous id.
const AMBIGUOUS: &str = "ambiguous";

/// All exceptions of these calls, by call, and the ambiguous ids that concern them.
///
/// # Errors
///
/// [`StoreError`].
pub async fn exceptions_of_calls(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<(ExceptionsByKey, Vec<AmbiguousId>), StoreError> {
    // One query for both, because each batch needs both.
    let rows: Vec<ExceptionLookup> = sqlx::query_as(SELECT_EXCEPTIONS_OF_CALLS)
        .bind(tenant)
        .bind(calls)
        .bind(AMBIGUOUS)
        .fetch_all(connection)
        .await?;
    let (ambiguous, stored): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.kind == AMBIGUOUS);
    let ambiguities = ambiguous.into_iter().filter_map(|row| {
        let calls = serde_json::from_value(row.facts).ok()?;
        Some(AmbiguousId {
            call: row.call?,
            id: row.subject,
            calls,
        })
    });
    Ok((
        grouped(stored, |row| row.call.as_ref()),
        ambiguities.collect(),
    ))
}

/// All exceptions of the origin [`ExceptionOrigin::Source`], by tenant, locked.
///
/// # Errors
///
/// [`StoreError`].
///
/// [`ExceptionOrigin::Source`]: onrecord_evidence::exception::ExceptionOrigin::Source
pub async fn exceptions_of_sources(
    connection: &mut PgConnection,
) -> Result<ExceptionsByKey, StoreError> {
    // The kinds are literals in the statement, because a partial index serves them.
    let rows: Vec<ExceptionLookup> = sqlx::query_as(SELECT_EXCEPTIONS_OF_SOURCES)
        .fetch_all(connection)
        .await?;
    Ok(grouped(rows, |row| Some(&row.tenant)))
}

/// The exceptions of a tenant of one kind and these subjects, locked.
pub(crate) async fn exceptions_of_subjects(
    connection: &mut PgConnection,
    tenant: &str,
    kind: ExceptionKind,
    subjects: &[&str],
) -> Result<Vec<ExistingException>, StoreError> {
    let rows: Vec<ExceptionLookup> = sqlx::query_as(SELECT_EXCEPTIONS_OF_SUBJECTS)
        .bind(tenant)
        .bind(kind.as_str())
        .bind(subjects)
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(ExceptionLookup::parse)
        .collect())
}

/// Writes changes of exceptions of a tenant. Returns the ids of those that were not opened, because
/// another transaction opened the same.
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
    let (opened, changed): (Vec<&ExceptionStep>, Vec<&ExceptionStep>) = steps
        .iter()
        .partition(|step| step.change == ExceptionChange::Opened);
    let inserted = insert_exceptions(connection, tenant, &opened, now).await?;
    update_exceptions(connection, tenant, &changed, now).await?;
    let not_opened = opened.iter().map(|step| step.id);
    let not_opened: Vec<Uuid> = not_opened.filter(|id| !inserted.contains(id)).collect();
    let lines: Vec<(&ExceptionStep, &HistoryLine)> = steps
        .iter()
        .filter(|step| !not_opened.contains(&step.id))
        .filter_map(|step| Some((step, step.line.as_ref()?)))
        .collect();
    insert_history(connection, tenant, &lines, now).await?;
    Ok(not_opened)
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
    let rows = steps.iter().map(|step| {
        json!({
            "id": step.id,
            "kind": step.content.kind.as_str(),
            "severity": step.content.kind.severity().as_str(),
            "call": step.call,
            "source": step.content.source(),
            "subject": step.content.subject,
            "at_ms": step.content.at,
            "facts": step.content.facts,
            "sentence": step.content.sentence(),
        })
    });
    Ok(sqlx::query_scalar(INSERT_EXCEPTIONS)
        .bind(tenant)
        .bind(now)
        .bind(Value::from_iter(rows))
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
    // An auditor may have closed an exception since it was read: the reason of the auditor stays.
    let new_state = |step: &ExceptionStep| match step.change {
        ExceptionChange::Closed => "closed",
        ExceptionChange::Resolved => "cause ended",
        ExceptionChange::Opened | ExceptionChange::Reopened => "open",
        ExceptionChange::Changed => "as it was",
    };
    let rows = steps.iter().map(|step| {
        json!({
            "id": step.id,
            "state": new_state(step),
            "at_ms": step.content.at,
            "facts": step.content.facts,
            "sentence": step.content.sentence(),
            "is_recorded": step.line.is_some(),
            "reason": step.line.as_ref().map(|line| &line.reason),
        })
    });
    sqlx::query(UPDATE_EXCEPTIONS)
        .bind(tenant)
        .bind(now)
        .bind(Value::from_iter(rows))
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_history(
    connection: &mut PgConnection,
    tenant: &str,
    lines: &[(&ExceptionStep, &HistoryLine)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if lines.is_empty() {
        return Ok(());
    }
    let rows = lines.iter().map(|(step, line)| {
        json!({
            "id": step.id,
            "change": change_name(step.change),
            "reason": line.reason,
            "facts": line.facts,
            "version": line.version,
        })
    });
    sqlx::query(INSERT_HISTORY)
        .bind(tenant)
        .bind(now)
        .bind(Value::from_iter(rows))
        .execute(connection)
        .await?;
    Ok(())
}

/// The name of a change in the history.
fn change_name(change: ExceptionChange) -> &'static str {
    match change {
        ExceptionChange::Opened => "opened",
        ExceptionChange::Changed | ExceptionChange::Resolved => "changed",
        ExceptionChange::Closed => "closed",
        ExceptionChange::Reopened => "reopened",
    }
}

/// Moves exceptions of former calls to the calls that these are part of now.
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
    sqlx::query(MOVE_EXCEPTIONS)
        .bind(tenant)
        .bind(gone)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Number of open exceptions by kind.
///
/// # Errors
///
/// [`StoreError`].
pub async fn open_exceptions(store: &Postgres) -> Result<Vec<(ExceptionKind, i64)>, StoreError> {
    let counts: Vec<(String, i64)> = sqlx::query_as(COUNT_OPEN_EXCEPTIONS)
        .fetch_all(&store.pool)
        .await?;
    Ok(counts
        .into_iter()
        .filter_map(|(kind, count)| Some((ExceptionKind::parse(&kind)?, count)))
        .collect())
}

macro_rules! exception_columns {
    () => {
        "tenant, call, id, kind, subject, at_ms, facts,
         case when closed_at is null then 'open' when closed_by_key is not null and not cause_ended then 'hand' else 'cause ended' end as state"
    };
}

statements! {
    const SELECT_EXCEPTIONS_OF_CALLS: &str = concat!(
        "with anchor_of_call as materialized (
             select asked.call, alias.anchor, alias.ambiguous from unnest($2::text[]) as asked (call)
             cross join lateral (
                 select anchor, ambiguous from call_alias where tenant = $1 and resolves_to = asked.call offset 0) as alias
             where exists (select from call_alias where tenant = $1 and ambiguous))
         select stored.* from unnest($2::text[]) as asked (call)
         cross join lateral (select ",
        exception_columns!(),
        " from exception where tenant = $1 and call = asked.call offset 0) as stored
         union all
         select $1, concerned.call, null, $3, concerned.id, null,
                (select coalesce(jsonb_agg(distinct alias.resolves_to order by alias.resolves_to), '[]')
                 from alias_link as link join call_alias as alias on (alias.tenant, alias.anchor) = (link.tenant, link.upper_id)
                 where link.tenant = $1 and link.lower_id = concerned.id), ''
         from (
             select call, anchor from anchor_of_call where ambiguous
             union
             select anchor_of_call.call, link.lower_id from anchor_of_call
             cross join lateral (
                 select lower_id from alias_link where tenant = $1 and upper_id = anchor_of_call.anchor offset 0) as link
             cross join lateral (
                 select from call_alias where tenant = $1 and anchor = link.lower_id and ambiguous offset 0) as id
         ) as concerned (call, id)",
    );

    const SELECT_EXCEPTIONS_OF_SOURCES: &str = concat!(
        "select ",
        exception_columns!(),
        " from exception where kind in ('REFUSED_CREDENTIALS', 'SILENT_SOURCE') order by tenant, id for update",
    );

    const SELECT_EXCEPTIONS_OF_SUBJECTS: &str = concat!(
        "select ",
        exception_columns!(),
        " from exception where tenant = $1 and kind = $2 and subject = any($3) order by id for update",
    );

    const INSERT_EXCEPTIONS: &str =
        "insert into exception (tenant, id, kind, severity, call, source, subject, at_ms, facts, sentence, opened_at)
         select $1, id, kind, severity, call, source, subject, at_ms, facts, sentence, $2
         from jsonb_to_recordset($3)
              as _ (id uuid, kind text, severity text, call text, source text, subject text, at_ms bigint, facts jsonb, sentence text)
         order by kind, subject
         on conflict do nothing returning id";

    const UPDATE_EXCEPTIONS: &str =
        "update exception set
             at_ms = step.at_ms, facts = step.facts, sentence = step.sentence, history_length = history_length + is_recorded::int,
             closed_at = case state when 'closed' then coalesce(closed_at, $2) when 'open' then null else closed_at end,
             closed_by = case state when 'closed' then coalesce(closed_by, 'itself') when 'open' then null else closed_by end,
             closed_by_key = case state when 'open' then null else closed_by_key end,
             reason = case state when 'closed' then coalesce(exception.reason, step.reason) when 'open' then null else exception.reason end,
             cause_ended = case state when 'cause ended' then true when 'closed' then true when 'open' then false else cause_ended end
         from jsonb_to_recordset($3)
              as step (id uuid, state text, at_ms bigint, facts jsonb, sentence text, is_recorded bool, reason text)
         where exception.tenant = $1 and exception.id = step.id";

    const INSERT_HISTORY: &str =
        "insert into exception_history (tenant, exception_id, position, change, at, actor, reason, facts, version)
         select $1, exception.id, exception.history_length, change, $2, 'itself', step.reason, step.facts, step.version
         from jsonb_to_recordset($3)
              as step (id uuid, change text, reason text, facts jsonb, version int)
         join exception on exception.tenant = $1 and exception.id = step.id";

    const MOVE_EXCEPTIONS: &str =
        "with moved as (
             update exception set call = alias.resolves_to, history_length = history_length + 1
             from call_alias as alias
             where exception.tenant = $1 and exception.call = any($2)
                 and alias.tenant = $1 and alias.anchor = exception.call and alias.resolves_to <> exception.call
             returning exception.id, exception.history_length, alias.anchor as former, alias.resolves_to as call)
         insert into exception_history (tenant, exception_id, position, change, at, actor, reason, facts)
         select $1, id, history_length, 'changed', $3, 'itself', format('the call %s is part of the call %s now', former, call),
                jsonb_build_object('call', call, 'former_call', former)
         from moved";

    const COUNT_OPEN_EXCEPTIONS: &str = "select kind, count(*) from exception where closed_at is null group by kind";
}
