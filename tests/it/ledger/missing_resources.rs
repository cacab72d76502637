//! A lack of locks or a locked table that ends loses no event, and a call that cannot be projected stops
//! no other.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::{ALICE, Call};
use crate::support::postgres::own_postgres;

/// For longer than four statements take until their timeout.
const TABLE_IS_LOCKED: Duration = Duration::from_secs(52);
/// For several attempts of the ledger.
const LOCKS_ARE_MISSING: Duration = Duration::from_secs(8);

async fn count(database: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(database).await.unwrap()
}

/// Waits until each call has its entry and is evaluated.
async fn all_are_appended(database: &PgPool, calls: &[Call]) {
    let ids: Vec<&str> = calls.iter().map(|call| call.correlation.as_str()).collect();
    until("all calls are evaluated", || async {
        let query = "select count(*) from call join call_alias as alias on alias.resolves_to = call.call
                     where alias.anchor like any (select '%' || id from unnest($1::text[]) as _ (id))";
        let found: i64 = sqlx::query_scalar(query).bind(&ids).fetch_one(database).await.ok()?;
        (found >= i64::try_from(ids.len()).unwrap()).then_some(())
    })
    .await;
    assert_eq!(count(database, "select count(*) from quarantine").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_for_a_minute_sends_no_event_to_quarantine() {
    let app = TestApp::open().await;
    let database = app.stores.database().await;
    // As `create index` does.
    let mut operator = PgConnection::connect(&app.stores.database_url).await.unwrap();
    sqlx::raw_sql("begin; lock table event_key in share mode")
        .execute(&mut operator)
        .await
        .unwrap();
    let locked = Instant::now();
    let calls: Vec<Call> = (0..6).map(|_| Call::new()).collect();
    for call in &calls {
        app.event_grid_posts(&call.started()).await;
    }
    tokio::time::sleep(TABLE_IS_LOCKED.saturating_sub(locked.elapsed())).await;
    assert_eq!(count(&database, "select count(*) from entry").await, 0);
    sqlx::raw_sql("commit").execute(&mut operator).await.unwrap();
    all_are_appended(&database, &calls).await;
    let mut app = app;
    let exceptions = app.reads("/v1/exceptions?kind=NOT_EVALUATED").await;
    assert_eq!(exceptions["exceptions"], json!([]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_locks_that_ends_sends_no_event_to_quarantine() {
    let postgres = own_postgres().await;
    let database_url = postgres.admin_url();
    let app = TestApp::on(TestStores { database_url, ..TestStores::shared().await }).await;
    app.is_ready().await;
    let database = app.stores.database().await;
    let mut other = PgConnection::connect(&app.stores.database_url).await.unwrap();
    let take_all = "select pg_advisory_lock(n) from generate_series(1, 10000000) as n";
    let refused = sqlx::raw_sql(take_all).execute(&mut other).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "53200");
    // Enough remain for a row of the quarantine, and not for an event.
    let give_back = "select pg_advisory_unlock(n) from generate_series(1, 4) as n";
    sqlx::raw_sql(give_back).execute(&mut other).await.unwrap();
    let missing = Instant::now();
    let calls: Vec<Call> = (0..20).map(|_| Call::new()).collect();
    for call in &calls {
        app.event_grid_posts(&call.started()).await;
    }
    tokio::time::sleep(LOCKS_ARE_MISSING.saturating_sub(missing.elapsed())).await;
    sqlx::raw_sql("select pg_advisory_unlock_all()").execute(&mut other).await.unwrap();
    all_are_appended(&database, &calls).await;
    app.stop().await;
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_be_projected_delays_no_other_and_is_an_exception() {
    let mut app = TestApp::open().await;
    let database = app.stores.database().await;
    let (broken, other) = (Call::new(), Call::new());
    app.event_grid_posts(&broken.started()).await;
    all_are_appended(&database, std::slice::from_ref(&broken)).await;
    sqlx::query("update fact set event = '{\"statement\": 5}'").execute(&database).await.unwrap();
    app.event_grid_posts(&broken.joined(ALICE, "p-1")).await;
    app.event_grid_posts(&other.started()).await;
    all_are_appended(&database, &[other]).await;
    until("all events are appended", || async {
        (count(&database, "select count(*) from entry").await == 3).then_some(())
    })
    .await;
    let open =
        app.sees("/v1/exceptions?kind=NOT_EVALUATED", |seen| seen["exceptions"] != json!([])).await;
    assert_eq!(open["exceptions"][0]["state"], "open", "{open}");
    app.stop().await;
}
