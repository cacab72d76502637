//! Either store is away, or both: nothing is lost, and a notice waits for one store only.

use std::time::{Duration, Instant};

use onrecord_devstack::PostgresShutdown;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::live::notices::{bulk_producer, put, recorded_for_a_while};
use crate::support::app::{SOURCE_KEY, TestApp, TestStores, until};
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::http;
use crate::support::kafka::own_kafka;
use crate::support::postgres::{fresh_database, own_postgres};
use crate::support::socket::Socket;

/// An app with its own Kafka and Postgres. It proves guarantees about Kafka, so Kafka is real.
macro_rules! app_with_own_stores {
    () => {{
        let Some(kafka) = own_kafka().await else {
            return;
        };
        let postgres = own_postgres().await;
        let stores = TestStores {
            database_url: postgres.admin_url(),
            brokers: kafka.bootstrap_servers().to_owned(),
            prefix: String::new(),
        };
        let app = TestApp::on(stores).await;
        app.is_ready().await;
        (kafka, postgres, app)
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_stopped_a_report_reaches_a_subscribed_client_and_is_appended_when_kafka_is_back()
 {
    let (mut kafka, postgres, mut app) = app_with_own_stores!();
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    let mut socket = Socket::open(&app, &token, &format!("attachment={attachment}")).await;
    app.event_grid_posts(&call.started()).await;
    kafka.stop().await;

    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let began = Instant::now();
    let (status, answer) = app.reports(&token, &on).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(stream.receives_recording("on").await.kind, "notice");
    assert_eq!(socket.receives_recording("on").await.kind, "notice");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "the timeout of Kafka is 2 s: {:?}",
        began.elapsed()
    );
    app.event_grid_posts(&call.joined(ALICE, &Uuid::new_v4().to_string())).await;
    let spooled: i64 = sqlx::query_scalar("select count(*) from spool")
        .fetch_one(&app.stores.database().await)
        .await
        .unwrap();
    assert!(spooled >= 2, "what Kafka did not confirm is in the spool: {spooled}");

    kafka.start_again().await.unwrap();
    app.sees(&format!("/v1/calls/{}", call.correlation), |seen| {
        seen["recorded"] == true && seen["participants"].as_array().is_some_and(|p| !p.is_empty())
    })
    .await;
    app.stores.spool_is_drained().await;
    let reports = app.reads("/v1/events?type=report").await;
    assert_eq!(reports["events"].as_array().unwrap().len(), 1, "appended once");
    app.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_stopped_a_report_reaches_a_subscribed_client_and_is_appended_when_postgres_is_back()
 {
    let (mut kafka, mut postgres, mut app) = app_with_own_stores!();
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    stream.receives("snapshot").await;
    let mut socket = Socket::open(&app, &token, &format!("attachment={attachment}")).await;
    socket.receives("snapshot").await;
    postgres.stop_server(PostgresShutdown::Immediate).await;
    let mut late = Socket::open(&app, &token, &format!("attachment={attachment}")).await;

    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let (status, answer) = app.reports(&token, &on).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    stream.receives_recording("on").await;
    socket.receives_recording("on").await;
    late.receives_recording("on").await;
    app.event_grid_posts(&call.started()).await;
    let ready = http().get(app.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK, "degraded, but it would accept");

    postgres.start_server().await.unwrap();
    app.sees(&format!("/v1/calls/{}", call.correlation), |seen| seen["recorded"] == true).await;
    app.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_stores_stopped_the_sender_is_asked_to_retry_and_nothing_is_lost() {
    let (mut kafka, mut postgres, mut app) = app_with_own_stores!();
    let call = Call::new();
    let token = app.token(ALICE).await;
    app.event_grid_posts(&call.started()).await;
    kafka.stop().await;
    postgres.stop_server(PostgresShutdown::Fast).await;
    let events = call.joined(ALICE, &Uuid::new_v4().to_string());
    let post = || async {
        let request = http()
            .post(app.url("/ingest/event-grid/eg"))
            .header("x-onrecord-key", SOURCE_KEY)
            .body(events.to_string());
        request.send().await.unwrap()
    };
    for _ in 0..2 {
        let began = Instant::now();
        let answer = post().await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
    let on = report(
        &Uuid::new_v4(),
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    assert_eq!(app.reports(&token, &on).await.0, StatusCode::SERVICE_UNAVAILABLE);

    postgres.start_server().await.unwrap();
    kafka.start_again().await.unwrap();
    until("the retry is taken", || async {
        (post().await.status() == StatusCode::OK).then_some(())
    })
    .await;
    app.sees(&format!("/v1/calls/{}", call.correlation), |seen| {
        seen["participants"].as_array().is_some_and(|p| p.len() == 1)
    })
    .await;
    app.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_either_store_answers_503_and_recovers_by_itself() {
    let Some(mut kafka) = own_kafka().await else {
        return;
    };
    let mut postgres = own_postgres().await;
    kafka.stop().await;
    postgres.stop_server(PostgresShutdown::Fast).await;
    let stores = TestStores {
        database_url: postgres.admin_url(),
        brokers: kafka.bootstrap_servers().to_owned(),
        prefix: String::new(),
    };
    let mut app = TestApp::on(stores).await;
    let call = Call::new();
    let (status, _) = app.posts("/ingest/event-grid/eg", call.started().to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let ready = http().get(app.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);

    postgres.start_server().await.unwrap();
    until("the spool takes it", || async {
        let (status, _) = app.posts("/ingest/event-grid/eg", call.started().to_string()).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    kafka.start_again().await.unwrap();
    app.is_ready().await;
    app.sees(&format!("/v1/calls/{}", call.correlation), |seen| {
        seen["call"] == call.correlation.as_str()
    })
    .await;
    app.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_kafka_sends_notices_from_the_spool() {
    let stores = TestStores {
        database_url: fresh_database().await,
        brokers: "127.0.0.1:1".to_owned(),
        prefix: String::new(),
    };
    let app = TestApp::on(stores).await;
    until("postgres is healthy", || async {
        let view: Value = http().get(app.url("/readyz")).send().await.ok()?.json().await.ok()?;
        (view["components"]["postgres"]["health"] == "healthy").then_some(())
    })
    .await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = until("a token", || async {
        // The migration may not have ended yet.
        let tables: Result<i64, _> = sqlx::query_scalar("select count(*) from api_key")
            .fetch_one(&app.stores.database().await)
            .await;
        match tables {
            Ok(_) => Some(app.token(ALICE).await),
            Err(_) => None,
        }
    })
    .await;
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    assert_eq!(stream.receives("snapshot").await.recording(), "unknown");
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    assert_eq!(app.reports(&token, &on).await.0, StatusCode::OK);
    assert_eq!(
        stream.receives_recording("on").await.kind,
        "snapshot",
        "without the log nothing is known to have changed"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_state_that_starts_while_kafka_fails_sends_notices_from_the_spool() {
    let (kafka, postgres, app) = app_with_own_stores!();
    // A history that takes some time to read.
    let producer = bulk_producer(kafka.bootstrap_servers().as_str());
    let now = chrono::Utc::now().timestamp_millis();
    for partition in 0..12 {
        let history = recorded_for_a_while(&Call::new(), 1_500);
        put(&producer, "calling-events.v1", partition, &history, now).await;
    }
    let stores = app.stores.clone();
    let token = app.token(ALICE).await;
    app.stop().await;

    let app = TestApp::on(stores).await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    kafka.pause();
    let ready: Value = http().get(app.url("/readyz")).send().await.unwrap().json().await.unwrap();
    assert_ne!(ready["components"]["live"]["health"], "healthy", "the history is longer than that");
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    until("the spool takes it", || async {
        (app.reports(&token, &on).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    stream.receives_recording("on").await;
    kafka.resume();
    app.is_ready().await;
    let off = json!({ "server_call_id": call.server_call_id, "recording": "paused" });
    app.reports(&token, &report(&attachment, 2, &off)).await;
    stream.receives_recording("paused").await;
    app.stop().await;
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_a_node_is_not_ready_while_postgres_can_be_read_only() {
    let stores = TestStores {
        database_url: fresh_database().await,
        brokers: "127.0.0.1:1".to_owned(),
        prefix: String::new(),
    };
    let app = TestApp::on(stores).await;
    let ready = async || {
        let asked = http().get(app.url("/readyz")).send().await.unwrap();
        let status = asked.status();
        (status, asked.json::<Value>().await.unwrap()["components"]["postgres"].clone())
    };
    until("it is ready", || async { (ready().await.0 == StatusCode::OK).then_some(()) }).await;
    let written = async || -> i64 {
        sqlx::query_scalar("select last_value from spool_id_seq")
            .fetch_one(&app.stores.database().await)
            .await
            .unwrap()
    };
    let (before, began) = (written().await, Instant::now());

    // New sessions can read only, as with a full disk or on a standby.
    let database = app.stores.database().await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&database).await.unwrap();
    let sets_read_only = async |read_only: bool| {
        let set =
            format!("alter database \"{name}\" set default_transaction_read_only = {read_only}");
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        // The session of the test may be read-only itself.
        let mut session = database.acquire().await.unwrap();
        sqlx::raw_sql("set default_transaction_read_only = off")
            .execute(&mut *session)
            .await
            .unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *session).await.unwrap();
        sqlx::raw_sql(end).execute(&mut *session).await.unwrap();
    };
    sets_read_only(true).await;
    until("it is not ready", || async {
        let (status, postgres) = ready().await;
        let names_it = postgres["reason"].as_str().is_some_and(|it| it.contains("read-only"));
        (status == StatusCode::SERVICE_UNAVAILABLE && names_it).then_some(())
    })
    .await;
    let call = Call::new();
    let (status, _) = app.posts("/ingest/event-grid/eg", call.started().to_string()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "it would accept nothing");
    sets_read_only(false).await;
    until("it is ready again", || async { (ready().await.0 == StatusCode::OK).then_some(()) })
        .await;
    let (status, answer) = app.posts("/ingest/event-grid/eg", call.started().to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let spooled: i64 =
        sqlx::query_scalar("select count(*) from spool").fetch_one(&database).await.unwrap();
    assert_eq!(spooled, 1, "the checks leave no message");
    // An idle node writes once in two seconds; each failed attempt and the event draw a number too.
    let checks = written().await - before;
    let at_most = i64::try_from(began.elapsed().as_secs()).unwrap() / 2 + 5;
    assert!(checks <= at_most, "{checks} > {at_most}");
    app.stop().await;
}
