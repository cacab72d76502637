//! Which events send a notice, and streams whose call changes its id.

use std::time::Duration;

use futures_util::future::join_all;
use onrecord::http::api_role::ApiRole;
use onrecord::kafka::{EventMessage, Provenance};
use onrecord::postgres::Postgres;
use onrecord_evidence::event::calling_event::{CallingEvent, ProviderStateChanged, Statement};
use onrecord_evidence::event::ids::{self, Digest, Ids, Tenant};
use onrecord_evidence::fact::kinds::{CaptureType, ProviderState};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::support::app::{TestApp, until};
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::http;
use crate::support::socket::Handshake;

/// Kind and recording level of the next message.
async fn next(stream: &mut crate::support::client::Stream) -> (String, String) {
    let received = stream.next().await.unwrap();
    (received.kind.clone(), received.recording().to_owned())
}

fn message(kind: &str, state: &str) -> (String, String) {
    (kind.to_owned(), state.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_event_does_not_announce_a_stale_event_of_the_same_delivery() {
    let app = TestApp::open().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut stream = app.subscribes(&token, &query).await;
    assert_eq!(next(&mut stream).await, message("snapshot", "unknown"));
    let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
    let delivery = json!([call.recording("active", yesterday)[0], call.roster(1, &[ALICE])[0],]);
    app.call_automation_posts(&delivery).await;
    assert_eq!(next(&mut stream).await, message("snapshot", "on"));
    app.call_automation_posts(&call.recording("inactive", chrono::Utc::now())).await;
    assert_eq!(next(&mut stream).await, message("notice", "off"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_only_links_two_ids_of_a_call_sends_no_notice() {
    let app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let key = app.api_key("contoso", ApiRole::App).await;
    let mut by_correlation = app.subscribes(&key, &format!("call={}", call.correlation)).await;
    assert_eq!(next(&mut by_correlation).await, message("snapshot", "unknown"));
    let token = app.token(ALICE).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    let (status, answer) = app.reports(&token, &report(&attachment, 1, &on)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    app.event_grid_posts(&call.started()).await;
    assert_eq!(next(&mut by_correlation).await, message("snapshot", "on"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_facts_can_link_two_ids_of_a_call() {
    let app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let key = app.api_key("contoso", ApiRole::App).await;
    let mut stream = app.subscribes(&key, &format!("call={}", call.correlation)).await;
    assert_eq!(next(&mut stream).await, message("snapshot", "unknown"));
    let token = app.token(ALICE).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    app.reports(&token, &report(&attachment, 1, &on)).await;
    let played = call.callback("PlayCompleted", chrono::Utc::now(), &json!({}));
    app.call_automation_posts(&played).await;
    assert_eq!(next(&mut stream).await, message("snapshot", "on"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_an_attachment_that_two_calls_claim_states_unknown() {
    let app = TestApp::open().await;
    let (one, other, attachment) = (Call::new(), Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    let on = |call: &Call| json!({ "server_call_id": call.server_call_id, "recording": "on" });
    app.reports(&token, &report(&attachment, 1, &on(&one))).await;
    stream.receives_recording("on").await;
    app.reports(&token, &report(&attachment, 2, &on(&other))).await;
    let unknown = stream.next().await.unwrap();
    assert_eq!((unknown.kind.as_str(), unknown.recording()), ("snapshot", "unknown"));
    assert_eq!(unknown.body["call"], Value::Null);
    app.stop().await;
}

/// A message as an ingest node would publish it.
fn on_the_log(call: &Call, n: i64, state: ProviderState) -> EventMessage {
    let received =
        chrono::Utc::now() - chrono::TimeDelta::seconds(60) + chrono::TimeDelta::milliseconds(n);
    EventMessage {
        credential: None,
        tenant: Tenant::parse("contoso").unwrap(),
        provenance: Provenance::CallAutomation,
        source: "ca".to_owned(),
        ce_source: "calling/callconnections".to_owned(),
        ce_id: Uuid::new_v4().to_string(),
        ce_time: None,
        received,
        sha256: Digest::of(b""),
        content: Digest::of(&n.to_be_bytes()),
        original: "{}".to_owned(),
        content_coding: None,
        charset: None,
        event: CallingEvent {
            statement: Statement::ProviderState(ProviderStateChanged {
                capture_type: CaptureType::Recording,
                recording: call.recording_id(),
                capture_kind: Some("teams".to_owned()),
                state,
                started_at: None,
                recorder_leg: None,
            }),
            ids: Ids {
                server_call_id: ids::server_call_id(&call.server_call_id),
                ..Ids::default()
            },
            source_type: "Microsoft.Communication.RecordingStateChanged".to_owned(),
            generation: None,
            redacted: Vec::new(),
            flagged: Vec::new(),
        },
    }
}

/// A producer that sends many messages at a time.
pub fn bulk_producer(brokers: &str) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "500")
        .set("batch.num.messages", "100000")
        .set("batch.size", "10000000")
        .set("message.max.bytes", "12582912")
        .create()
        .unwrap()
}

/// Publishes messages to one partition, with the timestamp `stamp` (ms).
pub async fn put(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    messages: &[EventMessage],
    stamp: i64,
) {
    let wires: Vec<_> = messages.iter().map(|message| message.to_wire().unwrap()).collect();
    let sent = wires.iter().map(|wire| {
        let headers = wire.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let record = FutureRecord::to(topic)
            .partition(partition)
            .key(&wire.key)
            .payload(&wire.value)
            .timestamp(stamp)
            .headers(headers);
        producer.send_result(record).unwrap()
    });
    for confirmed in join_all(sent.collect::<Vec<_>>()).await {
        confirmed.unwrap().unwrap();
    }
}

/// Messages of one call that is recorded first, and not recorded at the end.
pub fn recorded_for_a_while(call: &Call, many: i64) -> Vec<EventMessage> {
    (0..many)
        .map(|n| {
            let state = if n < many / 2 { ProviderState::Active } else { ProviderState::Inactive };
            on_the_log(call, n, state)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fell_behind_sends_gap_and_the_current_level_only() {
    if crate::support::kafka::shared_kafka().await.real().is_none() {
        return;
    }
    let app = TestApp::open().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut stream = app.subscribes(&token, &query).await;
    assert_eq!(next(&mut stream).await, message("snapshot", "unknown"));
    let topic = format!("{}calling-events.v1", app.stores.prefix);
    let a_minute_ago = chrono::Utc::now().timestamp_millis() - 60_000;
    let messages = recorded_for_a_while(&call, 2_000);
    let producer = bulk_producer(&app.stores.brokers);
    put(&producer, &topic, 0, &messages, a_minute_ago).await;
    assert_eq!(stream.next().await.unwrap().kind, "gap");
    assert_eq!(next(&mut stream).await, message("snapshot", "off"));
    // It is live again.
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    assert_eq!(next(&mut stream).await, message("notice", "on"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_api_key_is_revoked() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Analyst).await;
    let mut stream = app.subscribes(&key, "call=unknown-for-ever").await;
    stream.receives("snapshot").await;
    let mut socket = Handshake::new(&app, "").bearer(&key).opens().await;
    let store = Postgres::new(&app.stores.database_url, 2).unwrap();
    for known in store.api_keys().await.unwrap() {
        sqlx::query("update api_key set revoked_at = now() where id = $1")
            .bind(known.id)
            .execute(&app.stores.database().await)
            .await
            .unwrap();
    }
    assert_eq!(stream.next().await.unwrap().kind, "bye");
    assert!(stream.next().await.is_none());
    let (received, code) = socket.receives_until_close().await;
    assert_eq!(received.last().unwrap().kind, "bye");
    assert_eq!(code, 4401);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reports_too_often_is_asked_to_wait() {
    let app = TestApp::open().await;
    let token = app.token(ALICE).await;
    let attachment = Uuid::new_v4();
    let answers = (1..=90).map(|sequence| {
        let (app, token) = (&app, &token);
        async move {
            http()
                .post(app.url("/v1/reports"))
                .bearer_auth(token)
                .json(&report(&attachment, sequence, &json!({ "recording": "off" })))
                .send()
                .await
                .unwrap()
        }
    });
    let mut refused = 0;
    for answer in join_all(answers).await {
        if answer.status() == StatusCode::OK {
            continue;
        }
        refused += 1;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.headers().contains_key("retry-after"));
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:onrecord:problem:too-many-requests");
    }
    assert!(refused > 0, "90 at one time are too many");
    let bob = app.token(crate::support::azure::BOB).await;
    let (status, _) = app.reports(&bob, &report(&Uuid::new_v4(), 1, &json!({}))).await;
    assert_eq!(status, StatusCode::OK, "others may go on");
    until("they may come back", || async {
        let (status, _) = app.reports(&token, &report(&attachment, 999, &json!({}))).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_postgres_refuses_is_answered_as_a_client_error() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Admin).await;
    for path in
        ["/v1/calls?participant=%00", "/v1/events?source=a%00b", "/v1/quarantine?reason=%00"]
    {
        let answer = http().get(app.url(path)).bearer_auth(&key).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:onrecord:problem:invalid-request");
    }
    app.stop().await;
}
