//! Acknowledgements of clients, and the notice texts that they showed.

use onrecord::http::api_role::ApiRole;
use onrecord_evidence::event::ids::Digest;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::live::notices::bulk_producer;
use crate::support::app::{TestApp, TestStores};
use crate::support::azure::{ALICE, BOB, Call, report};
use crate::support::client::http;

/// The acknowledgement that the notice of recording on was displayed.
pub fn displayed(attachment: &Uuid, more: &Value) -> Value {
    let mut item = json!({
        "id": Uuid::new_v4(), "attachment": attachment, "type": "recording", "state": "on", "kind": "displayed",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        item[name] = value.clone();
    }
    item
}

/// Sends a batch; returns status and body.
pub async fn acknowledges(app: &TestApp, token: &str, items: &[Value]) -> (StatusCode, Value) {
    let response = http()
        .post(app.url("/v1/acknowledgements"))
        .bearer_auth(token)
        .json(&items)
        .send()
        .await
        .unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

/// Sends a batch, of which everything must be accepted.
pub async fn are_accepted(app: &TestApp, token: &str, items: &[Value]) {
    let (status, answers) = acknowledges(app, token, items).await;
    assert_eq!(status, StatusCode::OK, "{answers}");
    for (item, answer) in items.iter().zip(answers.as_array().unwrap()) {
        assert_eq!(answer["id"], item["id"]);
        assert_eq!(answer["status"], "accepted", "{answer}");
        assert!(answer["received_at"].is_string());
    }
}

/// Reports the client's state.
pub async fn reports_state(
    app: &TestApp,
    token: &str,
    attachment: &Uuid,
    sequence: i64,
    more: &Value,
) {
    let (status, answer) = app.reports(token, &report(attachment, sequence, more)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// The notice facts in a timeline that are of this kind.
pub fn of_kind(timeline: &Value, kind: &str) -> Vec<Value> {
    let events = timeline["events"].as_array().into_iter().flatten();
    events.filter(|event| event["type"] == kind).cloned().collect()
}

pub fn timeline(call: &str) -> String {
    format!("/v1/calls/{call}/timeline?limit=1000")
}

/// Registers a notice text under a version; returns status and body.
async fn registers(app: &TestApp, key: &str, version: &str, texts: Value) -> (StatusCode, Value) {
    let response = http()
        .put(app.url(&format!("/v1/notice-texts/{version}")))
        .bearer_auth(key)
        .json(&json!({ "texts": texts }))
        .send()
        .await
        .unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_stored_with_the_notice_text_and_shown_in_the_timeline() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let key = app.api_key("contoso", ApiRole::App).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    reports_state(&app, &token, &attachment, 1, &on).await;
    app.event_grid_posts(&call.started()).await;
    let words = "Diese Besprechung wird aufgezeichnet.";
    let (status, _) = registers(&app, &key, "3", json!({ "de-DE": words })).await;
    assert_eq!(status, StatusCode::CREATED);

    let text = |version: &str, words: &str| json!({ "text": { "version": version, "sha256": Digest::of(words.as_bytes()).to_string(), "locale": "de-DE" } });
    let mut items = [
        displayed(&attachment, &text("3", words)),
        displayed(&attachment, &text("3", "other words")),
        displayed(&attachment, &text("4", words)),
        displayed(&attachment, &json!({ "visible": false, "elapsed_ms": 20 })),
        displayed(&attachment, &json!({ "kind": "hidden", "state": "off" })),
        displayed(&attachment, &json!({ "kind": "consented", "state": null })),
        displayed(&attachment, &json!({ "kind": "declined", "type": "transcription" })),
    ];
    // Without a subscriber no notice was dispatched.
    let notice = "3bc550d3d99b0c4c0a035abd2b94ebbf";
    items[0]["notice"] = json!(notice);
    are_accepted(&app, &token, &items).await;

    let path = timeline(&call.correlation);
    let seen = app
        .sees(&path, |seen| {
            of_kind(seen, "notice.displayed").len() == 3 && of_kind(seen, "call.started").len() == 1
        })
        .await;
    for kind in ["notice.delivered", "notice.hidden", "consent.given", "consent.declined"] {
        assert_eq!(of_kind(&seen, kind).len(), 1, "{kind}: {seen:#}");
    }
    let flags_of = |seen: &Value, item: &Value| {
        let all = of_kind(seen, "notice.displayed");
        let found = all.iter().find(|event| event["fact"]["client_id"] == item["id"]);
        found.unwrap()["flags"].clone()
    };
    assert_eq!(flags_of(&seen, &items[0]), json!(["notice_unknown"]));
    assert_eq!(flags_of(&seen, &items[1]), json!(["text_differs"]));
    assert_eq!(flags_of(&seen, &items[2]), json!(["text_unknown"]));
    let first = &of_kind(&seen, "notice.delivered")[0]["fact"];
    assert_eq!(first["elapsed_ms"], 20);
    assert_eq!(first["by"], json!({ "raw_id": ALICE, "attachment": attachment }));
    let at: Vec<&str> = seen["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["at"].as_str().unwrap())
        .collect();
    assert!(at.is_sorted(), "{at:?}");

    // A text that is registered later is found as well.
    registers(&app, &key, "4", json!({ "de-DE": words })).await;
    let seen = app.reads(&path).await;
    assert_eq!(flags_of(&seen, &items[2]), json!([]));
    // Page by page the timeline is the same.
    let (mut pages, mut next) = (Vec::new(), String::new());
    loop {
        let page =
            app.reads(&format!("/v1/calls/{}/timeline?limit=2{next}", call.correlation)).await;
        pages.extend(page["events"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(Value::Array(pages), seen["events"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_of_a_client_that_never_reported_is_not_lost() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    are_accepted(&app, &token, &[displayed(&attachment, &json!({}))]).await;
    let alone = app
        .sees(&format!("/v1/calls/{attachment}"), |seen| {
            seen["participants"][0]["session"] == format!("t:{attachment}")
        })
        .await;
    assert!(alone["call"].as_str().unwrap().starts_with("a-"), "{alone}");
    // With a report, the acknowledgement belongs to that call.
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    reports_state(&app, &token, &attachment, 1, &on).await;
    app.event_grid_posts(&call.started()).await;
    let path = timeline(&call.correlation);
    app.sees(&path, |seen| of_kind(seen, "notice.displayed").len() == 1).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_id_has_one_effect_on_two_nodes_and_different_content_is_kept_and_flagged() {
    let stores = TestStores::shared().await;
    let mut nodes = [TestApp::on(stores.clone()).await, TestApp::on(stores.clone()).await];
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
    // Messages of one key are appended in order.
    are_accepted(&nodes[0], &token, &[displayed(&attachment, &json!({}))]).await;
    let path = timeline(&attachment.to_string());
    let seen = nodes[1].sees(&path, |seen| of_kind(seen, "notice.displayed").len() == 3).await;
    let all = of_kind(&seen, "notice.displayed");
    let flags: Vec<(&Value, &Value)> = all
        .iter()
        .filter(|event| event["fact"]["client_id"] == item["id"])
        .map(|event| (&event["fact"]["state"], &event["flags"]))
        .collect();
    assert_eq!(flags, [(&json!("on"), &json!([])), (&json!("paused"), &json!(["conflict"]))]);
    let call = nodes[1].reads(&format!("/v1/calls/{attachment}")).await;
    assert!(call["flags"][0].as_str().unwrap().starts_with("CONFLICT:"), "{call}");
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_is_refused_alone_and_an_attachment_of_another_participant_is_refused() {
    let mut app = TestApp::open().await;
    let (alice, bob) = (app.token(ALICE).await, app.token(BOB).await);
    let (hers, his) = (Uuid::new_v4(), Uuid::new_v4());
    reports_state(&app, &alice, &hers, 1, &json!({})).await;
    reports_state(&app, &bob, &his, 1, &json!({})).await;
    let items = [
        displayed(&his, &json!({})),
        displayed(&hers, &json!({})),
        displayed(&his, &json!({ "elapsed_ms": -1 })),
        displayed(&his, &json!({ "state": null })),
        json!("no object"),
        displayed(&his, &json!({ "kind": "acknowledged" })),
    ];
    // Invalid JSON, as from an app that cuts a text in the middle of a character.
    let half = displayed(&his, &json!({ "notice": "HALF" })).to_string();
    let huge = displayed(&his, &json!({ "elapsed_ms": "HUGE" })).to_string();
    let mut texts: Vec<String> = items.iter().map(Value::to_string).collect();
    texts.extend([half.replace("HALF", r"\ud83d"), huge.replace("\"HUGE\"", "1e999")]);
    let asked = http()
        .post(app.url("/v1/acknowledgements"))
        .bearer_auth(&bob)
        .header("content-type", "application/json")
        .body(format!("[{}]", texts.join(",")));
    let answer = asked.send().await.unwrap();
    let (status, answers): (_, Value) = (answer.status(), answer.json().await.unwrap());
    assert_eq!(status, StatusCode::OK);
    let statuses: Vec<(&str, &str, &str)> = answers
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
        statuses,
        [
            ("accepted", "", ""),
            ("rejected", "urn:onrecord:problem:conflict", "/1/attachment"),
            ("rejected", invalid, "/2/elapsed_ms"),
            ("rejected", invalid, "/3/state"),
            ("rejected", invalid, "/4"),
            ("accepted", "", ""),
            ("rejected", invalid, "/6/notice"),
            ("rejected", invalid, "/7/elapsed_ms"),
        ]
    );
    let path = timeline(&his.to_string());
    let seen = app.sees(&path, |seen| of_kind(seen, "notice.acknowledged").len() == 1).await;
    assert_eq!(of_kind(&seen, "notice.displayed").len(), 1);
    let her_call = app.reads(&timeline(&hers.to_string())).await;
    assert_eq!(of_kind(&her_call, "notice.displayed").len(), 0);

    let many = vec![displayed(&his, &json!({})); 501];
    assert_eq!(acknowledges(&app, &bob, &many).await.0, StatusCode::BAD_REQUEST);
    let key = app.api_key("contoso", ApiRole::App).await;
    assert_eq!(acknowledges(&app, &key, &items).await.0, StatusCode::UNAUTHORIZED);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_message_on_the_notice_fact_topic_is_quarantined() {
    let mut app = TestApp::open().await;
    let attachment = Uuid::new_v4();
    let token = app.token(ALICE).await;
    let topic = format!("{}notice-facts.v1", app.stores.prefix);
    let producer = bulk_producer(&app.stores.brokers);
    let by = json!({ "raw_id": ALICE, "attachment": attachment });
    let fact = json!({ "id": Digest::of(b"1").to_string(), "at": 5, "kind": "notice.displayed", "type": "recording", "state": "on", "by": by });
    let with = |member: &str, value: Value| {
        let mut fact = fact.clone();
        fact[member] = value;
        json!({ "facts": [fact] }).to_string()
    };
    let poisons = [
        ("no JSON".to_owned(), "foreign_message"),
        (with("kind", json!("notice.guessed")), "foreign_message"),
        (with("state", Value::Null), "foreign_message"),
        (with("client_id", json!("nul \u{0}")), "store_refused"),
    ];
    for (poison, _) in &poisons {
        let headers = [("ce_tenant", "contoso"), ("ce_subject", "a-1")];
        let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: Some(*value) })
        });
        let record =
            FutureRecord::to(&topic).partition(3).key("k").payload(poison).headers(headers);
        producer.send_result(record).unwrap().await.unwrap().unwrap();
    }
    let seen = app
        .sees("/v1/quarantine", |seen| {
            seen["quarantined"].as_array().is_some_and(|all| all.len() == poisons.len())
        })
        .await;
    for (poison, reason) in &poisons {
        let kept =
            seen["quarantined"].as_array().unwrap().iter().find(|row| row["content"] == **poison);
        assert_eq!(kept.unwrap()["reason"], *reason, "{seen:#}");
    }
    are_accepted(&app, &token, &[displayed(&attachment, &json!({}))]).await;
    app.sees(&timeline(&attachment.to_string()), |seen| {
        of_kind(seen, "notice.displayed").len() == 1
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_text_version_never_changes_and_belongs_to_one_tenant() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::App).await;
    let words = json!({ "de-DE": "Es wird aufgezeichnet.", "en": "This is recorded." });
    let (status, body) = registers(&app, &key, "2026-11", words.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    assert_eq!(body["texts"][1]["locale"], "en");
    let sha256 = Digest::of(b"This is recorded.").to_string();
    assert_eq!(body["texts"][1]["sha256"], sha256);
    let (status, again) = registers(&app, &key, "2026-11", words).await;
    assert_eq!((status, again), (StatusCode::OK, body.clone()));
    for other in [
        json!({ "de-DE": "Es wird aufgezeichnet.", "en": "This is taped." }),
        json!({ "en": "This is recorded." }),
    ] {
        let (status, problem) = registers(&app, &key, "2026-11", other).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    }
    for bad in [json!({}), json!({ "en": "" }), json!({ "en": "nul \u{0}" })] {
        let (status, _) = registers(&app, &key, "v", bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    let reads = async |key: &str, path: &str| {
        let asked = http().get(app.url(path)).bearer_auth(key);
        let answer = asked.send().await.unwrap();
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap())
    };
    let auditor = app.api_key("contoso", ApiRole::Auditor).await;
    let (status, _) = registers(&app, &auditor, "v", json!({ "en": "x" })).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let one = reads(&auditor, "/v1/notice-texts/2026-11").await;
    assert_eq!(one, (StatusCode::OK, body));
    let (_, list) = reads(&auditor, "/v1/notice-texts").await;
    assert_eq!(list["versions"][0]["version"], "2026-11");
    assert_eq!(list["versions"][0]["locales"], json!(["de-DE", "en"]));
    let other = app.api_key("fabrikam", ApiRole::Admin).await;
    let (status, _) = reads(&other, "/v1/notice-texts/2026-11").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, list) = reads(&other, "/v1/notice-texts").await;
    assert_eq!(list["versions"], json!([]));
    app.stop().await;
}
