//! `NO_SECRETS`: secrets and contents of calls are never stored.

use std::time::Duration;

use onrecord::http::api_role::ApiRole;
use rdkafka::ClientConfig;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use serde_json::json;
use uuid::Uuid;

use crate::support::app::{SOURCE_KEY, TestApp, TestStores};
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::http;

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

    no_store_has_a_marker(&app, 9, 8).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_behind_escapes_are_redacted_or_refused() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let hidden = [
        format!(r"\u0065yJhbGciOiJub25lIn0.{}.c2ln", planted(1)),
        format!(r"Bearer\u0020{}", bearer(2)),
        format!(r"https:\u002f\/user:{}\u0040host/p", planted(3)),
        format!("bEaReR \u{a0} {}", bearer(4)),
        format!("https://h/p?a=1&%73ig={}", planted(5)),
        format!(r"eyJhbGciOiJub25lIn0\\\u0075002e{}.c2ln", planted(6)),
        format!("https://us er:{}@host/p", planted(7)),
    ]
    .join(" x ");
    // An event, with the text in its data, its id and the name of a member.
    let event = json!({ "operationContext": "HERE", "HERE": "x" });
    let mut event = call.callback("CallConnected", chrono::Utc::now(), &event);
    event[0]["id"] = json!("HERE");
    let event = event.to_string().replace("HERE", &hidden);
    assert_eq!(app.posts("/ingest/call-automation/ca", event).await.0, 200);
    let (alice, attachment) = (app.token(ALICE).await, Uuid::new_v4());
    let posts = async |path: &str, key: &str, body: String| {
        let request = http().post(app.url(path)).bearer_auth(key);
        let request = request.header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<serde_json::Value>().await.unwrap())
    };
    let stated = json!({ "recording": "on", "server_call_id": call.server_call_id, "app": "HERE" });
    let stated = report(&attachment, 1, &stated);
    let (status, answer) =
        posts("/v1/reports", &alice, stated.to_string().replace("HERE", &hidden)).await;
    assert_eq!((status, &answer["indication"]["recording"]["state"]), (200, &json!("on")));
    // An id without its secret would be another one, and a registered text another text.
    let mut other = stated;
    (other["report_id"], other["app"]) = (json!("HERE"), json!("shop"));
    let item = json!([{ "id": "HERE", "attachment": attachment, "type": "recording", "kind": "displayed", "state": "on" }]);
    let (_, results) =
        posts("/v1/acknowledgements", &alice, item.to_string().replace("HERE", &hidden)).await;
    assert_eq!(results[0]["problem"]["member"], "/0/id", "{results}");
    let backend = app.api_key("contoso", ApiRole::App).await;
    let auditor = app.api_key("contoso", ApiRole::Auditor).await;
    let minted = json!({ "participant": { "raw_id": ALICE }, "app": "HERE" });
    for (path, key, body, member) in [
        ("/v1/reports".to_owned(), &alice, other, "/report_id"),
        ("/v1/subscriber-tokens".to_owned(), &backend, minted, "/app"),
        (
            format!("/v1/exceptions/{}/close", Uuid::new_v4()),
            &auditor,
            json!({ "reason": "found HERE in the log" }),
            "/reason",
        ),
    ] {
        let (status, problem) = posts(&path, key, body.to_string().replace("HERE", &hidden)).await;
        assert_eq!((status, problem["member"].as_str()), (400, Some(member)), "{path}: {problem}");
    }
    let jwt = jwt(8);
    for (version, text, member) in [("2026-12", jwt.as_str(), "/texts/de"), (&jwt, "x", "version")]
    {
        let request = http().put(app.url(&format!("/v1/notice-texts/{version}")));
        let request = request.bearer_auth(&backend).json(&json!({ "texts": { "de": text } }));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400);
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["member"], member, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("credential"), "{problem}");
    }
    // What is kept of the headers of a body in quarantine.
    for (header, value) in [
        ("content-type", format!("text/plain; x={}; Bearer {}", jwt, bearer(9))),
        ("content-encoding", format!("Bearer {}", bearer(10))),
        ("content-type", "a/b; ".to_owned() + &"x".repeat(5_000)),
    ] {
        let request = http().post(app.url("/ingest/event-grid/eg")).header(header, value.clone());
        let request =
            request.header("x-onrecord-key", SOURCE_KEY).body(format!("no JSON {}", value.len()));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let list = app
        .sees("/v1/quarantine", |list| {
            list["quarantined"].as_array().is_some_and(|rows| rows.len() == 3)
        })
        .await;
    let types: Vec<&str> = list["quarantined"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["content_type"].as_str())
        .collect();
    assert!(types.contains(&"text/plain; x=[redacted]; Bearer [redacted]"), "{types:?}");
    assert!(types.iter().all(|text| text.len() <= 256), "{types:?}");
    app.sees("/v1/events", |list| {
        list["events"].as_array().is_some_and(|events| events.len() == 2)
    })
    .await;
    no_store_has_a_marker(&app, 2, 3).await;
    app.stop().await;
}

/// Searches all tables, and both topics, which have at least so many messages.
async fn no_store_has_a_marker(app: &TestApp, events: usize, quarantined: usize) {
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
    for (topic, least) in [("calling-events.v1", events), ("quarantine.v1", quarantined)] {
        let texts = everything_on(&app.stores.brokers, &format!("{}{topic}", app.stores.prefix));
        assert!(texts.len() >= least, "{topic}: {}", texts.len());
        for text in texts {
            assert!(!text.contains(MARKER) && !text.contains(SOURCE_KEY), "{topic}: {text}");
        }
    }
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
