//! The topic `call-facts.v1`: its last messages are the rows of the schema `reading`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use onrecord::kafka::CALL_FACTS;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::contract::schemas::{errors, validator};
use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::{ALICE, Call, report};
use crate::support::kafka::shared_kafka;

pub const CALL_FACTS_ON: &str = "[kafka]\ncall_facts = \"on\"\n";

/// A reader of the topic, as a sink of Kafka Connect is one.
pub struct TopicReader {
    consumer: BaseConsumer,
    /// The last message of each key. `None`: a tombstone.
    pub last: BTreeMap<String, Option<Value>>,
    pub messages: usize,
}

impl TopicReader {
    pub fn open(stores: &TestStores) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &stores.brokers)
            .set("group.id", "onrecord-test")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        let topic = format!("{}{CALL_FACTS}", stores.prefix);
        let metadata = consumer.fetch_metadata(Some(&topic), Duration::from_secs(10)).unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            partitions.add_partition_offset(&topic, partition.id(), Offset::Beginning).unwrap();
        }
        consumer.assign(&partitions).unwrap();
        Self { consumer, last: BTreeMap::new(), messages: 0 }
    }

    /// Reads what is there.
    pub fn read(&mut self) {
        while let Some(message) = self.consumer.poll(Duration::from_millis(300)) {
            let message = message.unwrap();
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            let value = message.payload().map(|value| serde_json::from_slice(value).unwrap());
            self.last.insert(key, value);
            self.messages += 1;
        }
    }

    /// The records that hold, in an order of their own.
    pub fn records(&self) -> Vec<String> {
        let held = self.last.values().flatten().map(|record| {
            assert_eq!(record["removed"], false, "a tombstone follows: {record:#}");
            comparable(record)
        });
        let mut records: Vec<String> = held.collect();
        records.sort();
        records
    }
}

/// A record without what passes, and with instants in one form.
fn comparable(record: &Value) -> String {
    let mut record = record.clone();
    let columns = record.as_object_mut().unwrap();
    for passing in ["evaluated_at", "complete_through", "removed", "published_at"] {
        columns.remove(passing);
    }
    // The lengths of what goes on grow.
    let goes_on = |columns: &serde_json::Map<String, Value>| {
        let ends = ["ended_at", "ends_at"].iter().find_map(|name| columns.get(*name));
        columns["open_captures"].as_i64() > Some(0) || ends.is_some_and(Value::is_null)
    };
    columns.entry("open_captures").or_insert(json!(0));
    if goes_on(columns) {
        for growing in
            ["captured_ms", "recording_captured_ms", "transcription_captured_ms", "at_risk_ms"]
        {
            columns.remove(growing);
        }
    }
    for (name, value) in columns {
        if name.ends_with("_at") && !value.is_null() {
            let at: DateTime<Utc> = value.as_str().unwrap().parse().unwrap();
            *value = json!(at.timestamp_micros());
        }
    }
    record.to_string()
}

/// The rows of the views.
pub async fn rows(database: &PgPool) -> Vec<String> {
    let mut rows = Vec::new();
    for (record, view) in
        [("call", "calls"), ("capture", "captures"), ("obligation", "obligations")]
    {
        let sql = format!("select to_jsonb(found) from reading.{view} as found");
        let found: Vec<Value> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(database).await.unwrap();
        rows.extend(found.into_iter().map(|mut row| {
            row["record"] = json!(record);
            comparable(&row)
        }));
    }
    rows.sort();
    rows
}

/// Waits until the store knows a call by its correlationId, so that what it was known by before is merged into it.
pub async fn is_known(database: &PgPool, call: &Call) {
    until("the call is known by its correlationId", || async {
        let query = sqlx::query_scalar("select count(*) from call where call = $1");
        let known: i64 = query.bind(&call.correlation).fetch_one(database).await.ok()?;
        (known == 1).then_some(())
    })
    .await;
}

/// Waits until the topic has what the views have. They may not have yet what was sent: a caller awaits that first.
pub async fn follows(reader: &mut TopicReader, database: &PgPool) {
    let began = std::time::Instant::now();
    loop {
        let expected = rows(database).await;
        tokio::task::block_in_place(|| reader.read());
        if reader.records() == expected && !expected.is_empty() {
            return;
        }
        let (found, is_late) = (reader.records(), began.elapsed() > crate::support::app::DEADLINE);
        let missing: Vec<&String> = expected.iter().filter(|it| !found.contains(it)).collect();
        let wrong: Vec<&String> = found.iter().filter(|it| !expected.contains(it)).collect();
        assert!(!is_late, "missing: {missing:#?}\nwrong: {wrong:#?}");
    }
}

/// A call that is recorded, with a participant who is told, and ends.
async fn recorded_call(app: &TestApp, call: &Call) {
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    let participant = Uuid::new_v4().to_string();
    app.event_grid_posts(&call.event("CallStarted", ago(60), &json!({}))).await;
    app.event_grid_posts(&call.joined(ALICE, &participant)).await;
    app.call_automation_posts(&call.recording("active", ago(50))).await;
    let token = app.token(ALICE).await;
    let state = json!({ "server_call_id": call.server_call_id, "participant_id": participant, "app": "agent/1", "features": { "recording": true } });
    app.reports(&token, &report(&Uuid::new_v4(), 1, &state)).await;
}

async fn app_with_records(stores: TestStores) -> TestApp {
    let app = TestApp::with(stores, CALL_FACTS_ON).await;
    app.is_ready().await;
    app
}

/// Waits until the record is complete through the end of each call: the low watermark is behind by some 45 s.
async fn all_are_complete(database: &PgPool) {
    let began = std::time::Instant::now();
    loop {
        let query = sqlx::query_scalar("select bool_and(complete) from reading.calls");
        let complete: Option<bool> = query.fetch_one(database).await.unwrap();
        if complete == Some(true) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(150), "the calls are not complete");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_records_of_the_topic_are_the_rows_also_after_a_merge_and_a_restart() {
    if shared_kafka().await.real().is_none() {
        return;
    }
    let stores = TestStores::shared().await;
    let database = stores.database().await;
    let app = app_with_records(stores.clone()).await;
    let mut reader = TopicReader::open(&stores);
    let (call, merged) = (Call::new(), Call::new());
    recorded_call(&app, &call).await;
    // Known by its serverCallId only, until an event names both.
    let mut alone = merged.recording("active", Utc::now() - TimeDelta::seconds(20));
    alone[0]["data"]["correlationId"] = Value::Null;
    app.call_automation_posts(&alone).await;
    until("both calls are there", || async {
        let calls: i64 =
            sqlx::query_scalar("select count(*) from call").fetch_one(&database).await.ok()?;
        (calls == 2).then_some(())
    })
    .await;
    follows(&mut reader, &database).await;
    app.event_grid_posts(&merged.event("CallStarted", Utc::now(), &json!({}))).await;
    is_known(&database, &merged).await;
    app.event_grid_posts(&call.ended()).await;
    app.event_grid_posts(&merged.ended()).await;
    follows(&mut reader, &database).await;
    all_are_complete(&database).await;
    follows(&mut reader, &database).await;
    let held: Vec<&Value> = reader.last.values().flatten().collect();
    let kinds = |kind: &str| held.iter().filter(|it| it["record"] == kind).count();
    assert_eq!((kinds("call"), kinds("capture"), kinds("obligation")), (2, 2, 1), "{held:#?}");
    assert!(held.iter().all(|it| it["record"] != "call" || it["complete"] == true), "{held:#?}");
    assert!(reader.last.values().any(Option::is_none), "the former call has a tombstone");
    let schema = validator("call-facts.v1.json");
    for record in held {
        let wrong = errors(&schema, record);
        assert!(wrong.is_empty(), "{wrong:#?}\n{record:#}");
    }
    app.stop().await;

    // Nothing changed: nothing is published again.
    let before = reader.messages;
    let app = app_with_records(stores.clone()).await;
    let another = Call::new();
    recorded_call(&app, &another).await;
    until("the call has an obligation", || async {
        let query = sqlx::query_scalar("select count(*) from reading.obligations where call = $1");
        let obligations: i64 = query.bind(&another.correlation).fetch_one(&database).await.ok()?;
        (obligations == 1).then_some(())
    })
    .await;
    follows(&mut reader, &database).await;
    let of_another = |key: &String| key.contains(&another.correlation);
    let own = reader.last.keys().filter(|key| of_another(key)).count();
    assert_eq!(own, 3, "{:#?}", reader.last);
    assert!(reader.messages >= before + own);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_flat_records_has_each_column_with_its_comment() {
    let stores = TestStores::shared().await;
    let app = TestApp::on(stores.clone()).await;
    app.is_ready().await;
    let database = stores.database().await;
    let mut kinds = Vec::new();
    for (record, view) in
        [("call", "calls"), ("capture", "captures"), ("obligation", "obligations")]
    {
        let columns: Vec<(String, String, String)> = sqlx::query_as(
            "select attname::text, format_type(atttypid, null), col_description(attrelid, attnum)
             from pg_attribute where attrelid = $1::text::regclass and attnum > 0 order by attnum",
        )
        .bind(format!("reading.{view}"))
        .fetch_all(&database)
        .await
        .unwrap();
        let mut properties = json!({
            "record": { "const": record, "description": "The kind of the record." },
            "removed": { "type": "boolean", "description": "True: the record exists no longer; it has its key columns only, and a message without a value follows." },
            "published_at": { "type": "string", "format": "date-time", "description": "When the message was made; of two messages of a key the later one holds." },
        });
        let mut required = Vec::new();
        let mut always = vec!["record", "tenant", "call", "removed", "published_at"];
        always.extend(match record {
            "call" => &[][..],
            "capture" => &["type", "started_at"],
            _ => &["type", "due_at", "session"],
        });
        for (name, of_type, comment) in columns {
            let mut schema = match of_type.as_str() {
                "boolean" => json!({ "type": ["boolean", "null"] }),
                "integer" | "bigint" => json!({ "type": ["integer", "null"] }),
                "timestamp with time zone" => {
                    json!({ "type": ["string", "null"], "format": "date-time" })
                }
                "text" => json!({ "type": ["string", "null"] }),
                "text[]" => json!({ "type": ["array", "null"], "items": { "type": "string" } }),
                other => panic!("{view}.{name} has the type {other}"),
            };
            if comment.split(" · ").nth(2).is_some_and(|it| it.starts_with("never null")) {
                schema["type"] = schema["type"][0].clone();
            }
            schema["description"] = json!(comment);
            properties[name.as_str()] = schema;
            required.push(name);
        }
        let description = format!("A row of reading.{view}.");
        kinds.push(json!({ "type": "object", "description": description, "properties": properties, "required": always, "if": { "properties": { "removed": { "const": false } } }, "then": { "required": required } }));
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "call-facts.v1.json",
        "title": "Value of a message of call-facts.v1",
        "description": "A call, a capture or an obligation as it is known now. The last message of a key holds; one without a value says that the record exists no longer. Each description: meaning, unit, what null means, class of personal data, lifetime. Ignore members that you do not know.",
        "oneOf": kinds,
    });
    let schema = format!("{schema:#}\n");
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("docs/schemas/call-facts.v1.json");
    if std::env::var_os("ONRECORD_TEST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == schema,
        "docs/schemas/call-facts.v1.json is another one; ONRECORD_TEST_WRITE_DOCS=1 writes it"
    );
    app.stop().await;
}
