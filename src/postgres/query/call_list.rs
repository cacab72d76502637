//! Lists of calls: by terms in the order of their start, and in the order of their changes.
//!
//! # Why
//!
//! *A list is read by terms.* A row of `call_term` says that a call has a value which filters name. The
//! filter that fewest calls pass drives the list: its terms are ranges of one index, in the order of the
//! list. Every other filter is checked by the key of that index, call by call. No plan that the planner may
//! choose for these statements reads more, so its estimates may be wrong.
//!
//! *A page ends in time.* Where few calls pass all filters, though many pass each of them, a page that goes on until
//! it is full would read all of those. It has what was found when its time is over, and the next page begins there.
//!
//! *The statements are constants.* A filter is values in arrays, never text of a statement.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use utoipa::ToSchema;

use super::snapshot::{CallRow, TenantSnapshot};
use crate::postgres::{CallSummary, StoreError};

/// Maximum number of display names that a part of a name may stand for.
pub const MAX_NAMES: usize = 200;
/// Maximum number of rows of `name_part` that the search for a part of a name reads.
const MAX_NAME_ROWS: i64 = 4_000;
/// Maximum number of calls that are counted exactly with one filter; with several, the size of a page is.
const MAX_COUNTED: i64 = 1_000;
/// Maximum number of rows that all terms of the driving filter together give to a count.
const MAX_COUNTED_ROWS: i64 = 20_000;
/// Maximum number of rows of all terms of the driving filter that the first statement of a list reads without a
/// check; each further one reads twice as many.
const MAX_TERM_ROWS: i64 = 2_000;
/// Maximum number of rows of all terms of the driving filter that are checked in one statement.
const MAX_CHECKED_ROWS: i64 = 300;
/// Maximum time after which a page begins no further statement.
const MAX_PAGE_TIME: Duration = Duration::from_millis(6);

/// The direction of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOrder {
    NewestFirst,
    OldestFirst,
}

/// The values of one parameter: a call has at least one of these terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermFilter {
    pub terms: Vec<String>,
    /// The first term has calls that are shorter than this, because it stands for a range of lengths.
    pub min_length_ms: Option<i64>,
}

/// Selects calls: each filter has to be passed.
#[derive(Debug)]
pub struct CallFilter {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// At least one.
    pub terms: Vec<TermFilter>,
    pub order: CallOrder,
    /// Position in the list after which the answer begins.
    pub after: Option<(DateTime<Utc>, String)>,
    pub limit: i64,
}

/// The number of calls that pass a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, ToSchema)]
pub struct CallCount {
    /// The number.
    pub value: i64,
    /// False: the number is an estimate from the statistics of the store.
    pub exact: bool,
}

/// A position in a list of calls.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct CallPosition {
    pub started_at: DateTime<Utc>,
    pub call: String,
}

/// A call that passes, or the last one that was checked.
#[derive(Debug, sqlx::FromRow)]
struct CheckedPosition {
    started_at: DateTime<Utc>,
    call: String,
    passes: bool,
}

impl CheckedPosition {
    fn into_position(self) -> CallPosition {
        CallPosition { started_at: self.started_at, call: self.call }
    }
}

/// The calls of a list that were found.
struct Found {
    positions: Vec<CallPosition>,
    /// The last call that was checked, if others follow it.
    checked_through: Option<CallPosition>,
}

/// A page of a list of calls.
#[derive(Debug)]
pub struct CallPage {
    pub calls: Vec<CallRow>,
    /// Of the whole list. `None`: the page is not the first.
    pub count: Option<CallCount>,
    /// The position after which the next page begins. `None`: no calls follow.
    pub next: Option<CallPosition>,
}

/// A call as its row has it.
#[derive(Debug, sqlx::FromRow)]
struct StoredCallRow {
    call: String,
    started_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    end_presumed: bool,
    recording: String,
    recording_stale: bool,
    transcription: String,
    transcription_stale: bool,
    duration_ms: Option<i64>,
    group_id: Option<String>,
    kind: Option<String>,
    apps: Vec<String>,
    flags: Vec<String>,
    summary: Json<CallSummary>,
    exceptions: i64,
    open_exceptions: i64,
    evaluated_at: DateTime<Utc>,
    /// The instant of the snapshot.
    now: DateTime<Utc>,
}

impl From<StoredCallRow> for CallRow {
    fn from(row: StoredCallRow) -> Self {
        let Json(summary) = row.summary;
        let (recording, transcription) = (&summary.recording, &summary.transcription);
        let open = recording.open_since.len() + transcription.open_since.len();
        Self {
            recorded: recording.captures > 0,
            transcribed: transcription.captures > 0,
            recording_captured_ms: recording.captured_ms(row.now),
            transcription_captured_ms: transcription.captured_ms(row.now),
            open_captures: i64::try_from(open).unwrap_or(i64::MAX),
            call: row.call,
            started_at: row.started_at,
            ended_at: row.ended_at,
            end_presumed: row.end_presumed,
            recording: row.recording,
            recording_stale: row.recording_stale,
            transcription: row.transcription,
            transcription_stale: row.transcription_stale,
            duration_ms: row.duration_ms,
            group_id: row.group_id,
            kind: row.kind,
            apps: row.apps,
            flags: row.flags,
            verdict: summary.verdict,
            consent: summary.consent,
            sessions: summary.sessions,
            participants_ours: summary.participants_ours,
            participants_others: summary.participants_others,
            outsiders: summary.outsiders,
            names: summary.names,
            exceptions: row.exceptions,
            open_exceptions: row.open_exceptions,
            evaluated_at: row.evaluated_at,
        }
    }
}

/// A change of a call.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ChangedCall {
    pub xid: i64,
    pub call: String,
}

impl TenantSnapshot {
    /// A page of a list of calls.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn calls(&mut self, filter: &CallFilter) -> Result<CallPage, StoreError> {
        self.plan_once().await?;
        let estimates = self.estimates(filter).await?;
        let fewest = estimates.iter().enumerate().min_by_key(|(_, estimate)| **estimate);
        let driving = fewest.map_or(0, |(number, _)| number);
        let is_first = filter.after.is_none();
        // With several filters each call that is counted costs a check of the others.
        let counted = match filter.terms.as_slice() {
            [one] => {
                let terms = i64::try_from(one.terms.len()).unwrap_or(MAX_COUNTED_ROWS);
                (MAX_COUNTED_ROWS / terms.max(1)).clamp(1, MAX_COUNTED)
            }
            _ => filter.limit,
        };
        let wanted = if is_first { filter.limit.max(counted) } else { filter.limit } + 1;
        let Found { mut positions, checked_through } = self.found(filter, driving, wanted).await?;
        let found = i64::try_from(positions.len()).unwrap_or(i64::MAX);
        let count = if is_first {
            Some(if found < wanted && checked_through.is_none() {
                CallCount { value: found, exact: true }
            } else {
                let value = self.estimate(filter, &estimates).await?;
                CallCount { value: value.max(found), exact: false }
            })
        } else {
            None
        };
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let is_full = positions.len() > limit;
        positions.truncate(limit);
        let next = if is_full { positions.last().cloned() } else { checked_through };
        let calls: Vec<String> = positions.into_iter().map(|position| position.call).collect();
        Ok(CallPage { calls: self.call_rows(&calls).await?, count, next })
    }

    /// The calls that pass, up to `wanted`, as far as the time of a page goes.
    async fn found(
        &mut self,
        filter: &CallFilter,
        driving: usize,
        wanted: i64,
    ) -> Result<Found, StoreError> {
        let began = Instant::now();
        let mut positions: Vec<CallPosition> = Vec::new();
        let mut after = filter.after.clone();
        let mut rows_of_terms = MAX_TERM_ROWS;
        loop {
            let left = wanted - i64::try_from(positions.len()).unwrap_or(i64::MAX);
            let rows = self.positions(filter, driving, after, left, rows_of_terms).await?;
            let (passed, mut checked): (Vec<_>, Vec<_>) =
                rows.into_iter().partition(|row| row.passes);
            let is_full = i64::try_from(passed.len()).unwrap_or(i64::MAX) >= left;
            positions.extend(passed.into_iter().map(CheckedPosition::into_position));
            let checked_through = checked.pop().map(CheckedPosition::into_position);
            let is_over = checked_through.is_none() || began.elapsed() >= MAX_PAGE_TIME;
            if is_full || is_over {
                return Ok(Found { positions, checked_through });
            }
            after = checked_through.map(|position| (position.started_at, position.call));
            rows_of_terms = rows_of_terms.saturating_mul(2);
        }
    }

    /// The calls with these ids, in this order. One that does not exist is left out.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn call_rows(&mut self, calls: &[String]) -> Result<Vec<CallRow>, StoreError> {
        let query = sqlx::query_as(SELECT_CALL_ROWS).bind(self.tenant.as_str()).bind(calls);
        let rows: Vec<StoredCallRow> = query.fetch_all(&mut *self.transaction).await?;
        Ok(rows.into_iter().map(CallRow::from).collect())
    }

    /// The calls that changed after a position, in the order of their last change, up to the oldest
    /// transaction in progress: a reader that continues after the last one misses no change.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn changed_calls(
        &mut self,
        after: &ChangedCall,
        limit: i64,
    ) -> Result<(Vec<CallRow>, Option<ChangedCall>), StoreError> {
        self.plan_once().await?;
        let changes: Vec<ChangedCall> = sqlx::query_as(SELECT_CHANGES)
            .bind(self.tenant.as_str())
            .bind(after.xid.to_string())
            .bind(&after.call)
            .bind(limit)
            .fetch_all(&mut *self.transaction)
            .await?;
        let last = changes.last().cloned();
        let calls: Vec<String> = changes.into_iter().map(|change| change.call).collect();
        Ok((self.call_rows(&calls).await?, last))
    }

    /// The display names, in small letters, that contain a text. `None`: they are more than [`MAX_NAMES`].
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn names_with(&mut self, part: &str) -> Result<Option<Vec<String>>, StoreError> {
        let query = sqlx::query_as(SELECT_NAMES).bind(self.tenant.as_str());
        let query = query.bind(part).bind(MAX_NAME_ROWS);
        let (names, rows): (Vec<String>, i64) = query.fetch_one(&mut *self.transaction).await?;
        Ok((rows < MAX_NAME_ROWS && names.len() <= MAX_NAMES).then_some(names))
    }

    /// Those of some terms that a call has, in their order.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn existing_terms(&mut self, terms: &[String]) -> Result<Vec<String>, StoreError> {
        self.plan_once().await?;
        let query = sqlx::query_scalar(SELECT_EXISTING_TERMS).bind(self.tenant.as_str());
        Ok(query.bind(terms).fetch_all(&mut *self.transaction).await?)
    }

    /// Lets the following statements of this snapshot be planned for their values, by indexes in their order.
    pub(crate) async fn avoid_scans(&mut self) -> Result<(), StoreError> {
        sqlx::query(AVOID_SCANS).execute(&mut *self.transaction).await?;
        Ok(())
    }

    /// Lets the following statements of this snapshot be read by indexes, by the plan of the first time: to plan one
    /// of them takes longer than to run it, and no value makes another plan better.
    pub(crate) async fn plan_once(&mut self) -> Result<(), StoreError> {
        sqlx::query(PLAN_ONCE).execute(&mut *self.transaction).await?;
        Ok(())
    }

    async fn positions(
        &mut self,
        filter: &CallFilter,
        driving: usize,
        after: Option<(DateTime<Utc>, String)>,
        limit: i64,
        rows_of_terms: i64,
    ) -> Result<Vec<CheckedPosition>, StoreError> {
        let none = TermFilter { terms: Vec::new(), min_length_ms: None };
        let drives = filter.terms.get(driving).unwrap_or(&none);
        let others = filter.terms.iter().enumerate().filter(|(number, _)| *number != driving);
        let (mut numbers, mut terms, mut lengths, mut other_count) =
            (Vec::new(), Vec::new(), Vec::new(), 0_i64);
        for (number, other) in others {
            other_count += 1;
            for (place, term) in other.terms.iter().enumerate() {
                numbers.push(i32::try_from(number).unwrap_or(i32::MAX));
                terms.push(term.as_str());
                lengths.push(other.min_length_ms.filter(|_| place == 0));
            }
        }
        let (after_started, after_call) = after.unzip();
        // Without a check each row passes. Of many terms, each gives a part of what is wanted.
        let term_count = i64::try_from(drives.terms.len()).unwrap_or(i64::MAX).max(1);
        let checked = if other_count > 0 {
            (MAX_CHECKED_ROWS / term_count).max(1)
        } else {
            limit.min((rows_of_terms / term_count).max(1))
        };
        let statement = match filter.order {
            CallOrder::NewestFirst => SELECT_NEWEST_POSITIONS,
            CallOrder::OldestFirst => SELECT_OLDEST_POSITIONS,
        };
        Ok(sqlx::query_as(statement)
            .bind(self.tenant.as_str())
            .bind(&drives.terms)
            .bind(filter.from)
            .bind(filter.to)
            .bind(after_started)
            .bind(after_call)
            .bind(drives.min_length_ms)
            .bind(numbers)
            .bind(terms)
            .bind(lengths)
            .bind(other_count)
            .bind(limit)
            .bind(checked)
            .fetch_all(&mut *self.transaction)
            .await?)
    }

    /// How many calls pass each of the filters, as the planner estimates it. One filter drives the list
    /// without an estimate.
    async fn estimates(&mut self, filter: &CallFilter) -> Result<Vec<i64>, StoreError> {
        if filter.terms.len() < 2 {
            return Ok(Vec::new());
        }
        let mut estimates = Vec::new();
        for one in &filter.terms {
            estimates.push(self.estimated(filter, &one.terms).await?);
        }
        Ok(estimates)
    }

    /// How many calls pass all filters, if one says nothing about another.
    async fn estimate(
        &mut self,
        filter: &CallFilter,
        estimates: &[i64],
    ) -> Result<i64, StoreError> {
        let [one] = filter.terms.as_slice() else {
            let all = ["state=open".to_owned(), "state=ended".to_owned()];
            let all = self.estimated(filter, &all).await?.max(1) as f64;
            let shares = estimates.iter().map(|estimate| (*estimate as f64 / all).min(1.0));
            return Ok((all * shares.product::<f64>()).round() as i64);
        };
        self.estimated(filter, &one.terms).await
    }

    async fn estimated(
        &mut self,
        filter: &CallFilter,
        terms: &[String],
    ) -> Result<i64, StoreError> {
        let query = sqlx::query_scalar(ESTIMATE_CALLS).bind(self.tenant.as_str());
        let query = query.bind(terms).bind(filter.from).bind(filter.to);
        Ok(query.fetch_one(&mut *self.transaction).await?)
    }
}

/// The positions of a list in one direction: the comparison with the position before, the first position, the order,
/// the opposite one, and the comparison with the last position that was checked of each term.
macro_rules! positions {
    ($after:literal, $first:literal, $order:literal, $opposite:literal, $until:literal) => {
        concat!(
            "with had as materialized (
                 select driving.place, listed.started_at, listed.call
                 from unnest($2::text[]) with ordinality as driving (term, place)
                 cross join lateral (
                     select had.started_at, had.call from call_term as had
                     where had.tenant = $1 and had.term = driving.term
                       and had.started_at >= coalesce($3::timestamptz, '-infinity') and had.started_at < coalesce($4::timestamptz, 'infinity')
                       and (had.started_at, had.call) ", $after, " (coalesce($5::timestamptz, '", $first, "'), coalesce($6::text, ''))
                     order by had.started_at ", $order, ", had.call ", $order, " limit $13) as listed),
             checked as materialized (
                 select last.started_at, last.call
                 from (
                     select distinct on (had.place) had.started_at, had.call, count(*) over (partition by had.place) as rows
                     from had order by had.place, had.started_at ", $opposite, ", had.call ", $opposite, ") as last
                 where last.rows = $13
                 order by last.started_at ", $order, ", last.call ", $order, " limit 1)
             select listed.started_at, listed.call, listed.passes from (
                 select had.started_at, had.call, true as passes
                 from (
                     select had.started_at, had.call, max(had.place) as place from had
                     where coalesce((had.started_at, had.call) ", $until, " (select checked.started_at, checked.call from checked), true)
                     group by had.started_at, had.call
                     order by had.started_at ", $order, ", had.call ", $order, " offset 0) as had
                 where ($7::bigint is null or had.place > 1 or exists (
                         select from call where call.tenant = $1 and call.call = had.call
                           and reading.elapsed_ms(call.started_at, call.ended_at) >= $7))
                     and ($11::bigint = 0 or (
                         select count(distinct other.number) from unnest($8::int[], $9::text[], $10::bigint[]) as other (number, term, min_ms)
                         cross join lateral (
                             select from call_term as also
                             where also.tenant = $1 and also.term = other.term and also.started_at = had.started_at and also.call = had.call
                               and (other.min_ms is null or exists (
                                   select from call where call.tenant = $1 and call.call = had.call
                                     and reading.elapsed_ms(call.started_at, call.ended_at) >= other.min_ms))
                             offset 0) as found) = $11)
                 limit $12) as listed
             union all select checked.started_at, checked.call, false from checked
             order by 3 desc, 1 ", $order, ", 2 ", $order
        )
    };
}

statements! {
    /// Where a table was never analyzed, the planner might take something else than an index for equally good. A
    /// plan for these values is made each time: which of them are null counts.
    const AVOID_SCANS: &str =
        "select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)";

    const PLAN_ONCE: &str =
        "select set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)";

    const SELECT_NEWEST_POSITIONS: &str = positions!("<", "infinity", "desc", "asc", ">=");

    const SELECT_OLDEST_POSITIONS: &str = positions!(">", "-infinity", "asc", "desc", "<=");

    const SELECT_EXISTING_TERMS: &str =
        "select asked.term from unnest($2::text[]) with ordinality as asked (term, place)
         cross join lateral (
             select from call_term where call_term.tenant = $1 and call_term.term = asked.term limit 1) as one
         order by asked.place";

    const ESTIMATE_CALLS: &str =
        "select estimated_calls($1, $2, coalesce($3::timestamptz, '-infinity'), coalesce($4::timestamptz, 'infinity'))";

    const SELECT_NAMES: &str =
        "select coalesce(array_agg(distinct part.name) filter (where position(wanted.text in part.name) > 0), '{}'), count(part.name)
         from (select lower($2::text) as text) as wanted
         left join lateral (
             select name_part.name from name_part
             where name_part.tenant = $1 and name_part.part >= left(wanted.text, 12) collate \"C\"
               and name_part.part < (left(wanted.text, 12) || U&'\\+10FFFF') collate \"C\"
             limit $3) as part on true";

    const SELECT_CHANGES: &str =
        "select xid::text::bigint as xid, call from call
         where tenant = $1 and xid < write_horizon() and (xid, call) > ($2::text::xid8, $3)
         order by call.xid, call.call limit $4";

    const SELECT_CALL_ROWS: &str =
        "select found.call, found.started_at, found.ended_at, found.end_presumed, reading.elapsed_ms(found.started_at, found.ended_at) as duration_ms,
             found.recording, found.recording_stale, found.transcription, found.transcription_stale, found.group_id, found.kind, found.apps,
             found.flags, found.summary, found.evaluated_at, matter.exceptions, matter.open_exceptions, now() as now
         from unnest($2::text[]) with ordinality as asked (call, place)
         cross join lateral (select * from call where call.tenant = $1 and call.call = asked.call offset 0) as found
         cross join lateral (
             select count(*) as exceptions, count(*) filter (where exception.closed_at is null) as open_exceptions
             from exception where exception.tenant = $1 and exception.call = asked.call) as matter
         order by asked.place";
}
