//! What is left to the maintenance: no postponement is lost, answers say from when on they may not be
//! complete, and transactions with different ids do not wait for each other.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use onrecord::postgres::{
    HeldLocks, LockLimits, Postgres, call_sizes, evaluated_calls, postpone_calls,
};
use onrecord_evidence::identity::alias_graph::Anchor;

use crate::support::app::TestApp;
use crate::support::azure::Call;
use crate::support::postgres::fresh_database;

async fn migrated() -> String {
    let url = fresh_database().await;
    let store = Postgres::new(&url, 1).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    store.close().await;
    url
}

#[tokio::test]
async fn an_evaluation_that_began_before_an_earlier_one_ended_deletes_no_later_postponement() {
    let mut connection = PgConnection::connect(&migrated().await).await.unwrap();
    postpone_calls(&mut connection, "contoso", &["c-1"]).await.unwrap();
    // The first evaluation reads the postponement; another one completes, and an event follows.
    let first = call_sizes(&mut connection, "contoso", &["c-1"]).await.unwrap();
    evaluated_calls(&mut connection, "contoso", &[&first[0]], None).await.unwrap();
    let done = call_sizes(&mut connection, "contoso", &["c-1"]).await.unwrap();
    assert_eq!(done[0].generation, 0);
    postpone_calls(&mut connection, "contoso", &["c-1"]).await.unwrap();
    evaluated_calls(&mut connection, "contoso", &[&first[0]], None).await.unwrap();
    let left = call_sizes(&mut connection, "contoso", &["c-1"]).await.unwrap();
    assert!(left[0].generation > first[0].generation, "{left:?}");
}

#[tokio::test]
async fn a_call_that_is_postponed_during_its_evaluation_is_complete_through_that_evaluation() {
    let mut connection = PgConnection::connect(&migrated().await).await.unwrap();
    postpone_calls(&mut connection, "contoso", &["c-1"]).await.unwrap();
    let read = call_sizes(&mut connection, "contoso", &["c-1"]).await.unwrap();
    postpone_calls(&mut connection, "contoso", &["c-1"]).await.unwrap();
    let through: DateTime<Utc> = "2026-01-02T03:04:05Z".parse().unwrap();
    evaluated_calls(&mut connection, "contoso", &[&read[0]], Some(through)).await.unwrap();
    let since: DateTime<Utc> = sqlx::query_scalar("select since_at from postponed_call")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(since, through);
}

#[tokio::test]
async fn transactions_with_many_different_ids_of_one_tenant_do_not_wait_for_each_other() {
    let url = migrated().await;
    let ids = |from: usize| -> BTreeSet<(String, Anchor)> {
        let ids = (from..from + LockLimits::default().batch_ids())
            .map(|id| Anchor::from_stored(id.to_string()));
        ids.map(|id| ("contoso".to_owned(), id)).collect()
    };
    let mut one = PgConnection::connect(&url).await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    let mut one = one.begin().await.unwrap();
    let mut other = other.begin().await.unwrap();
    HeldLocks::new(LockLimits::default()).lock_ids(&mut one, &ids(0)).await.unwrap();
    let mut locks = HeldLocks::new(LockLimits::default());
    let different = ids(LockLimits::default().batch_ids());
    let taken = timeout(Duration::from_secs(5), locks.lock_ids(&mut other, &different)).await;
    taken.expect("it does not wait").unwrap();
    let same = BTreeSet::from([("contoso".to_owned(), Anchor::from_stored("7".to_owned()))]);
    let waits = timeout(Duration::from_millis(300), locks.lock_ids(&mut other, &same)).await;
    assert!(waits.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_complete_through_the_oldest_postponed_call_and_unknown_if_that_is() {
    let mut app = TestApp::open().await;
    let database = app.stores.database().await;
    let call = Call::new();
    app.event_grid_posts(&call.started()).await;
    let path = format!("/v1/calls/{}", call.correlation);
    let seen = app.sees(&path, |seen| seen["complete_through"].is_string()).await;
    let name = seen["call"].as_str().unwrap().to_owned();
    let lists = ["/v1/calls", "/v1/exceptions", &path];
    // The maintenance does not take it: it is due in a year.
    sqlx::query(
        "insert into postponed_call (tenant, call, since_at, due_at)
         select 'contoso', resolves_to, '2026-01-02 03:04:05+00', now() + interval '1 year'
         from call_alias where anchor like '%' || $1 limit 1",
    )
    .bind(&name)
    .execute(&database)
    .await
    .unwrap();
    for path in lists {
        let answer = app.reads(path).await;
        assert_eq!(answer["complete_through"], "2026-01-02T03:04:05.000000Z", "{path}");
    }
    let unknown = "update postponed_call set since_at = '-infinity'";
    sqlx::query(unknown).execute(&database).await.unwrap();
    for path in lists {
        assert_eq!(app.reads(path).await["complete_through"], Value::Null, "{path}");
    }
    sqlx::query("delete from postponed_call").execute(&database).await.unwrap();
    for path in lists {
        assert!(app.reads(path).await["complete_through"].is_string(), "{path}");
    }
    app.stop().await;
}
