//! What the deployment could not see is known afterwards.

use std::time::Duration;

use onrecord::embedded::Shutdown;
use serde_json::Value;

use crate::azure::Call;
use crate::client::http;
use crate::house::{Ground, TestHouse, until};
use crate::kafka::kafka_of_its_own;
use crate::postgres::postgres_of_its_own;

/// The intervals of one kind.
fn of_kind<'a>(seen: &'a Value, kind: &str, subject: Option<&str>) -> Vec<&'a Value> {
    let all = seen["outages"].as_array().unwrap().iter();
    all.filter(|one| one["kind"] == kind)
        .filter(|one| subject.is_none_or(|subject| one["subject"] == subject))
        .collect()
}

async fn is_ill(house: &TestHouse, component: &str) {
    until("it is not well", || async {
        let asked = http().get(house.url("/readyz")).send().await.ok()?;
        let view: Value = asked.json().await.ok()?;
        (view["components"][component]["health"] != "well").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgres_is_one_of_the_ledger_and_not_of_the_door_and_one_of_kafka_is_a_use_of_the_spool()
 {
    let Some(mut kafka) = kafka_of_its_own().await else {
        return;
    };
    let mut postgres = postgres_of_its_own().await;
    let ground = Ground {
        database_url: postgres.admin_url(),
        brokers: kafka.bootstrap_servers().to_owned(),
        prefix: String::new(),
    };
    let mut house = TestHouse::on(ground).await;
    house.is_ready().await;
    let database = house.ground.database().await;
    until("the node is noted as present", || async {
        let rooms: i64 = sqlx::query_scalar(
            "select count(distinct room) from room_presence where until > since",
        )
        .fetch_one(&database)
        .await
        .ok()?;
        (rooms == 3).then_some(())
    })
    .await;

    postgres.stop_server(Shutdown::Immediate).await;
    is_ill(&house, "ledger").await;
    // A node looks at itself every 2 s; that it is still not well can only be waited for.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let call = Call::new();
    house.event_grid_posts(&call.started()).await;
    postgres.start_server().await.unwrap();
    house.is_ready().await;
    let seen = house
        .sees("/v1/outages", |seen| {
            let outages = of_kind(seen, "outage", Some("ledger"));
            outages.iter().any(|one| one["to"].is_string())
        })
        .await;
    // The door took events by Kafka all the time, and this was written down afterwards.
    house
        .sees("/v1/outages", |seen| {
            of_kind(seen, "outage", Some("intake")).is_empty()
        })
        .await;
    assert!(of_kind(&seen, "spool", None).is_empty(), "{seen:#}");
    let evidence = format!("/v1/calls/{}/evidence", call.correlation);
    house
        .sees(&evidence, |account| {
            let unseen = account["unseen"].as_array();
            unseen.is_some_and(|all| all.iter().any(|one| one["subject"] == "ledger"))
        })
        .await;

    kafka.stop().await;
    house.event_grid_posts(&Call::new().started()).await;
    house
        .sees("/v1/outages", |seen| {
            of_kind(seen, "spool", None)
                .iter()
                .any(|one| one["to"].is_null())
        })
        .await;
    kafka.start_again().await.unwrap();
    let seen = house
        .sees("/v1/outages", |seen| {
            of_kind(seen, "spool", None)
                .iter()
                .any(|one| one["to"].is_string())
        })
        .await;
    let spool = of_kind(&seen, "spool", None);
    assert_eq!(spool.len(), 1, "{seen:#}");
    assert!(spool[0]["detail"].as_str().unwrap().contains("(1 drained)"));
    house.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}
