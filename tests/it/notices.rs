//! What rings and what does not, and streams whose call changes its name.

use std::time::Duration;

use futures_util::future::join_all;
use onrecord::domain::calling_event::{CallingEvent, ProviderStateChanged, Statement};
use onrecord::domain::fact::{CaptureType, ProviderState};
use onrecord::domain::ids::{self, Digest, Ids, Tenant};
use onrecord::store::{Role, Store};
use onrecord::stream::{EventMessage, Provenance};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::azure::{ALICE, Call, report};
use crate::client::http;
use crate::corridor::urlencoded;
use crate::house::{TestHouse, until};
use crate::socket::Handshake;

/// Kind and recording level of the next message.
async fn next(stream: &mut crate::client::Stream) -> (String, String) {
    let heard = stream.next().await.unwrap();
    (heard.kind.clone(), heard.recording().to_owned())
}

fn told(kind: &str, state: &str) -> (String, String) {
    (kind.to_owned(), state.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_event_makes_no_news_of_an_old_one_in_the_same_delivery() {
    let house = TestHouse::open().await;
    let call = Call::new();
    let token = house.token(ALICE).await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut stream = house.listens(&token, &query).await;
    assert_eq!(next(&mut stream).await, told("snapshot", "unknown"));
    let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
    let delivery = json!([
        call.recording("active", yesterday)[0],
        call.roster(1, &[ALICE])[0],
    ]);
    house.call_automation_posts(&delivery).await;
    assert_eq!(next(&mut stream).await, told("snapshot", "on"));
    house
        .call_automation_posts(&call.recording("inactive", chrono::Utc::now()))
        .await;
    assert_eq!(next(&mut stream).await, told("notice", "off"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_only_joins_two_names_of_a_call_is_no_news() {
    let house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let key = house.api_key("contoso", Role::App).await;
    let mut by_correlation = house
        .listens(&key, &format!("call={}", call.correlation))
        .await;
    assert_eq!(next(&mut by_correlation).await, told("snapshot", "unknown"));
    let token = house.token(ALICE).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    let (status, answer) = house.reports(&token, &report(&attachment, 1, &on)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    house.event_grid_posts(&call.started()).await;
    assert_eq!(next(&mut by_correlation).await, told("snapshot", "on"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_only_an_event_without_facts_carries_joins_the_names_of_a_call() {
    let house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let key = house.api_key("contoso", Role::App).await;
    let mut stream = house
        .listens(&key, &format!("call={}", call.correlation))
        .await;
    assert_eq!(next(&mut stream).await, told("snapshot", "unknown"));
    let token = house.token(ALICE).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    house.reports(&token, &report(&attachment, 1, &on)).await;
    let played = call.callback("PlayCompleted", chrono::Utc::now(), &json!({}));
    house.call_automation_posts(&played).await;
    assert_eq!(next(&mut stream).await, told("snapshot", "on"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_an_attachment_that_two_calls_claim_says_unknown() {
    let house = TestHouse::open().await;
    let (one, other, attachment) = (Call::new(), Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let mut stream = house
        .listens(&token, &format!("attachment={attachment}"))
        .await;
    let on = |call: &Call| json!({ "server_call_id": call.server_call_id, "recording": "on" });
    house
        .reports(&token, &report(&attachment, 1, &on(&one)))
        .await;
    stream.hears_recording("on").await;
    house
        .reports(&token, &report(&attachment, 2, &on(&other)))
        .await;
    let unknown = stream.next().await.unwrap();
    assert_eq!(
        (unknown.kind.as_str(), unknown.recording()),
        ("snapshot", "unknown")
    );
    assert_eq!(unknown.body["call"], Value::Null);
    house.stop().await;
}

/// A message as a door would have put it on the log.
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
        event: CallingEvent {
            statement: Statement::ProviderState(ProviderStateChanged {
                capture: CaptureType::Recording,
                recording: call.recording_id(),
                capture_kind: Some("teams".to_owned()),
                state,
                start: None,
                recorder_leg: None,
            }),
            ids: Ids {
                server_call_id: ids::server_call_id(&call.server_call_id),
                ..Ids::default()
            },
            source_type: "Microsoft.Communication.RecordingStateChanged".to_owned(),
            generation: None,
            redacted: Vec::new(),
        },
    }
}

/// A producer that sends many messages at one time.
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

/// Puts messages into one partition, stamped by `stamp` (ms).
pub async fn put(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    messages: &[EventMessage],
    stamp: i64,
) {
    let wires: Vec<_> = messages
        .iter()
        .map(|message| message.to_wire().unwrap())
        .collect();
    let sent = wires.iter().map(|wire| {
        let headers = wire
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
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

/// Messages of one call: recorded at first, and not in the end.
pub fn recorded_for_a_while(call: &Call, many: i64) -> Vec<EventMessage> {
    (0..many)
        .map(|n| {
            let state = if n < many / 2 {
                ProviderState::Active
            } else {
                ProviderState::Inactive
            };
            on_the_log(call, n, state)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fell_behind_says_gap_and_the_level_and_nothing_of_what_was_between() {
    let house = TestHouse::open().await;
    if !crate::kafka::shared_kafka().await.is_real() {
        return;
    }
    let call = Call::new();
    let token = house.token(ALICE).await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut stream = house.listens(&token, &query).await;
    assert_eq!(next(&mut stream).await, told("snapshot", "unknown"));
    let topic = format!("{}calling-events.v1", house.ground.prefix);
    let a_minute_ago = chrono::Utc::now().timestamp_millis() - 60_000;
    let messages = recorded_for_a_while(&call, 2_000);
    let producer = bulk_producer(&house.ground.brokers);
    put(&producer, &topic, 0, &messages, a_minute_ago).await;
    assert_eq!(stream.next().await.unwrap().kind, "gap");
    assert_eq!(next(&mut stream).await, told("snapshot", "off"));
    // It is live again.
    house
        .call_automation_posts(&call.recording("active", chrono::Utc::now()))
        .await;
    assert_eq!(next(&mut stream).await, told("notice", "on"));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_api_key_is_revoked() {
    let house = TestHouse::open().await;
    let key = house.api_key("contoso", Role::Analyst).await;
    let mut stream = house.listens(&key, "call=unknown-for-ever").await;
    stream.hears("snapshot").await;
    let mut socket = Handshake::new(&house, "").bearer(&key).opens().await;
    let store = Store::new(&house.ground.database_url, 2).unwrap();
    for known in store.api_keys().await.unwrap() {
        sqlx::query("update api_key set revoked = now() where id = $1")
            .bind(known.id)
            .execute(&house.ground.database().await)
            .await
            .unwrap();
    }
    assert_eq!(stream.next().await.unwrap().kind, "bye");
    assert!(stream.next().await.is_none());
    let (heard, code) = socket.hears_the_end().await;
    assert_eq!(heard.last().unwrap().kind, "bye");
    assert_eq!(code, 4401);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_stream_is_brought_a_newer_cursor_without_an_event() {
    let house = TestHouse::open().await;
    let token = house.token(ALICE).await;
    let response = http()
        .get(house.url(&format!("/v1/notices/stream?attachment={}", Uuid::new_v4())))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    house.event_grid_posts(&Call::new().started()).await;
    let mut chunks = Box::pin(response.bytes_stream());
    let mut read = String::new();
    let block = loop {
        let chunk = futures_util::StreamExt::next(&mut chunks).await;
        read.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        let quiet = read
            .split("\n\n")
            .find(|block| block.contains("id:") && !block.contains("data:"));
        if let Some(block) = quiet.filter(|_| read.ends_with("\n\n")) {
            break block.to_owned();
        }
    };
    let id = |block: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix("id: "))
            .unwrap()
            .to_owned()
    };
    let first = id(read.split("\n\n").next().unwrap());
    assert_ne!(id(&block), first, "the log went on meanwhile");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reports_too_often_is_asked_to_wait() {
    let house = TestHouse::open().await;
    let token = house.token(ALICE).await;
    let attachment = Uuid::new_v4();
    let answers = (1..=90).map(|sequence| {
        let (house, token) = (&house, &token);
        async move {
            http()
                .post(house.url("/v1/reports"))
                .bearer_auth(token)
                .json(&report(
                    &attachment,
                    sequence,
                    &json!({ "recording": "off" }),
                ))
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
    let bob = house.token(crate::azure::BOB).await;
    let (status, _) = house
        .reports(&bob, &report(&Uuid::new_v4(), 1, &json!({})))
        .await;
    assert_eq!(status, StatusCode::OK, "others may go on");
    until("they may come back", || async {
        let (status, _) = house
            .reports(&token, &report(&attachment, 999, &json!({})))
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_postgres_refuses_is_the_caller_s_fault() {
    let house = TestHouse::open().await;
    let key = house.api_key("contoso", Role::Admin).await;
    for path in [
        "/v1/calls?participant=%00",
        "/v1/events?source=a%00b",
        "/v1/quarantine?reason=%00",
    ] {
        let answer = http()
            .get(house.url(path))
            .bearer_auth(&key)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:onrecord:problem:invalid-request");
    }
    house.stop().await;
}
