//! Requests to the ingest endpoints: handshakes, keys, sizes, batches.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::support::app::{SOURCE_KEY, TestApp, TestStores, until};
use crate::support::azure::Call;
use crate::support::client::http;

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_answered_without_a_key_and_only_for_a_known_source() {
    let app = TestApp::open().await;
    let body = include_str!("../../data/azure/egsys-subscription-validation.json");
    let ask = |source: &str| {
        http()
            .post(app.url(&format!("/ingest/event-grid/{source}")))
            .header("aeg-event-type", "SubscriptionValidation")
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    let answer = ask("eg").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer, json!({ "validationResponse": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6" }));
    assert_eq!(ask("unconfigured").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);

    let options = http()
        .request(Method::OPTIONS, app.url("/ingest/event-grid/eg"))
        .header("WebHook-Request-Origin", "eventgrid.azure.net");
    let answer = options.header("WebHook-Request-Rate", "120").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["webhook-allowed-origin"], "eventgrid.azure.net");
    assert_eq!(answer.headers()["webhook-allowed-rate"], "*");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_could_be_azure_is_never_answered_400_401_403_or_413() {
    let app = TestApp::open().await;
    let call = Call::new();
    let events = call.started().to_string();
    type Attempt<'a> = (&'a str, &'a str, Option<&'a str>, Vec<u8>, u16);
    let attempts: Vec<Attempt<'_>> = vec![
        (
            "/ingest/event-grid/eg",
            "wrong key",
            Some("nonsense-key-that-must-not-be-logged"),
            events.clone().into_bytes(),
            503,
        ),
        ("/ingest/event-grid/eg", "no key", None, events.clone().into_bytes(), 503),
        (
            "/ingest/event-grid/unconfigured",
            "unknown source",
            Some(SOURCE_KEY),
            events.clone().into_bytes(),
            503,
        ),
        (
            "/ingest/event-grid/unconfigured",
            "unknown source, a large body",
            Some(SOURCE_KEY),
            vec![b' '; 8 * 1024 * 1024],
            503,
        ),
        (
            "/ingest/event-grid/%FF",
            "a name that is no text",
            Some(SOURCE_KEY),
            events.clone().into_bytes(),
            503,
        ),
        (
            "/ingest/event-grid/eg/",
            "a misspelt address",
            Some(SOURCE_KEY),
            events.clone().into_bytes(),
            503,
        ),
        ("/ingest", "no address", Some(SOURCE_KEY), vec![b' '; 8 * 1024 * 1024], 503),
        (
            "/ingest/call-automation/eg",
            "source of the other kind",
            Some(SOURCE_KEY),
            events.clone().into_bytes(),
            503,
        ),
        ("/ingest/event-grid/eg", "not json", Some(SOURCE_KEY), b"{\"a\":".to_vec(), 200),
        ("/ingest/event-grid/eg", "not utf-8", Some(SOURCE_KEY), vec![0xff, 0xfe, 0x00], 200),
        ("/ingest/event-grid/eg", "empty", Some(SOURCE_KEY), Vec::new(), 200),
        ("/ingest/event-grid/eg", "empty array", Some(SOURCE_KEY), b"[]".to_vec(), 200),
        ("/ingest/event-grid/eg", "scalar", Some(SOURCE_KEY), b"17".to_vec(), 200),
        (
            "/ingest/event-grid/eg",
            "a million values",
            Some(SOURCE_KEY),
            format!("[[0{}]]", ",0".repeat(1_000_000)).into_bytes(),
            200,
        ),
        (
            "/ingest/event-grid/eg",
            "a megabyte over the limit",
            Some(SOURCE_KEY),
            vec![b' '; 5 * 1024 * 1024],
            413,
        ),
    ];
    for (path, what, key, body, expected) in attempts {
        let mut request = http().post(app.url(path)).body(body);
        if let Some(key) = key {
            request = request.header("x-onrecord-key", key);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{what}");
        if expected == 503 {
            assert!(answer.headers().contains_key("retry-after"), "{what}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{what}");
        }
    }
    let in_query = http()
        .post(app.url(&format!("/ingest/event-grid/eg?key={SOURCE_KEY}")))
        .body(events)
        .send()
        .await
        .unwrap();
    assert_eq!(in_query.status(), StatusCode::OK);
    let metrics = http().get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    for reason in ["wrong_key", "no_credential", "unknown_source"] {
        assert!(metrics.contains(&format!("reason=\"{reason}\"")), "{reason} is counted");
    }
    assert!(!metrics.contains("unconfigured"), "another caller's text is no label");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_handshakes_take_no_capacity_from_authenticated_requests() {
    let app =
        TestApp::with(TestStores::shared().await, "[ingest]\nbytes_in_flight = \"8MiB\"").await;
    app.is_ready().await;
    let mut unauthenticated = Vec::new();
    for _ in 0..100 {
        let mut stalled = TcpStream::connect(app.address).await.unwrap();
        // They announce a body and send none.
        let head = "POST /ingest/event-grid/eg HTTP/1.1\r\nhost: x\r\naeg-event-type: SubscriptionValidation\r\ncontent-length: 65536\r\n\r\n";
        stalled.write_all(head.as_bytes()).await.unwrap();
        unauthenticated.push(stalled);
    }
    let send_handshake = || {
        http()
            .post(app.url("/ingest/event-grid/eg"))
            .header("aeg-event-type", "SubscriptionValidation")
            .body(include_str!("../../data/azure/egsys-subscription-validation.json"))
            .send()
    };
    until("the places of unauthenticated requests are taken", || async {
        (send_handshake().await.unwrap().status() == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    app.event_grid_posts(&Call::new().started()).await;
    until("the unauthenticated requests have timed out", || async {
        (send_handshake().await.unwrap().status() == StatusCode::OK).then_some(())
    })
    .await;
    drop(unauthenticated);
    app.stop().await;
}

/// Anybody can send one, so it must not count as a delivery that is lost to the operator.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_handshake_without_a_key_counts_as_a_handshake() {
    // A source of its own, so that no other test counts in its metrics.
    let source = format!(
        "[sources.aborted-eg]\nkind = \"event-grid\"\ntenant = \"contoso\"\nkeys = [\"sha256:{}\"]",
        "0".repeat(64)
    );
    let app = TestApp::with(TestStores::shared().await, &source).await;
    app.is_ready().await;
    let head = "POST /ingest/event-grid/aborted-eg HTTP/1.1\r\nhost: x\r\naeg-event-type: SubscriptionValidation\r\ncontent-length: 600\r\n\r\n[";
    let mut aborted = TcpStream::connect(app.address).await.unwrap();
    aborted.write_all(head.as_bytes()).await.unwrap();
    drop(aborted);
    let counted = "onrecord_ingest_rejected_total{source=\"aborted-eg\",reason=\"handshakes\"} 1";
    let metrics = until("the handshake is counted", || async {
        let metrics = http().get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
        metrics.contains(counted).then_some(metrics)
    })
    .await;
    let rejected = metrics.lines().filter(|line| {
        line.starts_with("onrecord_ingest_rejected_total{source=\"aborted-eg\"")
            && !line.ends_with(" 0")
    });
    assert_eq!(rejected.collect::<Vec<_>>(), [counted]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_in_a_batch_of_5000_is_quarantined_and_the_rest_is_appended() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let mut batch: Vec<Value> = (0..4999)
        .map(|_| {
            call.event(
                "CallParticipantAdded",
                chrono::Utc::now(),
                &json!({ "participantId": Uuid::new_v4() }),
            )[0]
            .clone()
        })
        .collect();
    batch.insert(2500, json!({ "id": "bad", "eventType": "Microsoft.Communication.CallStarted", "data": { "serverCallId": 17 } }));
    let (status, answer) =
        app.posts("/ingest/event-grid/eg", Value::Array(batch).to_string()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        serde_json::from_str::<Value>(&answer).unwrap(),
        json!({ "events": 5000, "quarantined": 1 })
    );
    let quarantine = app
        .sees("/v1/quarantine", |list| {
            list["quarantined"].as_array().is_some_and(|rows| rows.len() == 1)
        })
        .await;
    assert_eq!(quarantine["quarantined"][0]["pointer"], "/data/serverCallId");
    let database = app.stores.database().await;
    until("all 4999 entries", || async {
        let appended: i64 =
            sqlx::query_scalar("select count(*) from entry").fetch_one(&database).await.ok()?;
        (appended == 4999).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_with_different_content_is_kept_and_flagged() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let first = call.started();
    let mut second = first.clone();
    second[0]["data"]["isTwoParty"] = json!(false);
    for events in [&first, &second, &first, &second] {
        app.event_grid_posts(events).await;
    }
    let list = app
        .sees("/v1/events", |list| {
            list["events"].as_array().is_some_and(|events| events.len() == 2)
        })
        .await;
    let flags: Vec<&Value> =
        list["events"].as_array().unwrap().iter().map(|event| &event["flags"]).collect();
    assert_eq!(flags, [&json!([]), &json!(["conflict"])]);
    let seen = app
        .sees(&format!("/v1/calls/{}", call.correlation), |call| {
            !call["flags"].as_array().unwrap().is_empty()
        })
        .await;
    assert!(seen["flags"][0].as_str().unwrap().starts_with("CONFLICT:"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cloud_events_are_accepted_in_every_mode() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let event = |id: &str| {
        let data = &call.started()[0]["data"];
        json!({ "specversion": "1.0", "id": id, "source": "/subscriptions/S", "type": "Microsoft.Communication.CallStarted", "time": "2026-11-23T18:00:00.1234567Z", "data": data })
    };
    let post = |content_type: &'static str, body: String| {
        http()
            .post(app.url("/ingest/event-grid/eg"))
            .header("x-onrecord-key", SOURCE_KEY)
            .header("content-type", content_type)
            .body(body)
            .send()
    };
    assert_eq!(
        post("application/cloudevents+json; charset=utf-8", event("structured").to_string())
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        post(
            "application/cloudevents-batch+json",
            json!([event("batch 1"), event("batch 2")]).to_string()
        )
        .await
        .unwrap()
        .status(),
        200
    );
    assert_eq!(post("text/plain", event("bare").to_string()).await.unwrap().status(), 200);
    let binary = http()
        .post(app.url("/ingest/event-grid/eg"))
        .header("x-onrecord-key", SOURCE_KEY)
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "binary")
        .header("ce-source", "/subscriptions/S")
        .header("ce-type", "Microsoft.Communication.CallStarted")
        .body(event("x")["data"].to_string());
    assert_eq!(binary.send().await.unwrap().status(), 200);
    let list = app
        .sees("/v1/events", |list| {
            list["events"].as_array().is_some_and(|events| events.len() == 5)
        })
        .await;
    let mut ids: Vec<&str> = list["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["ce_id"].as_str())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["bare", "batch 1", "batch 2", "binary", "structured"]);
    assert!(
        list["events"]
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event["call"] == call.correlation
                && event["ce_source"] == "/subscriptions/s")
    );
    app.stop().await;
}
