//! Who reads the book while several ledgers write it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use onrecord::domain::ids::{Digest, Tenant};
use onrecord::store::{self, EntryFilter, NewEntry, Store};
use rand::Rng as _;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::house::DEADLINE;
use crate::postgres::fresh_database;

const TOPIC: &str = "calling-events.v1";
const LEASE: Duration = Duration::from_secs(600);
const WRITERS: usize = 4;
const TRANSACTIONS: usize = 40;
const LINES: usize = 5;

/// Everything that was accepted, by the instant of its receipt.
type Accepted = Arc<Mutex<BTreeSet<(DateTime<Utc>, Uuid)>>>;

fn line(id: Uuid, received: DateTime<Utc>) -> NewEntry<'static> {
    let digest = Digest::of(id.as_bytes());
    NewEntry {
        id,
        tenant: "contoso",
        received,
        anchor: None,
        kind: "unrecognized",
        source_type: "test",
        provenance: "eg",
        source: "eg",
        ce_source: "test",
        ce_id: "test",
        ce_time: None,
        t: received.timestamp_millis(),
        key: digest,
        sha256: digest,
        original: "{}",
        event: "{}",
        flags: Vec::new(),
    }
}

/// As a ledger with one partition: lines, the position, a commit that may take its time, and then
/// the word how complete the partition is.
async fn write(store: Store, partition: i32, accepted: Accepted) {
    let owner = format!("writer-{partition}");
    let owner = &*owner;
    for _ in 0..TRANSACTIONS {
        let lines: Vec<(DateTime<Utc>, Uuid)> = {
            let mut accepted = accepted.lock().unwrap();
            // An answer speaks of what is half a minute old at least.
            let received = Utc::now() - TimeDelta::seconds(60);
            let lines: Vec<_> = (0..LINES).map(|_| (received, Uuid::now_v7())).collect();
            accepted.extend(lines.iter().copied());
            lines
        };
        let entries: Vec<NewEntry<'_>> = lines
            .iter()
            .map(|(received, id)| line(*id, *received))
            .collect();
        let entries = &entries;
        let delay = Duration::from_millis(rand::rng().random_range(0..40));
        store
            .run("write", move |work| {
                async move {
                    store::insert_entries(work, entries).await?;
                    tokio::time::sleep(delay).await;
                    Ok(())
                }
                .boxed()
            })
            .await
            .unwrap();
        let through = [(partition, lines[0].0)];
        store::complete_through(&store, TOPIC, owner, &through)
            .await
            .unwrap();
    }
}

/// Somebody else's transactions on the same server, which hold back what readers may see.
async fn hold_back(url: String) {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    loop {
        for statement in [
            "begin",
            "select pg_current_xact_id()",
            "select pg_sleep(0.3)",
            "commit",
        ] {
            sqlx::raw_sql(statement)
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_events_skips_no_line_and_complete_through_claims_none_that_is_not_there() {
    let url = fresh_database().await;
    let store = Store::new(&url, 4).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    for partition in 0..WRITERS {
        let partition = i32::try_from(partition).unwrap();
        let owner = format!("writer-{partition}");
        let owner = &*owner;
        store
            .run("claim", move |work| {
                async move {
                    store::renew(work, TOPIC, partition + 1, owner, LEASE).await?;
                    store::take(work, TOPIC, partition + 1, owner, LEASE, 1).await
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

    let stranger = tokio::spawn(hold_back(url));
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
        let mut room = store.read(&tenant).await.unwrap();
        let through = room.entries_complete_through().await.unwrap();
        let filter = EntryFilter {
            after,
            limit: 1000,
            ..EntryFilter::default()
        };
        let rows = room.entries(&filter).await.unwrap();
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
        assert!(
            missing.is_empty(),
            "claimed through {through}, but {missing:?}"
        );
    }
    for writer in writers {
        writer.await.unwrap();
    }
    stranger.abort();
    assert!(claims > 10, "the reader looked {claims} times");
}
