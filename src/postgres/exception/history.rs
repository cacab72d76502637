//! Exceptions and their histories.
//!
//! [`reconcile`](onrecord_evidence::exception::reconcile) decides how an exception changes; this file
//! writes the change. Lines of a history are never changed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use metrics::counter;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::postgres::{Postgres, StoreError};
use crate::telemetry::names;
use onrecord_evidence::exception::{
    ExceptionChange, ExceptionKind, ExceptionState, ExistingException, ExpectedException,
    ReconcileStep, Severity,
};
use onrecord_evidence::fact::kinds::JsonWord as _;

/// Existing exceptions, by call or by tenant.
pub type ExceptionsByKey = BTreeMap<String, Vec<ExistingException>>;

/// An id that appears in several calls. It affects each of them, and the call that the id itself is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmbiguousId {
    pub id: String,
    /// The first of them, in their order.
    pub calls: Vec<String>,
}

/// A change of an exception, with the line of its history.
#[derive(Clone, Debug)]
pub struct ExceptionStep {
    pub id: Uuid,
    pub call: Option<String>,
    pub content: ExpectedException,
    pub change: ExceptionChange,
    /// `None`: only the facts and the sentence are updated, and the history does not record it.
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

impl HistoryLine {
    /// A line with this reason and the facts of the exception.
    #[must_use]
    pub fn of(reason: String, content: &ExpectedException) -> Self {
        Self { reason, facts: Value::Object(content.facts.clone()), version: None }
    }
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
                ExceptionChange::Changed
                | ExceptionChange::Described
                | ExceptionChange::Resolved => continue,
            };
            *counts.entry(step.content.kind).or_default() += 1;
        }
        sum
    }

    /// Reports what was opened and closed, as metrics and log lines. Called after the commit, so that an
    /// aborted transaction reports nothing.
    pub fn report(&self) {
        for (kind, count) in &self.opened {
            counter!(names::EXCEPTIONS_OPENED, "kind" => kind.as_str()).increment(*count);
            // Many calls have a minor exception; it is found beside its call.
            if kind.row().severity != Severity::Minor {
                tracing::warn!(
                    exception.kind = kind.as_str(),
                    exception.count = count,
                    "{count} exception(s) of kind {} were opened",
                    kind.as_str()
                );
            }
        }
        for (kind, count) in &self.closed {
            counter!(names::EXCEPTIONS_CLOSED, "kind" => kind.as_str(), "by" => "itself")
                .increment(*count);
        }
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
                kind: self.kind.parse().ok()?,
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

/// The exceptions by call or tenant. One whose kind this version does not have belongs to another
/// version, which alone changes it.
fn grouped(
    rows: Vec<ExceptionLookup>,
    key: impl Fn(&ExceptionLookup) -> Option<String>,
) -> ExceptionsByKey {
    let mut grouped = ExceptionsByKey::new();
    for row in rows {
        if let Some(key) = key(&row) {
            grouped.entry(key).or_default().extend(row.parse());
        }
    }
    grouped
}

/// Maximum number of calls that are listed for an ambiguous id.
const MAX_LISTED_CALLS: i64 = 20;
/// Maximum number of links of an ambiguous id whose calls are looked up.
const MAX_LINKS: i64 = 1_000;
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
) -> Result<(ExceptionsByKey, BTreeMap<String, Vec<AmbiguousId>>), StoreError> {
    // One query for both, because each batch needs both.
    let query = sqlx::query_as(SELECT_EXCEPTIONS_OF_CALLS).bind(tenant).bind(calls);
    let query = query.bind(AMBIGUOUS).bind(MAX_LISTED_CALLS).bind(MAX_LINKS);
    let rows: Vec<ExceptionLookup> = query.fetch_all(connection).await?;
    let (ambiguous, stored): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.kind == AMBIGUOUS);
    Ok((grouped(stored, |row| row.call.clone()), ambiguous_ids(ambiguous)))
}

/// By call, the ambiguous ids that concern it. A row without a call states the calls of an id, once.
fn ambiguous_ids(rows: Vec<ExceptionLookup>) -> BTreeMap<String, Vec<AmbiguousId>> {
    let (concerned, of_ids): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.call.is_some());
    let calls_of_id: BTreeMap<String, Value> =
        of_ids.into_iter().map(|row| (row.subject, row.facts)).collect();
    let mut by_call: BTreeMap<String, Vec<AmbiguousId>> = BTreeMap::new();
    for row in concerned {
        let calls = calls_of_id.get(&row.subject).and_then(Value::as_array).into_iter().flatten();
        // The statement gives a list of texts.
        let calls = calls.filter_map(|call| call.as_str().map(str::to_owned)).collect();
        let of_call = by_call.entry(row.call.unwrap_or_default()).or_default();
        of_call.push(AmbiguousId { id: row.subject, calls });
    }
    by_call
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
    let rows: Vec<ExceptionLookup> =
        sqlx::query_as(SELECT_EXCEPTIONS_OF_SOURCES).fetch_all(connection).await?;
    Ok(grouped(rows, |row| Some(row.tenant.clone())))
}

/// The exceptions of a tenant of one kind and these subjects, locked.
pub(crate) async fn exceptions_of_subjects(
    connection: &mut PgConnection,
    tenant: &str,
    kind: ExceptionKind,
    subjects: &[&str],
) -> Result<Vec<ExistingException>, StoreError> {
    let query = sqlx::query_as(SELECT_EXCEPTIONS_OF_SUBJECTS).bind(tenant).bind(kind.as_str());
    let rows: Vec<ExceptionLookup> = query.bind(subjects).fetch_all(connection).await?;
    // The query names a kind that this version has.
    Ok(rows.into_iter().filter_map(ExceptionLookup::parse).collect())
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
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Value::from_iter(steps.iter().map(row));
    let opens = |step: &ExceptionStep| step.change == ExceptionChange::Opened;
    let mut inserted = Vec::<Uuid>::new();
    if steps.iter().any(opens) {
        let insert = sqlx::query_scalar(INSERT_EXCEPTIONS).bind(tenant).bind(now).bind(&rows);
        inserted = insert.fetch_all(&mut *connection).await?;
    }
    if !steps.iter().all(opens) {
        let update = sqlx::query(UPDATE_EXCEPTIONS).bind(tenant).bind(now).bind(&rows);
        update.execute(&mut *connection).await?;
    }
    if steps.iter().any(|step| step.line.is_some()) {
        // The statement joins the exceptions: one that was not opened gets no line.
        let insert = sqlx::query(INSERT_HISTORY).bind(tenant).bind(now).bind(&rows);
        insert.execute(connection).await?;
    }
    let opened = steps.iter().filter(|step| opens(step));
    Ok(opened.map(|step| step.id).filter(|id| !inserted.contains(id)).collect())
}

/// A step as the three statements read it. Without a line, `change` is null.
fn row(step: &ExceptionStep) -> Value {
    let (content, line) = (&step.content, step.line.as_ref());
    // An auditor may have closed an exception since it was read: the reason of the auditor stays.
    let state = match step.change {
        ExceptionChange::Opened => "new",
        ExceptionChange::Closed => "closed",
        ExceptionChange::Resolved => "cause ended",
        ExceptionChange::Reopened => "open",
        ExceptionChange::Changed | ExceptionChange::Described => "as it was",
    };
    json!({
        "id": step.id,
        "state": state,
        "kind": content.kind.as_str(),
        "severity": content.kind.row().severity.as_str(),
        "call": step.call,
        "source": content.source(),
        "subject": content.subject,
        "at_ms": content.at,
        "facts": content.facts,
        "sentence": content.sentence(),
        "change": line.map(|_| change_name(step.change)),
        "reason": line.map(|line| &line.reason),
        "line_facts": line.map(|line| &line.facts),
        "version": line.and_then(|line| line.version),
    })
}

/// The name of a change in the history.
fn change_name(change: ExceptionChange) -> &'static str {
    match change {
        ExceptionChange::Opened => "opened",
        ExceptionChange::Changed | ExceptionChange::Described | ExceptionChange::Resolved => {
            "changed"
        }
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
    sqlx::query(MOVE_EXCEPTIONS).bind(tenant).bind(gone).bind(now).execute(connection).await?;
    Ok(())
}

/// Number of open exceptions by kind.
///
/// # Errors
///
/// [`StoreError`].
pub async fn open_exceptions(store: &Postgres) -> Result<Vec<(ExceptionKind, i64)>, StoreError> {
    let counts: Vec<(String, i64)> =
        sqlx::query_as(COUNT_OPEN_EXCEPTIONS).fetch_all(&store.pool).await?;
    let counts = counts.into_iter();
    // A kind that this version does not have has no gauge.
    Ok(counts.filter_map(|(kind, count)| Some((kind.parse().ok()?, count))).collect())
}

macro_rules! exception_columns {
    () => {
        "tenant, call, id, kind, subject, at_ms, facts,
         case when closed_at is null then 'open' when closed_by_key is not null and not cause_ended then 'hand' else 'cause ended' end as state"
    };
}

statements! {
    /// The calls of an ambiguous id are looked up once, and not for each call that it concerns: an id of
    /// 1,500 calls would otherwise take seconds in the transaction of a batch.
    const SELECT_EXCEPTIONS_OF_CALLS: &str = concat!(
        "with anchor_of_call as materialized (
             select asked.call, alias.anchor, alias.ambiguous from unnest($2::text[]) as asked (call)
             cross join lateral (
                 select anchor, ambiguous from call_alias where tenant = $1 and resolves_to = asked.call offset 0) as alias
             where exists (select from call_alias where tenant = $1 and ambiguous)),
         concerned as materialized (
             select call, anchor as id from anchor_of_call where ambiguous
             union
             select anchor_of_call.call, link.lower_id from anchor_of_call
             cross join lateral (
                 select lower_id from alias_link where tenant = $1 and upper_id = anchor_of_call.anchor offset 0) as link
             cross join lateral (
                 select from call_alias where tenant = $1 and anchor = link.lower_id and ambiguous offset 0) as id),
         calls_of_id as (
             select ids.id, (
                 select coalesce(jsonb_agg(call order by call), '[]') from (
                     select distinct alias.resolves_to as call
                     from (select upper_id from alias_link where tenant = $1 and lower_id = ids.id order by upper_id limit $5) as link
                     cross join lateral (
                         select resolves_to from call_alias where tenant = $1 and anchor = link.upper_id offset 0) as alias
                     order by call limit $4) as listed) as calls
             from (select distinct id from concerned) as ids)
         select stored.* from unnest($2::text[]) as asked (call)
         cross join lateral (select ",
        exception_columns!(),
        " from exception where tenant = $1 and call = asked.call offset 0) as stored
         union all
         select $1, call, null, $3, id, null, 'null', '' from concerned
         union all
         select $1, null, null, $3, id, null, calls, '' from calls_of_id",
    );

    const SELECT_EXCEPTIONS_OF_SOURCES: &str = concat!(
        "select ",
        exception_columns!(),
        " from exception where kind in ('REJECTED_CREDENTIALS', 'SILENT_SOURCE') order by tenant, id for update",
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
              as _ (id uuid, state text, kind text, severity text, call text, source text, subject text, at_ms bigint, facts jsonb, sentence text)
         where state = 'new' order by kind, subject
         on conflict do nothing returning id";

    const UPDATE_EXCEPTIONS: &str =
        "update exception set
             at_ms = step.at_ms, facts = step.facts, sentence = step.sentence, history_length = history_length + (change is not null)::int,
             closed_at = case state when 'closed' then coalesce(closed_at, $2) when 'open' then null else closed_at end,
             closed_by = case state when 'closed' then coalesce(closed_by, 'itself') when 'open' then null else closed_by end,
             closed_by_key = case state when 'open' then null else closed_by_key end,
             reason = case state when 'closed' then coalesce(exception.reason, step.reason) when 'open' then null else exception.reason end,
             cause_ended = case state when 'cause ended' then true when 'closed' then true when 'open' then false else cause_ended end
         from jsonb_to_recordset($3)
              as step (id uuid, state text, at_ms bigint, facts jsonb, sentence text, change text, reason text)
         where exception.tenant = $1 and exception.id = step.id and state <> 'new'";

    const INSERT_HISTORY: &str =
        "insert into exception_history (tenant, exception_id, position, change, at, actor, reason, facts, version)
         select $1, exception.id, exception.history_length, change, $2, 'itself', step.reason, step.line_facts, step.version
         from jsonb_to_recordset($3)
              as step (id uuid, change text, reason text, line_facts jsonb, version int)
         join exception on exception.tenant = $1 and exception.id = step.id where change is not null";

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
