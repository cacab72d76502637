//! Reading by changes, and pages of events, while others write: no row is left out, and none comes twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::Utc;
use onrecord::postgres::{ChangedCall, EntryFilter, EntryOrder, Postgres};
use onrecord_evidence::event::ids::Tenant;
use proptest::test_runner::{Config, TestRunner};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

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
                "insert into call (tenant, call, started_at, end_presumed, recording, recording_stale, transcription, transcription_stale, flags, fact_count, evaluated_at)
                 values ('contoso', 'call-{call:02}', now(), false, 'off', false, 'off', false, '{{}}', 1, clock_timestamp())
                 on conflict (tenant, call) do update set evaluated_at = excluded.evaluated_at, fact_count = call.fact_count + 1, xid = write_id();
                 insert into entry (id, tenant, received_at, type, source_type, provenance, source, ce_source, ce_id, at_ms, key, sha256, original, event)
                 values ('{}', 'contoso', now(), 'unrecognized', 'test', 'eg', 'eg', 'test', 'test', 0, '', '', '', '{{}}');",
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
    let began = std::time::Instant::now();
    loop {
        let is_written = writers.iter().all(tokio::task::JoinHandle::is_finished);
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
        } else if is_written {
            let behind: i64 =
                sqlx::query_scalar("select count(*) from call where xid >= write_horizon()")
                    .fetch_one(&mut owner)
                    .await
                    .unwrap();
            if behind == 0 {
                break;
            }
        }
        pages_hold(store, &tenant, limit).await;
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
