//! Reading by changes, and pages of events, while others write: no row is left out, and none comes twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::Utc;
use onrecord::postgres::{
    CallFilter, CallOrder, ChangedCall, EntryFilter, EntryOrder, Postgres, TermFilter,
};
use onrecord_evidence::event::ids::Tenant;
use proptest::test_runner::{Config, TestRunner};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use super::{empty_summary, install_terms_of_rows};
use crate::support::app::DEADLINE;
use crate::support::postgres::fresh_database;

const CALLS: usize = 12;

/// What a writer does: the calls that it changes in each of its transactions, and how long each stays open.
type Script = Vec<(Vec<usize>, u8)>;

/// Changes calls and appends an entry in each transaction, as the ledger does.
async fn write(url: String, script: Script) {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for (calls, open_ms) in script {
        let calls: BTreeSet<usize> = calls.into_iter().collect();
        sqlx::raw_sql("begin").execute(&mut connection).await.unwrap();
        sqlx::raw_sql("select pg_current_xact_id()").execute(&mut connection).await.unwrap();
        tokio::time::sleep(Duration::from_millis(u64::from(open_ms))).await;
        for call in calls {
            let change = format!(
                "insert into call (tenant, call, started_at, end_presumed, recording, recording_stale, transcription, transcription_stale, flags, summary, fact_count, evaluated_at)
                 values ('contoso', 'call-{call:02}', now(), false, 'off', false, 'off', false, '{{}}', '{}', 1, clock_timestamp())
                 on conflict (tenant, call) do update set evaluated_at = excluded.evaluated_at, fact_count = call.fact_count + 1, xid = write_id();
                 insert into entry (id, tenant, received_at, type, source_type, provenance, source, ce_source, ce_id, at_ms, key, sha256, original, event)
                 values ('{}', 'contoso', now(), 'unrecognized', 'test', 'eg', 'eg', 'test', 'test', 0, '', '', '', '{{}}');",
                empty_summary(),
                Uuid::now_v7()
            );
            sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut connection).await.unwrap();
        }
        sqlx::raw_sql("commit").execute(&mut connection).await.unwrap();
    }
}

/// Runs the writers, reads meanwhile, and compares what was read with what is stored.
async fn follows(url: &str, store: &Postgres, scripts: Vec<Script>, limit: i64) {
    let mut owner = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("delete from call; delete from entry").execute(&mut owner).await.unwrap();
    let writers: Vec<_> =
        scripts.into_iter().map(|script| tokio::spawn(write(url.to_owned(), script))).collect();
    let tenant = Tenant::parse("contoso").unwrap();
    let mut after = ChangedCall { xid: 0, call: String::new() };
    let mut seen: BTreeSet<(i64, String)> = BTreeSet::new();
    let mut last: BTreeMap<String, chrono::DateTime<Utc>> = BTreeMap::new();
    let mut entries: Vec<(i64, Uuid)> = Vec::new();
    let began = std::time::Instant::now();
    loop {
        // Before the changes are read: those of a transaction that has not ended then are hidden, and a
        // transaction of another database hides them too.
        let is_written = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let hidden: i64 =
            sqlx::query_scalar("select count(*) from call where xid >= write_horizon()")
                .fetch_one(&mut owner)
                .await
                .unwrap();
        let mut snapshot = store.read(&tenant).await.unwrap();
        let (rows, position) = snapshot.changed_calls(&after, limit).await.unwrap();
        drop(snapshot);
        for row in &rows {
            last.insert(row.call.clone(), row.evaluated_at);
        }
        if let Some(position) = position {
            assert!(
                (position.xid, &position.call) > (after.xid, &after.call),
                "{position:?} follows {after:?}"
            );
            assert!(seen.insert((position.xid, position.call.clone())), "{position:?} came twice");
            after = position;
        } else if is_written && hidden == 0 {
            break;
        }
        pages_hold(store, &tenant, limit).await;
        // As a reader that keeps its cursor.
        let filter =
            EntryFilter { after: entries.last().copied(), limit, ..EntryFilter::default() };
        let mut snapshot = store.read(&tenant).await.unwrap();
        let page = snapshot.entries(&filter).await.unwrap();
        drop(snapshot);
        entries.extend(page.iter().map(|row| (row.xid, row.id)));
        assert!(began.elapsed() < DEADLINE, "the changes do not end");
    }
    let stored: Vec<(String, chrono::DateTime<Utc>)> =
        sqlx::query_as("select call, evaluated_at from call order by 1")
            .fetch_all(&mut owner)
            .await
            .unwrap();
    assert_eq!(
        last.into_iter().collect::<Vec<_>>(),
        stored,
        "the last change of each call was read"
    );
    let mut snapshot = store.read(&tenant).await.unwrap();
    let filter =
        EntryFilter { after: entries.last().copied(), limit: 10_000, ..EntryFilter::default() };
    let rest = snapshot.entries(&filter).await.unwrap();
    entries.extend(rest.iter().map(|row| (row.xid, row.id)));
    let appended: Vec<(i64, Uuid)> =
        sqlx::query_as("select xid::text::bigint, id from entry order by xid, id")
            .fetch_all(&mut owner)
            .await
            .unwrap();
    assert_eq!(entries, appended, "each entry was read once, in the order of append");
    for writer in writers {
        writer.await.unwrap();
    }
}

/// The pages of the last entries are what the order of appending has up to the first of them.
async fn pages_hold(store: &Postgres, tenant: &Tenant, limit: i64) {
    let mut after = None;
    let mut newest_first: Vec<(i64, Uuid)> = Vec::new();
    loop {
        let filter = EntryFilter {
            order: EntryOrder::LastAppendedFirst,
            after,
            limit,
            ..EntryFilter::default()
        };
        // A snapshot for each page, as each request has.
        let mut snapshot = store.read(tenant).await.unwrap();
        let page = snapshot.entries(&filter).await.unwrap();
        newest_first.extend(page.iter().map(|row| (row.xid, row.id)));
        let Some(row) = page.last() else { break };
        after = Some((row.xid, row.id));
    }
    let Some(first) = newest_first.first().copied() else { return };
    let mut snapshot = store.read(tenant).await.unwrap();
    let filter = EntryFilter { limit: 10_000, ..EntryFilter::default() };
    let appended = snapshot.entries(&filter).await.unwrap();
    let mut appended: Vec<(i64, Uuid)> =
        appended.iter().map(|row| (row.xid, row.id)).take_while(|row| *row <= first).collect();
    appended.reverse();
    assert_eq!(newest_first, appended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_changes_and_of_pages_skips_no_row_and_gets_none_twice() {
    use proptest::collection::vec;
    let url = fresh_database().await;
    let store = Postgres::new(&url, 4).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let transactions = vec((vec(0..CALLS, 1..4), 0_u8..25), 1..12);
    let cases = (vec(transactions, 1..4), 1_i64..6);
    tokio::task::spawn_blocking(move || {
        let mut runner =
            TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
        let ran = runner.run(&cases, |(scripts, limit)| {
            runtime.block_on(follows(&url, &store, scripts, limit));
            Ok(())
        });
        ran.unwrap();
    })
    .await
    .unwrap();
}

/// What a writer does to the calls of a list: it adds one that starts at a minute, or changes whether one that was
/// there before goes on.
#[derive(Clone, Debug)]
enum ListChange {
    Added { minute: i64 },
    Ended { call: usize, is_open: bool },
}

/// Changes calls, with their terms, in a transaction each.
async fn change_list(url: String, changes: Vec<(ListChange, u8)>) {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for (change, open_ms) in changes {
        let (call, sql) = match change {
            ListChange::Added { minute } => {
                let call = Uuid::new_v4().to_string();
                let sql = call_at(&call, minute);
                (call, sql)
            }
            ListChange::Ended { call, is_open } => {
                let call = format!("call-{call:02}");
                let ended = if is_open { "null" } else { "started_at + interval '1 minute'" };
                let sql = format!(
                    "update call set ended_at = {ended}, xid = write_id() where call = '{call}'"
                );
                (call, sql)
            }
        };
        let batch = format!(
            "begin; {sql}; select terms_of_rows('contoso', array['{call}']); select pg_sleep({}); commit",
            f64::from(open_ms) / 1000.0
        );
        sqlx::raw_sql(AssertSqlSafe(batch)).execute(&mut connection).await.unwrap();
    }
}

/// The statement that adds an open call.
fn call_at(call: &str, minute: i64) -> String {
    format!(
        "insert into call (tenant, call, started_at, end_presumed, recording, recording_stale, transcription, transcription_stale, flags, summary, fact_count, evaluated_at)
         values ('contoso', '{call}', timestamptz '2026-01-01' + {minute} * interval '1 minute', false, 'off', false, 'off', false, '{{}}', '{}', 1, now())",
        empty_summary()
    )
}

/// Pages through the list of all calls while others write.
async fn list_holds(url: &str, store: &Postgres, scripts: Vec<Vec<(ListChange, u8)>>, limit: i64) {
    let mut owner = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("delete from call; delete from call_term").execute(&mut owner).await.unwrap();
    for call in 0..CALLS {
        let minute = i64::try_from(call).unwrap() * 10;
        let add = call_at(&format!("call-{call:02}"), minute);
        sqlx::raw_sql(AssertSqlSafe(add)).execute(&mut owner).await.unwrap();
    }
    let refresh = "select terms_of_rows('contoso', array_agg(call)) from call";
    sqlx::raw_sql(refresh).execute(&mut owner).await.unwrap();
    let writers: Vec<_> = scripts
        .into_iter()
        .map(|script| tokio::spawn(change_list(url.to_owned(), script)))
        .collect();
    let tenant = Tenant::parse("contoso").unwrap();
    let began = std::time::Instant::now();
    loop {
        let is_written = writers.iter().all(tokio::task::JoinHandle::is_finished);
        for order in [CallOrder::NewestFirst, CallOrder::OldestFirst] {
            let mut listed: Vec<(chrono::DateTime<Utc>, String)> = Vec::new();
            let mut after = None;
            loop {
                let terms = ["state=open", "state=ended"].map(str::to_owned).to_vec();
                let terms = vec![TermFilter { terms, min_length_ms: None }];
                let filter = CallFilter { from: None, to: None, terms, order, after, limit };
                // A snapshot for each page, as each request has.
                let mut snapshot = store.read(&tenant).await.unwrap();
                let page = snapshot.calls(&filter).await.unwrap();
                listed.extend(page.calls.into_iter().map(|call| (call.started_at, call.call)));
                let Some(next) = page.next else { break };
                after = Some((next.started_at, next.call));
            }
            if order == CallOrder::OldestFirst {
                listed.reverse();
            }
            assert!(listed.windows(2).all(|pair| pair[0] > pair[1]), "{listed:?}");
            let found: BTreeSet<&str> = listed.iter().map(|(_, call)| call.as_str()).collect();
            for call in 0..CALLS {
                assert!(found.contains(format!("call-{call:02}").as_str()), "{call}: {listed:?}");
            }
        }
        if is_written {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "the writers do not end");
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_calls_have_each_call_once_while_calls_are_added_and_end() {
    use proptest::collection::vec;
    use proptest::prelude::*;
    let url = fresh_database().await;
    let store = Postgres::new(&url, 4).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    install_terms_of_rows(&url).await;
    let runtime = tokio::runtime::Handle::current();
    let change = prop_oneof![
        (-10..10 * 13_i64).prop_map(|minute| ListChange::Added { minute }),
        (0..CALLS, any::<bool>()).prop_map(|(call, is_open)| ListChange::Ended { call, is_open }),
    ];
    let cases = (vec(vec((change, 0_u8..6), 1..12), 1..4), 1_i64..6);
    tokio::task::spawn_blocking(move || {
        let mut runner =
            TestRunner::new(Config { cases: 10, failure_persistence: None, ..Config::default() });
        let ran = runner.run(&cases, |(scripts, limit)| {
            runtime.block_on(list_holds(&url, &store, scripts, limit));
            Ok(())
        });
        ran.unwrap();
    })
    .await
    .unwrap();
}
