//! Reads of the ledger while several nodes append to it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use onrecord::postgres::{self, EntryFilter, NewEntry, Postgres};
use onrecord_evidence::event::ids::{Digest, Tenant};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::support::app::DEADLINE;
use crate::support::postgres::fresh_database;

const TOPIC: &str = "calling-events.v1";
const LEASE: Duration = Duration::from_secs(600);
const WRITERS: usize = 4;
const TRANSACTIONS: usize = 40;
const LINES: usize = 5;

/// All accepted entries, by the instant of their receipt.
type Accepted = Arc<Mutex<BTreeSet<(DateTime<Utc>, Uuid)>>>;

fn line(id: Uuid, received: DateTime<Utc>) -> NewEntry<'static> {
    let digest = Digest::of(id.as_bytes());
    NewEntry {
        id,
        tenant: "contoso",
        received_at: received,
        anchor: None,
        kind: "unrecognized",
        source_type: "test",
        provenance: "eg",
        source: "eg",
        ce_source: "test",
        ce_id: "test",
        ce_time: None,
        at_ms: received.timestamp_millis(),
        key: digest,
        sha256: digest,
        original: "{}",
        content_coding: None,
        charset: None,
        event: "{}",
        flags: Vec::new(),
    }
}

/// Writes as a ledger with one partition does: entries, the position, a commit that may take time,
/// and then how complete the partition is.
async fn write(store: Postgres, partition: i32, accepted: Accepted) {
    let owner = format!("writer-{partition}");
    let owner = &*owner;
    for _ in 0..TRANSACTIONS {
        let lines: Vec<(DateTime<Utc>, Uuid)> = {
            let mut accepted = accepted.lock().unwrap();
            // An answer covers entries that are at least half a minute old.
            let received = Utc::now() - TimeDelta::seconds(60);
            let lines: Vec<_> = (0..LINES).map(|_| (received, Uuid::now_v7())).collect();
            accepted.extend(lines.iter().copied());
            lines
        };
        let entries: Vec<NewEntry<'_>> =
            lines.iter().map(|(received, id)| line(*id, *received)).collect();
        let entries = &entries;
        let delay = Duration::from_millis(rand::random_range(0..40));
        store
            .run_tx("write", move |tx| {
                async move {
                    postgres::insert_entries(tx, entries).await?;
                    tokio::time::sleep(delay).await;
                    Ok(())
                }
                .boxed()
            })
            .await
            .unwrap();
        let through = [(partition, lines[0].0)];
        postgres::raise_complete_through(&store, TOPIC, owner, &through).await.unwrap();
    }
}

/// Transactions of other clients of the server, which hold back what readers may see.
async fn hold_back(url: String) {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    loop {
        for statement in ["begin", "select pg_current_xact_id()", "select pg_sleep(0.3)", "commit"]
        {
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_events_skips_no_entry_and_complete_through_never_runs_ahead() {
    let url = fresh_database().await;
    let store = Postgres::new(&url, 4).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    for partition in 0..WRITERS {
        let partition = i32::try_from(partition).unwrap();
        let owner = format!("writer-{partition}");
        let owner = &*owner;
        store
            .run_tx("claim", move |tx| {
                async move {
                    postgres::renew_partitions(tx, TOPIC, partition + 1, owner, LEASE).await?;
                    postgres::take_partitions(tx, TOPIC, partition + 1, owner, LEASE, 1).await
                }
                .boxed()
            })
            .await
            .unwrap();
    }
    let accepted = Accepted::default();
    let writers: Vec<_> = (0..WRITERS)
        .map(|partition| {
            let partition = i32::try_from(partition).unwrap();
            tokio::spawn(write(store.clone(), partition, Arc::clone(&accepted)))
        })
        .collect();

    let other = tokio::spawn(hold_back(url));
    let tenant = Tenant::parse("contoso").unwrap();
    let mut read: BTreeSet<Uuid> = BTreeSet::new();
    let mut after = None;
    let mut claims = 0;
    let began = std::time::Instant::now();
    while read.len() < WRITERS * TRANSACTIONS * LINES {
        assert!(
            began.elapsed() < DEADLINE * 3,
            "only {} lines were read, others were skipped",
            read.len()
        );
        let mut snapshot = store.read(&tenant).await.unwrap();
        let through = snapshot.entries_complete_through().await.unwrap();
        let filter = EntryFilter { after, limit: 1000, ..EntryFilter::default() };
        let rows = snapshot.entries(&filter).await.unwrap();
        for row in rows {
            after = Some((row.xid, row.id));
            assert!(read.insert(row.id), "a line came twice");
        }
        let Some(through) = through else { continue };
        claims += 1;
        let accepted = accepted.lock().unwrap();
        let missing: Vec<_> = accepted
            .iter()
            .take_while(|(received, _)| *received < through)
            .filter(|(_, id)| !read.contains(id))
            .collect();
        assert!(missing.is_empty(), "claimed through {through}, but {missing:?}");
    }
    for writer in writers {
        writer.await.unwrap();
    }
    other.abort();
    assert!(claims > 10, "the reader looked {claims} times");
}
