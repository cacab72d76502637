//! Stores the rows of each call: call, sessions, captures. Each evaluation replaces all of them; rows
//! that stay the same are not written.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::call_row_set::{CallRowSet, CaptureRow, SessionRow};
use crate::postgres::column::column;
use crate::postgres::{Postgres, StoreError};

/// Replaces the rows of these calls. `gone` are former calls that are part of another one now. Returns the
/// calls whose terms changed.
///
/// # Errors
///
/// [`StoreError`].
pub async fn store_calls(
    connection: &mut PgConnection,
    tenant: &str,
    sets: &[&CallRowSet],
    gone: &[&str],
) -> Result<Vec<String>, StoreError> {
    let affected: Vec<&str> =
        sets.iter().map(|set| set.call.as_str()).chain(gone.iter().copied()).collect();
    upsert_sessions(connection, tenant, sets, &affected).await?;
    let captures: Vec<&CaptureRow> = sets.iter().flat_map(|set| &set.captures).collect();
    let delete = sqlx::query(DELETE_CAPTURES).bind(tenant).bind(&affected).bind(Json(&captures));
    delete.execute(&mut *connection).await?;
    if !captures.is_empty() {
        let upsert = sqlx::query(UPSERT_CAPTURES).bind(Json(&captures));
        upsert.execute(&mut *connection).await?;
    }
    for call in gone {
        sqlx::query(DELETE_CALL).bind(tenant).bind(call).execute(&mut *connection).await?;
    }
    Ok(sqlx::query_scalar(UPSERT_CALLS).bind(Json(sets)).fetch_all(connection).await?)
}

async fn upsert_sessions(
    connection: &mut PgConnection,
    tenant: &str,
    sets: &[&CallRowSet],
    affected: &[&str],
) -> Result<(), StoreError> {
    let (calls, rows): (Vec<&str>, Vec<&SessionRow>) =
        sets.iter().flat_map(|set| set.sessions.iter().map(|row| (set.call.as_str(), row))).unzip();
    let sessions = column(&rows, |row| row.session.as_str());
    // Rows are named by their ctid: the lock of the call is held, so no other transaction moves them.
    // The arrays are in sub-selects: if the planner saw the number of rows of a large call, it would
    // not look them up in a hash.
    sqlx::query(DELETE_SESSIONS)
        .bind(tenant)
        .bind(affected)
        .bind(&calls)
        .bind(&sessions)
        .execute(&mut *connection)
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(UPSERT_SESSIONS)
        .bind(tenant)
        .bind(&calls)
        .bind(&sessions)
        .bind(column(&rows, |row| row.identity.as_str()))
        .bind(column(&rows, |row| row.ours))
        .bind(column(&rows, |row| row.raw_id.as_deref()))
        .bind(column(&rows, |row| row.display_name.as_deref()))
        .bind(column(&rows, |row| row.kind.as_deref()))
        .bind(column(&rows, |row| row.participant_id.as_deref()))
        .bind(column(&rows, |row| &row.attachments))
        .bind(column(&rows, |row| row.user_agent.as_deref()))
        .bind(column(&rows, |row| row.joined_at))
        .bind(column(&rows, |row| row.left_at))
        .bind(column(&rows, |row| row.join_inferred))
        .bind(column(&rows, |row| row.left_inferred))
        // The words of flags have no blank.
        .bind(column(&rows, |row| row.flags.join(" ")))
        .bind(column(&rows, |row| row.proof))
        .execute(connection)
        .await?;
    Ok(())
}

/// Open calls without activity since `quiet_since`, the longest inactive first. The list continues after
/// `after`.
///
/// # Errors
///
/// [`StoreError`].
pub async fn quiet_calls(
    store: &Postgres,
    quiet_since: DateTime<Utc>,
    after: Option<&QuietCall>,
    limit: i64,
) -> Result<Vec<QuietCall>, StoreError> {
    Ok(sqlx::query_as(SELECT_QUIET_CALLS)
        .bind(quiet_since)
        .bind(after.map(|after| after.last_activity_at))
        .bind(after.map(|after| after.tenant.as_str()))
        .bind(after.map(|after| after.call.as_str()))
        .bind(limit)
        .fetch_all(&store.pool)
        .await?)
}

/// A call without recent activity.
#[derive(Debug, sqlx::FromRow)]
pub struct QuietCall {
    pub tenant: String,
    pub call: String,
    pub last_activity_at: DateTime<Utc>,
}

statements! {
    const DELETE_CALL: &str = "delete from call where tenant = $1 and call = $2";

    /// `before` has the rows as they were: a statement does not see what it writes itself.
    const UPSERT_CALLS: &str =
        "with wanted as materialized (
             select tenant, call, started_at, ended_at, end_presumed, recording, recording_stale, transcription, transcription_stale,
                 group_id, kind, apps, terms_digest, flags, summary, fact_count, last_activity_at, next_evaluation_at, evaluated_at
             from jsonb_populate_recordset(null::call, $1)),
         before as materialized (
             select found.tenant, found.call, found.terms_digest from wanted
             cross join lateral (
                 select call.tenant, call.call, call.terms_digest from call
                 where call.tenant = wanted.tenant and call.call = wanted.call offset 0) as found),
         stored as (
             insert into call (tenant, call, started_at, ended_at, end_presumed, recording, recording_stale, transcription, transcription_stale,
                               group_id, kind, apps, terms_digest, flags, summary, fact_count, last_activity_at, next_evaluation_at, evaluated_at, xid)
             select tenant, call, started_at, ended_at, end_presumed, recording, recording_stale, transcription, transcription_stale,
                 group_id, kind, apps, terms_digest, flags, summary, fact_count, last_activity_at, next_evaluation_at, evaluated_at, write_id()
             from wanted
             on conflict (tenant, call) do update
             set started_at = excluded.started_at, ended_at = excluded.ended_at, end_presumed = excluded.end_presumed,
                 recording = excluded.recording, recording_stale = excluded.recording_stale,
                 transcription = excluded.transcription, transcription_stale = excluded.transcription_stale,
                 group_id = excluded.group_id, kind = excluded.kind, apps = excluded.apps, terms_digest = excluded.terms_digest,
                 flags = excluded.flags, summary = excluded.summary, fact_count = excluded.fact_count, last_activity_at = excluded.last_activity_at,
                 next_evaluation_at = excluded.next_evaluation_at, retry_at = null, evaluated_at = excluded.evaluated_at, xid = excluded.xid
             returning call.tenant, call.call, call.terms_digest)
         select stored.call from stored
         left join before on before.tenant = stored.tenant and before.call = stored.call
         where before.terms_digest is distinct from stored.terms_digest";

    const DELETE_SESSIONS: &str =
        "delete from session where ctid = any(array(select row.ctid from unnest($2::text[]) as asked (call)
         cross join lateral (select ctid, session from session where tenant = $1 and call = asked.call offset 0) as row
         where (asked.call, row.session) not in (select call, session from unnest((select $3::text[]), (select $4::text[])) as _ (call, session))))";

    const UPSERT_SESSIONS: &str =
        "insert into session as stored (tenant, call, session, identity, ours, raw_id, display_name, kind, participant_id, attachments,
                              user_agent, joined_at, left_at, join_inferred, left_inferred, flags, proof)
         select $1, call, session, identity, ours, raw_id, display_name, kind, participant_id, attachments,
                user_agent, joined_at, left_at, join_inferred, left_inferred, string_to_array(flags, ' '), proof
         from unnest($2::text[], $3::text[], $4::text[], $5::bool[], $6::text[], $7::text[], $8::text[], $9::text[], $10::jsonb[],
                     $11::text[], $12::timestamptz[], $13::timestamptz[], $14::bool[], $15::bool[], $16::text[], $17::text[])
              as _ (call, session, identity, ours, raw_id, display_name, kind, participant_id, attachments, user_agent,
                    joined_at, left_at, join_inferred, left_inferred, flags, proof)
         on conflict (tenant, call, session) do update
         set identity = excluded.identity, ours = excluded.ours, raw_id = excluded.raw_id, display_name = excluded.display_name,
             kind = excluded.kind, participant_id = excluded.participant_id, attachments = excluded.attachments,
             user_agent = excluded.user_agent, joined_at = excluded.joined_at, left_at = excluded.left_at,
             join_inferred = excluded.join_inferred, left_inferred = excluded.left_inferred, flags = excluded.flags, proof = excluded.proof
         where stored.* is distinct from excluded.*";

    const DELETE_CAPTURES: &str =
        "delete from capture where ctid = any(array(select row.ctid from unnest($2::text[]) as asked (call)
         cross join lateral (select ctid, type, started_at from capture where tenant = $1 and call = asked.call offset 0) as row
         where (asked.call, row.type, row.started_at) not in
               (select call, type, started_at from jsonb_populate_recordset(null::capture, $3))))";

    const UPSERT_CAPTURES: &str =
        "insert into capture as stored (tenant, call, type, started_at, ended_at, start_source, sources, recordings, kinds)
         select tenant, call, type, started_at, ended_at, start_source, sources, recordings, kinds
         from jsonb_populate_recordset(null::capture, $1)
         on conflict (tenant, call, type, started_at) do update
         set ended_at = excluded.ended_at, start_source = excluded.start_source, sources = excluded.sources,
             recordings = excluded.recordings, kinds = excluded.kinds
         where stored.* is distinct from excluded.*";

    const SELECT_QUIET_CALLS: &str =
        "select tenant, call, last_activity_at from call
         where ended_at is null and last_activity_at <= $1 and ($2::timestamptz is null or (last_activity_at, tenant, call) > ($2, $3, $4))
         order by last_activity_at, tenant, call limit $5";
}
