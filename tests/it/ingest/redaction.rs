//! `NO_SECRETS`: secrets and contents of calls are never stored.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use serde_json::json;
use uuid::Uuid;

use crate::support::app::{SOURCE_KEY, TestApp, TestStores};
use crate::support::azure::{ALICE, Call, report};

const MARKER: &str = "PLANTED-MARKER-7c1f";

fn jwt(n: u32) -> String {
    format!("eyJhbGciOiJub25lIn0.{}.c2ln", planted(n))
}

fn bearer(n: u32) -> String {
    format!("{}-0123456789", planted(n))
}

fn private_key(n: u32) -> String {
    format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----", planted(n))
}

fn planted(n: u32) -> String {
    format!("{MARKER}-{n}")
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_appear_neither_in_kafka_nor_in_postgres() {
    // Sealed content contains no marker either.
    let seal = "[quarantine]\nseal_to = \"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\"";
    let mut app = TestApp::with(TestStores::shared().await, seal).await;
    let call = Call::new();
    let now = chrono::Utc::now();
    let offered = json!({ "incomingCallContext": planted(1), "to": { "rawId": ALICE }, "from": { "rawId": ALICE }, "nested": { "INCOMINGCALLCONTEXT": [planted(2), { "x": planted(3) }] }, "text": format!("{{\"incomingCallContext\":\"{}\"}}", planted(4)) });
    app.event_grid_posts(&call.event("IncomingCall", now, &offered)).await;
    let tones = json!({ "recognitionType": "dtmf", "dtmfResult": { "tones": [planted(5)] }, "speechResult": { "speech": planted(6) }, "choiceResult": { "label": "Marketing", "recognizedPhrase": planted(7) } });
    app.call_automation_posts(&call.callback("RecognizeCompleted", now, &tones)).await;
    app.call_automation_posts(&call.callback(
        "ContinuousDtmfRecognitionToneReceived",
        now,
        &json!({ "tone": planted(8), "toneInfo": { "tone": planted(9) } }),
    ))
    .await;
    let captions = json!({ "captionText": planted(10), "spokenText": planted(11) });
    app.call_automation_posts(&call.callback("CaptionsReceived", now, &captions)).await;
    let sms = json!({ "message": planted(12), "from": "+1" });
    app.event_grid_posts(&call.event("SMSReceived", now, &sms)).await;
    app.event_grid_posts(&call.event(
        "ChatMessageReceived",
        now,
        &json!({ "messageBody": planted(13), "token": planted(14) }),
    ))
    .await;
    // Secrets in members of ordinary names are known by their shape.
    let operation = json!({ "operationContext": format!("{} Bearer {}", jwt(23), bearer(24)), "clientAssertion": planted(25), "passwords": [planted(26)], "pinCode": planted(27), "note": private_key(28) });
    app.call_automation_posts(&call.callback("CallConnected", now, &operation)).await;
    let (alice, attachment) = (app.token(ALICE).await, Uuid::new_v4());
    let text = json!({ "version": jwt(29), "sha256": "0", "locale": "de" });
    let stated = json!({ "recording": "on", "server_call_id": call.server_call_id, "app": format!("https://user:{}@host/?sig={}", planted(30), planted(31)), "sdk": format!("Bearer {}", bearer(32)), "shown": [{ "type": "recording", "state": "on", "text": text }] });
    let (status, answer) = app.reports(&alice, &report(&attachment, 1, &stated)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["indication"]["recording"]["state"], "on", "{answer}");
    // An id without its secret would be another one.
    let mut other = report(&attachment, 2, &stated);
    other["report_id"] = json!(jwt(33));
    let (status, problem) = app.reports(&alice, &other).await;
    assert_eq!((status.as_u16(), problem["member"].as_str()), (400, Some("/report_id")));
    let acknowledged = json!([{ "id": jwt(34), "attachment": attachment, "type": "recording", "kind": "displayed", "state": "on" }]);
    let (_, results) = app.posts_json("/v1/acknowledgements", &alice, &acknowledged).await;
    assert_eq!(results[0]["problem"]["member"], "/0/id", "{results}");
    let escaped = call
        .event("IncomingCall", now, &json!({ "x": 1 }))
        .to_string()
        .replace("\"x\":1", &format!("\"incoming\\u0043allContext\":\"{}\"", planted(15)));
    assert_eq!(app.posts("/ingest/event-grid/eg", escaped).await.0, 200);
    for broken in [
        format!("{{\"data\":{{\"incomingCallContext\":\"{}", planted(16)),
        format!("[{{\"data\":{{\"\\u0069ncomingCallContext\" : \"{}\", oops", planted(17)),
        format!("not json at all \\\"incomingCallContext\\\":\\\"{}\\\" x", planted(18)),
        format!("{{\"captionText\":{{\"a\":\"{}\"", planted(19)),
        format!("{{\"messageBody\":\"{}\",}}", planted(20)),
        format!("{{\"token\":\"{}\",}}", planted(21)),
        format!("not json: {} https://a:{}@h {}", jwt(35), planted(36), private_key(37)),
    ] {
        assert_eq!(app.posts("/ingest/event-grid/eg", broken).await.0, 200);
    }
    let mut hidden = vec![0xff_u8];
    hidden.extend_from_slice(planted(22).as_bytes());
    assert_eq!(app.posts("/ingest/event-grid/eg", hidden).await.0, 200);

    app.sees("/v1/quarantine", |list| {
        list["quarantined"].as_array().is_some_and(|rows| rows.len() == 8)
    })
    .await;
    app.sees("/v1/events", |list| {
        list["events"].as_array().is_some_and(|events| events.len() == 9)
    })
    .await;
    let reported = app.reads("/v1/events?type=report").await;
    assert_eq!(
        reported["events"][0]["event"]["redacted"],
        json!(["/app", "/sdk", "/shown/0/text/version"]),
        "{reported}"
    );

    let database = app.stores.database().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'public'",
    )
    .fetch_all(&database)
    .await
    .unwrap();
    assert!(tables.len() > 15);
    for table in tables {
        // bytea is read as text too, so that `original` and `content` are searched.
        let statement = format!(
            "select (t.*)::text || coalesce(encode((to_jsonb(t) ->> 'original')::bytea, 'escape'), '') || coalesce(encode((to_jsonb(t) ->> 'content')::bytea, 'escape'), '') from {table} as t"
        );
        let rows: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_all(&database).await.unwrap();
        for row in rows {
            assert!(!row.contains(MARKER) && !row.contains(SOURCE_KEY), "{table}: {row}");
        }
    }
    for (topic, least) in [("calling-events.v1", 9), ("quarantine.v1", 8)] {
        let texts = everything_on(&app.stores.brokers, &format!("{}{topic}", app.stores.prefix));
        assert!(texts.len() >= least, "{topic}: {}", texts.len());
        for text in texts {
            assert!(!text.contains(MARKER) && !text.contains(SOURCE_KEY), "{topic}: {text}");
        }
    }
    app.stop().await;
}

/// Every message of a topic, headers and value, as text.
fn everything_on(brokers: &str, topic: &str) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "look")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    let mut expected = 0;
    for partition in 0..12 {
        let (low, high) =
            consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).unwrap();
        expected += high - low;
        list.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut texts = Vec::new();
    while (texts.len() as i64) < expected {
        let message = consumer.poll(Duration::from_secs(10)).expect("all messages come").unwrap();
        let mut text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
        for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
            text.push_str(&String::from_utf8_lossy(header.value.unwrap_or_default()));
        }
        text.push_str(&String::from_utf8_lossy(message.key().unwrap_or_default()));
        texts.push(text);
    }
    texts
}
