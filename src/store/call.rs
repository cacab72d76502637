//! The fold of each call at rest: call, sessions, stretches. It is always told as a whole; what of it
//! stays as it is, is not written again.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Store, StoreError};
use crate::domain::alias::Anchor;

/// What the ledger folded of one call.
#[derive(Debug)]
pub struct CallFold {
    pub tenant: String,
    pub call: String,
    pub started: DateTime<Utc>,
    pub ended: Option<DateTime<Utc>>,
    pub end_presumed: bool,
    pub recording: &'static str,
    pub recording_stale: bool,
    pub transcription: &'static str,
    pub transcription_stale: bool,
    pub group_id: Option<String>,
    pub flags: Vec<String>,
    pub facts: i32,
    /// Of a call that may be presumed to end.
    pub last_sign: Option<DateTime<Utc>>,
    pub refold_at: Option<DateTime<Utc>>,
    pub sessions: Vec<SessionRow>,
    pub stretches: Vec<StretchRow>,
}

/// One presence of one participant.
#[derive(Debug)]
pub struct SessionRow {
    pub session: String,
    pub identity: &'static str,
    pub ours: bool,
    pub raw_id: Option<String>,
    pub display_name: Option<String>,
    pub kind: Option<&'static str>,
    pub participant_id: Option<String>,
    /// The clients of the session, JSON.
    pub attachments: serde_json::Value,
    pub user_agent: Option<String>,
    pub joined: DateTime<Utc>,
    pub left: Option<DateTime<Utc>>,
    pub join_inferred: bool,
    pub left_inferred: bool,
}

/// One uninterrupted stretch of a capture.
#[derive(Debug)]
pub struct StretchRow {
    pub kind: &'static str,
    pub started: DateTime<Utc>,
    pub ended: Option<DateTime<Utc>>,
    pub start_source: &'static str,
    pub sources: Vec<&'static str>,
    pub recordings: Vec<String>,
    pub kinds: Vec<String>,
}

/// Replaces what is stored of these calls. `gone` are calls that are part of another one now.
///
/// # Errors
///
/// [`StoreError`].
pub async fn store_folds(
    connection: &mut PgConnection,
    tenant: &str,
    folds: &[&CallFold],
    gone: &[&str],
    folded: DateTime<Utc>,
) -> Result<(), StoreError> {
    let concerned: Vec<&str> = folds
        .iter()
        .map(|fold| fold.call.as_str())
        .chain(gone.iter().copied())
        .collect();
    upsert_sessions(connection, tenant, folds, &concerned).await?;
    upsert_stretches(connection, tenant, folds, &concerned).await?;
    for call in gone {
        sqlx::query("delete from call where tenant = $1 and call = $2")
            .bind(tenant)
            .bind(call)
            .execute(&mut *connection)
            .await?;
    }
    upsert_calls(connection, tenant, folds, folded).await
}

async fn upsert_calls(
    connection: &mut PgConnection,
    tenant: &str,
    folds: &[&CallFold],
    folded: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into call (tenant, call, started, ended, end_presumed, recording, recording_stale, transcription,
                           transcription_stale, group_id, flags, facts, last_sign, refold_at, folded)
         select $1, call, started, ended, end_presumed, recording, recording_stale, transcription, transcription_stale,
                group_id, string_to_array(flags, chr(10)), facts, last_sign, refold_at, $2
         from unnest($3::text[], $4::timestamptz[], $5::timestamptz[], $6::bool[], $7::text[], $8::bool[], $9::text[], $10::bool[],
                     $11::text[], $12::text[], $13::int[], $14::timestamptz[], $15::timestamptz[])
              as _ (call, started, ended, end_presumed, recording, recording_stale, transcription, transcription_stale,
                    group_id, flags, facts, last_sign, refold_at)
         on conflict (tenant, call) do update
         set started = excluded.started, ended = excluded.ended, end_presumed = excluded.end_presumed,
             recording = excluded.recording, recording_stale = excluded.recording_stale,
             transcription = excluded.transcription, transcription_stale = excluded.transcription_stale,
             group_id = excluded.group_id, flags = excluded.flags, facts = excluded.facts, last_sign = excluded.last_sign,
             refold_at = excluded.refold_at, put_off_until = null, folded = excluded.folded",
    )
    .bind(tenant)
    .bind(folded)
    .bind(folds.iter().map(|fold| fold.call.as_str()).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.started).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.ended).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.end_presumed).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.recording).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.recording_stale).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.transcription).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.transcription_stale).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.group_id.as_deref()).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.flags.join("\n")).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.facts).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.last_sign).collect::<Vec<_>>())
    .bind(folds.iter().map(|fold| fold.refold_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn upsert_sessions(
    connection: &mut PgConnection,
    tenant: &str,
    folds: &[&CallFold],
    concerned: &[&str],
) -> Result<(), StoreError> {
    let (calls, rows): (Vec<&str>, Vec<&SessionRow>) = folds
        .iter()
        .flat_map(|fold| fold.sessions.iter().map(|row| (fold.call.as_str(), row)))
        .unzip();
    let sessions: Vec<&str> = rows.iter().map(|row| row.session.as_str()).collect();
    // By their places: nobody else writes these rows of a call, whose lock is ours. The arrays are
    // hidden from the planner, which would not look their rows up by a hash if it saw how many a large
    // call has.
    sqlx::query(
        "delete from session where ctid = any(array(select row.ctid from unnest($2::text[]) as asked (call)
             cross join lateral (select ctid, session from session where tenant = $1 and call = asked.call offset 0) as row
             where (asked.call, row.session) not in (select call, session from unnest((select $3::text[]), (select $4::text[])) as _ (call, session))))",
    )
    .bind(tenant)
    .bind(concerned)
    .bind(&calls)
    .bind(&sessions)
    .execute(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into session as stored (tenant, call, session, identity, ours, raw_id, display_name, kind, participant_id, attachments,
                              user_agent, joined, left_at, join_inferred, left_inferred)
         select $1, call, session, identity, ours, raw_id, display_name, kind, participant_id, attachments,
                user_agent, joined, left_at, join_inferred, left_inferred
         from unnest($2::text[], $3::text[], $4::text[], $5::bool[], $6::text[], $7::text[], $8::text[], $9::text[], $10::jsonb[],
                     $11::text[], $12::timestamptz[], $13::timestamptz[], $14::bool[], $15::bool[])
              as _ (call, session, identity, ours, raw_id, display_name, kind, participant_id, attachments, user_agent,
                    joined, left_at, join_inferred, left_inferred)
         on conflict (tenant, call, session) do update
         set identity = excluded.identity, ours = excluded.ours, raw_id = excluded.raw_id, display_name = excluded.display_name,
             kind = excluded.kind, participant_id = excluded.participant_id, attachments = excluded.attachments,
             user_agent = excluded.user_agent, joined = excluded.joined, left_at = excluded.left_at,
             join_inferred = excluded.join_inferred, left_inferred = excluded.left_inferred
         where stored.* is distinct from excluded.*",
    )
    .bind(tenant)
    .bind(&calls)
    .bind(&sessions)
    .bind(rows.iter().map(|row| row.identity).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.ours).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.raw_id.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.display_name.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.kind).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.participant_id.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.attachments.clone()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.user_agent.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.joined).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.left).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.join_inferred).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.left_inferred).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn upsert_stretches(
    connection: &mut PgConnection,
    tenant: &str,
    folds: &[&CallFold],
    concerned: &[&str],
) -> Result<(), StoreError> {
    let (calls, rows): (Vec<&str>, Vec<&StretchRow>) = folds
        .iter()
        .flat_map(|fold| fold.stretches.iter().map(|row| (fold.call.as_str(), row)))
        .unzip();
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind).collect();
    let starts: Vec<DateTime<Utc>> = rows.iter().map(|row| row.started).collect();
    sqlx::query(
        "delete from stretch where ctid = any(array(select row.ctid from unnest($2::text[]) as asked (call)
             cross join lateral (select ctid, type, started from stretch where tenant = $1 and call = asked.call offset 0) as row
             where (asked.call, row.type, row.started) not in
                   (select call, type, started from unnest((select $3::text[]), (select $4::text[]), (select $5::timestamptz[])) as _ (call, type, started))))",
    )
    .bind(tenant)
    .bind(concerned)
    .bind(&calls)
    .bind(&kinds)
    .bind(&starts)
    .execute(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok(());
    }
    // Lists travel as lines: no recording id or kind that passed the door holds one.
    sqlx::query(
        "insert into stretch as stored (tenant, call, type, started, ended, start_source, sources, recordings, kinds)
         select $1, call, type, started, ended, start_source, string_to_array(sources, chr(10)),
                string_to_array(recordings, chr(10)), string_to_array(kinds, chr(10))
         from unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[], $8::text[], $9::text[])
              as _ (call, type, started, ended, start_source, sources, recordings, kinds)
         on conflict (tenant, call, type, started) do update
         set ended = excluded.ended, start_source = excluded.start_source, sources = excluded.sources,
             recordings = excluded.recordings, kinds = excluded.kinds
         where stored.* is distinct from excluded.*",
    )
    .bind(tenant)
    .bind(&calls)
    .bind(&kinds)
    .bind(&starts)
    .bind(rows.iter().map(|row| row.ended).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.start_source).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.sources.join("\n")).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.recordings.join("\n")).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.kinds.join("\n")).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Calls whose fold only time has changed by now, at most `most`.
///
/// # Errors
///
/// [`StoreError`].
pub async fn due_for_refold(
    store: &Store,
    now: DateTime<Utc>,
    most: i64,
) -> Result<Vec<(String, String)>, StoreError> {
    Ok(sqlx::query_as(
        "select tenant, call from call where refold_at <= $1 and (put_off_until is null or put_off_until <= $1)
         order by refold_at limit $2",
    )
    .bind(now)
    .bind(most)
    .fetch_all(&store.pool)
    .await?)
}

/// Leaves a call alone until a later instant, whatever comes for it.
///
/// # Errors
///
/// [`StoreError`].
pub async fn put_off_refold(
    store: &Store,
    tenant: &str,
    call: &Anchor,
    until: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query("update call set put_off_until = $3 where tenant = $1 and call = $2")
        .bind(tenant)
        .bind(call.as_str())
        .bind(until)
        .execute(&store.pool)
        .await?;
    Ok(())
}

/// How many facts each of these calls had at its last fold.
///
/// # Errors
///
/// [`StoreError`].
pub async fn sizes_of(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<Vec<(String, i32)>, StoreError> {
    Ok(sqlx::query_as(
        "select known.* from unnest($2::text[]) as asked (call)
         cross join lateral (select call, facts from call where tenant = $1 and call = asked.call offset 0) as known",
    )
    .bind(tenant)
    .bind(calls)
    .fetch_all(connection)
    .await?)
}

/// Lets the sweeper fold these calls, the larger the later after their last fold: a millisecond
/// for each fact.
///
/// # Errors
///
/// [`StoreError`].
pub async fn leave_to_sweeper(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[String],
) -> Result<(), StoreError> {
    if calls.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update call set refold_at = least(refold_at, folded + interval '1 ms' * facts)
         where tenant = $1 and call = any($2)",
    )
    .bind(tenant)
    .bind(calls)
    .execute(connection)
    .await?;
    Ok(())
}

/// Open calls of which nothing was said since `quiet_since`, the quietest first, after `after` in
/// that order.
///
/// # Errors
///
/// [`StoreError`].
pub async fn quiet_calls(
    store: &Store,
    quiet_since: DateTime<Utc>,
    after: Option<&QuietCall>,
    most: i64,
) -> Result<Vec<QuietCall>, StoreError> {
    Ok(sqlx::query_as(
        "select tenant, call, last_sign from call
         where ended is null and last_sign <= $1 and ($2::timestamptz is null or (last_sign, tenant, call) > ($2, $3, $4))
         order by last_sign, tenant, call limit $5",
    )
    .bind(quiet_since)
    .bind(after.map(|after| after.last_sign))
    .bind(after.map(|after| after.tenant.as_str()))
    .bind(after.map(|after| after.call.as_str()))
    .bind(most)
    .fetch_all(&store.pool)
    .await?)
}

/// A call that nobody says anything of.
#[derive(Debug, sqlx::FromRow)]
pub struct QuietCall {
    pub tenant: String,
    pub call: String,
    pub last_sign: DateTime<Utc>,
}
