//! A call of very many legs and ids: its record is complete, its tenant takes a limited number of locks,
//! and no other tenant waits for its transactions.
//!
//! The messages of one partition are appended in their order, so the events of the other tenant are in
//! other partitions than the call. They share its followers, tables and locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use uuid::Uuid;

use onrecord::config::Settings;
use onrecord::kafka::{FetchMode, KafkaClientConfig, PartitionConsumer, Topic};
use onrecord::postgres::MAX_TRANSACTION_LOCKS;
use onrecord_evidence::identity::alias_graph::Anchor;

use crate::support::app::{TestApp, until};
use crate::support::azure::{ALICE, Call};
use crate::support::requirements::print_line;

/// Maximum time until an event of another tenant is appended meanwhile. Without optimization, and beside
/// other tests on two cores, everything takes some ten times as long: such a run shows that nothing
/// waits for the call to its end, and only one with optimization shows the 2 s.
const MAX_LAG: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 2 });
/// Number of calls of the other tenant. They take turns, so that none of them becomes large itself.
const OTHER_CALLS: usize = 16;
const PARTITIONS: i32 = 12;
/// Number of events in a delivery.
const DELIVERY: usize = 500;
/// Timeout until the maintenance has done what was left to it.
const SETTLED_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_many_legs_and_correlation_ids_delays_no_other_tenant() {
    a_large_call(3_000, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes without optimization"]
async fn a_call_of_30_000_legs_and_1_500_correlation_ids_delays_no_other_tenant() {
    a_large_call(30_000, 1_500).await;
}

async fn a_large_call(legs: usize, correlations: usize) {
    let app = Arc::new(TestApp::open().await);
    let database = app.stores.database().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let locks = measure_locks(&database, &is_over);
    let call = Call::new();
    let ids: Vec<String> = (0..correlations).map(|_| Uuid::new_v4().to_string()).collect();
    let leg = |correlation: Option<&str>| {
        let mut events = call.callback("CallConnected", chrono::Utc::now(), &json!({}));
        let connection = Uuid::new_v4().to_string();
        let data = events[0]["data"].as_object_mut().unwrap();
        data.insert("callConnectionId".to_owned(), json!(connection));
        data.insert("correlationId".to_owned(), json!(correlation));
        events[0].take()
    };
    // At first the call is known by its serverCallId only; then this resolves to one correlationId with
    // all legs, and then it is ambiguous.
    let others = calls_in_other_partitions(&app, &leg(None)).await;
    let other = measure_other_tenant(&app, others, &is_over);
    let began = Instant::now();
    posts(&app, (1..legs / 2).map(|_| leg(None))).await;
    posts(&app, ids.iter().map(|id| leg(Some(id)))).await;
    posts(&app, (0..legs / 2).map(|number| leg(Some(&ids[number % correlations])))).await;
    print_line(&format!("{legs} legs are accepted after {:.1?}", began.elapsed()));
    let expected = i64::try_from(legs / 2 * 2 + correlations).unwrap();
    let (mut entries, mut left) = (0, (0, 0));
    while entries < expected || left != (0, 0) {
        assert!(
            began.elapsed() < SETTLED_TIMEOUT * 3,
            "{entries} of {expected} appended, {left:?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
        entries = count(&database, "select count(*) from entry where tenant = 'contoso'").await;
        left = (
            count(&database, "select count(*) from pending_merge").await,
            count(&database, "select count(*) from postponed_call").await,
        );
    }
    print_line(&format!("they are appended and evaluated after {:.1?}", began.elapsed()));
    is_over.store(true, Ordering::Relaxed);
    let (lag, appended) = other.await.unwrap();
    print_line(&format!("the other tenant waited {lag:.1?} at most, for {appended} events"));
    assert!(lag < MAX_LAG, "{lag:?}");
    let locks = locks.await.unwrap();
    assert!(locks <= i64::try_from(MAX_TRANSACTION_LOCKS).unwrap(), "{locks}");

    // The serverCallId is ambiguous: legs with nothing but it belong to it, the others to neither.
    let server = Anchor::server(
        &onrecord_evidence::event::ids::server_call_id(&call.server_call_id).unwrap(),
    );
    let members: i64 = sqlx::query_scalar("select count(*) from call_alias where resolves_to = $1")
        .bind(server.as_str())
        .fetch_one(&database)
        .await
        .unwrap();
    assert_eq!(members, i64::try_from(legs / 2 + 1).unwrap());
    let ambiguous = count(&database, "select count(*) from call_alias where ambiguous").await;
    assert_eq!(ambiguous, i64::try_from(legs / 2 + correlations + 1).unwrap());
    assert_eq!(count(&database, "select count(*) from quarantine").await, 0);
    Arc::into_inner(app).unwrap().stop().await;
}

/// Posts callbacks in deliveries.
async fn posts(app: &TestApp, events: impl Iterator<Item = Value>) {
    let events: Vec<Value> = events.collect();
    for delivery in events.chunks(DELIVERY) {
        app.call_automation_posts(&json!(delivery)).await;
    }
}

async fn count(database: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(database).await.unwrap()
}

/// Calls of the other tenant whose messages are in other partitions than this event, which is posted.
async fn calls_in_other_partitions(app: &TestApp, event: &Value) -> Vec<Call> {
    let settings = Settings::from_toml(&app.stores.toml("127.0.0.1:0", "off", "")).unwrap();
    let connection = KafkaClientConfig::new(&settings);
    let log = PartitionConsumer::open(&connection, Topic::Events, FetchMode::Immediate).unwrap();
    let partitions: Vec<i32> = (0..PARTITIONS).collect();
    let mut ends = log.all_watermarks(&partitions).await;
    let mut grown = async || {
        let now = log.all_watermarks(&partitions).await;
        let grown = now.iter().find(|(partition, end)| ends[*partition].1 < end.1);
        let grown = *grown.expect("a partition has the event").0;
        ends = now;
        grown
    };
    app.call_automation_posts(&json!([event])).await;
    let of_the_call = grown().await;
    let mut others = Vec::new();
    while others.len() < OTHER_CALLS {
        let other = Call::new();
        let (status, body) =
            app.posts("/ingest/event-grid/other", other.started().to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        if grown().await != of_the_call {
            others.push(other);
        }
    }
    others
}

/// Posts events of another tenant one by one, and returns the longest time until one is appended, and
/// their number.
fn measure_other_tenant(
    app: &Arc<TestApp>,
    calls: Vec<Call>,
    is_over: &Arc<AtomicBool>,
) -> JoinHandle<(Duration, u32)> {
    let (app, is_over) = (Arc::clone(app), Arc::clone(is_over));
    tokio::spawn(async move {
        let database = app.stores.database().await;
        let (mut longest, mut appended) = (Duration::ZERO, 0);
        for call in calls.iter().cycle() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let event = call.joined(ALICE, &Uuid::new_v4().to_string());
            let id = event[0]["id"].as_str().unwrap().to_owned();
            let (status, body) = app.posts("/ingest/event-grid/other", event.to_string()).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            let posted = Instant::now();
            until("the event of the other tenant is appended", || async {
                let query =
                    "select exists (select from entry where tenant = 'fabrikam' and ce_id = $1)";
                let found: bool =
                    sqlx::query_scalar(query).bind(&id).fetch_one(&database).await.ok()?;
                found.then_some(())
            })
            .await;
            longest = longest.max(posted.elapsed());
            appended += 1;
        }
        (longest, appended)
    })
}

/// The most advisory locks that one session holds at any time.
fn measure_locks(database: &PgPool, is_over: &Arc<AtomicBool>) -> JoinHandle<i64> {
    let (database, is_over) = (database.clone(), Arc::clone(is_over));
    tokio::spawn(async move {
        let mut most = 0;
        while !is_over.load(Ordering::Relaxed) {
            let held = count(
                &database,
                "select coalesce(max(held), 0) from (
                     select count(*) as held from pg_locks
                     where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
                     group by pid) as by_session",
            );
            most = held.await.max(most);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        most
    })
}
