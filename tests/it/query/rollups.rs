//! Roll-ups of statistics: whatever is written while they are made and read, an answer is what the rows say.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use onrecord::postgres::{Postgres, make_rollups, statements};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{empty_summary, install_terms_of_rows};
use crate::support::app::DEADLINE;
use crate::support::postgres::fresh_database;

/// What is counted, with the statement that readers use and the function that counts rows.
const SUBJECTS: [(&str, &str, &str); 5] = [
    ("calls", "COUNT_CALLS", "counted_calls"),
    ("terms", "COUNT_TERMS", "counted_terms"),
    ("notices", "COUNT_NOTICES", "counted_notices"),
    ("captures", "COUNT_CAPTURES", "counted_captures"),
    ("exceptions", "COUNT_EXCEPTIONS", "counted_exceptions"),
];
/// The days of the rows begin here.
const FIRST_DAY: &str = "2026-01-05T00:00:00Z";
const DAYS: i64 = 3;

/// A change of a row of one of a few calls, that many minutes after the first day began.
#[derive(Clone, Debug)]
enum Change {
    /// The call, its sessions and terms are evaluated: its start, and its length if it ended.
    Call {
        call: u8,
        minute: i64,
        length_s: Option<i64>,
    },
    CallIsGone {
        call: u8,
    },
    Obligation {
        call: u8,
        minute: i64,
        status: &'static str,
        shown_ms: Option<i64>,
    },
    ObligationsAreGone {
        call: u8,
    },
    Capture {
        call: u8,
        minute: i64,
        length_s: Option<i64>,
    },
    CapturesAreGone {
        call: u8,
    },
    Exception {
        number: u8,
        minute: i64,
        closed_after_s: Option<i64>,
    },
}

/// The changes of one transaction, and how long it stays open.
type Transaction = (Vec<Change>, u8);

fn first_day() -> DateTime<Utc> {
    FIRST_DAY.parse().unwrap()
}

fn changes() -> impl Strategy<Value = Change> {
    let call = || 0..6_u8;
    let minute = || 0..DAYS * 24 * 60;
    let length = || prop::option::of(1..5_000_i64);
    let status =
        prop::sample::select(vec!["MET", "LATE", "UNCONFIRMED", "PENDING", "BRIEF", "NOT_OURS"]);
    prop_oneof![
        4 => (call(), minute(), length()).prop_map(|(call, minute, length_s)| Change::Call { call, minute, length_s }),
        1 => call().prop_map(|call| Change::CallIsGone { call }),
        4 => (call(), minute(), status, length()).prop_map(|(call, minute, status, shown_ms)| Change::Obligation { call, minute, status, shown_ms }),
        1 => call().prop_map(|call| Change::ObligationsAreGone { call }),
        3 => (call(), minute(), length()).prop_map(|(call, minute, length_s)| Change::Capture { call, minute, length_s }),
        1 => call().prop_map(|call| Change::CapturesAreGone { call }),
        2 => (0..6_u8, minute(), length()).prop_map(|(number, minute, closed_after_s)| Change::Exception { number, minute, closed_after_s }),
    ]
}

impl Change {
    fn sql(&self) -> String {
        let at =
            |minute: i64| format!("'{}'::timestamptz", first_day() + TimeDelta::minutes(minute));
        let after = |minute: i64, seconds: Option<i64>| match seconds {
            Some(seconds) => format!("{} + interval '{seconds} s'", at(minute)),
            None => "null".to_owned(),
        };
        match self {
            Self::Call { call, minute, length_s } => format!(
                "insert into call (tenant, call, started_at, ended_at, end_presumed, recording, recording_stale, transcription, transcription_stale, flags, summary, fact_count, evaluated_at)
                 values ('contoso', 'call-{call}', {}, {}, {}, 'off', false, 'off', false, '{{}}', '{}', 1, clock_timestamp())
                 on conflict (tenant, call) do update set started_at = excluded.started_at, ended_at = excluded.ended_at, end_presumed = excluded.end_presumed, xid = write_id();
                 select terms_of_rows('contoso', array['call-{call}'])",
                at(*minute),
                after(*minute, *length_s),
                minute % 2 == 0,
                empty_summary(),
            ),
            Self::CallIsGone { call } => format!(
                "delete from call where tenant = 'contoso' and call = 'call-{call}'; select terms_of_rows('contoso', array['call-{call}'])"
            ),
            Self::Obligation { call, minute, status, shown_ms } => format!(
                "insert into obligation (tenant, call, session, type, due_at, shown_at, already_shown, late_facts, status, consent)
                 values ('contoso', 'call-{call}', 's', 'recording', {0}, {0} + interval '{1} ms', false, 0, '{status}', 'GIVEN')
                 on conflict (tenant, call, type, due_at, session) do update set shown_at = excluded.shown_at, status = excluded.status",
                at(*minute),
                shown_ms.unwrap_or(0),
            ),
            Self::ObligationsAreGone { call } => format!("delete from obligation where call = 'call-{call}'"),
            Self::Capture { call, minute, length_s } => format!(
                "insert into capture (tenant, call, type, started_at, ended_at, start_source, sources, recordings, kinds)
                 values ('contoso', 'call-{call}', 'recording', {}, {}, 'report', '{{report}}', '{{}}', '{{teams}}')
                 on conflict (tenant, call, type, started_at) do update set ended_at = excluded.ended_at",
                at(*minute),
                after(*minute, *length_s),
            ),
            Self::CapturesAreGone { call } => format!("delete from capture where call = 'call-{call}'"),
            Self::Exception { number, minute, closed_after_s } => format!(
                "insert into exception (tenant, id, kind, severity, subject, facts, sentence, opened_at)
                 values ('contoso', '00000000-0000-4000-8000-{number:012}', 'NOT_SENT', 'critical', '{number}', '{{}}', '', {0})
                 on conflict do nothing;
                 update exception set closed_at = opened_at + {1} where id = '00000000-0000-4000-8000-{number:012}'",
                at(*minute),
                closed_after_s.map_or("null::interval".to_owned(), |seconds| format!("interval '{seconds} s'")),
            ),
        }
    }
}

/// Writes transactions, each of which ends some time after its last change.
async fn write(url: String, transactions: Vec<Transaction>) {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for (changes, open_ms) in transactions {
        // In one order, so that two transactions seldom wait for each other.
        let mut statements: Vec<String> = changes.iter().map(Change::sql).collect();
        statements.sort();
        let mut batch = String::from("begin;");
        for statement in statements {
            batch.push_str(&statement);
            batch.push(';');
        }
        batch.push_str(&format!("select pg_sleep({});", f64::from(open_ms) / 1000.0));
        batch.push_str("commit;");
        // Of two that wait for each other one is aborted, and writes nothing.
        while let Err(error) =
            sqlx::raw_sql(AssertSqlSafe(batch.clone())).execute(&mut connection).await
        {
            let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
            assert_eq!(code.as_deref(), Some("40P01"), "{error}");
            sqlx::raw_sql("rollback").execute(&mut connection).await.unwrap();
        }
    }
}

fn statement(name: &str) -> &'static str {
    let all = statements();
    let found = all.iter().find(|it| it.name == name && it.file.ends_with("stats.rs"));
    found.unwrap().sql
}

/// The buckets and the sums of histograms as texts.
const TEXTS: &str = "
    select coalesce(array_agg(line.line::text order by line.line::text), '{}')
    from (
        select (place, category, series, outcome, in_time, le_ms, sum(items)) as line from bucket
        group by place, category, series, outcome, in_time, le_ms
        union all select (place, category, series, outcome, in_time, 'sum', coalesce(sum(sum_ms), 0)) from found
        group by place, category, series, outcome, in_time) as line";

/// Compares what readers are answered with what the rows say, in one snapshot.
async fn answers_hold(connection: &mut PgConnection, cuts: &[i64]) {
    let mut bounds: Vec<DateTime<Utc>> =
        cuts.iter().map(|minute| first_day() + TimeDelta::minutes(*minute)).collect();
    bounds.sort();
    bounds.dedup();
    let starts: Vec<_> = bounds[..bounds.len() - 1].to_vec();
    let ends: Vec<_> = bounds[1..].to_vec();
    let begin = "begin isolation level repeatable read read only; set local enable_seqscan = off";
    sqlx::raw_sql(begin).execute(&mut *connection).await.unwrap();
    for (subject, name, function) in SUBJECTS {
        // A row for each bucket, and one for the sum of the lengths of each group.
        let answered = format!(
            "with found as ({}),
             bucket as (
                 select found.place, found.category, found.series, found.outcome, found.in_time, held.le_ms, held.items
                 from found cross join lateral (
                     select * from unnest(found.bounds_ms, found.items) as held (le_ms, items)
                     union all select null, found.never where found.never > 0) as held)
             {TEXTS}",
            statement(name)
        );
        let plain = format!(
            "with found as (
                 select part.place, counted.* from unnest($3::timestamptz[], $4::timestamptz[]) with ordinality as part (starts, ends, place)
                 cross join lateral {function}($1, part.starts, part.ends) as counted where $2::text is not null),
             bucket as (select place, category, series, outcome, in_time, le_ms, items from found)
             {TEXTS}"
        );
        let mut rows: Vec<Vec<String>> = Vec::new();
        for sql in [answered, plain] {
            let query = sqlx::query_scalar(AssertSqlSafe(sql));
            let query = query.bind("contoso").bind(subject).bind(&starts).bind(&ends);
            rows.push(query.fetch_one(&mut *connection).await.unwrap());
        }
        assert_eq!(rows[0], rows[1], "{subject} between {bounds:?}");
    }
    sqlx::raw_sql("commit").execute(&mut *connection).await.unwrap();
}

/// Runs the writers and the maintenance, and compares meanwhile.
async fn holds(
    url: &str,
    store: &Postgres,
    scripts: Vec<Vec<Transaction>>,
    cuts: Vec<i64>,
    most: i32,
) {
    let mut reader = PgConnection::connect(url).await.unwrap();
    let began = std::time::Instant::now();
    let writers: Vec<_> =
        scripts.into_iter().map(|script| tokio::spawn(write(url.to_owned(), script))).collect();
    let end = first_day() + TimeDelta::days(DAYS + 1);
    loop {
        let is_written = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let (more, ()) =
            tokio::join!(make_rollups(store, end, most), answers_hold(&mut reader, &cuts));
        if is_written && !more.unwrap() {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "the roll-ups do not end");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let left: i64 = sqlx::query_scalar("select count(*) from rollup_change")
        .fetch_one(&mut reader)
        .await
        .unwrap();
    assert_eq!(left, 0, "no hour is left that changed since its roll-up");
    answers_hold(&mut reader, &cuts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_what_the_rows_say_while_rows_and_roll_ups_are_written() {
    use proptest::collection::vec;
    let url = fresh_database().await;
    let store = Postgres::new(&url, 4).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    install_terms_of_rows(&url).await;
    let runtime = tokio::runtime::Handle::current();
    let scripts = vec(vec((vec(changes(), 1..5), 0_u8..12), 1..10), 1..4);
    let minutes = -600..(DAYS + 1) * 24 * 60;
    // Whole days and hours, and whatever is between.
    let cut = prop_oneof![
        minutes.clone(),
        minutes.clone().prop_map(|it| it / 60 * 60),
        minutes.prop_map(|it| it / 1440 * 1440)
    ];
    let cases = (scripts, vec(cut, 2..7), 1_i32..40);
    tokio::task::spawn_blocking(move || {
        let mut runner =
            TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
        let ran = runner.run(&cases, |(scripts, mut cuts, most)| {
            cuts.extend([-60, (DAYS + 1) * 24 * 60]);
            runtime.block_on(holds(&url, &store, scripts, cuts, most));
            Ok(())
        });
        ran.unwrap();
    })
    .await
    .unwrap();
}
