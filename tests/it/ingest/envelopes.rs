//! Envelopes and requests in unusual forms: quoted headers, nested events, both schemas of one event.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::app::{SOURCE_KEY, TestApp};
use crate::support::azure::Call;
use crate::support::client::http;

/// The event of Event Grid's schema as a CloudEvent.
fn as_cloud_event(event: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": event["id"], "source": event["topic"], "subject": event["subject"],
        "type": event["eventType"], "time": event["eventTime"], "data": event["data"],
        "datacontenttype": "application/json"
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_in_any_form_is_one_event() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let event = call.started()[0].clone();
    let cloud = as_cloud_event(&event);
    let mut in_text = event.clone();
    in_text["data"] = json!(event["data"].to_string());
    let mut dead_letter = event.clone();
    dead_letter["deadLetterReason"] = json!("MaxDeliveryAttemptsExceeded");
    let nested = json!({ "specversion": "1.0", "id": "outer", "source": "forwarder", "type": "Contoso.Forwarded", "data": cloud });
    for form in [&event, &cloud, &in_text, &dead_letter, &nested] {
        app.event_grid_posts(&json!([form])).await;
    }
    let other = Call::new().started();
    app.event_grid_posts(&other).await;
    let list = app
        .sees("/v1/events", |list| {
            list["events"].as_array().is_some_and(|events| events.len() == 2)
        })
        .await;
    // Two partitions are appended in any order.
    let events = list["events"].as_array().unwrap();
    let of_call = events.iter().filter(|event| event["call"] == json!(call.correlation));
    assert!(of_call.map(|event| &event["flags"]).eq([&json!([])]), "{list}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quoted_headers_are_unquoted_and_a_key_may_come_in_the_header_of_event_grid() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let data = call.started()[0]["data"].to_string();
    let answer = http()
        .post(app.url(&format!("/ingest/event-grid/eg?key={SOURCE_KEY}")))
        .header("x-onrecord-key", "")
        .header("content-type", "application/json")
        .header("ce-specversion", "\"1.0\"")
        .header("ce-id", "\"an \\\"id\\\"\"")
        .header("ce-source", "\"/subscriptions/S\"")
        .header("ce-type", "\"Microsoft.Communication.CallStarted\"")
        .body(data)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "an empty header hides no query");
    let list = app
        .sees("/v1/events", |list| {
            list["events"].as_array().is_some_and(|events| events.len() == 1)
        })
        .await;
    let event = &list["events"][0];
    assert_eq!(
        (&event["ce_id"], &event["ce_source"]),
        (&json!("an \"id\""), &json!("/subscriptions/s"))
    );
    assert_eq!(
        (&event["type"], &event["call"]),
        (&json!("call.started"), &json!(call.correlation))
    );

    let answer = http()
        .post(app.url("/ingest/event-grid/eg"))
        .header("aeg-sas-key", SOURCE_KEY)
        .body(Call::new().started().to_string());
    assert_eq!(answer.send().await.unwrap().status(), StatusCode::OK);
    for path in ["/ingest/event-grid/eg", "/ingest/call-automation/ca"] {
        let answer = http().request(Method::PUT, app.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()["allow"], "POST, OPTIONS");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_of_events_has_a_cursor_even_if_it_is_empty() {
    let mut app = TestApp::open().await;
    let empty = app.reads("/v1/events").await;
    assert_eq!(empty["events"], json!([]));
    let next = empty["next"].as_str().unwrap().to_owned();
    app.event_grid_posts(&Call::new().started()).await;
    let page = format!("/v1/events?cursor={next}");
    let list = app
        .sees(&page, |list| list["events"].as_array().is_some_and(|events| events.len() == 1))
        .await;
    let page = format!("/v1/events?cursor={}", list["next"].as_str().unwrap());
    let end = app.reads(&page).await;
    assert_eq!((&end["events"], &end["next"]), (&json!([]), &list["next"]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_ids_are_compared_without_case_and_a_nul_in_a_name_costs_no_participant() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let (upper, lower) = (
        "8:acs:AAAA1111-1111-4111-8111-111111111111_0000000A-B",
        "8:acs:aaaa1111-1111-4111-8111-111111111111_0000000a-b",
    );
    app.event_grid_posts(&call.started()).await;
    let mut joined = call.joined(upper, "11111111-2222-4333-8444-555555555555");
    joined[0]["data"]["displayName"] = json!("Ann\u{0}a");
    app.event_grid_posts(&joined).await;
    app.call_automation_posts(&call.roster(1, &[lower])).await;
    let token = app.token(&lower.to_uppercase().replace("8:ACS", "8:acs")).await;
    let attachment = uuid::Uuid::new_v4();
    let more = json!({ "recording": "on", "server_call_id": call.server_call_id });
    let report = crate::support::azure::report(&attachment, 1, &more);
    let (status, answer) = app.reports(&token, &report).await;
    assert_eq!(status, 200, "{answer}");
    let seen = app
        .sees(&format!("/v1/calls/{}", call.correlation), |call| {
            call["participants"].as_array().is_some_and(|all| {
                all.iter().any(|one| one["attachments"].as_array().is_some_and(|it| !it.is_empty()))
            })
        })
        .await;
    let participants = seen["participants"].as_array().unwrap();
    assert_eq!(participants.len(), 1, "{seen}");
    assert_eq!(
        (&participants[0]["raw_id"], &participants[0]["display_name"]),
        (&json!(lower), &json!("Anna"))
    );
    let event = &app.reads("/v1/events?type=session.joined").await["events"][0];
    let flagged = json!([{ "pointer": "/data/displayName", "reason": "replaced" }]);
    assert_eq!(event["event"]["flagged"], flagged);
    app.stop().await;
}
