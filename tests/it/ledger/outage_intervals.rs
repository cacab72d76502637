//! Outages of the deployment are recorded as intervals.

use std::time::Duration;

use onrecord_devstack::PostgresShutdown;
use serde_json::Value;

use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::Call;
use crate::support::client::http;
use crate::support::kafka::own_kafka;
use crate::support::postgres::own_postgres;

/// The intervals of one kind.
fn of_kind<'a>(seen: &'a Value, kind: &str, subject: Option<&str>) -> Vec<&'a Value> {
    let all = seen["outages"].as_array().unwrap().iter();
    all.filter(|one| one["kind"] == kind)
        .filter(|one| subject.is_none_or(|subject| one["subject"] == subject))
        .collect()
}

async fn is_unhealthy(app: &TestApp, component: &str) {
    until("it is not healthy", || async {
        let asked = http().get(app.url("/readyz")).send().await.ok()?;
        let view: Value = asked.json().await.ok()?;
        (view["components"][component]["health"] != "healthy").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_outage_is_recorded_for_the_ledger_only_and_a_kafka_outage_as_spool_use() {
    let Some(mut kafka) = own_kafka().await else {
        return;
    };
    let mut postgres = own_postgres().await;
    let stores = TestStores {
        database_url: postgres.admin_url(),
        brokers: kafka.bootstrap_servers().to_owned(),
        prefix: String::new(),
    };
    let mut app = TestApp::on(stores).await;
    app.is_ready().await;
    let database = app.stores.database().await;
    until("the node is noted as present", || async {
        let roles: i64 = sqlx::query_scalar(
            "select count(distinct role) from role_heartbeat where last_seen_at > started_at",
        )
        .fetch_one(&database)
        .await
        .ok()?;
        (roles == 3).then_some(())
    })
    .await;

    postgres.stop_server(PostgresShutdown::Immediate).await;
    is_unhealthy(&app, "ledger").await;
    // A node checks itself every 2 s; that it is still not healthy takes a real wait.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let call = Call::new();
    app.event_grid_posts(&call.started()).await;
    postgres.start_server().await.unwrap();
    app.is_ready().await;
    let seen = app
        .sees("/v1/outages", |seen| {
            let outages = of_kind(seen, "outage", Some("ledger"));
            outages.iter().any(|one| one["to"].is_string())
        })
        .await;
    // The ingest role published to Kafka all the time, and its availability was recorded afterwards.
    app.sees("/v1/outages", |seen| of_kind(seen, "outage", Some("ingest")).is_empty()).await;
    assert!(of_kind(&seen, "spool", None).is_empty(), "{seen:#}");
    let evidence = format!("/v1/calls/{}/evidence", call.correlation);
    app.sees(&evidence, |evidence| {
        let unseen = evidence["unseen"].as_array();
        unseen.is_some_and(|all| all.iter().any(|one| one["subject"] == "ledger"))
    })
    .await;

    kafka.stop().await;
    app.event_grid_posts(&Call::new().started()).await;
    app.sees("/v1/outages", |seen| {
        of_kind(seen, "spool", None).iter().any(|one| one["to"].is_null())
    })
    .await;
    kafka.start_again().await.unwrap();
    let seen = app
        .sees("/v1/outages", |seen| {
            of_kind(seen, "spool", None).iter().any(|one| one["to"].is_string())
        })
        .await;
    let spool = of_kind(&seen, "spool", None);
    assert_eq!(spool.len(), 1, "{seen:#}");
    assert!(spool[0]["detail"].as_str().unwrap().contains("(1 drained)"));
    app.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}
