//! What clients say became of notices, and the words that they showed.

use onrecord::domain::ids::Digest;
use onrecord::store::Role;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::azure::{ALICE, BOB, Call, report};
use crate::client::http;
use crate::house::{Ground, TestHouse};
use crate::notices::bulk_producer;

/// An acknowledgement that says: the notice that recording is on was displayed.
pub fn displayed(attachment: &Uuid, more: &Value) -> Value {
    let mut item = json!({
        "id": Uuid::new_v4(), "attachment": attachment, "type": "recording", "state": "on", "kind": "displayed",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        item[name] = value.clone();
    }
    item
}

/// Sends a batch; gives status and body.
pub async fn acknowledges(house: &TestHouse, token: &str, items: &[Value]) -> (StatusCode, Value) {
    let response = http()
        .post(house.url("/v1/acknowledgements"))
        .bearer_auth(token)
        .json(&items)
        .send()
        .await
        .unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

/// Sends a batch, of which everything must be accepted.
pub async fn are_accepted(house: &TestHouse, token: &str, items: &[Value]) {
    let (status, answers) = acknowledges(house, token, items).await;
    assert_eq!(status, StatusCode::OK, "{answers}");
    for (item, answer) in items.iter().zip(answers.as_array().unwrap()) {
        assert_eq!(answer["id"], item["id"]);
        assert_eq!(answer["status"], "accepted", "{answer}");
        assert!(answer["received_at"].is_string());
    }
}

/// The client states that recording is in this state.
pub async fn says(house: &TestHouse, token: &str, attachment: &Uuid, sequence: i64, more: &Value) {
    let (status, answer) = house
        .reports(token, &report(attachment, sequence, more))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// The notice facts in a timeline that are of this kind.
pub fn of_kind(timeline: &Value, kind: &str) -> Vec<Value> {
    let events = timeline["events"].as_array().into_iter().flatten();
    events
        .filter(|event| event["type"] == kind)
        .cloned()
        .collect()
}

pub fn timeline(call: &str) -> String {
    format!("/v1/calls/{call}/timeline?limit=1000")
}

/// Puts words under a version; gives status and body.
async fn registers(
    house: &TestHouse,
    key: &str,
    version: &str,
    texts: Value,
) -> (StatusCode, Value) {
    let response = http()
        .put(house.url(&format!("/v1/notice-texts/{version}")))
        .bearer_auth(key)
        .json(&json!({ "texts": texts }))
        .send()
        .await
        .unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_kept_with_the_words_and_stands_in_the_timeline() {
    let mut house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let key = house.api_key("contoso", Role::App).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    says(&house, &token, &attachment, 1, &on).await;
    house.event_grid_posts(&call.started()).await;
    let words = "Diese Besprechung wird aufgezeichnet.";
    let (status, _) = registers(&house, &key, "3", json!({ "de-DE": words })).await;
    assert_eq!(status, StatusCode::CREATED);

    let text = |version: &str, words: &str| json!({ "text": { "version": version, "sha256": Digest::of(words.as_bytes()).to_string(), "locale": "de-DE" } });
    let mut items = [
        displayed(&attachment, &text("3", words)),
        displayed(&attachment, &text("3", "other words")),
        displayed(&attachment, &text("4", words)),
        displayed(&attachment, &json!({ "visible": false, "elapsed_ms": 20 })),
        displayed(&attachment, &json!({ "kind": "hidden", "state": "off" })),
        displayed(&attachment, &json!({ "kind": "consented", "state": null })),
        displayed(
            &attachment,
            &json!({ "kind": "declined", "type": "transcription" }),
        ),
    ];
    // Nobody listens, so no notice was handed to anybody.
    let notice = "3bc550d3d99b0c4c0a035abd2b94ebbf";
    items[0]["notice"] = json!(notice);
    are_accepted(&house, &token, &items).await;

    let path = timeline(&call.correlation);
    let seen = house
        .sees(&path, |seen| {
            of_kind(seen, "notice.displayed").len() == 3 && of_kind(seen, "call.started").len() == 1
        })
        .await;
    for kind in [
        "notice.delivered",
        "notice.hidden",
        "consent.given",
        "consent.declined",
    ] {
        assert_eq!(of_kind(&seen, kind).len(), 1, "{kind}: {seen:#}");
    }
    let flags_of = |seen: &Value, item: &Value| {
        let all = of_kind(seen, "notice.displayed");
        let found = all
            .iter()
            .find(|event| event["fact"]["client_id"] == item["id"]);
        found.unwrap()["flags"].clone()
    };
    assert_eq!(flags_of(&seen, &items[0]), json!(["notice_unknown"]));
    assert_eq!(flags_of(&seen, &items[1]), json!(["text_differs"]));
    assert_eq!(flags_of(&seen, &items[2]), json!(["text_unknown"]));
    let first = &of_kind(&seen, "notice.delivered")[0]["fact"];
    assert_eq!(first["elapsed_ms"], 20);
    assert_eq!(
        first["by"],
        json!({ "raw_id": ALICE, "attachment": attachment })
    );
    let at: Vec<&str> = seen["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["at"].as_str().unwrap())
        .collect();
    assert!(at.is_sorted(), "{at:?}");

    // Words that are registered later are known all the same.
    registers(&house, &key, "4", json!({ "de-DE": words })).await;
    let seen = house.reads(&path).await;
    assert_eq!(flags_of(&seen, &items[2]), json!([]));
    // Page by page it is the same.
    let (mut pages, mut next) = (Vec::new(), String::new());
    loop {
        let page = house
            .reads(&format!(
                "/v1/calls/{}/timeline?limit=2{next}",
                call.correlation
            ))
            .await;
        pages.extend(page["events"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(Value::Array(pages), seen["events"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_of_a_client_that_never_reported_is_not_lost() {
    let mut house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    are_accepted(&house, &token, &[displayed(&attachment, &json!({}))]).await;
    let alone = house
        .sees(&format!("/v1/calls/{attachment}"), |seen| {
            seen["participants"][0]["session"] == format!("t:{attachment}")
        })
        .await;
    assert!(alone["call"].as_str().unwrap().starts_with("a-"), "{alone}");
    // When it does, the acknowledgement is of that call.
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    says(&house, &token, &attachment, 1, &on).await;
    house.event_grid_posts(&call.started()).await;
    let path = timeline(&call.correlation);
    house
        .sees(&path, |seen| of_kind(seen, "notice.displayed").len() == 1)
        .await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_has_one_effect_on_two_nodes_and_another_content_is_kept_and_flagged() {
    let ground = Ground::shared().await;
    let mut nodes = [
        TestHouse::on(ground.clone()).await,
        TestHouse::on(ground.clone()).await,
    ];
    for node in &nodes {
        node.is_ready().await;
    }
    let attachment = Uuid::new_v4();
    let token = nodes[0].token(ALICE).await;
    let item = displayed(&attachment, &json!({}));
    let mut other = item.clone();
    other["state"] = json!("paused");
    for node in &nodes {
        are_accepted(node, &token, &[item.clone(), item.clone()]).await;
    }
    are_accepted(&nodes[0], &token, &[other]).await;
    // What is of one key is entered in order.
    are_accepted(&nodes[0], &token, &[displayed(&attachment, &json!({}))]).await;
    let path = timeline(&attachment.to_string());
    let seen = nodes[1]
        .sees(&path, |seen| of_kind(seen, "notice.displayed").len() == 3)
        .await;
    let all = of_kind(&seen, "notice.displayed");
    let flags: Vec<(&Value, &Value)> = all
        .iter()
        .filter(|event| event["fact"]["client_id"] == item["id"])
        .map(|event| (&event["fact"]["state"], &event["flags"]))
        .collect();
    assert_eq!(
        flags,
        [
            (&json!("on"), &json!([])),
            (&json!("paused"), &json!(["conflict"]))
        ]
    );
    let call = nodes[1].reads(&format!("/v1/calls/{attachment}")).await;
    assert!(
        call["flags"][0].as_str().unwrap().starts_with("CONFLICT:"),
        "{call}"
    );
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_is_refused_by_itself_and_nobody_speaks_for_another_s_attachment() {
    let mut house = TestHouse::open().await;
    let (alice, bob) = (house.token(ALICE).await, house.token(BOB).await);
    let (hers, his) = (Uuid::new_v4(), Uuid::new_v4());
    says(&house, &alice, &hers, 1, &json!({})).await;
    says(&house, &bob, &his, 1, &json!({})).await;
    let items = [
        displayed(&his, &json!({})),
        displayed(&hers, &json!({})),
        displayed(&his, &json!({ "elapsed_ms": -1 })),
        displayed(&his, &json!({ "state": null })),
        json!("no object"),
        displayed(&his, &json!({ "kind": "acknowledged" })),
    ];
    // What no reader of JSON takes, as an app writes that cuts a text in the middle of a character.
    let half = displayed(&his, &json!({ "notice": "HALF" })).to_string();
    let huge = displayed(&his, &json!({ "elapsed_ms": "HUGE" })).to_string();
    let mut texts: Vec<String> = items.iter().map(Value::to_string).collect();
    texts.extend([
        half.replace("HALF", r"\ud83d"),
        huge.replace("\"HUGE\"", "1e999"),
    ]);
    let asked = http()
        .post(house.url("/v1/acknowledgements"))
        .bearer_auth(&bob)
        .header("content-type", "application/json")
        .body(format!("[{}]", texts.join(",")));
    let answer = asked.send().await.unwrap();
    let (status, answers): (_, Value) = (answer.status(), answer.json().await.unwrap());
    assert_eq!(status, StatusCode::OK);
    let told: Vec<(&str, &str, &str)> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| {
            let text = |value: &'_ Value| value.as_str().unwrap_or_default().len();
            assert!(text(&answer["received_at"]) > 0);
            (
                answer["status"].as_str().unwrap(),
                answer["problem"]["type"].as_str().unwrap_or_default(),
                answer["problem"]["member"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    let invalid = "urn:onrecord:problem:invalid-request";
    assert_eq!(
        told,
        [
            ("accepted", "", ""),
            ("rejected", "urn:onrecord:problem:conflict", "/1/attachment"),
            ("rejected", invalid, "/2/elapsed_ms"),
            ("rejected", invalid, "/3/state"),
            ("rejected", invalid, "/4"),
            ("accepted", "", ""),
            ("rejected", invalid, "/6"),
            ("rejected", invalid, "/7"),
        ]
    );
    let path = timeline(&his.to_string());
    let seen = house
        .sees(&path, |seen| {
            of_kind(seen, "notice.acknowledged").len() == 1
        })
        .await;
    assert_eq!(of_kind(&seen, "notice.displayed").len(), 1);
    let her_call = house.reads(&timeline(&hers.to_string())).await;
    assert_eq!(of_kind(&her_call, "notice.displayed").len(), 0);

    let many = vec![displayed(&his, &json!({})); 501];
    assert_eq!(
        acknowledges(&house, &bob, &many).await.0,
        StatusCode::BAD_REQUEST
    );
    let key = house.api_key("contoso", Role::App).await;
    assert_eq!(
        acknowledges(&house, &key, &items).await.0,
        StatusCode::UNAUTHORIZED
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_on_the_log_of_notice_facts_in_a_foreign_form_is_quarantined() {
    let mut house = TestHouse::open().await;
    let attachment = Uuid::new_v4();
    let token = house.token(ALICE).await;
    let topic = format!("{}notice-facts.v1", house.ground.prefix);
    let producer = bulk_producer(&house.ground.brokers);
    let by = json!({ "raw_id": ALICE, "attachment": attachment });
    let fact = json!({ "id": Digest::of(b"1").to_string(), "t": 5, "kind": "notice.displayed", "type": "recording", "state": "on", "by": by });
    let with = |member: &str, value: Value| {
        let mut fact = fact.clone();
        fact[member] = value;
        json!({ "facts": [fact] }).to_string()
    };
    let poisons = [
        ("no JSON".to_owned(), "foreign-message"),
        (with("kind", json!("notice.guessed")), "foreign-message"),
        (with("state", Value::Null), "foreign-message"),
        (with("client_id", json!("nul \u{0}")), "store-refused"),
    ];
    for (poison, _) in &poisons {
        let headers = [("ce_tenant", "contoso"), ("ce_subject", "a-1")];
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header {
                    key,
                    value: Some(*value),
                })
            });
        let record = FutureRecord::to(&topic)
            .partition(3)
            .key("k")
            .payload(poison)
            .headers(headers);
        producer
            .send_result(record)
            .unwrap()
            .await
            .unwrap()
            .unwrap();
    }
    let seen = house
        .sees("/v1/quarantine", |seen| {
            seen["quarantined"]
                .as_array()
                .is_some_and(|all| all.len() == poisons.len())
        })
        .await;
    for (poison, reason) in &poisons {
        let kept = seen["quarantined"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["content"] == **poison);
        assert_eq!(kept.unwrap()["reason"], *reason, "{seen:#}");
    }
    are_accepted(&house, &token, &[displayed(&attachment, &json!({}))]).await;
    house
        .sees(&timeline(&attachment.to_string()), |seen| {
            of_kind(seen, "notice.displayed").len() == 1
        })
        .await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_a_version_never_change_and_are_their_tenant_s_alone() {
    let house = TestHouse::open().await;
    let app = house.api_key("contoso", Role::App).await;
    let words = json!({ "de-DE": "Es wird aufgezeichnet.", "en": "This is recorded." });
    let (status, body) = registers(&house, &app, "2026-11", words.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert_eq!(body["texts"][1]["locale"], "en");
    let sha256 = Digest::of(b"This is recorded.").to_string();
    assert_eq!(body["texts"][1]["sha256"], sha256);
    let (status, again) = registers(&house, &app, "2026-11", words).await;
    assert_eq!((status, again), (StatusCode::OK, body.clone()));
    for other in [
        json!({ "de-DE": "Es wird aufgezeichnet.", "en": "This is taped." }),
        json!({ "en": "This is recorded." }),
    ] {
        let (status, problem) = registers(&house, &app, "2026-11", other).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    }
    for bad in [json!({}), json!({ "en": "" }), json!({ "en": "nul \u{0}" })] {
        let (status, _) = registers(&house, &app, "v", bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    let reads = async |key: &str, path: &str| {
        let asked = http().get(house.url(path)).bearer_auth(key);
        let answer = asked.send().await.unwrap();
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap())
    };
    let auditor = house.api_key("contoso", Role::Auditor).await;
    let (status, _) = registers(&house, &auditor, "v", json!({ "en": "x" })).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let one = reads(&auditor, "/v1/notice-texts/2026-11").await;
    assert_eq!(one, (StatusCode::OK, body));
    let (_, list) = reads(&auditor, "/v1/notice-texts").await;
    assert_eq!(list["versions"][0]["version"], "2026-11");
    assert_eq!(list["versions"][0]["locales"], json!(["de-DE", "en"]));
    let stranger = house.api_key("fabrikam", Role::Admin).await;
    let (status, _) = reads(&stranger, "/v1/notice-texts/2026-11").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, list) = reads(&stranger, "/v1/notice-texts").await;
    assert_eq!(list["versions"], json!([]));
    house.stop().await;
}
