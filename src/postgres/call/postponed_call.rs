//! Calls whose evaluation is left to the maintenance, and the calls that are due.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::postgres::column::column;
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::identity::alias_graph::Anchor;

/// What is known about a call before its facts are read.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct CallSize {
    pub call: String,
    /// The number of facts at its last evaluation; 0 if there was none.
    pub facts: i32,
    /// Number of the postponement of its evaluation; 0 if it is not postponed.
    pub generation: i64,
}

/// The sizes of these calls.
///
/// # Errors
///
/// [`StoreError`].
pub async fn call_sizes(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<Vec<CallSize>, StoreError> {
    Ok(sqlx::query_as(SELECT_SIZES).bind(tenant).bind(calls).fetch_all(connection).await?)
}

/// Leaves the evaluation of these calls to the maintenance: due one millisecond per fact after the last
/// evaluation, so that large calls are evaluated less often. Every transaction locks the rows in the order of
/// tenants and calls, after those of the calls, so that none waits for the other: the caller goes through the
/// tenants in order.
///
/// # Errors
///
/// [`StoreError`].
pub async fn postpone_calls(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<(), StoreError> {
    if calls.is_empty() {
        return Ok(());
    }
    sqlx::query(POSTPONE_CALLS).bind(tenant).bind(calls).execute(connection).await?;
    Ok(())
}

/// Notes that these calls are evaluated. One whose evaluation was postponed again since its size was read
/// is due again later, because its newest facts may not have been read; those that were received before
/// `complete_through` were.
///
/// # Errors
///
/// [`StoreError`].
pub async fn evaluated_calls(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&CallSize],
    complete_through: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    if calls.is_empty() {
        return Ok(());
    }
    let names = column(calls, |size| size.call.as_str());
    sqlx::query(LOCK_POSTPONED).bind(tenant).bind(&names).execute(&mut *connection).await?;
    sqlx::query(DELETE_POSTPONED)
        .bind(tenant)
        .bind(&names)
        .bind(column(calls, |size| size.generation))
        .execute(&mut *connection)
        .await?;
    sqlx::query(CONTINUE_POSTPONED)
        .bind(tenant)
        .bind(&names)
        .bind(column(calls, |size| size.facts))
        .bind(complete_through)
        .execute(connection)
        .await?;
    Ok(())
}

/// A call whose evaluation is due.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DueCall {
    pub tenant: String,
    pub call: String,
    /// The number of facts at its last evaluation; of one that was never evaluated, those of its own id.
    pub facts: i32,
}

/// Calls whose evaluation is due, because time has passed or because it was postponed. The tenants take turns,
/// and of each tenant those that have waited longest come first.
///
/// # Errors
///
/// [`StoreError`].
pub async fn calls_due(
    store: &Postgres,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<DueCall>, StoreError> {
    Ok(sqlx::query_as(SELECT_DUE_CALLS).bind(now).bind(limit).fetch_all(&store.pool).await?)
}

/// The work that is left to the maintenance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct PostponedWork {
    /// Number of calls that wait for their evaluation.
    pub calls: i64,
    /// Number of ids whose ids below are not all moved.
    pub merges: i64,
    /// Low watermark before the oldest of it; `None` if there is none, or if that is not known.
    pub since_at: Option<DateTime<Utc>>,
}

impl PostponedWork {
    /// The query of the work of all tenants.
    pub(crate) const fn query() -> &'static str {
        SELECT_POSTPONED_WORK
    }
}

/// The work of all tenants that is left to the maintenance.
///
/// # Errors
///
/// [`StoreError`].
pub async fn postponed_work(store: &Postgres) -> Result<PostponedWork, StoreError> {
    Ok(sqlx::query_as(SELECT_POSTPONED_WORK).fetch_one(&store.pool).await?)
}

/// Sets the instant before which maintenance does not evaluate a call again.
///
/// # Errors
///
/// [`StoreError`].
pub async fn set_retry_at(
    store: &Postgres,
    tenant: &str,
    call: &Anchor,
    retry_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    for statement in [SET_RETRY_AT, DELAY_POSTPONED] {
        let update = sqlx::query(statement).bind(tenant).bind(call.as_str()).bind(retry_at);
        update.execute(&store.pool).await?;
    }
    Ok(())
}

statements! {
    const SELECT_SIZES: &str =
        "select asked.call, coalesce(known.fact_count, 0) as facts, coalesce(postponed.generation, 0) as generation
         from unnest($2::text[]) as asked (call)
         left join lateral (select fact_count from call where tenant = $1 and call = asked.call offset 0) as known on true
         left join lateral (select generation from postponed_call where tenant = $1 and call = asked.call offset 0) as postponed on true";

    const POSTPONE_CALLS: &str =
        "insert into postponed_call (tenant, call, due_at)
         select $1, asked.call, coalesce(known.due_at, clock_timestamp()) from unnest($2::text[]) as asked (call)
         left join lateral (select evaluated_at + interval '1 ms' * fact_count as due_at
                            from call where tenant = $1 and call = asked.call offset 0) as known on true
         order by asked.call
         on conflict (tenant, call) do update set generation = excluded.generation";

    const LOCK_POSTPONED: &str =
        "select from postponed_call where tenant = $1 and call = any($2) order by call for update";

    const DELETE_POSTPONED: &str =
        "delete from postponed_call using unnest($2::text[], $3::bigint[]) as evaluated (call, generation)
         where postponed_call.tenant = $1 and postponed_call.call = evaluated.call and postponed_call.generation = evaluated.generation";

    /// `greatest` leaves out nulls.
    const CONTINUE_POSTPONED: &str =
        "update postponed_call as postponed
         set since_at = greatest(postponed.since_at, $4), due_at = clock_timestamp() + interval '1 ms' * evaluated.facts
         from unnest($2::text[], $3::int[]) as evaluated (call, facts)
         where postponed.tenant = $1 and postponed.call = evaluated.call";

    const SELECT_DUE_CALLS: &str =
        "with recursive known as (
             (select tenant from call order by tenant limit 1)
             union all
             select (select tenant from call where tenant > known.tenant order by tenant limit 1) from known where known.tenant is not null),
         postponed as (
             (select tenant from postponed_call order by tenant limit 1)
             union all
             select (select tenant from postponed_call where tenant > postponed.tenant order by tenant limit 1)
             from postponed where postponed.tenant is not null),
         due as (
             select known.tenant, of_tenant.call, of_tenant.due_at from known
             cross join lateral (
                 select call, next_evaluation_at as due_at from call
                 where tenant = known.tenant and next_evaluation_at <= $1 and (retry_at is null or retry_at <= $1)
                 order by next_evaluation_at limit $2) as of_tenant
             union all
             select postponed.tenant, of_tenant.call, of_tenant.due_at from postponed
             cross join lateral (
                 select call, due_at from postponed_call
                 where tenant = postponed.tenant and due_at <= $1 order by due_at limit $2) as of_tenant),
         by_call as (select tenant, call, min(due_at) as due_at from due group by tenant, call),
         next as (
             select tenant, call, row_number() over (partition by tenant order by due_at, call) as turn, due_at from by_call
             order by turn, due_at, tenant limit $2)
         select next.tenant, next.call,
             coalesce(known.fact_count, (
                 select count(*)::int from (
                     select from fact where tenant = next.tenant and anchor = next.call limit 1000) as own)) as facts
         from next
         left join lateral (select fact_count from call where tenant = next.tenant and call = next.call offset 0) as known on true
         order by turn, due_at, next.tenant";

    const SELECT_POSTPONED_WORK: &str =
        "select count(*) filter (where is_call) as calls, count(*) filter (where not is_call) as merges,
             nullif(min(since_at), '-infinity') as since_at
         from (select true as is_call, since_at from postponed_call
               union all
               select false, since_at from pending_merge) as work";

    const SET_RETRY_AT: &str = "update call set retry_at = $3 where tenant = $1 and call = $2";

    const DELAY_POSTPONED: &str = "update postponed_call set due_at = $3 where tenant = $1 and call = $2";
}
