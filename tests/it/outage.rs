//! Either store away, and both: nothing is lost, and the live notice path waits for one store only.

use std::time::{Duration, Instant};

use onrecord::embedded::Shutdown;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::azure::{ALICE, Call, report};
use crate::client::http;
use crate::house::{Ground, SOURCE_KEY, TestHouse, until};
use crate::kafka::kafka_of_its_own;
use crate::notices::{bulk_producer, put, recorded_for_a_while};
use crate::postgres::{fresh_database, postgres_of_its_own};
use crate::socket::Socket;

/// A house whose Kafka and Postgres are the test's alone. Proves laws about Kafka: real only.
macro_rules! a_house_with_stores_of_its_own {
    () => {{
        let Some(kafka) = kafka_of_its_own().await else {
            return;
        };
        let postgres = postgres_of_its_own().await;
        let ground = Ground {
            database_url: postgres.admin_url(),
            brokers: kafka.bootstrap_servers().to_owned(),
            prefix: String::new(),
        };
        let house = TestHouse::on(ground).await;
        house.is_ready().await;
        (kafka, postgres, house)
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_stopped_a_report_reaches_a_listening_client_and_is_entered_when_kafka_is_back()
{
    let (mut kafka, postgres, mut house) = a_house_with_stores_of_its_own!();
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let mut stream = house
        .listens(&token, &format!("attachment={attachment}"))
        .await;
    let mut socket = Socket::open(&house, &token, &format!("attachment={attachment}")).await;
    house.event_grid_posts(&call.started()).await;
    kafka.stop().await;

    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let began = Instant::now();
    let (status, answer) = house.reports(&token, &on).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(stream.hears_recording("on").await.kind, "notice");
    assert_eq!(socket.hears_recording("on").await.kind, "notice");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "Kafka's patience is 2 s: {:?}",
        began.elapsed()
    );
    house
        .event_grid_posts(&call.joined(ALICE, &Uuid::new_v4().to_string()))
        .await;
    let spooled: i64 = sqlx::query_scalar("select count(*) from spool")
        .fetch_one(&house.ground.database().await)
        .await
        .unwrap();
    assert!(
        spooled >= 2,
        "what Kafka did not confirm is in the spool: {spooled}"
    );

    kafka.start_again().await.unwrap();
    house
        .sees(&format!("/v1/calls/{}", call.correlation), |seen| {
            seen["recorded"] == true
                && seen["participants"]
                    .as_array()
                    .is_some_and(|p| !p.is_empty())
        })
        .await;
    house.ground.spool_is_drained().await;
    let reports = house.reads("/v1/events?type=report").await;
    assert_eq!(
        reports["events"].as_array().unwrap().len(),
        1,
        "entered once"
    );
    house.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_stopped_a_report_reaches_a_listening_client_and_is_entered_when_postgres_is_back()
 {
    let (mut kafka, mut postgres, mut house) = a_house_with_stores_of_its_own!();
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let mut stream = house
        .listens(&token, &format!("attachment={attachment}"))
        .await;
    stream.hears("snapshot").await;
    let mut socket = Socket::open(&house, &token, &format!("attachment={attachment}")).await;
    socket.hears("snapshot").await;
    postgres.stop_server(Shutdown::Immediate).await;
    let mut late = Socket::open(&house, &token, &format!("attachment={attachment}")).await;

    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let (status, answer) = house.reports(&token, &on).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    stream.hears_recording("on").await;
    socket.hears_recording("on").await;
    late.hears_recording("on").await;
    house.event_grid_posts(&call.started()).await;
    let ready = http().get(house.url("/readyz")).send().await.unwrap();
    assert_eq!(
        ready.status(),
        StatusCode::OK,
        "degraded, but it would accept"
    );

    postgres.start_server().await.unwrap();
    house
        .sees(&format!("/v1/calls/{}", call.correlation), |seen| {
            seen["recorded"] == true
        })
        .await;
    house.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_stores_stopped_the_sender_is_told_to_try_again_and_nothing_is_lost() {
    let (mut kafka, mut postgres, mut house) = a_house_with_stores_of_its_own!();
    let call = Call::new();
    let token = house.token(ALICE).await;
    house.event_grid_posts(&call.started()).await;
    kafka.stop().await;
    postgres.stop_server(Shutdown::Fast).await;
    let events = call.joined(ALICE, &Uuid::new_v4().to_string());
    let post = || async {
        let request = http()
            .post(house.url("/ingest/event-grid/eg"))
            .header("x-onrecord-key", SOURCE_KEY)
            .body(events.to_string());
        request.send().await.unwrap()
    };
    for _ in 0..2 {
        let began = Instant::now();
        let answer = post().await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "{:?}",
            began.elapsed()
        );
    }
    let on = report(
        &Uuid::new_v4(),
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    assert_eq!(
        house.reports(&token, &on).await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );

    postgres.start_server().await.unwrap();
    kafka.start_again().await.unwrap();
    until("the retry is taken", || async {
        (post().await.status() == StatusCode::OK).then_some(())
    })
    .await;
    house
        .sees(&format!("/v1/calls/{}", call.correlation), |seen| {
            seen["participants"]
                .as_array()
                .is_some_and(|p| p.len() == 1)
        })
        .await;
    house.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_either_store_answers_503_and_comes_to_life_by_itself() {
    let Some(mut kafka) = kafka_of_its_own().await else {
        return;
    };
    let mut postgres = postgres_of_its_own().await;
    kafka.stop().await;
    postgres.stop_server(Shutdown::Fast).await;
    let ground = Ground {
        database_url: postgres.admin_url(),
        brokers: kafka.bootstrap_servers().to_owned(),
        prefix: String::new(),
    };
    let mut house = TestHouse::on(ground).await;
    let call = Call::new();
    let (status, _) = house
        .posts("/ingest/event-grid/eg", call.started().to_string())
        .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let ready = http().get(house.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);

    postgres.start_server().await.unwrap();
    until("the spool takes it", || async {
        let (status, _) = house
            .posts("/ingest/event-grid/eg", call.started().to_string())
            .await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    kafka.start_again().await.unwrap();
    house.is_ready().await;
    house
        .sees(&format!("/v1/calls/{}", call.correlation), |seen| {
            seen["call"] == call.correlation.as_str()
        })
        .await;
    house.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_kafka_tells_from_the_spool_what_it_knows() {
    let ground = Ground {
        database_url: fresh_database().await,
        brokers: "127.0.0.1:1".to_owned(),
        prefix: String::new(),
    };
    let house = TestHouse::on(ground).await;
    until("postgres is well", || async {
        let view: Value = http()
            .get(house.url("/readyz"))
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
        (view["components"]["postgres"]["health"] == "well").then_some(())
    })
    .await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = until("a token", || async {
        // The schema may still be in the making.
        let tables: Result<i64, _> = sqlx::query_scalar("select count(*) from api_key")
            .fetch_one(&house.ground.database().await)
            .await;
        match tables {
            Ok(_) => Some(house.token(ALICE).await),
            Err(_) => None,
        }
    })
    .await;
    let mut stream = house
        .listens(&token, &format!("attachment={attachment}"))
        .await;
    assert_eq!(stream.hears("snapshot").await.recording(), "unknown");
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    assert_eq!(house.reports(&token, &on).await.0, StatusCode::OK);
    assert_eq!(
        stream.hears_recording("on").await.kind,
        "snapshot",
        "without the log nothing is known to have changed"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_that_starts_while_kafka_dies_tells_what_the_spool_brings() {
    let (kafka, postgres, house) = a_house_with_stores_of_its_own!();
    // A history that takes a while to read.
    let producer = bulk_producer(kafka.bootstrap_servers().as_str());
    let now = chrono::Utc::now().timestamp_millis();
    for partition in 0..12 {
        let history = recorded_for_a_while(&Call::new(), 1_500);
        put(&producer, "calling-events.v1", partition, &history, now).await;
    }
    let ground = house.ground.clone();
    let token = house.token(ALICE).await;
    house.stop().await;

    let house = TestHouse::on(ground).await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let mut stream = house
        .listens(&token, &format!("attachment={attachment}"))
        .await;
    kafka.pause();
    let ready: Value = http()
        .get(house.url("/readyz"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_ne!(
        ready["components"]["board"]["health"], "well",
        "the history is longer than that"
    );
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    until("the spool takes it", || async {
        (house.reports(&token, &on).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    stream.hears_recording("on").await;
    kafka.resume();
    house.is_ready().await;
    let off = json!({ "server_call_id": call.server_call_id, "recording": "paused" });
    house.reports(&token, &report(&attachment, 2, &off)).await;
    stream.hears_recording("paused").await;
    house.stop().await;
    postgres.stop().await;
}
